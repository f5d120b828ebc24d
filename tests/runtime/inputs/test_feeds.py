"""What predict accepts without a change of any value, and each refusal's sentence."""

# ruff: noqa: E501 - a golden sentence stands in one line, so that it can be read and searched

from __future__ import annotations

import array
import collections
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from examples import mlp_artifact, spec
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeport import InferenceError, InputError, Predictor, TensorSpec
from edgeport.inputs.casting import as_exact_array
from edgeport.inputs.feeds import prepare

NUMBERS = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]
FLOATS = {"float16": 11, "float32": 24, "float64": 53}  # significant binary digits, IEEE 754


def flat(dtype: str) -> TensorSpec:
    return spec("x", dtype, ("N",))


def holds(dtype: str, value: int | Fraction) -> bool:
    """Whether the type has this very number, by exact arithmetic alone."""
    if dtype == "bool":
        return value in (0, 1)
    if dtype in FLOATS:
        if value == 0:
            return True
        largest = Fraction(float(np.finfo(dtype).max))
        digits = abs(value.numerator) if isinstance(value, Fraction) else abs(value)
        while digits % 2 == 0:
            digits //= 2
        return digits.bit_length() <= FLOATS[dtype] and abs(value) <= largest
    signed = dtype.startswith("int")
    bits = int(dtype.lstrip("uint"))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return value.denominator == 1 and low <= value <= high


@given(st.data(), st.sampled_from(NUMBERS), st.sampled_from(NUMBERS))
def test_a_cast_keeps_every_value_or_is_refused(
    data: st.DataObject, source: str, target: str
) -> None:
    x = data.draw(
        hnp.arrays(
            source,
            st.integers(1, 5),
            elements=hnp.from_dtype(np.dtype(source), allow_nan=False, allow_infinity=False),
        )
    )
    values = [Fraction(v) for v in x.tolist()]
    if source in FLOATS and target in FLOATS:
        # Between floats the rounding of IEEE 754 is what everybody means, as long as it is finite.
        with np.errstate(over="ignore"):
            rounded = x.astype(target)
        keeps, expected = bool(np.isfinite(rounded).all()), rounded
    else:
        keeps = all(holds(target, value) for value in values)
        expected = (
            None
            if not keeps
            else np.array([int(v) if target not in FLOATS else float(v) for v in values], target)
        )
    if keeps:
        result = as_exact_array(flat(target), x)
        assert result.dtype == np.dtype(target)
        assert result.dtype.isnative
        assert result.tobytes() == expected.tobytes() or (result == expected).all()
    else:
        with pytest.raises(InputError, match="would change"):
            as_exact_array(flat(target), x)


WIDE_NUMBERS = st.integers(-(2**70), 2**70) | st.floats(-(2.0**70), 2.0**70)


@example([2**53 + 1, 0.0], "int64")
@example([2**53 + 1, 0.5], "float64")
@example([2**24 + 1, 0.5], "float32")
@example([2**11 + 1, 0.5], "float16")
@example([np.int64(2**53 + 1), np.float64(0.5)], "float64")
@example([np.array([2**53 + 1]), [0.5]], "float64")
@given(
    st.lists(WIDE_NUMBERS, min_size=1, max_size=4),
    st.sampled_from(["int64", "uint64", "int32", "float64", "float32", "float16"]),
)
def test_integers_in_lists_are_never_rounded(values: list[Any], target: str) -> None:
    """numpy turns a list of an integer and a float into floats, 53 digits at most."""
    try:
        result = as_exact_array(flat(target), values)
    except InputError:
        return
    for value, kept in zip(values, result.tolist(), strict=True):
        if isinstance(value, int) or target not in FLOATS:
            assert Fraction(value) == Fraction(kept)
        else:
            assert kept == np.asarray(value).astype(target)


@pytest.mark.parametrize(
    ("values", "target"),
    [
        ([2**53 + 1, 0.5], "float64"),
        ([[np.int64(-(2**53) - 1)], [0.5]], "float64"),
        ([np.array([2**53 + 1]), [0.5]], "float64"),
        ([np.array(2**53 + 1), 0.5], "float64"),
        ([2**24 + 1, 0.5], "float32"),
        ([2**11 + 1, 0.5], "float16"),
        ([2**63 - 1, 0.0], "int64"),
    ],
)
def test_an_integer_that_numpy_rounds_beside_floats_is_named(values: Any, target: str) -> None:
    with pytest.raises(InputError, match=r"a list of floats with the integer -?\d+[1379],"):
        as_exact_array(flat(target), values)


