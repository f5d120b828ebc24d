"""``load_model``: from what the user names to a ``LoadedModel``; the first stage of ``convert``.

Decides what a path holds and which module opens it, and tries tf_keras where Keras 3 cannot read a
file of Keras 2. TensorFlow and Keras are imported here, so ``conversion`` imports this module late.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from edgeport import ConversionError, OptionError
from edgeport_converter import provenance
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading import diagnostics, formats, keras_files, user_code
from edgeport_converter.loading.keras_models import describe
from edgeport_converter.loading.model import LoadedModel
from edgeport_converter.loading.saved_models import load_saved_model
from edgeport_converter.sensors import columns


def start_tensorflow() -> None:
    """Make TensorFlow look for devices now, which writes C++ messages on most machines."""
    keras.ops.zeros(())


def load_model(
    model: Any,
    *,
    custom_objects: Any = None,
    allow_code: bool = False,
    weights: str | os.PathLike[str] | None = None,
    outputs: Sequence[str] = (),
) -> LoadedModel:
    """Return the model as a function over named tensors.

    Args:
        model: a Keras model in memory; the path of a ``.keras``, ``.h5`` or ``.json`` file or of a
            SavedModel folder, whose bytes decide which it is; or ``package.module:function``.
        custom_objects: classes and functions that the file names: a dict, or the Python file or
            module that defines them.
        allow_code: whether Python code stored in the file may run.
        weights: for a ``.json`` model, the file with its weights.
        outputs: names of the outputs and layers to keep, () for the outputs as declared.

    Raises:
        ConversionError: no such file, damaged, or none that holds a Keras model.
        UnsupportedModelError: a layer's code is not given or not allowed, or the model has no
            fixed inputs and outputs.
        OptionError: the options do not go with the model.
    """
    if keras.backend.backend() != "tensorflow":
        raise ConversionError(
            f"Keras runs on the '{keras.backend.backend()}' backend, expected 'tensorflow': "
            "set KERAS_BACKEND=tensorflow before Python starts"
        )
    if isinstance(model, str) and user_code.is_function_name(model):
        _refuse_weights(weights, f"'{model}'")
        objects = user_code.find_custom_objects(custom_objects)
        with keras.saving.custom_object_scope(objects):  # the function may open a file itself
            made = user_code.call_function(model)
        loaded = _describe_in_memory(made, {"source": model}, outputs)
    elif isinstance(model, (str, os.PathLike)):
        objects = user_code.find_custom_objects(custom_objects)
        loaded = _load_path(Path(model), objects, allow_code, weights, outputs)
        if formats.find_kind(Path(model)) == formats.KERAS:
            loaded = replace(loaded, columns=columns.read(Path(model)))
    else:
        _refuse_weights(weights, "a model in memory")
        loaded = _describe_in_memory(model, {"source": "memory"}, outputs)
        if custom_objects is not None:
            loaded = _with_note(loaded, "a model in memory has its code")
    _refuse_sparse(loaded)
    return loaded


def _load_path(
    path: Path,
    objects: dict[str, Any],
    allow_code: bool,
    weights: str | os.PathLike[str] | None,
    outputs: Sequence[str],
) -> LoadedModel:
    kind = formats.find_kind(path)
    if kind != formats.JSON:
        _refuse_weights(weights, f"'{path}'")
    source = {"source": path.name, "source_sha256": formats.digest(path)}
    if kind == formats.SAVED_MODEL:
        loaded = load_saved_model(path, source, outputs)
        return _with_note(loaded, "its graph holds all of its code") if objects else loaded
    if kind == formats.JSON:
        file = _find_weights(path, weights)
        source |= {"weights": file.name, "weights_sha256": formats.digest(file)}
        saved = keras_files.read_json_model(path, file)
    elif kind == formats.KERAS:
        source = provenance.read(path) | source
        saved = keras_files.read_archive(path)
    else:
        saved = keras_files.read_hdf5(path)
    objects = user_code.with_registered_names(objects, saved.config)
    notes = keras_files.refuse_or_name_code(saved, objects, allow_code=allow_code)
    try:
        opened, repairs = keras_files.open_with_keras_3(saved, objects, allow_code=allow_code)
    except Exception as cause:
        if not saved.is_old or kind == formats.JSON or not _has_tf_keras():
            raise diagnostics.explain(saved, cause, may_help=not _has_tf_keras()) from cause
        return _load_legacy(saved, objects, allow_code, source, notes, cause, outputs)
    return describe(opened, source, notes + repairs, outputs)


def _load_legacy(
    saved: keras_files.SavedFile,
    objects: dict[str, Any],
    allow_code: bool,
    source: dict[str, str],
    notes: tuple[str, ...],
    first: Exception,
    outputs: Sequence[str],
) -> LoadedModel:
    from edgeport_converter.loading.legacy import tf_keras_models

    try:
        with keras_files.under_its_own_suffix(saved) as path:
            opened = tf_keras_models.load_with_tf_keras(path, objects, allow_code=allow_code)
    except Exception as cause:
        raise diagnostics.explain(saved, first, second=cause) from cause
    notes += (f"opened with tf_keras: Keras {keras.__version__} {diagnostics.say_why(first)}",)
    return tf_keras_models.describe_tf_keras(opened, source, notes, outputs)


def _describe_in_memory(model: Any, source: dict[str, str], outputs: Sequence[str]) -> LoadedModel:
    if isinstance(model, keras.Model):
        return describe(model, source, kept=outputs)
    if any(base.__module__.partition(".")[0] == "tf_keras" for base in type(model).__mro__):
        from edgeport_converter.loading.legacy import tf_keras_models

        return tf_keras_models.describe_tf_keras(model, source, kept=outputs)
    raise ConversionError(
        f"the model is a {type(model).__name__}, expected a keras.Model, the path of a .keras, "
        ".h5 or .json file or of a SavedModel folder, or 'package.module:function': pass one of "
        "these"
    )


def _with_note(loaded: LoadedModel, why: str) -> LoadedModel:
    return replace(loaded, notes=(*loaded.notes, f"custom_objects were not used: {why}"))


def _has_tf_keras() -> bool:
    return importlib.util.find_spec("tf_keras") is not None


def _find_weights(path: Path, weights: str | os.PathLike[str] | None) -> Path:
    if weights is None:
        raise OptionError(
            f"'{path}' holds a model without weights, expected their file beside it: pass "
            "weights=, or --weights FILE"
        )
    file = Path(weights)
    if not file.is_file():
        raise OptionError(f"there is no weights file '{file}': check the path")
    return file


def _refuse_weights(weights: Any, model: str) -> None:
    if weights is not None:
        raise OptionError(
            f"weights were given for {model}, expected them with a .json model only, since any "
            "other model has its own: leave them out"
        )


def _refuse_sparse(loaded: LoadedModel) -> None:
    for tensor in loaded.model.inputs if loaded.model is not None else ():
        for kind in ("sparse", "ragged"):
            if getattr(tensor, kind, False):
                raise UnsupportedModelError(
                    f"the input '{tensor.name}' of the model '{loaded.name}' is {kind}, expected "
                    f"a dense one, as ONNX has no other: declare it without {kind}=True"
                )
