"""The card: everything it says survives the way through JSON."""

from __future__ import annotations

import binascii
import copy
import json
import pickle
import re
import tracemalloc
import zlib
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import numpy as np
import pytest
from examples import camera, golden, int8, mlp, sealed
from hypothesis import given
from hypothesis import strategies as st

import edgeport
from edgeport import (
    Accuracy,
    ArtifactError,
    Calibration,
    FrameFormat,
    GoldenSample,
    Label,
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


@pytest.mark.parametrize("size", [None, (480, 640)])
@pytest.mark.parametrize("order", ["rgb", "bgr", "gray"])
def test_frames_come_back_from_json_as_they_were(order: str, size: tuple[int, int] | None) -> None:
    card = camera(order, size).card
    assert ModelCard.from_json(json.dumps(card.to_dict())) == card
    assert card.frames["image"] == FrameFormat(
        order, (96, 96, 3), size, 1080 * 1920, f"keras-bilinear order={order}"
    )


def test_a_card_without_frames_does_not_mention_them() -> None:
    assert "frames" not in mlp().card.to_dict()
    assert ModelCard.from_json(json.dumps(mlp().card.to_dict())).frames == {}


FRAMES = {
    "order": "rgb",
    "picture": [96, 96, 3],
    "size": None,
    "most_pixels": 100,
    "training": "keras-bilinear",
}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"order": "hsv"}, "the frames {'order': 'hsv'"),
        ({"order": "gray"}, "frames for the input 'image', which takes none"),
        ({"order": ["rgb"]}, "TypeError"),
        ({"picture": [96, 96]}, "the frames {"),
        ({"picture": [96, 0, 3]}, "the frames {"),
        ({"picture": [96, 9.5, 3]}, "the frames {"),
        ({"size": [480]}, "the frames {"),
        ({"size": [480, True]}, "the frames {"),
        ({"size": 480}, "TypeError"),
        ({"most_pixels": 0}, "the frames {"),
        ({"most_pixels": "many"}, "the frames {"),
        ({"most_pixels": None}, "the frames {"),
        ({"training": " "}, "the frames {"),
        ({"training": 3}, "the frames {"),
    ],
)
def test_broken_frames_in_a_card_are_refused(changes: dict[str, Any], found: str) -> None:
    broken = {"image": {**FRAMES, **changes}}
    with pytest.raises(ArtifactError, match=f"card that cannot be read .*{re.escape(found)}"):
        Predictor.load(camera().artifact(frames=broken))


@pytest.mark.parametrize(
    ("frames", "inputs"),
    [
        ({"picture": FRAMES}, {}),
        ([FRAMES], {}),
        ({"image": 3}, {}),
        ({"image": FRAMES}, {"dtype": "float32"}),
        ({"image": FRAMES}, {"axes": ["N", "C", "H", "W"]}),
        ({"image": FRAMES}, {"axes": []}),
        ({"image": FRAMES}, {"shape": ["N", "height", "width", 4]}),
    ],
)
def test_frames_for_an_input_that_takes_none_are_refused(
    frames: Any, inputs: dict[str, Any]
) -> None:
    spec = {**camera().card.to_dict()["inputs"][0], **inputs}
    with pytest.raises(ArtifactError, match="card that cannot be read"):
        Predictor.load(camera().artifact(frames=frames, inputs=[spec]))


@pytest.mark.parametrize("size", [[6, 9], [8, 6], None])
def test_frames_of_another_size_than_the_input_are_refused(size: list[int] | None) -> None:
    broken = {"image": {**FRAMES, "size": size}}
    with pytest.raises(ArtifactError, match="card that cannot be read"):
        Predictor.load(camera(size=(6, 8)).artifact(frames=broken))


def test_unknown_keys_of_frames_are_ignored() -> None:
    newer = {"image": {**FRAMES, "novelty": 1}}
    with Predictor.load(camera().artifact(frames=newer)) as predictor:
        assert predictor.card.frames["image"].training == "keras-bilinear"


def test_golden_samples_come_back_with_their_bits() -> None:
    x = np.linspace(-2, 2, 6, dtype="f4")[None]
    y = mlp().formula(x).astype("f4")
    with Predictor.load(sealed(mlp().onnx, mlp().card, golden(x, y))) as predictor:
        (sample,) = predictor.card.golden_samples
    np.testing.assert_array_equal(sample.inputs["x"], x, strict=True)
    np.testing.assert_array_equal(sample.outputs["y"].values, y[0], strict=True)
    assert sample.outputs["y"].shape == (1, 3)


def test_unknown_keys_of_a_newer_converter_are_ignored() -> None:
    card = replace(mlp().card, accuracy=Accuracy("accuracy", 10, 0.9, 0.9, 0.8))
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


def ramps(*shapes: list[int], kind: str = "<f4") -> dict[str, Any]:
    """A card's golden samples that ask for so many values with a few bytes."""
    arrays = [{"dtype": kind, "shape": shape, "ramp": [0.0, 1.0, 0.0]} for shape in shapes]
    return {"golden_samples": [{"inputs": {"x": array}, "outputs": {}} for array in arrays]}