@pytest.mark.parametrize(
    ("values", "target", "wanted"),
    [
        ([-(2.0**63), 1.0], "int64", [-(2**63), 1]),
        ([2.0**60, 7], "int64", [2**60, 7]),
        ([2**60, 7.0], "float32", [2**60, 7]),
        ([2**63, -1], "float64", [2**63, -1]),
        ([0.1, 2.0**30 + 1], "float32", [np.float32(0.1), 2**30]),
    ],
)
def test_lists_of_floats_are_taken_for_what_they_hold(
    values: Any, target: str, wanted: list[Any]
) -> None:
    assert as_exact_array(flat(target), values).tolist() == wanted


def test_an_infinite_float_is_no_rounded_integer() -> None:
    with pytest.raises(InputError, match=r"has the value inf at \[0\], which int64 would change"):
        as_exact_array(flat("int64"), [float("inf"), 1.0])


@given(st.data(), st.sampled_from(NUMBERS))
def test_layout_never_matters(data: st.DataObject, dtype: str) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=4, max_side=4))
    x = data.draw(hnp.arrays(dtype, shape))
    wanted = x.tobytes()
    one = spec("x", dtype, ("N", *x.shape[1:]))
    swapped = x.astype(x.dtype.newbyteorder())
    padded = np.empty(x.nbytes + 1, "u1")[1:].view()
    padded[:] = np.frombuffer(x.tobytes(), "u1")
    unaligned = padded.view(x.dtype).reshape(x.shape)
    wide = np.repeat(x, 2, axis=0)[::2]
    reverse = x[::-1].copy()[::-1]
    frozen = x.copy()
    frozen.flags.writeable = False
    for form in (x, swapped, unaligned, wide, reverse, frozen, np.asfortranarray(x)):
        result = prepare([one], (form,)).arrays["x"]
        assert result.dtype == x.dtype
        assert result.dtype.isnative
        assert result.flags.aligned
        assert result.tobytes() == wanted


