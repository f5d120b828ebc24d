"""What a path holds, by its bytes and not by its name; refusals of all other files.

Nothing is loaded here. Many published ``.keras`` files are HDF5 inside.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import onnx
from google.protobuf.message import DecodeError

from edgeport import ConversionError
from edgeport_converter.loading.user_code import is_function_name

KERAS = "keras"
HDF5 = "hdf5"
JSON = "json"
SAVED_MODEL = "saved_model"

_EXPECTED = "expected a .keras, .h5 or .json file or a SavedModel folder"
_SAVE_AGAIN = "save the model with model.save('model.keras')"

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

# First bytes of files that are often taken for models: what they are, and the way out.
_FOREIGN = (
    (b"\x93NUMPY", "is a numpy array", "pass the model, data belongs to --calibration"),
    (b"GGUF", "is a GGUF file of language model weights", "convert a Keras model"),
    (b"\x1f\x8b", "is a gzip archive", "unpack it first"),
    (b"BZh", "is a bzip2 archive", "unpack it first"),
    (b"7z\xbc\xaf", "is a 7-Zip archive", "unpack it first"),
    (b"version https://git-lfs", "is a Git LFS pointer", "fetch the file with git lfs pull"),
    (b"<!DOCTYPE", "is a web page", "download the file itself"),
    (b"<!doctype", "is a web page", "download the file itself"),
    (b"<html", "is a web page", "download the file itself"),
)  # fmt: skip


def find_kind(path: Path, *, whole: bool = True) -> str:
    """Return KERAS, HDF5, JSON or SAVED_MODEL.

    Args:
        path: of a file or a folder.
        whole: whether an archive is read to its end, to find damage; not needed for a first look.

    Raises:
        ConversionError: there is nothing, or no Keras model; the message says what it is instead.
    """
    if not path.exists():
        raise ConversionError(f"there is no model file '{path}', {_EXPECTED}: check the path")
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.is_file():
        raise ConversionError(f"'{path}' is no regular file, {_EXPECTED}: copy it to a file first")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as cause:
        raise ConversionError(
            f"'{path}' cannot be read ({cause.strerror}), {_EXPECTED}: check its permissions"
        ) from cause
    if not start:
        raise ConversionError(f"'{path}' is empty, {_EXPECTED}: copy or download it again")
    if start.startswith(b"PK\x03\x04"):
        _require_keras_archive(path, whole=whole)
        return KERAS
    if start.startswith(_HDF5_MAGIC):
        _require_hdf5_model(path)
        return HDF5
    if start.lstrip()[:1] == b"{":
        return JSON
    found, way_out = _name_foreign(path, start)
    raise ConversionError(f"'{path}' {found}, {_EXPECTED}: {way_out}")


def require_model(model: Any) -> None:
    """Refuse a path that holds no Keras model, at a first look, which takes no TensorFlow.

    What is no path is left to others: a model in memory, or the name of a function.

    Raises:
        ConversionError: as ``find_kind``.
    """
    is_path = isinstance(model, (str, os.PathLike)) and not (
        isinstance(model, str) and is_function_name(model)
    )
    if is_path:
        find_kind(Path(model), whole=False)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder with their names."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for member in sorted(file for file in path.rglob("*") if file.is_file()):
        total.update(f"{member.relative_to(path).as_posix()}\0{digest(member)}\n".encode())
    return total.hexdigest()


def _kind_of_folder(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return SAVED_MODEL
    names = {file.name for file in path.iterdir()}
    found, way_out = "holds no model", _SAVE_AGAIN
    if not names:
        found = "is empty"
    elif {"config.json", "model.weights.h5"} <= names:
        found, way_out = (
            "is an unpacked .keras file",
            "pack its files again, (cd FOLDER && zip -0 -r ../model.keras .)",
        )
    elif any(name.endswith((".bin", ".safetensors", ".pt", ".pth")) for name in names):
        found, way_out = "holds a PyTorch model", "edgeport converts Keras models only"
    elif any(name.endswith(".index") for name in names):
        found, way_out = (
            "holds a TensorFlow checkpoint, weights without a model",
            "build the model, load the checkpoint into it and save both, model.save('model.keras')",
        )
    elif len(models := sorted(n for n in names if n.endswith((".keras", ".h5", ".hdf5")))) > 0:
        found, way_out = "is a folder", f"pass the file in it, '{path / models[0]}'"
    raise ConversionError(f"the folder '{path}' {found}, {_EXPECTED}: {way_out}")


def _require_keras_archive(path: Path, *, whole: bool) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            damaged = archive.testzip() if whole else None
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as cause:
        raise ConversionError(
            f"'{path}' is a truncated or damaged ZIP archive ({cause}), expected a whole .keras "
            "file: copy or download it again"
        ) from cause
    if damaged is not None:
        raise ConversionError(
            f"'{path}' is damaged in '{damaged}', expected a whole .keras file: "
            "copy or download it again"
        )
    if "config.json" in names:
        return
    found, way_out = "is a ZIP archive without a config.json", _SAVE_AGAIN
    if any(name.endswith("data.pkl") for name in names):
        found, way_out = "is a PyTorch file", "edgeport converts Keras models only"
    elif all(name.endswith(".npy") for name in names):
        found, way_out = "is an .npz file of arrays", "data belongs to --calibration"
    elif any(name.endswith("saved_model.pb") for name in names):
        found, way_out = "is a packed SavedModel folder", "unpack it and pass the folder"
    elif any(name.endswith((".keras", ".h5", ".hdf5")) for name in names):
        found, way_out = "is an archive with a model inside", "unpack it and pass the model"
    raise ConversionError(f"'{path}' {found}, {_EXPECTED}: {way_out}")


def _require_hdf5_model(path: Path) -> None:
    try:
        with h5py.File(path, "r") as file:
            has_model = "model_config" in file.attrs
            has_weights = "layer_names" in file.attrs or bool(
                {"layers", "_layer_checkpoint_dependencies", "vars"} & set(file)
            )
    except OSError as cause:
        raise ConversionError(
            f"'{path}' is a truncated or damaged HDF5 file ({cause}), expected a whole .h5 file: "
            "copy or download it again"
        ) from cause
    if has_model:
        return
    if has_weights:
        raise ConversionError(
            f"'{path}' holds weights without a model, expected a whole model: build the model in "
            "Python, load_weights into it and pass it, or pass its .json file with these as weights"
        )
    raise ConversionError(f"'{path}' is an HDF5 file without a Keras model: {_SAVE_AGAIN}")


def _name_foreign(path: Path, start: bytes) -> tuple[str, str]:
    """Return what a file that is no Keras model is instead, and what to do."""
    for magic, found, way_out in _FOREIGN:
        if start.startswith(magic):
            return found, way_out
    if start[4:8] == b"TFL3":
        return "is a TensorFlow Lite file", "pass the Keras model that it was made from"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return "is a Python pickle, which may run any code", _SAVE_AGAIN
    if start[8:10] == b'{"' and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "is a safetensors file, weights without a model", _SAVE_AGAIN
    if path.name == "saved_model.pb":
        return "is one file of a SavedModel", f"pass its folder, '{path.parent}'"
    if _is_onnx(path):
        return "is an ONNX file already", "pass the Keras model that it was made from"
    try:
        text = start.decode("utf-8").strip().split("\n")[0]
    except UnicodeDecodeError:
        return f"starts with the bytes {start[:8].hex(' ')}", _SAVE_AGAIN
    if text.isprintable():
        return f"is a text file that starts with {text[:40]!r}", _SAVE_AGAIN
    return f"starts with the bytes {start[:8].hex(' ')}", _SAVE_AGAIN


def _is_onnx(path: Path) -> bool:
    if path.stat().st_size > 2**31:
        return False
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError:
        return False
    return bool(model.opset_import) and model.HasField("graph")
