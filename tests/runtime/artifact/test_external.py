"""Weights in other files: only those that the card lists, whole, beside the model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_writer as ow
import onnxruntime
import pytest
from examples import sealed, spec

from edgeport import ArtifactError, IntegrityError, ModelCard, Predictor

W = np.arange(6, dtype="f4").reshape(2, 3)
B = np.array([10, 20, 30], "f4")
STORED = W.tobytes() + B.tobytes()
DIGEST = hashlib.sha256(STORED).hexdigest()
CARD = ModelCard(
    "outside",
    (spec("x", "float32", ("N", 2)),),
    (spec("y", "float32", ("N", 3)),),
    external_data={"w.bin": DIGEST},
)
X = np.array([[1, 2], [3, 4]], "f4")


def graph(entries: Mapping[str, str]) -> bytes:
    raw = [
        ow.tensor("w", W, external=entries),
        ow.tensor("b", B, external={"location": "w.bin", "offset": "24", "length": "12"}),
    ]
    return ow.model(
        ow.graph(
            [ow.node("Gemm", ["x", "w", "b"], ["y"])],
            [("x", "float32", ["N", 2])],
            [("y", "float32", ["N", 3])],
            raw_weights=raw,
        )
    )


def place(folder: Path, card: ModelCard | None = CARD, location: str = "w.bin") -> Path:
    onnx = graph({"location": location})
    (folder / "model.onnx").write_bytes(onnx if card is None else sealed(onnx, card))
    (folder / "w.bin").write_bytes(STORED)
    return folder / "model.onnx"


def test_a_listed_file_is_used(tmp_path: Path) -> None:
    with Predictor.load(place(tmp_path)) as predictor:
        (tmp_path / "w.bin").unlink()  # nothing is mapped, so nothing can be pulled away
        np.testing.assert_array_equal(predictor.predict(X), X @ W + B)


def test_a_file_that_no_card_lists_is_refused(tmp_path: Path) -> None:
    for card in (None, replace(CARD, external_data={}), replace(CARD, external_data={"v": DIGEST})):
        with pytest.raises(ArtifactError, match=r"keeps the tensor 'w' in another file, 'w\.bin'"):
            Predictor.load(place(tmp_path, card))


def test_a_changed_or_cut_file_is_refused(tmp_path: Path) -> None:
    path = place(tmp_path)
    for damaged in (STORED[:-1], STORED + b"\0", bytes([STORED[0] ^ 1]) + STORED[1:], b""):
        (tmp_path / "w.bin").write_bytes(damaged)
        with pytest.raises(IntegrityError, match=r"the file 'w\.bin' beside .* is damaged"):
            Predictor.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = place(tmp_path)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ArtifactError, match=r"needs the file 'w\.bin' .*copy both files together"):
        Predictor.load(path)


def test_bytes_alone_have_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"load it by the path of the \.onnx file"):
        Predictor.load(place(tmp_path).read_bytes())


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "sub/w.bin", "..", "", "a\\w.bin"])
def test_a_file_elsewhere_is_refused_even_if_listed(location: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "w.bin").write_bytes(STORED)
    card = replace(CARD, external_data={location: DIGEST, "w.bin": DIGEST})
    with pytest.raises(ArtifactError, match=r"beside it|in another file"):
        Predictor.load(place(tmp_path / "in", card, location))


@pytest.mark.parametrize("offset", ["-4", "16", "1000", "x", "9" * 30])
def test_values_that_are_not_there_are_refused(offset: str, tmp_path: Path) -> None:
    onnx = graph({"location": "w.bin", "offset": offset})
    (tmp_path / "model.onnx").write_bytes(sealed(onnx, CARD))
    (tmp_path / "w.bin").write_bytes(STORED[:36])
    with pytest.raises(ArtifactError, match="expects 6 values of 'w'"):
        Predictor.load(tmp_path / "model.onnx")


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
    with pytest.raises(ArtifactError, match="keeps the tensor 'h' in another file"):
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
    with pytest.raises(ArtifactError, match=r"keeps the tensor 'w' in another|is no ONNX file"):
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
    with pytest.raises(ArtifactError, match="keeps the tensor 'h' in another file"):
        Predictor.load(path)


def test_metadata_that_only_says_location_is_no_external_data() -> None:
    content = ow.graph(
        [ow.node("Identity", ["x"], ["y"])], [("x", "float32", [1])], [("y", "float32", [1])]
    )
    with Predictor.load(ow.model(content, metadata={"location": "hall 7"})) as predictor:
        assert predictor.predict([5.0]) == 5
