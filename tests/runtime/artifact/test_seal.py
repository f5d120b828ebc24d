"""No damaged byte reaches a parser, and a bad file is named for what it is."""

# ruff: noqa: E501 - a golden sentence stands in one line, so that it can be read and searched

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import onnx_writer
import pytest
from examples import mlp, mlp_artifact
from hypothesis import given
from hypothesis import strategies as st

from edgeport import ArtifactError, IntegrityError, ModelCard, Predictor
from edgeport.artifact.seal import check_seal, read, seal

SEED = 20261124


def test_the_seal_is_the_one_that_the_format_describes() -> None:
    """The whole artifact rebuilt from the description, field by field."""
    model, card = mlp().onnx, '{"any": "text"}'
    entries = onnx_writer.text_map(14, {"edgeport.sha256": "0" * 64, "edgeport.card": card})
    blank = model[:2] + entries + model[2:]
    digest = hashlib.sha256(blank).hexdigest()
    expected = blank.replace(b"0" * 64, digest.encode(), 1)

    assert seal(model, card) == expected
    assert check_seal(expected) == (digest, card.encode())


@given(st.text(max_size=3000))
def test_any_text_comes_back_from_the_seal(card: str) -> None:
    sealed = check_seal(seal(mlp().onnx, card))
    assert sealed is not None
    assert sealed.card_json == card.encode("utf-8")


def test_the_same_model_and_card_give_the_same_bytes() -> None:
    assert seal(mlp().onnx, "{}") == seal(mlp().onnx, "{}")


@pytest.mark.parametrize(
    "model",
    [
        *(b"", b"\x08", b"\x12\x00", b"\x08\xff\x01"),
        seal(mlp().onnx, "{}"),
        mlp().onnx
        + onnx_writer.text_map(14, {"edgeport.card": "{}"}),  # a card of an earlier form of it
    ],
)
def test_only_an_unsealed_model_can_be_sealed(model: bytes) -> None:
    with pytest.raises(ValueError, match="takes an unsealed ONNX model"):
        seal(model, "{}")


@pytest.mark.parametrize("position", range(400))
def test_a_change_of_any_byte_of_the_head_is_refused(position: int) -> None:
    artifact = bytearray(mlp_artifact())
    artifact[position] ^= 1
    with pytest.raises(ArtifactError):
        Predictor.load(bytes(artifact))


def test_ten_thousand_changes_and_truncations_are_refused() -> None:
    artifact = mlp_artifact()
    rng = np.random.default_rng(SEED)
    for number in range(10_000):
        position = int(rng.integers(len(artifact)))
        if number % 4 == 3:
            damaged = artifact[:position]
        else:
            damaged = bytearray(artifact)
            damaged[position] ^= int(rng.integers(1, 256))
        with pytest.raises(ArtifactError):
            Predictor.load(bytes(damaged))


@pytest.mark.parametrize("extra", [b"\x00", b"\x00" * 4096, b"\x12\x00"])
def test_appended_bytes_are_refused(extra: bytes) -> None:
    with pytest.raises(IntegrityError, match="do not match the digest"):
        Predictor.load(mlp_artifact() + extra)


def test_a_card_put_in_place_of_another_is_refused() -> None:
    forged = mlp_artifact().replace(b'"owl"', b'"cow"')
    with pytest.raises(IntegrityError, match="do not match the digest"):
        Predictor.load(forged)


def test_a_sealed_file_whose_seal_was_cut_out_is_refused() -> None:
    """The card's key alone says that a seal belongs there."""
    artifact = mlp_artifact()
    without = artifact[:2] + artifact[2 + 2 + 87 :]
    assert b"edgeport.sha256" not in without
    with pytest.raises(IntegrityError):
        Predictor.load(without)


def test_the_sentence_of_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "digits.onnx"
    path.write_bytes(mlp_artifact()[:-1])
    size = len(mlp_artifact()) - 1
    with pytest.raises(IntegrityError) as caught:
        Predictor.load(path)
    assert str(caught.value) == (
        f"'{path}' is damaged: its {size:,} bytes do not match the digest that it was sealed with, "
        "so it was cut short or changed; copy it again from its source, or convert again"
    )
    assert caught.value.path == str(path)


