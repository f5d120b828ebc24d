from dataclasses import replace

import pytest

from edgeport_converter.quantization.search.objective import (
    Contender,
    best_of,
    cost,
    explain_choice,
)

FLOAT = Contender("none", 1.0, 1.0)
WEIGHTS = Contender("weights", 1.0, 0.26)
STATIC = Contender("static", 0.5, 0.28)


def test_each_objective_weighs_what_it_says():
    assert cost("latency", 0.5, 9) == 0.5
    assert cost("size", 9, 0.25) == 0.25
    assert cost("balanced", 0.5, 0.125) == pytest.approx(0.3125)


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


def test_among_equal_times_static_wins_and_of_that_kind_the_fastest():
    slower = Contender("static", 1.08, 0.26)
    larger = Contender("static", 1.0, 0.27)
    assert best_of((FLOAT, WEIGHTS, larger, slower), "latency") == 2
    assert best_of((FLOAT, WEIGHTS, replace(slower, time=1.2)), "latency") == 1


def test_within_the_noise_of_one_kind_the_least_loss_wins_and_then_the_smaller_file():
    faster = Contender("static", 1.0, 0.27, -0.2)
    closer = Contender("static", 1.01, 0.28, -0.5)
    smaller = Contender("static", 1.01, 0.26, -0.2)
    assert best_of((faster, closer, smaller), "latency") == 1
    assert best_of((faster, smaller), "latency") == 1
    assert best_of((faster, replace(closer, time=1.03)), "latency") == 0


@pytest.mark.parametrize("objective", ["latency", "balanced"])
def test_a_faster_int8_graph_wins_over_smaller_float_arithmetic(objective):
    # DS-CNN's candidates: both keep the budget, the second is closer and smaller, at float's time.
    mixed, weights = Contender("static", 0.87, 0.44, -0.1), Contender("weights", 1.0, 0.33, -0.4)
    assert best_of((mixed, weights), objective) == 0


def test_int8_that_is_much_slower_than_float_weights_loses():
    assert best_of((FLOAT, WEIGHTS, replace(STATIC, time=1.5)), "balanced") == 1


@pytest.mark.parametrize("objective", ["latency", "balanced", "size"])
@pytest.mark.parametrize("other", ["weights", "none", "dynamic"])
def test_what_another_beats_at_once_in_time_bytes_and_loss_is_never_chosen(objective, other):
    static = Contender("static", 0.99, 0.290, -0.2)
    better = Contender(other, 0.98, 0.289, -0.9)
    for contenders in ([static, better], [better, static], [FLOAT, static, better]):
        assert contenders[best_of(contenders, objective)] is not static


@pytest.mark.parametrize(
    "other",
    [
        Contender("weights", 1.00, 0.289, -0.9),  # slower
        Contender("weights", 0.98, 0.291, -0.9),  # larger
        Contender("weights", 0.98, 0.289, -0.1),  # loses more
        Contender("weights", 0.98, 0.289, -0.2),  # loses the same
    ],
)
def test_what_is_better_in_one_of_the_three_may_be_chosen(other):
    static = Contender("static", 0.99, 0.290, -0.2)
    assert best_of([other, static], "balanced") == 1


def test_twins_do_not_exclude_each_other():
    twin = Contender("static", 0.5, 0.3, -0.5)
    assert best_of([twin, replace(twin)], "balanced") in (0, 1)


def test_it_is_said_why_neither_the_fastest_nor_the_smallest_was_chosen():
    contenders = [
        Contender("none", 0.9, 1.0),
        Contender("static", 1.0, 0.30),
        Contender("weights", 2.0, 0.25),
    ]
    names = ["none", "static, minmax ranges", "weights"]
    best = best_of(contenders, "balanced")
    assert best == 1
    found = explain_choice(contenders, names, best, "balanced")
    assert found == (
        "static, minmax ranges has the least mean of time and size; the fastest (none) takes "
        "0.90 of its time and 3.33 of its bytes and the smallest (weights) takes 2.00 of its time "
        "and 0.83 of its bytes"
    )


def test_it_is_said_where_a_preferred_kind_was_chosen_among_equals():
    contenders = [Contender("weights", 0.98, 0.295, -0.1), Contender("static", 1.0, 0.30, -0.2)]
    best = best_of(contenders, "balanced")
    assert best == 1
    found = explain_choice(contenders, ["weights", "static"], best, "balanced")
    assert "within 5% of the least mean of time and size" in found
    assert "the fastest and smallest (weights) takes 0.98 of its time and 0.98" in found


@pytest.mark.parametrize("best", [0, 2])
def test_nothing_is_said_of_the_fastest_or_the_smallest(best):
    contenders = [
        Contender("none", 0.9, 1.0),
        Contender("static", 1.0, 0.30),
        Contender("weights", 2.0, 0.25),
    ]
    assert explain_choice(contenders, ["a", "b", "c"], best, "balanced") == ""
