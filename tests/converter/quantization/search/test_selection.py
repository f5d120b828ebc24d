from dataclasses import replace

import pytest

from edgeport_converter.quantization.search.selection import Contender, best_of, cost

FLOAT = Contender("none", 1.0, 1.0)
WEIGHTS = Contender("weights", 1.0, 0.26)
STATIC = Contender("static", 0.5, 0.28)


def test_each_objective_weighs_what_it_says():
    assert cost("latency", 0.5, 9) == 0.5
    assert cost("size", 9, 0.25) == 0.25
    assert cost("balanced", 0.5, 0.125) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("objective", "others", "best"),
    [
        ("latency", (FLOAT, WEIGHTS), "static"),
        ("balanced", (FLOAT, WEIGHTS), "static"),
        ("size", (FLOAT, WEIGHTS), "weights"),  # two hundredths of the file decide
    ],
)
def test_the_least_cost_wins(objective, others, best):
    contenders = (*others, STATIC)
    assert contenders[best_of(contenders, objective)].kind == best


def test_among_equal_times_static_wins_and_then_the_smaller_file():
    slower = Contender("static", 1.08, 0.26)
    larger = Contender("static", 1.0, 0.27)
    assert best_of((FLOAT, WEIGHTS, larger, slower), "latency") == 3
    assert best_of((FLOAT, WEIGHTS, replace(slower, time=1.2)), "latency") == 1


def test_int8_that_is_much_slower_than_float_weights_loses():
    assert best_of((FLOAT, WEIGHTS, replace(STATIC, time=1.5)), "balanced") == 1