def bomb(shape: list[int], kind: str) -> dict[str, Any]:
    """A golden sample of which a few bytes inflate to as many as the shape and dtype allow."""
    packed = binascii.b2a_base64(zlib.compress(bytes(10**7))).decode()
    array = {"dtype": kind, "shape": shape, "zlib": packed}
    return {"golden_samples": [{"inputs": {"x": array}, "outputs": {}}]}


def coarse(shape: list[int], blocks: list[int]) -> dict[str, Any]:
    array = {"dtype": "<f4", "shape": shape, "blocks": {"shape": blocks, "range": [0, 1]}}
    return {"golden_samples": [{"inputs": {"x": array}, "outputs": {}}]}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (ramps([10**8]), "golden samples of 100,000,000 values, expected at most 67,108,864"),
        (ramps([10**15]), "golden samples of 1,000,000,000,000,000 values"),
        (ramps([1, 10**4, 10**4]), "golden samples of 100,000,000 values"),
        (ramps(*[[1, 10**7]] * 7), "golden samples of 70,000,000 values"),
        (ramps([2**62, 2**62]), "golden samples of"),
        (ramps([-5]), r"a golden array of shape \[-5\]"),
        (coarse([10**9], [1]), "golden samples of 1,000,000,001 values"),
        (coarse([1], [10**9]), "golden samples of 1,000,000,001 values"),
        (bomb([-1], "u1"), r"a golden array of shape \[-1\]"),
        (bomb([1], "S1000000000"), "and dtype S1000000000"),
        (bomb([10**9], "u1"), "golden samples of 1,000,000,000 values"),
    ],
)
def test_golden_samples_that_would_fill_the_memory_are_refused_at_once(
    changes: dict[str, Any], found: str
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match=found):
            Predictor.load(mlp().artifact(**changes))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_golden_samples_of_two_large_photos_are_read() -> None:
    card = ModelCard.from_json(
        json.dumps(mlp().card.to_dict() | ramps([1, 2160, 4096, 3], kind="|u1"))
    )
    x = card.golden_samples[0].inputs["x"]
    # Element i of the ramp is floor(0 + 1 * frac(...)), so all are 0.
    assert (x.shape, x.dtype, x.any()) == ((1, 2160, 4096, 3), np.uint8, False)


def test_a_card_larger_than_any_real_one_is_refused_at_once() -> None:
    text = "[" * 2**25 + "["
    with pytest.raises(
        ArtifactError, match=r"has a card of 33,554,433 bytes, expected at most 33,554,432"
    ):
        ModelCard.from_json(text)


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


# Records: two are equal if and only if all that they say is, and none changes.


def sample(x: Any, y: Any) -> GoldenSample:
    return golden(np.array(x, "f4"), np.array(y, "f4"))


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        (sample([[1, np.nan]], [[np.inf]]), True),
        (sample([[1, 0]], [[np.inf]]), False),
        (sample([[1, np.nan]], [[-np.inf]]), False),
        (sample([[1, np.nan, 0]], [[np.inf]]), False),
        (golden(np.array([[1, np.nan]], "f8"), np.array([[np.inf]], "f4")), False),
        (GoldenSample({"x": np.array([[1, np.nan]], "f4")}, {}), False),
        (GoldenSample({}, sample([], [[np.inf]]).outputs), False),
        ("no sample", False),
    ],
)
def test_golden_samples_are_compared_by_their_values(other: object, equal: bool) -> None:
    one = sample([[1, np.nan]], [[np.inf]])
    assert (one == other) is equal
    assert (one != other) is not equal
    if isinstance(other, GoldenSample):
        first, second = (replace(mlp().card, golden_samples=(each,)) for each in (one, other))
        assert (first == second) is equal
        assert (first != second) is not equal


def test_cards_are_equal_as_long_as_every_field_is() -> None:
    card = mlp().card
    assert card == replace(card)
    changed = {
        "name": "other",
        "labels": None,
        "tolerance": {"y": 0.5},
        "provenance": {"tool": "1"},
        "sha256": "0" * 64,
        "accuracy": Accuracy("accuracy", 10, 0.9, 0.9, 0.8),
        "frames": camera().card.frames,
    }
    for field, value in changed.items():
        other = replace(card, **{field: value})
        assert card != other, field
        assert not card == other, field  # noqa: SIM201 - both were true at once


@pytest.mark.parametrize(
    "record",
    [
        mlp().card,
        mlp().card.inputs[0],
        sample([0], [0]),
        Quantization("int8", "int8", "int8", "any"),
        Accuracy("accuracy", 10, 0.9, 0.9, 0.8),
        Calibration(5, "0" * 64),
        Requirements(8, 17, "1.19"),
        camera().card.frames["image"],
        Label("cat", 0.5),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_is_frozen_has_no_other_attributes_and_pickles(record: Any) -> None:
    name = fields(record)[0].name
    with pytest.raises(FrozenInstanceError, match=name):
        setattr(record, name, 1)
    assert not hasattr(record, "__dict__")
    there = pickle.dumps(record)
    assert pickle.loads(there) == copy.deepcopy(record) == record  # noqa: S301 - made just above
