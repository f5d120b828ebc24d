"""The card: everything it says survives the way through JSON."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from examples import golden, int8, mlp, sealed
from hypothesis import given
from hypothesis import strategies as st

import edgeport
from edgeport import (
    Accuracy,
    ArtifactError,
    Calibration,
    ModelCard,
    Predictor,
    Quantization,
    Requirements,
    TensorSpec,
    UnsupportedFormatError,
)
from edgeport.artifact.card import FORMAT_VERSION, format_shape

names = st.text(min_size=1, max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**60)


@st.composite
def specs(draw: st.DrawFn) -> TensorSpec:
    shape = tuple(draw(st.lists(st.integers(1, 2**60) | names, max_size=4)))
    letters = st.lists(st.sampled_from("NTDHWCF"), min_size=len(shape), max_size=len(shape))
    return TensorSpec(
        name=draw(names),
        dtype=draw(
            st.sampled_from([np.dtype(d) for d in ("f2", "f4", "f8", "u1", "i8", "?", "O")])
        ),
        shape=shape,
        axes=tuple(draw(st.just([]) | letters)),
        value_range=draw(st.none() | st.tuples(finite, finite)),
    )


def by_name(one: TensorSpec) -> str:
    return one.name


cards = st.builds(
    ModelCard,
    name=names,
    inputs=st.lists(specs(), max_size=3, unique_by=by_name).map(tuple),
    outputs=st.lists(specs(), min_size=1, max_size=3, unique_by=by_name).map(tuple),
    labels=st.none() | st.lists(names, max_size=4).map(tuple),
    preprocessing=st.lists(names, max_size=2).map(tuple),
    quantization=st.none()
    | st.builds(
        Quantization, names, names, names, names, st.dictionaries(names, names, max_size=2)
    ),
    accuracy=st.none() | st.builds(Accuracy, names, counts, finite, finite, finite),
    calibration=st.none() | st.builds(Calibration, counts, names),
    requires=st.none() | st.builds(Requirements, counts, counts, names),
    multiply_accumulates=st.none() | counts,
    golden_samples=st.just(()),
    tolerance=st.dictionaries(names, finite, max_size=2),
    provenance=st.dictionaries(names, names, max_size=2),
    sha256=st.none(),
)


@given(cards)
def test_a_card_comes_back_from_json_as_it_was(card: ModelCard) -> None:
    assert ModelCard.from_json(json.dumps(card.to_dict())) == card


def test_golden_samples_come_back_with_their_bits() -> None:
    x = np.linspace(-2, 2, 6, dtype="f4")[None]
    y = mlp().formula(x).astype("f4")
    with Predictor.load(sealed(mlp().onnx, mlp().card, golden(x, y))) as predictor:
        (sample,) = predictor.card.golden_samples
    np.testing.assert_array_equal(sample.inputs["x"], x, strict=True)
    np.testing.assert_array_equal(sample.outputs["y"].values, y[0], strict=True)
    assert sample.outputs["y"].shape == (1, 3)


def test_unknown_keys_of_a_newer_converter_are_ignored() -> None:
    card = mlp().card._replace(accuracy=Accuracy("accuracy", 10, 0.9, 0.9, 0.8))
    data = card.to_dict()
    data["novelty"] = {"deep": [1]}
    data["accuracy"]["novelty"] = 1
    data["inputs"][0]["novelty"] = 1
    assert ModelCard.from_json(json.dumps(data)) == card


def test_a_newer_format_is_refused() -> None:
    newer = FORMAT_VERSION + 1
    with pytest.raises(UnsupportedFormatError) as caught:
        Predictor.load(mlp().artifact(format_version=newer))
    assert str(caught.value) == (
        f"the artifact has card format {newer}, this edgeport reads formats up to "
        f"{FORMAT_VERSION}: update edgeport on the device"
    )
    assert (caught.value.found, caught.value.supported) == (str(newer), str(FORMAT_VERSION))


X = {"name": "x", "dtype": "float32", "shape": ["N", 6]}
MEASURED = {"metric": "accuracy", "samples": 5, "keras": 1.0, "float32": 1.0, "artifact": 1.0}


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": None},
        {"format_version": 0},
        {"format_version": 1.9},
        {"labels": "abc"},
        {"inputs": 3},
        {"inputs": [{"name": "x"}]},
        {"inputs": [{"name": "x", "dtype": "float33", "shape": []}]},
        {"inputs": [{"name": "x", "dtype": "float32", "shape": [None]}]},
        {"inputs": [{"name": "x", "dtype": "float32", "shape": [], "axes": ["N"]}]},
        {"inputs": [X] * 2},
        {"inputs": [{**X, "value_range": [0, float("nan")]}]},
        {"outputs": []},
        {"outputs": [{**X, "name": "y"}] * 2},
        {"labels": 3},
        {"accuracy": {"metric": "accuracy"}},
        {"accuracy": {**MEASURED, "samples": "few"}},
        {"accuracy": {**MEASURED, "keras": None}},
        {"quantization": {**int8().card.to_dict()["quantization"], "float_layers": 5}},
        {"tolerance": {"y": "small"}},
        {"tolerance": {"y": float("inf")}},  # the self-test would pass whatever comes out
        {"golden_samples": [{"inputs": {}}]},
        {"golden_samples": [{"inputs": {"x": {"dtype": "u1", "shape": [1], "zlib": "AA"}}}]},
    ],
)
def test_a_broken_card_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(
        ArtifactError, match=r"has a card that cannot be read .*convert the model again"
    ):
        Predictor.load(mlp().artifact(**changes))


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{", '{"format_version": 1}', "\ud800"])
def test_text_that_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="card that cannot be read"):
        ModelCard.from_json(text)


def test_shapes_are_written_as_numpy_writes_them() -> None:
    assert format_shape(("N", 28, 28, 1)) == "(N, 28, 28, 1)"
    assert format_shape((3,)) == "(3,)"
    assert format_shape(()) == "()"


def test_the_axis_letter_decides_what_counts_samples() -> None:
    dtype = np.dtype("f4")
    assert TensorSpec("x", dtype, (1, 4), ("N", "F")).has_batch_axis
    assert TensorSpec("x", dtype, ("N", 4)).has_batch_axis
    assert not TensorSpec("x", dtype, (1, 4), ("T", "F")).has_batch_axis
    assert not TensorSpec("x", dtype, ()).has_batch_axis


def test_the_version_is_one_that_pip_understands() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?(dev|a|b|rc)\d+)?", edgeport.__version__)
