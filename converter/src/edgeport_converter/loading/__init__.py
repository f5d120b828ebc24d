"""From any Keras file, or a model in memory, to a function that is ready for inference.

The door of the stage. What a path holds is decided by ``model_files``, old configs are said anew
by ``repairing``, weights are checked by ``assigning``; ``keras_models``, ``saved_models`` and
``legacy_models`` make the ``LoadedModel``. TensorFlow is imported here; ``pipeline`` imports this
module late.

    diagnostics   the sentence for a Keras file that nothing could open
    formats       what a path holds, by its bytes and not by its name, and a refusal for all that
                  is no model
    keras_files   reading the files that Keras writes: config, version and weights, opened with
                  Keras 3
    keras_models  from a Keras 3 model in memory to the function that the export traces
    model         what loading hands to exporting: a function over named tensors, and what goes in
                  and out
    pixel_input   A model that takes uint8 pixels instead of floats, scaled inside
    purity        proof that a model with Python code of its own computes from its inputs alone
    saved_models  from a SavedModel folder to the function that the export traces, by its serving
                  signature
    structures    nested inputs and outputs of a functional model, as named tensors in the
                  declared order
    user_code     the user's own Python: classes and functions that a model file names, and
                  functions that return a model
    legacy/       files of Keras 1 and 2: their configs and weights as Keras 3 takes them
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import keras

from edgeport import ConversionError, OptionError
from edgeport_converter import provenance
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading import diagnostics, formats, keras_files
from edgeport_converter.loading import user_code as custom
from edgeport_converter.loading.keras_models import all_layers, describe
from edgeport_converter.loading.model import LoadedModel
from edgeport_converter.loading.saved_models import load_saved_model

__all__ = ["LoadedModel", "load", "start_tensorflow"]


def start_tensorflow() -> None:
    """Make TensorFlow look for devices now, which writes C++ messages on most machines."""
    keras.ops.zeros(())


def load(
    model: Any,
    *,
    custom_objects: Any = None,
    allow_code: bool = False,
    weights: str | os.PathLike[str] | None = None,
) -> LoadedModel:
    """Return the model as a function over named tensors.

    Args:
        model: a Keras model in memory; the path of a ``.keras``, ``.h5`` or ``.json`` file or of a
            SavedModel folder, whose bytes decide which it is; or ``package.module:function``.
        custom_objects: classes and functions that the file names: a dict, or the Python file or
            module that defines them.
        allow_code: whether Python code stored in the file may run.
        weights: for a ``.json`` model, the file with its weights.

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
    if isinstance(model, str) and custom.is_function_name(model):
        _refuse_weights(weights, f"'{model}'")
        loaded = _describe_in_memory(custom.call_function(model), {"source": model})
    elif isinstance(model, (str, os.PathLike)):
        loaded = _load_path(Path(model), custom.collect(custom_objects), allow_code, weights)
    else:
        _refuse_weights(weights, "a model in memory")
        loaded = _describe_in_memory(model, {"source": "memory"})
    _refuse_sparse(loaded)
    return loaded


def _load_path(
    path: Path, objects: dict[str, Any], allow_code: bool, weights: str | os.PathLike[str] | None
) -> LoadedModel:
    kind = formats.find_kind(path)
    if kind != formats.JSON:
        _refuse_weights(weights, f"'{path}'")
    source = {"source": path.name, "source_sha256": formats.digest(path)}
    if kind == formats.SAVED_MODEL:
        return load_saved_model(path, source)
    if kind == formats.JSON:
        if weights is None:
            raise OptionError(
                f"'{path}' holds a model without weights, expected their file beside it: pass "
                "weights=, or --weights FILE"
            )
        weights = Path(weights)
        if not weights.is_file():
            raise OptionError(f"there is no weights file '{weights}': check the path")
        source |= {"weights": weights.name, "weights_sha256": formats.digest(weights)}
        saved = keras_files.read_json_model(path, weights)
    elif kind == formats.KERAS:
        source = provenance.read(path) | source
        saved = keras_files.read_archive(path)
    else:
        saved = keras_files.read_hdf5(path)
    notes = keras_files.refuse_or_name_code(saved, allow_code)
    try:
        opened, repairs = keras_files.open_with_keras_3(saved, objects, allow_code=allow_code)
    except Exception as cause:
        if not saved.is_old or kind == formats.JSON or not _has_tf_keras():
            raise diagnostics.explain(saved, cause, may_help=not _has_tf_keras()) from cause
        return _load_legacy(saved, objects, allow_code, source, notes, cause)
    return describe(opened, source, notes + repairs)


def _load_legacy(
    saved: keras_files.SavedFile,
    objects: dict[str, Any],
    allow_code: bool,
    source: dict[str, str],
    notes: tuple[str, ...],
    first: Exception,
) -> LoadedModel:
    from edgeport_converter.loading.legacy import tf_keras_models

    try:
        with keras_files.under_its_own_suffix(saved) as path:
            opened = tf_keras_models.load_with_tf_keras(path, objects, allow_code=allow_code)
    except Exception as cause:
        raise diagnostics.explain(saved, first, second=cause) from cause
    notes += (f"opened with tf_keras: Keras {keras.__version__} {diagnostics.say_why(first)}",)
    return tf_keras_models.describe_tf_keras(opened, source, notes)


def _describe_in_memory(model: Any, source: dict[str, str]) -> LoadedModel:
    if isinstance(model, keras.Model):
        return describe(model, source)
    if type(model).__module__.partition(".")[0] == "tf_keras" or any(
        base.__module__.partition(".")[0] == "tf_keras" for base in type(model).__mro__
    ):
        from edgeport_converter.loading.legacy import tf_keras_models

        return tf_keras_models.describe_tf_keras(model, source)
    raise ConversionError(
        f"the model is a {type(model).__name__}, expected a keras.Model, the path of a .keras, "
        ".h5 or .json file or of a SavedModel folder, or 'package.module:function': pass one of "
        "these"
    )


def layer_names(loaded: LoadedModel) -> tuple[str, ...]:
    """Return the names of all Keras layers, those inside of layers too; none of a SavedModel."""
    if loaded.model is None:
        return ()
    return tuple(dict.fromkeys(layer.name for layer in all_layers(loaded.model)))


def _has_tf_keras() -> bool:
    return importlib.util.find_spec("tf_keras") is not None


def _refuse_weights(weights: Any, model: str) -> None:
    if weights is not None:
        raise OptionError(
            f"weights were given for {model}, expected them with a .json model only: a model "
            "elsewhere has its own; leave them out"
        )


def _refuse_sparse(loaded: LoadedModel) -> None:
    for tensor in loaded.model.inputs if loaded.model is not None else ():
        for kind in ("sparse", "ragged"):
            if getattr(tensor, kind, False):
                raise UnsupportedModelError(
                    f"the input '{tensor.name}' of the model '{loaded.name}' is {kind}, expected "
                    f"a dense one, as ONNX has no other: declare it without {kind}=True"
                )