class Wrapped:
    """What torch, pandas and others offer numpy."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.values if dtype is None else self.values.astype(dtype)


class OnlyDlpack:
    def __init__(self, values: Any) -> None:
        self.values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


@pytest.mark.parametrize(
    "given_form",
    [
        [1, 2, 3],
        (1.0, 2.0, 3.0),
        range(1, 4),
        array.array("d", [1, 2, 3]),
        memoryview(array.array("f", [1, 2, 3])),
        memoryview(b"\x01\x02\x03"),
        Wrapped(np.array([1, 2, 3])),
        OnlyDlpack(np.array([1.0, 2.0, 3.0])),
        [np.float32(1), np.int8(2), True + 2],
    ],
)
def test_whatever_numpy_sees_as_numbers_is_accepted(given_form: Any) -> None:
    result = prepare([spec("x", "float32", ("N", 3))], (given_form,))
    assert result.is_single
    assert result.samples == 1
    np.testing.assert_array_equal(result.arrays["x"], np.array([[1, 2, 3]], "f4"), strict=True)


def test_inputs_in_another_order_are_told_by_their_axes_rather_than_by_a_value() -> None:
    specs = [spec("tokens", "int32", ("N", "T")), spec("patch", "float32", ("N", 4, 4, 1))]
    tokens, patch = np.ones((2, 3), "i4"), np.full((2, 4, 4, 1), 0.5, "f4")
    with pytest.raises(InputError, match=r"'tokens' has shape \(2, 4, 4, 1\), expected \(N, T\)"):
        prepare(specs, (patch, tokens))
    with pytest.raises(InputError, match=r"'tokens' has the value 0.5 at \[0, 0\]"):
        prepare(specs, (np.full((2, 3), 0.5), patch))


def test_a_right_array_is_not_copied() -> None:
    x = np.zeros((2, 3), "f4")
    assert prepare([spec("x", "float32", ("N", 3))], (x,)).arrays["x"] is x


def test_scalars_for_scalar_inputs() -> None:
    scalar = TensorSpec("rate", np.dtype("float32"), ())
    for value in (0.5, np.float64(0.5), np.array(0.5)):
        feed = prepare([scalar], (value,))
        assert feed.arrays["rate"] == np.float32(0.5)
        assert feed.arrays["rate"].shape == ()
        assert feed.samples is None


def test_a_sample_of_no_axes_is_one_sample() -> None:
    feed = prepare([flat("float32")], (2.0,))
    assert feed.is_single
    np.testing.assert_array_equal(feed.arrays["x"], np.array([2], "f4"), strict=True)


def test_text() -> None:
    one = spec("x", "str", ("N", 2))
    for value in (["a", "é"], np.array(["a", "é"]), np.array(["a", "é"], object)):
        assert prepare([one], (value,)).arrays["x"].tolist() == [["a", "é"]]
    for value in (["a\0", "\0b\0"], ("a\0", "\0b\0")):
        assert prepare([one], (value,)).arrays["x"].tolist() == [["a\0", "\0b\0"]]
    assert as_exact_array(spec("x", "str", ()), "a\0")[()] == "a\0"
    for wrong in (
        [1, 2],
        [1, "a"],
        [True, "a"],
        [["a", "b"], ["a"]],
        np.array(["a", None], object),
        *(np.array(["a", None], kind) for kind in TEXT_WITH_GAPS),
    ):
        with pytest.raises(InputError, match="pass text, an array of str"):
            prepare([one], (wrong,))
    for half in (["a", "b\ud800"], np.array(["a", "b\ud800"])):
        with pytest.raises(InputError) as caught:
            prepare([one], (half,))
        assert str(caught.value) == (
            "input 'x' is text with half a character (U+D800 alone), expected text of shape "
            "(N, 2): decode it with its own encoding"
        )


@pytest.mark.parametrize("target", ["float16", "float32", "int64", "bool"])
def test_a_program_that_has_numpy_raise_gets_the_same_answers(target: str) -> None:
    values = np.array([0.0, 1.0, 1e-300, 1e300, np.inf, np.nan])

    def outcome(value: Any) -> str:
        try:
            return str(as_exact_array(spec("x", target, ()), value))
        except InputError as error:
            return str(error)

    usual = [outcome(value) for value in values]
    with np.errstate(all="raise"):
        assert [outcome(value) for value in values] == usual


def test_a_conversion_beyond_the_memory_is_an_inference_error() -> None:
    huge = np.broadcast_to(np.float64(1), (2**45, 6))  # 8 bytes in all, 768 TiB as float32
    with pytest.raises(InferenceError, match=r"not enough memory to convert input 'x' to float32"):
        prepare([spec("x", "float32", ("N", 6))], (huge,))


# Numpy 2 has a dtype for text in which values may be missing.
TEXT_WITH_GAPS = [kind(na_object=None) for kind in [getattr(np.dtypes, "StringDType", 0)] if kind]


@given(st.sampled_from(NUMBERS), hnp.array_shapes(min_dims=0, max_dims=5, max_side=4))
def test_a_batch_and_a_sample_are_told_apart_by_rank(dtype: str, shape: tuple[int, ...]) -> None:
    assume(all(shape))
    one = spec("x", dtype, ("N", *shape))
    single = prepare([one], (np.zeros(shape, dtype),))
    assert (single.is_single, single.samples, single.arrays["x"].shape) == (True, 1, (1, *shape))
    batch = prepare([one], (np.zeros((3, *shape), dtype),))
    assert (batch.is_single, batch.samples, batch.arrays["x"].shape) == (False, 3, (3, *shape))


IMAGE = spec("image", "float32", ("N", 48, 48, 1), axes=("N", "H", "W", "C"))
WIDE = spec("image", "uint8", ("N", 3, 32, 64), axes=("N", "C", "H", "W"))
COUNT = spec("count", "int64", ("N",))
BYTES = spec("level", "uint8", ("N", 2))
SERIES = spec("series", "float32", ("N", "T", 4), axes=("N", "T", "F"))

REFUSALS: list[tuple[TensorSpec, Any, str]] = [
    (IMAGE, np.zeros((48, 48)), "input 'image' has shape (48, 48), expected (N, 48, 48, 1): add the channel axis, x[..., None]"),
    (IMAGE, np.zeros((7, 48, 48)), "input 'image' has shape (7, 48, 48), expected (N, 48, 48, 1): add the channel axis, x[..., None]"),
    (IMAGE, np.zeros((1, 1, 48, 48, 1)), "input 'image' has shape (1, 1, 48, 48, 1), expected (N, 48, 48, 1): drop the extra first axis, x[0]"),
    (IMAGE, np.zeros((48, 48, 1, 1)), "input 'image' has shape (48, 48, 1, 1), expected (N, 48, 48, 1): drop the last axis, x[..., 0]"),
    (IMAGE, np.zeros((2, 1, 48, 48)), "input 'image' has shape (2, 1, 48, 48), expected (N, 48, 48, 1): the axes look swapped, x.transpose(0, 2, 3, 1)"),
    (IMAGE, np.zeros((2304,)), "input 'image' has shape (2304,), expected (N, 48, 48, 1): one sample has the right number of values, x.reshape(48, 48, 1)"),
    (IMAGE, np.zeros((5, 2304)), "input 'image' has shape (5, 2304), expected (N, 48, 48, 1): each row has the right number of values, x.reshape(-1, 48, 48, 1)"),
    (IMAGE, np.zeros((2, 28, 28, 1)), "input 'image' has shape (2, 28, 28, 1), expected (N, 48, 48, 1): pass one sample of shape (48, 48, 1) or a batch of them"),
    (WIDE, np.zeros((32, 64, 3), "u1"), "input 'image' has shape (32, 64, 3), expected (N, 3, 32, 64): the axes look swapped, x.transpose(2, 0, 1)"),
    (SERIES, np.zeros((4, 9)), "input 'series' has shape (4, 9), expected (N, T, 4): the axes look swapped, x.transpose(1, 0)"),
    (IMAGE, None, "input 'image' is None, expected float32 of shape (N, 48, 48, 1): pass an array"),
    (BYTES, [300, 1], "input 'level' has the value 300 at [0], which uint8 would change, expected whole numbers from 0 to 255: scale, round or clip on purpose first, e.g. np.clip(np.rint(x), low, high)"),
    (BYTES, [[1, -1], [2, -3]], "input 'level' has the value -1 at [0, 1] and 1 more such value, which uint8 would change, expected whole numbers from 0 to 255: scale, round or clip on purpose first, e.g. np.clip(np.rint(x), low, high)"),
    (COUNT, [0.5], "input 'count' has the value 0.5 at [0], which int64 would change, expected whole numbers from -9223372036854775808 to 9223372036854775807: scale, round or clip on purpose first, e.g. np.clip(np.rint(x), low, high)"),
    (COUNT, [float("nan")], "input 'count' has the value nan at [0], which int64 would change, expected whole numbers from -9223372036854775808 to 9223372036854775807: scale, round or clip on purpose first, e.g. np.clip(np.rint(x), low, high)"),
    (SERIES, np.full((1, 1, 4), 1e300), "input 'series' has the value 1e+300 at [0, 0, 0] and 3 more such values, which float32 would change, expected at most 3.4e+38 in size: scale the values first"),
    (flat("float32"), [16777217], "input 'x' has the value 16777217 at [0], which float32 would change, expected whole numbers that float32 holds exactly: round on purpose, x.astype(np.float32)"),
    (flat("bool"), [2], "input 'x' has the value 2 at [0], which bool would change, expected 0 or 1: pass booleans, e.g. x > 0.5"),
    (BYTES, np.ma.array([1, 2], mask=[0, 1]), "input 'level' is a masked array (1 of its values hidden), expected uint8 of shape (N, 2): fill them first, x.filled(value)"),
    (BYTES, [np.ma.array([1, 2], mask=[0, 1])], "input 'level' is a masked array (1 of its values hidden), expected uint8 of shape (N, 2): fill them first, x.filled(value)"),
    (BYTES, [1, np.ma.masked], "input 'level' is a masked array (1 of its values hidden), expected uint8 of shape (N, 2): fill them first, x.filled(value)"),
    (BYTES, Wrapped(np.ma.array([1, 2], mask=[0, 1])), "input 'level' is a masked array (1 of its values hidden), expected uint8 of shape (N, 2): fill them first, x.filled(value)"),
    (BYTES, np.array([1, 2 + 1j]), "input 'level' is complex numbers (dtype complex128), expected uint8 of shape (N, 2): pass x.real or abs(x), whichever the model was trained on"),
    (BYTES, np.array([1, "a"], object), "input 'level' is Python objects (dtype object), expected uint8 of shape (N, 2): make it a plain numeric array, np.asarray(x, dtype=float)"),
    (BYTES, ["1", "2"], "input 'level' is text (dtype <U1), expected uint8 of shape (N, 2): turn the text into numbers first"),
    (BYTES, b"\x01\x02", "input 'level' is byte strings (dtype |S2), expected uint8 of shape (N, 2): turn the bytes into numbers first, np.frombuffer(x, dtype=np.uint8)"),
    (BYTES, np.array(["2026-01-01"], "M8[D]"), "input 'level' is dates (dtype datetime64[D]), expected uint8 of shape (N, 2): pass numbers"),
    (BYTES, np.zeros(2, [("a", "u1")]), "input 'level' is records (dtype [('a', 'u1')]), expected uint8 of shape (N, 2): pass one numeric field of the records"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "value", "sentence"), REFUSALS)
def test_each_refusal_has_its_sentence(one: TensorSpec, value: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        prepare([one], (value,))
    assert str(caught.value) == sentence
    assert caught.value.expected
    assert caught.value.actual
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("ragged", [[[1, 2], [3]], [[1, [2]], [3, 4]], {1, 2}, {"a": {}}, object()])
def test_ragged_and_foreign_objects_are_refused(ragged: Any) -> None:
    with pytest.raises(InputError, match=r"input 'level' is .*, expected uint8 of shape"):
        prepare([BYTES], ({"level": ragged},))


PAIR = (SERIES, spec("mask", "bool", ("N", "T"), axes=("N", "T")))


def test_several_inputs_by_name_and_by_position() -> None:
    series, mask = np.zeros((2, 5, 4), "f4"), np.ones((2, 5), bool)
    for values in ((series, mask), ({"mask": mask, "series": series},)):
        feed = prepare(PAIR, values)
        assert feed.arrays["series"] is series
        assert feed.arrays["mask"] is mask
        assert (feed.samples, feed.is_single) == (2, False)


def test_one_sample_of_several_inputs() -> None:
    feed = prepare(PAIR, (np.zeros((5, 4)), np.ones(5, bool)))
    assert (feed.samples, feed.is_single) == (1, True)


WRONG_INPUTS: list[tuple[tuple[Any, ...], str]] = [
    (({"serie": 0, "mask": 0},), "there is no input 'serie', the model's inputs are 'series', 'mask': did you mean 'series'?"),
    (({"series": 0, 3: 0},), "there is no input 3, the model's inputs are 'series', 'mask': use the names of the card"),
    (({"series": 0},), "input 'mask' is missing, found 'series': pass all of 'series', 'mask'"),
    (({},), "input 'series' is missing, found none: pass all of 'series', 'mask'"),
    ((0,), "predict was given 1 input, the model takes 2 ('series', 'mask'): pass one array for each in this order, or a dict by name"),
    ((0, 0, 0), "predict was given 3 inputs, the model takes 2 ('series', 'mask'): pass one array for each in this order, or a dict by name"),
    ((), "predict was given 0 inputs, the model takes 2 ('series', 'mask'): pass one array for each in this order, or a dict by name"),
    ((np.zeros((2, 5, 4)), np.ones((2, 6), bool)), "input 'mask' has 6 along axis T and input 'series' has 5, expected the same: give both the same number"),
    ((np.zeros((2, 5, 4)), np.ones((3, 5), bool)), "input 'mask' has 3 along axis N and input 'series' has 2, expected the same: give both the same number"),
    ((np.zeros((5, 4)), np.ones((1, 5), bool)), "input 'series' is one sample of shape (5, 4) but input 'mask' is a batch of shape (1, 5), expected all inputs alike: give each of them the batch axis, x[None]"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "sentence"), WRONG_INPUTS)
def test_each_disagreement_of_several_inputs(values: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        prepare(PAIR, values)
    assert str(caught.value) == sentence


def test_a_fixed_batch_takes_any_number_of_samples() -> None:
    fixed = spec("x", "float32", (4, 3))
    for samples in (0, 1, 4, 9):
        assert prepare([fixed], (np.zeros((samples, 3), "f4"),)).samples == samples
    with pytest.raises(InputError, match=r"has shape \(4, 2\), expected \(N, 3\)"):
        prepare([fixed], (np.zeros((4, 2)),))


def test_a_free_axis_may_be_of_any_size_from_one() -> None:
    for size in (1, 7):
        assert prepare([SERIES], (np.zeros((2, size, 4)),)).arrays["series"].shape == (2, size, 4)


def test_a_mask_in_any_sequence_is_seen() -> None:
    hidden = np.ma.masked_array(np.ones(6, "f4"), mask=[0, 0, 1, 0, 0, 0])

    class Rows:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> object:
            return [hidden][index]

    with Predictor.load(mlp_artifact()) as predictor:
        for rows in (collections.deque([hidden]), Rows()):
            with pytest.raises(InputError, match=r"a masked array \(1 of its values hidden\)"):
                predictor.predict(rows)


class Broken:
    """A sequence whose items cannot be had."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> float:
        raise OSError("the sensor is gone")


def test_sequences_without_end_or_items_are_refused() -> None:
    endless: list[Any] = [1, 2]
    endless.append(endless)
    for value in (endless, Broken(), [Broken(), Broken()]):
        with pytest.raises(InputError, match=r"input 'level' is .*, expected uint8 of shape"):
            prepare([BYTES], (value,))
