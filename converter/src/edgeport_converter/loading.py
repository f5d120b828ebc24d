"""From any Keras file, or a model in memory, to a Keras model that is ready for inference.

What the model computes is ``exporting``'s business. TensorFlow is imported here; ``pipeline``
imports this module late.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras

from edgeport import ConversionError
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loaded import LoadedModel
from edgeport_converter.structures import make_call

_ZIP_MAGIC = b"PK\x03\x04"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def start_tensorflow() -> None:
    """Make TensorFlow look for devices now, which writes C++ messages on most machines."""
    keras.ops.zeros(())


def load(model: Any) -> LoadedModel:
    """Return the model, ready for inference.

    Args:
        model: a Keras model, or the path of a ``.keras`` or ``.h5`` file. The file's own bytes
            decide which of the two it is, not its name.

    Raises:
        ConversionError: no such file, or Keras cannot read it.
        UnsupportedModelError: the model has no fixed inputs and outputs.
    """
    if keras.backend.backend() != "tensorflow":
        raise ConversionError(
            f"Keras runs on the '{keras.backend.backend()}' backend, expected 'tensorflow': "
            "set KERAS_BACKEND=tensorflow before Python starts"
        )
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        loaded = _load_file(path)
        source = {"source": path.name, "source_sha256": _digest(path)}
    elif isinstance(model, keras.Model):
        loaded, source = model, {"source": "memory"}
    else:
        raise ConversionError(
            f"the model is a {type(model).__name__}, expected a keras.Model or the path of a "
            ".keras or .h5 file: pass one of these"
        )
    _require_graph(loaded)
    if isinstance(loaded, keras.Sequential):
        outputs = loaded.outputs[0] if len(loaded.outputs) == 1 else loaded.outputs
        ins, outs, call = make_call(loaded, loaded.inputs[0], outputs)
    else:
        ins, outs, call = make_call(loaded, loaded.input, loaded.output)
    return LoadedModel(loaded.name, call, ins, outs, source, model=loaded)


def _load_file(path: Path) -> Any:
    if not path.exists():
        raise ConversionError(f"there is no model file '{path}': pass a .keras or .h5 file")
    if path.is_dir():
        raise ConversionError(
            f"'{path}' is a folder, expected a .keras or .h5 file: "
            "save the model with model.save('model.keras')"
        )
    with path.open("rb") as file:
        start = file.read(len(_HDF5_MAGIC))
    if start.startswith(_ZIP_MAGIC):
        suffix = ".keras"
    elif start == _HDF5_MAGIC:
        suffix = ".h5"
    else:
        found = "is empty" if not start else f"starts with {start!r}"
        raise ConversionError(
            f"'{path}' {found}, expected a .keras (ZIP) or .h5 (HDF5) file: "
            "save the model with model.save('model.keras')"
        )
    try:
        if path.suffix == suffix:
            return keras.saving.load_model(path, compile=False)
        # Keras decides by the name; strangers' files are often HDF5 under a .keras name.
        with tempfile.TemporaryDirectory() as folder:
            renamed = Path(folder) / f"model{suffix}"
            shutil.copyfile(path, renamed)
            return keras.saving.load_model(renamed, compile=False)
    except Exception as cause:
        reason = str(cause).strip().splitlines() or [type(cause).__name__]
        raise ConversionError(
            f"Keras {keras.__version__} cannot load '{path}' ({reason[0][:300]}): "
            "save it again with this version of Keras, model.save('model.keras')"
        ) from cause


def _require_graph(model: Any) -> None:
    try:
        known = bool(model.inputs) and bool(model.outputs)
    except (AttributeError, ValueError):
        known = False
    if not known:
        raise UnsupportedModelError(
            f"the model '{model.name}' ({type(model).__name__}) has no fixed inputs and outputs, "
            "expected a built Sequential or functional model: give it a keras.Input"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