def test_a_sealed_file_without_a_card_is_refused() -> None:
    blank = (
        mlp().onnx[:2] + onnx_writer.text_map(14, {"edgeport.sha256": "0" * 64}) + mlp().onnx[2:]
    )
    digest = hashlib.sha256(blank).hexdigest()
    with pytest.raises(ArtifactError, match="sealed but has no card"):
        Predictor.load(blank.replace(b"0" * 64, digest.encode(), 1))


BAD_FILES = [
    (b"", "is empty (0 bytes)"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a pointer file of Git LFS, not the file itself"),
    (b"\n\n<!DOCTYPE html><html>404</html>", "is a web page or XML text"),
    (b"<html><body>Sign in</body>", "is a web page or XML text"),
    (b"\x89PNG\r\n\x1a\n" + bytes(50), "is a PNG image"),
    (b"\xff\xd8\xff\xe0" + bytes(50), "is a JPEG image"),
    (b"PK\x03\x04" + bytes(50), "is a ZIP archive (a .keras file is one: convert it first)"),
    (b"\x89HDF\r\n\x1a\n" + bytes(50), "is an HDF5 file (a .h5 file is one: convert it first)"),
    (b"\x1f\x8b\x08" + bytes(50), "is a gzip archive"),
    (b"%PDF-1.7", "is a PDF document"),
    (b"\x7fELF" + bytes(50), "is a program"),
    (b"\x93NUMPY" + bytes(50), "is a numpy array"),
    (b'{"a": 1}', "is JSON text"),
    (b"\x1c\x00\x00\x00TFL3" + bytes(50), "is a LiteRT (.tflite) model"),
    (b"\x20\x00\x00\x00ORTM" + bytes(50), "is a model in onnxruntime's own format (.ort)"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "found"), BAD_FILES)
def test_a_bad_file_is_named_for_what_it_is(content: bytes, found: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        Predictor.load(path)
    assert str(caught.value) == (
        f"'{path}' {found}, expected an ONNX model: "
        "copy the .onnx file again from where it was converted"
    )
    with pytest.raises(ArtifactError, match=f"^the artifact {re.escape(found)}"):
        Predictor.load(content)


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "digits.onnx"
    with pytest.raises(ArtifactError) as caught:
        Predictor.load(path)
    assert str(caught.value) == f"there is no file '{path}': pass the path of the .onnx file"
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    path = tmp_path / "folder" / "digits.onnx"
    with pytest.raises(ArtifactError) as caught:
        Predictor.load(path)
    assert str(caught.value) == (
        f"there is no file '{path}' (nor a folder '{path.parent}'): pass the path of the .onnx file"
    )


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        Predictor.load(tmp_path)
    assert str(caught.value) == (
        f"'{tmp_path}' is a folder, expected a file: pass the path of the .onnx file inside"
    )


@pytest.mark.parametrize("source", [None, 3, ["a.onnx"], "a\0b.onnx"])
def test_what_is_no_path_is_refused(source: object) -> None:
    with pytest.raises(ArtifactError, match=r"pass the path of the \.onnx file"):
        Predictor.load(source)  # type: ignore[arg-type]


def test_every_form_of_path_and_bytes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mlp.onnx"
    path.write_bytes(mlp_artifact())
    data = mlp_artifact()
    for source in (path, str(path), data, bytearray(data), memoryview(data)):
        assert read(source) == data


def test_a_foreign_model_loads_and_says_that_nothing_vouches_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Predictor.load(mlp().onnx) as predictor:
        assert not predictor.card.is_vouched_for
        assert predictor.card.sha256 is None
        assert [s.name for s in predictor.card.inputs] == ["x"]
        x = np.ones((2, 6), "f4")
        np.testing.assert_allclose(predictor.predict(x), mlp().formula(x), rtol=1e-5)
    assert "nothing vouches for its answers" in caplog.text


def test_a_vouched_artifact_has_its_digest() -> None:
    data = mlp_artifact()
    stated = re.search(rb"edgeport\.sha256\x12\x40([0-9a-f]{64})", data)
    assert stated is not None
    with Predictor.load(data) as predictor:
        assert isinstance(predictor.card, ModelCard)
        assert predictor.card.sha256 == stated[1].decode()
