"""Values far outside of what the training saw: counted by column, told once, in any artifact."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
from column_models import NUMBERS, REGION, ROWS, artifact, mixed, numbers, score
from examples import int8
from hypothesis import given
from hypothesis import strategies as st

from edgeport import ArtifactError, Predictor
from edgeport.artifact.column import Column
from edgeport.inputs.column_ranges import far_limits

NONE = {"width_m": 0, "height_cm": 0, "turns": 0}


def test_a_unit_slip_is_counted_by_column_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    slipped = ROWS * np.array([1, 100, 1], np.float32)  # millimetres... hundredths of centimetres
    with Predictor.load(numbers().artifact()) as predictor:
        assert predictor.predict(ROWS).shape == (3, 1)
        assert predictor.out_of_range == NONE
        with caplog.at_level(logging.WARNING, "edgeport"):
            for row in slipped:  # the first by the general path, the others by the fast one
                assert predictor.predict(row).tolist() == [score(*row.tolist())]
            predictor.predict(slipped)
            list(predictor.stream(list(slipped)))
        assert predictor.out_of_range == NONE | {"height_cm": 9}
        assert [record.getMessage() for record in caplog.records] == [
            "column 'height_cm' has the value 10000, far outside of the training's 10 to 200 cm, "
            "so that its answers are not to be trusted: check the column's unit (said once, "
            "counted in out_of_range)"
        ]


@given(
    st.floats(-1e6, 1e6, allow_subnormal=False),
    st.floats(0, 1e6, allow_subnormal=False),
    st.floats(-1e8, 1e8, allow_subnormal=False),
)
def test_far_is_further_than_the_range_is_wide(low: float, width: float, value: float) -> None:
    """Beside the definition in words, without its case of one sign."""
    high = low + width
    lowest, highest = far_limits(low, high)
    assert lowest <= low <= high <= highest
    beyond = max(low - value, value - high)
    if beyond > high - low + 1e-6 * max(abs(low), abs(high), 1):
        assert not lowest <= value <= highest
    if low <= 0 <= high and beyond < high - low - 1e-6 * max(abs(low), abs(high), 1):
        assert lowest <= value <= highest


def test_a_tenth_of_the_smallest_of_one_sign_is_far() -> None:
    assert far_limits(10, 200) == (1, 390)
    assert far_limits(-200, -10) == (-390, -1)
    assert far_limits(100, 110) == (90, 120)
    assert far_limits(0, 8) == (-8, 16)
    assert far_limits(4, 4) == (4, 4)
    with Predictor.load(numbers().artifact()) as predictor:
        predictor.predict(ROWS / np.array([1, 100, 1], np.float32))  # metres
        assert predictor.out_of_range["height_cm"] == 1  # 0.2 m, but 1 and 1.8 m may be short cm


def test_every_column_counts_for_itself_and_nan_that_is_filled_does_not() -> None:
    x = ROWS.copy()
    x[0, 0], x[1, 1], x[2, 1], x[:, 2] = -1e6, 1e6, math.nextafter(390, 400), np.nan
    with Predictor.load(numbers().artifact()) as predictor:
        predictor.predict(x)
        assert predictor.out_of_range == {"width_m": 1, "height_cm": 1, "turns": 0}
        predictor.predict(x[1])
        predictor.predict(x[1])
        assert predictor.out_of_range == {"width_m": 1, "height_cm": 3, "turns": 0}


def test_an_unseen_category_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    columns = {name: ROWS[:, at] for at, name in enumerate(NONE)}
    columns |= {REGION.name: np.array(["north", "nroth", "south"], object)}
    with Predictor.load(mixed().artifact()) as predictor:
        with caplog.at_level(logging.WARNING, "edgeport"):
            predictor.predict(columns)
            predictor.predict(columns)
        assert predictor.out_of_range == NONE | {REGION.name: 2}
        (record,) = caplog.records
        assert record.getMessage().startswith(
            "column 'Région du nord' has the category 'nroth' in row 1, which the training never "
            "saw, only 'north', 'south': check its spelling"
        )


def test_a_quantized_model_counts_what_saturates_by_column() -> None:
    names = [f"c{at}" for at in range(6)]
    columns = [Column(name, "number", "x", value_range=(0.0, 1.0)) for name in names]
    with Predictor.load(artifact(int8(), *columns)) as predictor:
        predictor.predict(np.array([0.5, 1.5, 2.5, -0.5, 1.0, 0.0], np.float32))
        assert predictor.out_of_range == dict(zip(names, (0, 1, 1, 1, 0, 0), strict=True))


def test_a_reload_with_other_columns_is_refused() -> None:
    swapped = artifact(numbers(), NUMBERS[1], NUMBERS[0], NUMBERS[2])
    bare = replace(numbers().card, columns=())
    with Predictor.load(numbers().artifact()) as predictor:
        with pytest.raises(ArtifactError, match=r"columns height_cm, width_m, turns, expected th"):
            predictor.reload(swapped)
        with pytest.raises(ArtifactError, match=r"the columns none, expected those being served"):
            predictor.reload(replace(numbers(), card=bare).artifact())
        metres = replace(NUMBERS[1], unit="m")
        with pytest.raises(ArtifactError, match=r"'height_cm' in m, expected it as served, in cm"):
            predictor.reload(artifact(numbers(), NUMBERS[0], metres, NUMBERS[2]))
        unsaid = replace(NUMBERS[1], unit="")
        predictor.reload(artifact(numbers(), NUMBERS[0], unsaid, NUMBERS[2]))
        predictor.reload(numbers().artifact())
