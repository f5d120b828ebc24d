"""Float64, integers and lists to a model of float32: numpy's conversion where it keeps each value.

What would change is refused on the fast path as on the general one, and nothing warns.
"""

from __future__ import annotations

import datetime as dt
import sys
import warnings
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from examples import identity, int8, mlp, sealed, spec

from edgeport import InputError, ModelCard, Predictor

RNG = np.random.default_rng(5)
LARGEST = float(np.finfo("f4").max)


def echo() -> bytes:
    """Answers what it was fed, in float32, and is known to answer each sample by itself."""
    example = identity("float32", ("N", 6))
    return sealed(example.onnx, replace(example.card, multiply_accumulates=2**22))


@pytest.mark.parametrize("kind", ["f8", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("shape", [(6,), (1, 6), (5, 6), (300, 6)])
@pytest.mark.parametrize("threads", [1, 2])
def test_wider_kinds_are_converted_as_numpy_does(
    kind: str, shape: tuple[int, ...], threads: int
) -> None:
    x = (RNG.random(shape) * 2**23).astype(kind)
    unaligned = np.empty(x.nbytes + 1, "u1")[1:]
    unaligned[:] = np.frombuffer(x.tobytes(), "u1")
    forms = (
        x,
        np.asfortranarray(x),
        np.repeat(x, 2, axis=-1)[..., ::2],
        x[..., ::-1].copy()[..., ::-1],
        unaligned.view(x.dtype).reshape(shape),
        x.astype(x.dtype.newbyteorder()),
        x.tolist(),
        tuple(x.tolist()),
    )
    with Predictor.load(echo(), threads=threads) as predictor:
        for form in (*forms, *forms):
            np.testing.assert_array_equal(predictor.predict(form), x.astype("f4"))


@pytest.mark.parametrize("shape", [(6,), (1, 6), (5, 6), (300, 6)])
def test_what_float32_does_not_hold_is_refused_without_a_warning(shape: tuple[int, ...]) -> None:
    with Predictor.load(echo()) as predictor, warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            predictor.predict(np.ones(shape, "f4"))
        for value, kind in ((1e300, "f8"), (2**24 + 1, "i8"), (2**24 + 1, "u4")):
            x = np.ones(shape, kind)
            x[..., 3] = value
            for given in (x, x.tolist()):
                with pytest.raises(InputError, match=r"would (change|round)"):
                    predictor.predict(given)
        for value in (np.nan, np.inf, LARGEST, -LARGEST, 2.0**24):
            x = np.ones(shape)
            x[..., 3] = value
            for given in (x, x.tolist()):
                np.testing.assert_array_equal(predictor.predict(given), x.astype("f4"))


def _mixed(item: Any) -> list[Any]:
    return [[0.0, 0.5, item, 1.0, 0.25, 0.0]]


class Photo:
    """Like Pillow's, and an array as well."""

    mode = "L"

    def getexif(self) -> None: ...

    def convert(self) -> None: ...

    def __array__(self, *_: Any, **__: Any) -> Any:
        return np.zeros((), "f4")


@pytest.mark.parametrize(
    "item",
    [
        "0.5",
        b"0.5",
        None,
        1j,
        2**24 + 1,
        10**400,
        dt.timedelta(1),
        np.ma.masked,
        np.ma.array(0.5, mask=True),
        [0.5],
        Photo(),
    ],
    ids=str,
)
@pytest.mark.parametrize("fractions", ["imported", "not imported"])
def test_a_list_with_something_else_than_numbers_is_refused(
    item: Any, fractions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fractions == "not imported":  # then there is a shorter look at the items
        monkeypatch.delitem(sys.modules, "fractions")
    with Predictor.load(echo()) as predictor:
        for given in (_mixed(item), _mixed(item)[0], _mixed(0.5) + _mixed(item)):
            with pytest.raises(InputError):
                predictor.predict(given)


@pytest.mark.parametrize("item", [Fraction(1, 3), Fraction(2), np.array(0.5, object)], ids=str)
@pytest.mark.parametrize("beside", [0.5, 1, True])
def test_an_object_beside_numbers_is_refused(item: Any, beside: float) -> None:
    row = [beside] * 5
    with Predictor.load(echo()) as predictor:
        for given in ([item, *row], [*row, item], [[*row, 0], [*row, item]]):
            with pytest.raises(InputError, match="Python objects"):
                predictor.predict(given)


@pytest.mark.parametrize("depth", [3, 33, 64, 65, 66, 2000])
@pytest.mark.parametrize("row", [[0.5], [0.5] * 6, [0.5] * 20], ids=len)
def test_lists_deeper_than_the_model_takes_are_refused(depth: int, row: list[float]) -> None:
    nested: list[Any] = [row] * 2
    for _ in range(depth - 2):
        nested = [nested]
    with Predictor.load(echo()) as predictor, pytest.raises(InputError):
        predictor.predict(nested)


@pytest.mark.parametrize("item", [True, 3, np.float32(0.1), np.float64(0.1), np.int64(7)])
def test_numbers_of_other_types_in_a_list_keep_their_value(item: Any) -> None:
    wanted = np.array(_mixed(float(item)), "f4")
    with Predictor.load(echo()) as predictor:
        for _ in range(3):
            np.testing.assert_array_equal(predictor.predict(_mixed(item)), wanted)
    with Predictor.load(echo()) as predictor, pytest.raises(InputError, match="Python objects"):
        predictor.predict([[Fraction(1, 2)] * 6])


@pytest.mark.parametrize("kind", ["f8", "i8", "list"])
@pytest.mark.parametrize("size", [1, 5, 300])
@pytest.mark.parametrize("low", [0.0, -0.5])
def test_other_kinds_are_counted_as_their_float32(kind: str, size: int, low: float) -> None:
    example = int8()
    (given,) = example.card.inputs
    card = replace(example.card, inputs=(replace(given, value_range=(low, 1.0)),))
    with Predictor.load(sealed(example.onnx, card)) as predictor:
        total = 0
        for _ in range(4):
            x = RNG.uniform(-1.5, 2.5, (size, 6))
            x = x if kind == "list" else x.astype(kind)
            x.flat[0] = 1 + 1e-12 if kind != "i8" else 1  # which float32 rounds to 1
            predictor.predict(x.tolist() if kind == "list" else x)
            total += int(((x.astype("f4") < low) | (x.astype("f4") > 1)).sum())
            assert predictor.out_of_range == {"x": total}
        bad = np.ones((size, 6))
        bad[size - 1, 2] = np.nan
        with pytest.raises(InputError, match="is nan at"):
            predictor.predict(bad)


@pytest.mark.parametrize("size", [1, 7])
def test_a_sample_too_large_for_buffers_is_answered_alike(size: int) -> None:
    shape = ("N", 40_000)
    card = ModelCard("large", (spec("x", "float32", shape),), (spec("y", "float32", shape),))
    card = replace(card, multiply_accumulates=2**22)
    x = RNG.random((size, 40_000), dtype="f4")
    with Predictor.load(sealed(identity("float32", shape).onnx, card)) as predictor:
        for _ in range(3):
            np.testing.assert_array_equal(predictor.predict(x), x)
            answer = predictor.predict(x[0])
            assert answer.shape == (40_000,)
            np.testing.assert_array_equal(answer, x[0])
            np.testing.assert_array_equal(predictor.predict(x[:, ::-1][0]), x[0, ::-1])


def test_the_place_of_a_refused_value_is_that_in_the_callers_array() -> None:
    shape = ("N", 40_000)  # too large for buffers
    card = replace(
        ModelCard("large", (spec("x", "float32", shape),), (spec("y", "float32", shape),)),
        inputs=(spec("x", "float32", shape, value_range=(0.0, 1.0)),),
        quantization=int8().card.quantization,
    )
    x = np.ones(40_000, "f4")
    x[7] = np.nan
    with Predictor.load(sealed(identity("float32", shape).onnx, card)) as predictor:
        for given, place in ((x, r"\[7\]"), (x[None], r"\[0, 7\]")):
            for _ in range(3):
                with pytest.raises(InputError, match=f"is nan at {place},"):
                    predictor.predict(given)


def test_formulas_hold_for_every_kind() -> None:
    x = RNG.integers(0, 2, (50, 6))
    with Predictor.load(sealed(mlp().onnx, mlp().card)) as predictor:
        for given in (x, x.astype("f8"), x.tolist(), x.astype("f8").tolist(), x.astype("?")):
            for _ in range(2):
                np.testing.assert_allclose(predictor.predict(given), mlp().formula(x), rtol=1e-5)


@pytest.mark.parametrize(
    "x",
    [
        np.full((5, 6), "1"),
        np.full((5, 6), b"1"),
        np.full((5, 6), "1", object),
        np.full((5, 6), None),
        np.full((5, 6), 1j),
        np.full((5, 6), 1, "M8[s]"),
        np.full((5, 6), 1, "m8[s]"),
        np.zeros((5, 6), "V4"),
        np.zeros((5, 6), [("a", "f4")]),
    ],
    ids=lambda x: x.dtype.str,
)
@pytest.mark.parametrize("samples", [slice(0, 1), slice(0, 5), 0])
def test_an_array_of_anything_but_numbers_is_refused_once_buffers_are_bound(
    x: np.ndarray[Any, Any], samples: Any
) -> None:
    with Predictor.load(echo()) as predictor, warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            predictor.predict(np.ones(x[samples].shape, "f4"))
        with pytest.raises(InputError, match="input 'x' is "):
            predictor.predict(x[samples])


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4", "u1", "i4", "i8", "?"])
@pytest.mark.parametrize("rows", [1, 5, 300])
def test_arrays_in_a_list_are_a_batch(kind: str, rows: int) -> None:
    batch = (RNG.random((rows, 6)) * 100).astype(kind)
    with Predictor.load(echo()) as predictor:
        for given in (list(batch), tuple(batch)):
            for _ in range(2):
                np.testing.assert_array_equal(predictor.predict(given), batch.astype("f4"))


@pytest.mark.parametrize(
    "other",
    [
        np.full(6, 2**24 + 1, "i8"),
        np.full(6, 1e300),
        np.zeros(6, "c8"),
        np.zeros(6, "M8[s]"),
        np.array(["0.5"] * 6),
        np.array([0.5] * 6, object),
        np.ma.array(np.zeros(6), mask=[True] * 6),
        np.zeros(5, "f4"),
        np.zeros((), "f4"),
    ],
    ids=repr,
)
def test_arrays_in_a_list_are_refused_where_one_alone_is(other: Any) -> None:
    with Predictor.load(echo()) as predictor:
        for _ in range(2):
            predictor.predict(np.zeros((2, 6), "f4"))
            for given in ([other], [other, other], [np.zeros(6, "f4"), other]):
                with pytest.raises(InputError):
                    predictor.predict(given)
