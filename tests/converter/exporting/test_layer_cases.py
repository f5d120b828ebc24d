"""Keras layers, activations and small models through the converter's own stages.

`make layers` runs the same cases and those that take longer.
"""

import re

import layer_cases
import pytest
from layer_cases.case import IS_KERAS_3_12

pytestmark = [
    pytest.mark.slow,
    # Keras warns about structures and sizes that some of the cases have on purpose.
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]


# What the lowest versions that the converter allows cannot do, and why.
_LOWEST_CANNOT = {
    "keras.ops associative_scan": "the trace of Keras 3.12 recurses too deeply",
    "keras.ops image.extract_patches": "Keras 3.12 cannot build it",
    "keras.ops int8": "onnxruntime 1.20.0 has no int8 Add",
    "signal square root": "off by 1.18e-4 of the largest value, where 1e-4 is allowed",
}


def _with_marks(case):
    reason = _LOWEST_CANNOT.get(case.name)
    marks = [pytest.mark.xfail(reason=reason)] if IS_KERAS_3_12 and reason else []
    return pytest.param(case, marks=marks, id=case.name)


@pytest.mark.parametrize("case", [*map(_with_marks, layer_cases.QUICK)])
def test_a_layer_is_exact_or_refused_by_name(case):
    verdict = layer_cases.judge(case)
    if case.refused:
        assert verdict.outcome == "refused", verdict.detail
        assert re.search(case.refused, verdict.detail), verdict.detail
        return
    if verdict.outcome == "no model":  # only where the case says that Keras may build none
        return
    assert verdict.outcome == "exact", verdict.detail
    for tag in case.tags:
        kind, _, node = tag.partition(":")
        assert (node in verdict.nodes) == (kind == "node"), verdict.nodes


@pytest.mark.parametrize("case", layer_cases.QUICK_PAIRS, ids=lambda case: case.name)
def test_a_pair_of_neighbours_is_exact(case):
    verdict = layer_cases.judge(case)
    assert verdict.outcome in ("exact", "no model"), verdict.detail


def test_names_are_unique_and_the_table_is_long_enough():
    names = [case.name for case in layer_cases.SMALL + layer_cases.APPLICATIONS + layer_cases.PAIRS]
    assert len(set(names)) == len(names) >= 230
