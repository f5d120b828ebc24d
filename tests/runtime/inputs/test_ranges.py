"""NaN, infinity and values beyond the calibrated range: refused on request, counted always."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from examples import identity, in_threads, int8, mlp_artifact, sealed, spec, two_inputs
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeport import InferenceError, InputError, ModelCard, OptionError, Predictor, Quantization
from edgeport.inputs.ranges import RangeCounter

anything = st.floats(width=32)
any_number = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(hnp.arrays("float32", st.tuples(st.integers(0, 5), st.just(6)), elements=any_number))
def test_values_outside_the_calibrated_range_are_counted(x: Any) -> None:
    with Predictor.load(int8().artifact()) as predictor:
        assert predictor.out_of_range == {"x": 0}
        predictor.predict(x)
        expected = sum(not 0.0 <= value <= 1.0 for value in x.ravel().tolist())
        assert predictor.out_of_range == {"x": expected}
        for row in x:
            predictor.predict(row)
        assert predictor.out_of_range == {"x": 2 * expected}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("samples", [1, 3])
def test_what_int8_would_hide_is_refused(bad: float, samples: int) -> None:
    x = np.full((samples, 6), 0.5, dtype=np.float32)
    x[samples - 1, 4] = bad
    with Predictor.load(int8().artifact()) as predictor:
        for given_x in (x, x[0]) if samples == 1 else (x,):
            with pytest.raises(InputError, match=r"which an int8 model would turn into an"):
                predictor.predict(given_x)


ranges = st.tuples(st.sampled_from([0.0, -0.0, -3.0, 1e-40]), st.floats(1e-45, 1e39))
HARD = np.array([0.0, -0.0, 1e-45, -1e-45, 1.0, 3.4e38, np.inf, -np.inf, np.nan], "f4")
hard_values = st.one_of(anything, st.sampled_from(HARD.tolist()))


@given(ranges, hnp.arrays("float32", st.integers(0, 9), elements=hard_values), st.booleans())
def test_what_holds_is_within(bounds: tuple[float, float], x: Any, is_at_the_edge: bool) -> None:
    """Beside a comparison of numbers in Python; only of a zero's sign it may err, and say no."""
    low, high = bounds
    if is_at_the_edge and len(x):
        with np.errstate(over="ignore"):
            x[-1] = np.float32(high)
    is_within = all(low <= value <= high for value in x.tolist())
    says = RangeCounter([spec("x", "float32", ("N",), value_range=bounds)]).all_hold({"x": x})
    assert not says or is_within
    if is_within and not np.signbit(x[x == 0]).any():
        assert says


