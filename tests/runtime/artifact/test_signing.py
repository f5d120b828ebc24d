"""Signatures: one public key, offline, with a floor against roll-back."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx_writer as ow
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from examples import Child, mlp, mlp_artifact

from edgeport import ArtifactError, IntegrityError, OptionError, Predictor
from edgeport.artifact.signature import read_signature, sign
from edgeport.cli.main import main

X = np.ones((2, 6), "f4")
PEM = serialization.Encoding.PEM


def write_private(key: Any, path: Path) -> Path:
    path.write_bytes(
        key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def public_pem(key: Any) -> bytes:
    data: bytes = key.public_key().public_bytes(
        PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return data


@pytest.fixture
def key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


@pytest.fixture
def private(key: Any, tmp_path: Path) -> Path:
    return write_private(key, tmp_path / "private.pem")


def test_a_signed_artifact_loads_with_every_form_of_the_key(
    mlp_file: Path, key: Any, private: Path, tmp_path: Path
) -> None:
    digest = sign(mlp_file, private, version=7)
    (tmp_path / "public.pem").write_bytes(public_pem(key))
    for form in (
        tmp_path / "public.pem",
        str(tmp_path / "public.pem"),
        public_pem(key),
        public_pem(key).decode(),
        key.public_key().public_bytes_raw(),
    ):
        with Predictor.load(mlp_file, public_key=form) as predictor:
            assert predictor.version == 7
            assert predictor.card.sha256 == digest
            np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), rtol=1e-5)
    with Predictor.load(mlp_file) as predictor:  # who asks for no signature gets the seal's check
        assert predictor.version is None


def test_the_signature_is_the_one_that_the_format_describes(
    mlp_file: Path, key: Any, private: Path
) -> None:
    """Checked with the library and the description alone."""
    sign(mlp_file, private, version=12)
    signed, unsigned = mlp_file.read_bytes(), mlp_artifact()
    digest = re.search(rb"[0-9a-f]{64}", unsigned)
    assert digest is not None
    text = re.search(rb'\{"version": 12, "ed25519": "([0-9a-f]{128})"\}$', signed)
    assert text is not None
    entry = ow.text_map(14, {"edgeport.signature": text[0].decode()})
    assert signed[: len(unsigned)] == unsigned.replace(
        digest[0], signed[digest.start() : digest.end()]
    )
    assert signed[len(unsigned) :] == entry
    message = b"edgeport signature 1\n12\n" + digest[0] + b"\n"
    key.public_key().verify(bytes.fromhex(text[1].decode()), message)


def test_an_unsigned_artifact_is_refused(key: Any) -> None:
    for data in (mlp_artifact(), mlp().onnx):
        with pytest.raises(IntegrityError, match="has no signature, expected one by the key"):
            Predictor.load(data, public_key=public_pem(key))


def test_another_key_is_refused(mlp_file: Path, private: Path) -> None:
    sign(mlp_file, private, version=1)
    other = ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(IntegrityError, match="was signed with another key"):
        Predictor.load(mlp_file, public_key=public_pem(other))


def test_another_version_or_model_under_the_signature_is_refused(
    mlp_file: Path, key: Any, private: Path
) -> None:
    """Even with a seal that is right, as anybody can make one."""
    from edgeport.artifact.seal import seal_again, split_at_digest

    sign(mlp_file, private, version=1)
    before, after = map(bytes, split_at_digest(mlp_file.read_bytes()))
    for old, new in ((b'"version": 1', b'"version": 9'), (b'"owl"', b'"cow"')):
        forged = seal_again(before, after.replace(old, new))
        Predictor.load(forged).close()
        with pytest.raises(IntegrityError, match="or changed since"):
            Predictor.load(forged, public_key=public_pem(key))


def test_an_old_version_is_refused(mlp_file: Path, key: Any, private: Path) -> None:
    sign(mlp_file, private, version=3)
    Predictor.load(mlp_file, public_key=public_pem(key), minimum_version=3).close()
    with pytest.raises(IntegrityError) as caught:
        Predictor.load(mlp_file, public_key=public_pem(key), minimum_version=4)
    assert str(caught.value) == (
        f"'{mlp_file}' is version 3, expected at least 4: install a newer release"
    )


def test_a_reload_asks_for_the_same_key_and_floor(mlp_file: Path, key: Any, private: Path) -> None:
    sign(mlp_file, private, version=3)
    with Predictor.load(mlp_file, public_key=public_pem(key), minimum_version=3) as predictor:
        sign(mlp_file, private, version=2)
        with pytest.raises(IntegrityError, match="is version 2, expected at least 3"):
            predictor.reload()
        sign(mlp_file, private, version=4)
        predictor.reload()
        assert predictor.version == 4


def test_signing_again_replaces_the_signature(mlp_file: Path, private: Path) -> None:
    sign(mlp_file, private, version=1)
    size = len(mlp_file.read_bytes())
    sign(mlp_file, private, version=2)
    data = mlp_file.read_bytes()
    assert len(data) == size
    assert data.count(b"edgeport.signature") == 1
    signature = read_signature(data)
    assert signature is not None
    assert signature.version == 2


def test_signing_keeps_a_link_and_the_files_mode(mlp_file: Path, private: Path) -> None:
    link = mlp_file.with_name("link.onnx")
    link.symlink_to(mlp_file.name)
    mlp_file.chmod(0o640)
    sign(link, private, version=5)
    assert link.is_symlink()
    assert link.resolve() == mlp_file.resolve()
    assert mlp_file.stat().st_mode & 0o777 == 0o640
    signature = read_signature(mlp_file.read_bytes())
    assert signature is not None
    assert signature.version == 5


@pytest.mark.parametrize("version", ["Infinity", "-Infinity", "NaN", "1e999", "null"])
def test_a_signature_without_a_version_is_none(version: str, key: Any) -> None:
    from edgeport.artifact.seal import metadata_entry, seal_again, split_at_digest

    value = f'{{"version": {version}, "ed25519": ""}}'.encode()
    before, after = map(bytes, split_at_digest(mlp_artifact()))
    forged = seal_again(before, after + metadata_entry(b"edgeport.signature", value))
    with pytest.raises(IntegrityError, match="has no signature"):
        Predictor.load(forged, public_key=public_pem(key))


def test_every_change_of_a_signed_file_is_refused(mlp_file: Path, private: Path) -> None:
    sign(mlp_file, private, version=1)
    data = mlp_file.read_bytes()
    for position in range(len(mlp_artifact()) - 20, len(data)):
        with pytest.raises(IntegrityError):
            Predictor.load(data[:position])
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(IntegrityError):
            Predictor.load(damaged)


def test_only_an_artifact_can_be_signed(tmp_path: Path, private: Path) -> None:
    path = tmp_path / "plain.onnx"
    path.write_bytes(mlp().onnx)
    with pytest.raises(ArtifactError, match="has no card, expected an artifact"):
        sign(path, private, version=1)
    assert path.read_bytes() == mlp().onnx


@pytest.mark.parametrize("version", [-1, True, 1.0, "1", None, 2**63])
def test_an_impossible_version_is_refused(mlp_file: Path, private: Path, version: Any) -> None:
    with pytest.raises(OptionError, match="the version is"):
        sign(mlp_file, private, version)
    assert mlp_file.read_bytes() == mlp_artifact()


def test_keys_of_another_kind_are_refused(mlp_file: Path, key: Any, tmp_path: Path) -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(OptionError, match="expected Ed25519"):
        sign(mlp_file, write_private(elliptic, tmp_path / "ec.pem"), 1)
    with pytest.raises(OptionError, match="expected Ed25519"):
        Predictor.load(mlp_file, public_key=public_pem(elliptic))
    for nonsense in (b"short", "missing.pem", "-----BEGIN NONSENSE-----"):
        with pytest.raises(OptionError, match="the public key cannot be read"):
            Predictor.load(mlp_file, public_key=nonsense)
    with pytest.raises(OptionError, match=r"the private key .* cannot be read"):
        sign(mlp_file, tmp_path / "missing.pem", 1)


@pytest.mark.parametrize("floor", [1.5, "3", True])
def test_an_impossible_floor_is_refused(mlp_file: Path, key: Any, floor: Any) -> None:
    with pytest.raises(OptionError, match="minimum_version is"):
        Predictor.load(mlp_file, public_key=public_pem(key), minimum_version=floor)
    with pytest.raises(OptionError, match="minimum_version was given without public_key"):
        Predictor.load(mlp_file, minimum_version=3)


def test_without_the_extra_the_sentence_names_it(mlp_file: Path, child: Child) -> None:
    code = """
