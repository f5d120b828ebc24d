"""Golden samples: the same values on every machine, and differences that count."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeport.artifact.golden import (
    GoldenOutput,
    decode_array,
    decode_output,
    encode_array,
    encode_blocks,
    encode_output,
    encode_ramp,
    ramp,
)

dtypes = st.sampled_from(["bool", "int8", "uint16", "int64", "float16", "float32", "float64"])
arrays: Any = dtypes.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_side=5)))


@given(arrays)
def test_an_array_comes_back_bit_by_bit(array: Any) -> None:
    back = decode_array(encode_array(array))
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(arrays, st.integers(1, 50))
def test_an_output_record_comes_back_and_stays_small(array: Any, most: int) -> None:
    record = GoldenOutput.of(array, most)
    back = decode_output(encode_output(record))
    assert len(back.values) <= most
    assert back.shape == array.shape
    assert back.values.tobytes() == array.reshape(-1)[:: back.step].tobytes()
    assert back.difference(array) == 0.0


def test_a_ramp_is_the_formula_that_it_states() -> None:
    """Fractions of multiples of the golden ratio, here with forty digits."""
    getcontext().prec = 40
    step = (Decimal(5).sqrt() - 1) / 2
    exact = [float(-2 + 5 * ((Decimal("0.25") + i * step) % 1)) for i in range(1000)]
    values = ramp((10, 100), np.dtype("float64"), -2.0, 3.0, 0.25)
    np.testing.assert_allclose(values.ravel(), exact, atol=1e-11, rtol=0)
    assert (
        decode_array(encode_ramp((10, 100), np.dtype("float64"), -2, 3, 0.25)).tobytes()
        == values.tobytes()
    )


def test_a_long_ramp_is_the_same_formula() -> None:
    place = 0.5 + np.arange(200_003, dtype=np.float64) * ((5**0.5 - 1) / 2)
    expected = (-1 + 3 * (place - np.floor(place))).astype("f4")
    assert ramp((200_003,), np.dtype("f4"), -1.0, 2.0, 0.5).tobytes() == expected.tobytes()


def test_a_ramp_is_the_same_where_numpy_is_to_raise() -> None:
    arguments = (100,), np.dtype("f2"), 0.0, 1e-6, 0.0
    with np.errstate(all="raise"):
        small = ramp(*arguments)
    np.testing.assert_array_equal(small, ramp(*arguments))
    assert 0 < small.max() < 2e-6


def test_a_ramp_of_integers_covers_its_range() -> None:
    codes = ramp((5000,), np.dtype("uint8"), 0, 256, 0.0)
    assert set(codes.tolist()) == set(range(256))


@given(
    hnp.arrays("float32", 6, elements=st.floats(-100, 100, width=32)),
    st.integers(0, 5),
    st.floats(0.5, 9),
)
def test_the_difference_is_the_largest_one(array: Any, index: int, step: float) -> None:
    changed = array.copy()
    changed[index] += np.float32(step)
    expected = abs(float(changed[index]) - float(array[index]))
    assert GoldenOutput.of(array, 6).difference(changed) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("golden", "actual", "difference"),
    [
        ([math.nan], [math.nan], 0.0),
        ([math.inf], [math.inf], 0.0),
        ([math.inf], [-math.inf], math.inf),
        ([1.0], [math.nan], math.inf),
        ([math.nan], [1.0], math.inf),
        ([1.0], [math.inf], math.inf),
        ([], [], 0.0),
    ],
)
def test_what_is_no_number_is_equal_to_itself_only(
    golden: Any, actual: Any, difference: float
) -> None:
    record = GoldenOutput.of(np.array(golden, "f4"), 10)
    assert record.difference(np.array(actual, "f4")) == difference


def test_another_shape_or_dtype_is_infinitely_far() -> None:
    record = GoldenOutput.of(np.zeros((1, 3), "f4"), 10)
    assert record.difference(np.zeros((3, 1), "f4")) == math.inf
    assert record.difference(np.zeros((1, 3), "f8")) == math.inf


def test_large_unsigned_codes_do_not_wrap() -> None:
    assert GoldenOutput.of(np.array([0], "u1"), 1).difference(np.array([255], "u1")) == 255.0


@pytest.mark.parametrize(
    "encoded",
    [
        {"dtype": "float32", "shape": [2], "zlib": encode_array(np.zeros(1, "f4"))["zlib"]},
        {"dtype": "float32", "shape": [1], "zlib": encode_array(np.zeros(10**6, "f4"))["zlib"]},
    ],
)
def test_bytes_that_do_not_fill_the_shape_are_refused(encoded: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a golden array of shape"):
        decode_array(encoded)


def test_blocks_are_the_formula_that_they_state() -> None:
    """The last of every two rows and columns as one of 256 values, here in exact fractions."""
    rng = np.random.default_rng(4)
    x = rng.uniform(-1.5, 1.5, (1, 20, 31, 3)).astype("f4")
    back = decode_array(encode_blocks(x, -1.0, 1.0, max_values=600))
    assert (back.dtype, back.shape) == (x.dtype, x.shape)
    for place in ((0, 0, 0), (0, 19, 30), (0, 7, 12), (0, 6, 13)):
        row, column = place[1] // 2 * 2 + 1, min(place[2] // 2 * 2 + 1, 30)
        for channel in range(3):
            exact = min(max(Fraction(float(x[0, row, column, channel])), -1), 1)
            code = round((exact + 1) / 2 * 255)
            assert back[(*place, channel)] == np.float32(float(-1 + Fraction(2 * code, 255)))


@given(hnp.arrays("u1", hnp.array_shapes(max_side=9)))
def test_blocks_of_bytes_that_are_few_enough_are_exact(codes: Any) -> None:
    np.testing.assert_array_equal(decode_array(encode_blocks(codes, 0, 255, codes.size)), codes)


@given(arrays, st.integers(1, 20))
def test_blocks_of_any_array_stay_within_shape_and_range(array: Any, most: int) -> None:
    encoded = encode_blocks(array, 0.0, 1.0, most)
    assert math.prod(encoded["blocks"]["shape"]) <= most
    back = decode_array(encoded)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert ((back >= 0) & (back <= 1)).all()


@pytest.mark.parametrize("kind", ["int32", "uint32", "int64", "uint64"])
def test_blocks_reach_the_limits_of_integers_and_go_no_further(kind: str) -> None:
    """Where float64 has no such number, the next one within: casting a larger one is undefined."""
    limits = np.iinfo(kind)
    ends = np.array([limits.min, limits.max], kind)
    back = decode_array(encode_blocks(ends, float(limits.min), float(limits.max), 2))
    assert back[0] == limits.min
    assert int(limits.max) - 2**11 <= int(back[1]) <= int(limits.max)


@pytest.mark.parametrize("kind", ["int64", "uint64"])
def test_a_ramp_goes_no_further_than_its_integers(kind: str) -> None:
    top = int(np.iinfo(kind).max)
    values = ramp((1000,), np.dtype(kind), top / 2, top * 1.5, 0.0)
    assert top // 2 - 2**11 <= int(values.min()) <= int(values.max()) <= top
    assert int(values.max()) >= top - 2**11


@pytest.mark.parametrize("end", [float("inf"), float("nan")])
def test_blocks_of_a_range_that_is_none_are_refused(end: float) -> None:
    encoded = encode_blocks(np.zeros(3, "f4"), 0.0, 1.0, 3)
    encoded["blocks"]["range"] = [0.0, end]
    with pytest.raises(ValueError, match=r"a golden array from 0\.0 to"):
        decode_array(encoded)


@pytest.mark.parametrize("shape", [(0,), (5, 0), (3, 0, 2)])
def test_blocks_of_nothing_are_nothing(shape: tuple[int, ...]) -> None:
    assert decode_array(encode_blocks(np.zeros(shape, "f4"), 0.0, 1.0, 4)).shape == shape


def test_blocks_of_the_widest_range_are_finite() -> None:
    ends = np.array([-1.7e308, 0, 1.7e308])
    back = decode_array(encode_blocks(ends, -1.7e308, 1.7e308, 3))
    assert np.isfinite(back).all()
    assert (back[0], back[2]) == (ends[0], ends[2])


@pytest.mark.parametrize("width", [0.0, 1.0])
def test_blocks_of_infinities_are_the_ends(width: float) -> None:
    x = np.array([-np.inf, np.inf], "f4")
    np.testing.assert_array_equal(
        decode_array(encode_blocks(x, 0.0, width, 2)), np.array([0, width], "f4")
    )


def test_blocks_of_a_range_without_width_are_its_value() -> None:
    np.testing.assert_array_equal(decode_array(encode_blocks(np.full(4, 7.0), 7.0, 7.0, 2)), 7.0)


@pytest.mark.parametrize("kept", [[1, 9], [2, 0], [4], [2, 2, 2]])
def test_blocks_that_do_not_fit_the_shape_are_refused(kept: list[int]) -> None:
    encoded = encode_blocks(np.zeros((2, 8), "f4"), 0.0, 1.0, 4)
    packed = encode_array(np.zeros(kept, "u1"))
    encoded["blocks"] |= {"shape": kept, "zlib": packed["zlib"]}
    with pytest.raises(ValueError, match=r"shape|argument"):
        decode_array(encoded)