@pytest.mark.parametrize("size", [2**16 - 1, 2**16, 2**16 + 1])
@pytest.mark.parametrize("bad", [-1e-45, 1.0000001, np.nan])
def test_one_value_outside_is_seen_in_arrays_of_any_size(size: int, bad: float) -> None:
    counter = RangeCounter([spec("x", "float32", ("N",), value_range=(0.0, 1.0))])
    x = np.linspace(0, 1, size, dtype=np.float32)
    assert counter.all_hold({"x": x})
    x[size // 3] = bad
    assert not counter.all_hold({"x": x})


@pytest.mark.parametrize("chunk_bytes", [1, 100, 2**20])
def test_a_bad_value_is_named_by_its_place_in_the_whole_batch(chunk_bytes: int) -> None:
    x = np.full((9, 6), 0.5, np.float32)
    x[2, 1] = x[7, 3] = 4.0
    with Predictor.load(int8().artifact(), chunk_bytes=chunk_bytes) as predictor:
        predictor.predict(x)
        assert predictor.out_of_range == {"x": 2}
        x[8, 5] = np.nan
        with pytest.raises(InputError, match=r"is nan at \[8, 5\]"):
            predictor.predict(x)


def test_a_float_model_has_no_range_to_leave() -> None:
    with Predictor.load(mlp_artifact()) as predictor:
        predictor.predict(np.full(6, 1e6))
        assert predictor.out_of_range == {}


def test_a_dtype_that_cannot_leave_the_range_is_not_looked_at() -> None:
    card = ModelCard(
        "bytes",
        (spec("x", "uint8", ("N", 3), value_range=(0.0, 255.0)),),
        (spec("y", "uint8", ("N", 3)),),
        quantization=Quantization("static", "int8", "uint8", "any"),
    )
    with Predictor.load(sealed(identity("uint8").onnx, card)) as predictor:
        predictor.predict([0, 255, 7])
        assert predictor.out_of_range == {}


def test_no_count_is_lost_between_threads() -> None:
    with Predictor.load(int8().artifact()) as predictor:

        def work() -> None:
            for _ in range(500):
                predictor.predict(np.full(6, 2, "f4"))

        in_threads(lambda _: work(), range(6))
        assert predictor.out_of_range == {"x": 6 * 500 * 6}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_finite_names_the_first_bad_value_of_an_input(bad: float) -> None:
    x = np.zeros((3, 6), "f4")
    x[1, 4] = x[2, 0] = bad
    with Predictor.load(mlp_artifact(), finite=True) as strict:
        for call in (strict.predict, lambda x: strict.predict({"x": x.tolist()})):
            with pytest.raises(InputError) as caught:
                call(x)
            assert str(caught.value) == (
                f"input 'x' is {bad} at [1, 4], expected finite numbers (finite=True): "
                "repair or drop the sample"
            )
        with pytest.raises(InputError, match=rf"input 'x' is {bad} at \[4\], expected finite"):
            strict.predict(x[1])
        assert strict.predict(x[1], finite=False).shape == (3,)
    with Predictor.load(mlp_artifact()) as lenient:
        assert lenient.predict(x).shape == (3, 3)
        with pytest.raises(InputError, match=r"at \[1, 4\]"):
            lenient.predict(x, finite=True)


def test_finite_names_the_first_bad_value_of_an_output() -> None:
    big = np.array([[1, 2], [1, 3e38]], "f4")
    with (
        Predictor.load(two_inputs().artifact(), finite=True) as predictor,
        pytest.raises(InferenceError, match=r"output 'total' is inf at \[1, 1\]"),
    ):
        predictor.predict(big, big)


@given(hnp.arrays("float32", (2, 6), elements=anything))
def test_finite_refuses_exactly_what_is_not_finite(x: Any) -> None:
    with Predictor.load(int8().artifact(), finite=True) as predictor:
        if np.isfinite(x).all():
            predictor.predict(x)
        else:
            with pytest.raises(InputError, match="expected finite numbers"):
                predictor.predict(x)


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (np.full(6, 200.0), "has values from 200 to 200"),  # 0 to 255 where 0 to 1 was meant
        ([-2.1, 0, 0.5, 0.5, 0.5, 2.6], "has values from -2.1 to 2.6"),  # standardized images
        ([0.5, 0.5, 0.5, 0.5, 1.1, 1.1], "has values from 0.5 to 1.1"),  # a third is outside
        ([0.5, 0.5, 0.5, 0.5, 0.5, 1.9], None),  # the fringe saturates, as it should
    ],
)
def test_another_unit_is_told_once(x: Any, told: str | None, caplog: Any) -> None:
    with Predictor.load(int8().artifact()) as predictor:
        for _ in range(3):
            predictor.predict(x)
            predictor.predict(np.asarray(x, "f4"))
        assert predictor.out_of_range["x"] > 0
    if told is None:
        assert caplog.records == []
    else:
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("edgeport", "WARNING")
        assert record.message == (
            f"input 'x' {told}, but the model was calibrated for 0 to 1 and saturates beyond, so "
            "its answers are not to be trusted: scale the input as in the training (said once, "
            "counted in out_of_range)"
        )


def test_one_sample_is_named_by_its_own_axes() -> None:
    x = np.full(6, 0.5)
    x[4] = np.nan
    with (
        Predictor.load(int8().artifact()) as predictor,
        pytest.raises(InputError, match=r"is nan at \[4\], which an int8 model"),
    ):
        predictor.predict(x.tolist())


@pytest.mark.parametrize("value", ["no", "", "false", 0, 1, 2.0, [], None])
def test_a_value_that_is_neither_true_nor_false_is_refused(value: object) -> None:
    expected = re.escape(f"finite is {value!r}, expected True or False")
    with pytest.raises(OptionError, match=expected):
        Predictor.load(mlp_artifact(), finite=value)  # type: ignore[arg-type]
    if value is not None:  # in a call, None means what load was told
        with Predictor.load(mlp_artifact()) as predictor:
            x = np.full(6, np.nan, "f4")
            for _ in range(3):  # the later ones may take another way
                with pytest.raises(OptionError, match=expected):
                    predictor.predict(x, finite=value)  # type: ignore[arg-type]
                assert np.isnan(predictor.predict(x)).all()