import sys
sys.modules["cryptography"] = None  # what an import finds where it is not installed
import edgeport
try:
    edgeport.Predictor.load(sys.argv[1], public_key=bytes(32))
except edgeport.OptionError as error:
    print(error)
"""
    assert child(code, mlp_file).stdout == (
        "signatures need the package 'cryptography', which is not installed: "
        "pip install 'edgeport[sign]'\n"
    )


def test_the_command(
    mlp_file: Path, key: Any, private: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sign", str(mlp_file), "--key", str(private), "--version", "5"]) == 0
    assert capsys.readouterr().out.startswith("signed version 5, sha256 ")
    (tmp_path / "public.pem").write_bytes(public_pem(key))
    verify = ["verify", str(mlp_file), "--public-key", str(tmp_path / "public.pem")]
    assert main(verify) == 0
    assert "signature       version 5\n" in capsys.readouterr().out
    assert main([*verify, "--minimum-version", "6"]) == IntegrityError.exit_code


@pytest.mark.parametrize("form", [str, Path])
def test_the_key_is_the_same_file_from_another_folder(
    form: Any,
    mlp_file: Path,
    key: Any,
    private: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that moves must not trust the key that lies where it goes."""
    sign(mlp_file, private, version=1)
    (tmp_path / "maker.pem").write_bytes(public_pem(key))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    stranger = ed25519.Ed25519PrivateKey.generate()
    (elsewhere / "maker.pem").write_bytes(public_pem(stranger))
    forged = elsewhere / "forged.onnx"
    forged.write_bytes(mlp_artifact())
    sign(forged, write_private(stranger, elsewhere / "private.pem"), version=1)
    monkeypatch.chdir(tmp_path)
    predictor = Predictor.load(mlp_file, public_key=form("maker.pem"))
    monkeypatch.chdir(elsewhere)
    with pytest.raises(IntegrityError, match="another key"):
        predictor.reload(forged)
    predictor.reload()
    assert pickle.loads(pickle.dumps(predictor)).version == 1  # noqa: S301 - made here
