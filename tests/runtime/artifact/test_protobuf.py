"""Protobuf messages: numbers and fields, and tensors in other files, which no spelling hides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_writer as ow
import onnxruntime
import pytest
from examples import sealed, spec
from hypothesis import given
from hypothesis import strategies as st

from edgeport import ArtifactError, ModelCard, Predictor
from edgeport.artifact.protobuf import fields, read_varint, refuse_external_tensors

W = np.arange(6, dtype="f4").reshape(2, 3)
CARD = ModelCard("outside", (spec("x", "float32", ("N", 2)),), (spec("y", "float32", ("N", 3)),))
LARGE = np.frombuffer(b"\x0a\x08location" + bytes(2**18), np.uint8)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_numbers_are_read_as_they_are_written(number: int, after: bytes) -> None:
    data = ow.varint(number)
    assert read_varint(data + after, 0) == (number, len(data))


@given(st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 2**63) | st.binary(max_size=300))))
def test_fields_are_read_as_they_are_written(written: list[tuple[int, Any]]) -> None:
    data = b"".join(
        ow.number(field, value) if isinstance(value, int) else ow.block(field, value)
        for field, value in written
    )
    found = [
        (number, data[start:end] if value is None else value)
        for number, value, start, end in fields(data, 0, len(data))
    ]
    assert found == written


@pytest.mark.parametrize("size", [0, 1, 7, 100, 1000, 2**18])
def test_a_message_cut_short_is_refused(size: int) -> None:
    content = ow.graph([], [], [], {"w": LARGE})
    whole = ow.model(content)
    refuse_external_tensors(whole)
    with pytest.raises(ArtifactError, match="is no ONNX file, or was cut short"):
        refuse_external_tensors(whole[: max(1, size)])


def in_another_file(folder: Path, card: ModelCard | None = None, **entries: str) -> Path:
    """A Gemm whose weight is in ``w.bin`` beside it, which the engine alone would read."""
    weight = ow.tensor("w", W, external={"location": "w.bin", **entries})
    onnx = ow.model(
        ow.graph(
            [ow.node("MatMul", ["x", "w"], ["y"])],
            [("x", "float32", ["N", 2])],
            [("y", "float32", ["N", 3])],
            raw_weights=[weight],
        )
    )
    path = folder / "model.onnx"
    path.write_bytes(onnx if card is None else sealed(onnx, card))
    (folder / "w.bin").write_bytes(W.tobytes())
    return path


@pytest.mark.parametrize("card", [None, CARD], ids=["foreign", "sealed"])
def test_weights_in_another_file_are_refused(
    card: ModelCard | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = in_another_file(tmp_path, card)
    monkeypatch.chdir(tmp_path)  # where the engine would look for the file of bytes
    for source in (path, path.read_bytes()):
        with pytest.raises(ArtifactError) as caught:
            Predictor.load(source)
        name = f"'{path}'" if source is path else "the artifact"
        assert str(caught.value) == (
            f"{name} keeps the values of the tensor 'w' in another file, expected all in one: save "
            "the model with its weights inside (onnx.save after onnx.load does)"
        )


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "sub/w.bin", "..", "", "a\\w.bin"])
def test_weights_anywhere_else_are_refused(location: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="keeps the values of the tensor 'w' in another file"):
        Predictor.load(in_another_file(tmp_path, location=location))


def test_a_weight_that_looks_like_another_file_is_none(tmp_path: Path) -> None:
    content = ow.graph(
        [ow.node("Gather", ["w", "x"], ["y"])],
        [("x", "int64", ["N"])],
        [("y", "uint8", ["N"])],
        {"w": LARGE},
    )
    with Predictor.load(ow.model(content)) as predictor:
        assert predictor.predict(np.array([0, 2, 3])).tolist() == list(b"\x0alo")


def test_a_tensor_hidden_in_a_subgraph_is_found(tmp_path: Path) -> None:
    """The engine would read the file of a Constant in a branch of an If as well."""
    hidden = ow.tensor("h", W, external={"location": "w.bin"})
    attribute = ow.block(1, "value") + ow.block(5, hidden) + ow.number(20, 4)
    constant = ow.node("Constant", [], ["c"]) + ow.block(5, attribute)
    branch = ow.graph([constant], [], [("c", "float32", [2, 3])])
    content = ow.graph(
        [ow.node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)],
        [("x", "bool", [])],
        [("y", "float32", [2, 3])],
    )
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    (tmp_path / "model.onnx").write_bytes(ow.model(content))
    with pytest.raises(ArtifactError, match="keeps the values of the tensor 'h' in another file"):
        Predictor.load(tmp_path / "model.onnx")


def long_varint(number: int) -> bytes:
    """Return the number in one byte more than it needs, which every reader takes."""
    short = ow.varint(number)
    return short[:-1] + bytes([short[-1] | 128, 0])


@pytest.mark.parametrize(
    "start",
    [
        b"\x0a" + long_varint(8),
        long_varint(0x0A) + b"\x08",
        b"\x8a\x80\x80\x80\x10\x08",  # a tag of 33 bits, of which the engine drops the highest
    ],
)
def test_no_spelling_of_the_message_hides_a_file(start: bytes, tmp_path: Path) -> None:
    entry = start + b"location" + ow.block(2, "w.bin")
    weight = ow.tensor("w", W, external={}) + ow.block(13, entry)
    content = ow.graph(
        [ow.node("Identity", ["w"], ["y"])], [], [("y", "float32", [2, 3])], raw_weights=[weight]
    )
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    path = tmp_path / "model.onnx"
    path.write_bytes(ow.model(content))
    engine = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(engine.run(None, {})[0], W)  # it would read the file
    with pytest.raises(ArtifactError, match=r"the tensor 'w' in another|is no ONNX file"):
        Predictor.load(path)


def test_a_tensor_hidden_in_a_functions_default_is_found(tmp_path: Path) -> None:
    """FunctionProto: name 1, output 5, node 7, opset_import 9, domain 10, attribute_proto 11."""
    hidden = ow.tensor("h", W, external={"location": "w.bin"})
    default = ow.block(1, "given") + ow.block(5, hidden) + ow.number(20, 4)
    reference = ow.block(1, "value") + ow.number(20, 4) + ow.block(21, "given")
    constant = ow.node("Constant", [], ["c"]) + ow.block(5, reference)
    opset = ow.block(1, "") + ow.number(2, 17)
    function = b"".join(
        ow.block(field, text)
        for field, text in (
            (1, "F"),
            (5, "c"),
            (7, constant),
            (9, opset),
            (10, "own"),
            (11, default),
        )
    )
    content = ow.graph([ow.node("F", [], ["y"], "own")], [], [("y", "float32", [2, 3])])
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    path = tmp_path / "model.onnx"
    path.write_bytes(ow.model(content, domains={"own": 1}) + ow.block(25, function))
    with pytest.raises(ArtifactError, match="keeps the values of the tensor 'h' in another file"):
        Predictor.load(path)


def test_metadata_that_only_says_location_is_no_external_data() -> None:
    content = ow.graph(
        [ow.node("Identity", ["x"], ["y"])], [("x", "float32", [1])], [("y", "float32", [1])]
    )
    with Predictor.load(ow.model(content, metadata={"location": "hall 7"})) as predictor:
        assert predictor.predict([5.0]) == 5
