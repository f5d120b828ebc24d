"""Exact repairs of configs that Keras 2 wrote and Keras 3 refuses or misreads.

A repaired config describes the same model in Keras 3's form, so no answer changes, and each repair
is reported. Where no exact form exists the config stays as it is, and Keras 3 refuses it by name.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections import Counter
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

import keras

from edgeport_converter.loading.legacy.graphs import MODULES, Config, repair_graph

OLD_HARD_SIGMOID = "keras_2_hard_sigmoid"
"""The name under which ``OBJECTS`` holds the hard sigmoid of Keras 2."""

# Options that Keras 3 does not know, with the values that change no answer: Keras 2's defaults, and
# choices between equal ways to compute. Keras 3 refuses any other value.
_ANY = object()
_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "adjustment": (None,),
    "causal": (False,),
    "experimental_run_tf_function": (_ANY,),
    "force_generator": (_ANY,),
    "fused": (_ANY,),
    "groups": (1,),
    "implementation": (_ANY,),
    "input_length": (_ANY,),
    "input_dtype": (_ANY,),
    "key_shape": (_ANY,),
    "noise_shape": (_ANY,),
    "query_shape": (_ANY,),
    "ragged": (False, None),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "renorm_momentum": (_ANY,),  # renorm itself is only dropped at False
    "rng_type": (_ANY,),
    "softmax_robust_masking": (False,),
    "sparse": (False, None),
    "time_major": (False,),
    "trainable": (_ANY,),
    "value_shape": (_ANY,),
    "virtual_batch_size": (None,),
}

_ACTIVATIONS = ("activation", "recurrent_activation")

# Endings of options that only training reads.
_TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")

# Classes that Keras 3 has under a plain name; most were written by TensorFlow 1.13 to 2.0.
_RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "CuDNNGRU": "GRU",
    "CuDNNLSTM": "LSTM",
    "GRUV2": "GRU",
    "LSTMV2": "LSTM",
    "UnifiedGRU": "GRU",
    "UnifiedLSTM": "LSTM",
    "ThresholdedReLU": "ReLU",
}
_RENAMED_OPTIONS = {
    ("LeakyReLU", "alpha"): "negative_slope",
    ("ReLU", "theta"): "threshold",  # both give x where it is greater, else 0
}

MIXED_POLICIES = ("mixed_float16", "mixed_bfloat16")
HALF_DTYPES = ("float16", "bfloat16")
OTHER_POLICIES = (*MIXED_POLICIES, *HALF_DTYPES, "float64")
"""Policies that onnxruntime's CPU provider computes in float32 anyway, or has no kernels for."""


def keras_2_hard_sigmoid(x: Any) -> Any:
    """Return max(0, min(1, 0.2 x + 0.5)).

    In Keras 3 the name ``hard_sigmoid`` means another function, relu6(x + 3) / 6, and old files
    load without a warning.
    """
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


OBJECTS = {OLD_HARD_SIGMOID: keras_2_hard_sigmoid}
"""Functions that a repaired config refers to; pass them as custom objects."""


def is_old(keras_version: str | None, config: Config) -> bool:
    """Whether Keras 1 or 2 wrote the config."""
    if keras_version is not None:
        return keras_version.split(".")[0] in ("1", "2")
    return "module" not in config


def repair(config: Config, own_names: Collection[str] = ()) -> tuple[Config, tuple[str, ...]]:
    """Return a config of Keras 2 in the form of Keras 3, and what was changed.

    ``own_names`` are the user's classes and functions, which hide Keras' own.
    """
    config = copy.deepcopy(config)
    changes: Counter[str] = Counter()
    for part in list(_objects(config)):
        _repair_object(part, changes)
    for part in list(_objects(config)):
        if part["class_name"] in MODULES:
            repair_graph(part, changes)
    for part in list(_objects(config)):
        part["config"].pop("batch_input_shape", None)  # now in the InputLayers
    config = in_new_form(config, own_names)
    notes = []
    for change, count in changes.items():
        times = "" if count == 1 else f" ({count} times)"
        notes.append(f"Keras 2 file: {change.rstrip(',')}{times}")
    return config, tuple(notes)


def in_new_form(config: Config, own_names: Collection[str] = ()) -> Config:
    """Return the config with the module of each layer's class, as Keras 3 writes its archives.

    Keras 3 writes HDF5 files in the old form, without modules, and has another reader for it. That
    reader replaces any text by the function of that name, such as the "dot" in Attention's
    score_mode.
    """
    config = copy.deepcopy(config)
    for part in list(_layers(config)):
        _put_in_new_form(part, own_names)
        for key in _ACTIVATIONS:
            if isinstance(name := part["config"].get(key), str) and name in own_names:
                part["config"][key] = _reference(name)
    return config


def in_float32(config: Config) -> tuple[Config, str | None]:
    """Return the config with float32 for every other policy, and that policy's name.

    Under the half and mixed policies the weights are float16, bfloat16 or float32, so they stay the
    same to the bit, and only the rounding of intermediate values changes. Weights in float64 are
    rounded.
    """
    found: set[str] = set()

    def replace(part: Any) -> Any:
        if isinstance(part, list):
            return [replace(item) for item in part]
        if not isinstance(part, dict) or part.get("class_name") == "InputLayer":
            return part  # an input's dtype is what callers pass, not what is computed in
        return {
            key: _float32_policy(value, part, found) if key == "dtype" else replace(value)
            for key, value in part.items()
        }

    replaced = replace(config)
    return replaced, min(found, default=None)


def _float32_policy(value: Any, owner: Config, found: set[str]) -> Any:
    names: tuple[str, ...] = MIXED_POLICIES
    name = value
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        names, name = OTHER_POLICIES, value["config"].get("name")
    elif "trainable" in owner:  # a layer of Keras 2; an operation such as a cast has none
        names = OTHER_POLICIES
    if name in names:
        found.add(name)
        return "float32"
    return value


def _objects(part: Any) -> Iterator[Config]:
    """Yield every ``{"class_name", "config"}`` below, outermost first."""
    if isinstance(part, dict):
        if isinstance(part.get("class_name"), str) and isinstance(part.get("config"), (dict, list)):
            if isinstance(part["config"], list) and part["class_name"] == "Sequential":
                # Keras up to 2.2.2: the layers themselves, without a name.
                part["config"] = {"name": "sequential", "layers": part["config"]}
            if isinstance(part["config"], dict):
                yield part
        for value in list(part.values()):
            yield from _objects(value)
    elif isinstance(part, list):
        for value in part:
            yield from _objects(value)


def _layers(part: Any) -> Iterator[Config]:
    """Yield the model and every layer in it, not the other objects in their configs.

    An initializer may have the name of a layer's class, such as Identity.
    """
    if isinstance(part, list):
        for value in part:
            yield from _layers(value)
    elif isinstance(part, dict) and isinstance(part.get("config"), dict):
        yield part
        for key in ("layers", "layer", "backward_layer", "cell", "cells"):
            yield from _layers(part["config"].get(key))


def _put_in_new_form(part: Config, own_names: Collection[str]) -> None:
    name = part["class_name"]
    if name not in own_names and hasattr(keras.layers, name):
        part.pop("build_config", None)  # the call on the InputLayer's tensors builds it
    if name in own_names or name == "Lambda" or "module" in part:  # the old reader knows Lambda
        return
    operation = _operations().get(name)
    if operation is not None and "trainable" not in part["config"] and name != "InputLayer":
        part |= {"module": operation, "registered_name": name}
    elif name in MODULES or inspect.isclass(getattr(keras.layers, name, None)):
        name = "Functional" if name == "Model" else name
        part |= {
            "module": MODULES.get(name, "keras.layers"),
            "class_name": name,
            "registered_name": name if name == "Functional" else None,
        }


@cache
def _operations() -> dict[str, str]:
    """Return the modules of Keras' operations, such as Relu, by the names of their classes.

    Some have the name of a layer, such as Reshape; a layer's config says whether it is trainable.
    """
    operation = keras.src.ops.operation.Operation
    return {
        name: kind.__module__
        for module in vars(keras.src.ops).values()
        if inspect.ismodule(module)
        for name, kind in vars(module).items()
        if inspect.isclass(kind)
        and issubclass(kind, operation)
        and kind.__module__.startswith("keras.src.ops.")
    }


def _repair_object(part: Config, changes: Counter[str]) -> None:
    _rename_class(part, changes)
    name, config = part["class_name"], part["config"]
    policy = config.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") in ("Policy", "PolicyV1"):
        config["dtype"] = policy["config"]["name"]
    layer = getattr(keras.layers, name, None)
    if not inspect.isclass(layer):
        return
    if isinstance(axis := config.get("axis"), list) and len(axis) == 1:
        config["axis"] = axis[0]
    if name == "InputLayer" and "batch_input_shape" in config:
        config["batch_shape"] = config.pop("batch_input_shape")
    _repair_options(name, config, _known_options(layer), changes)
    _keep_old_functions(name, config, changes)


def _rename_class(part: Config, changes: Counter[str]) -> None:
    old = part["class_name"]
    if (renamed := _RENAMED.get(old)) is not None:
        changes[f"read {old} as {renamed}, its name today,"] += 1
        if old == "CuDNNGRU":
            part["config"]["reset_after"] = True
        part["class_name"] = renamed
    if isinstance(module := part.get("module"), str):
        # Keras 2 had the same classes in tf_keras, and the classes of models in a private module.
        part["module"] = MODULES.get(part["class_name"]) or re.sub(r"^tf_keras\b", "keras", module)


def _repair_options(name: str, config: Config, known: set[str], changes: Counter[str]) -> None:
    """Rename the options of a layer, and drop those that change nothing at inference."""
    for key in list(config):
        new_key = _RENAMED_OPTIONS.get((name, key))
        if new_key is not None:
            config[new_key] = config.pop(key)
            changes[f"read {key} as {new_key}, its name today, in {name}"] += 1
        elif key in known and key != "input_length":
            continue
        elif key.endswith(_TRAINING_ONLY):
            del config[key]
        elif (allowed := _WITHOUT_EFFECT.get(key)) == (_ANY,) or config[key] in (allowed or ()):
            changes[f"dropped {key}={config.pop(key)!r}, which changes nothing, from {name}"] += 1


def _keep_old_functions(name: str, config: Config, changes: Counter[str]) -> None:
    """Write down the functions and defaults that have another meaning in Keras 3."""
    for key in _ACTIVATIONS:
        function = config.get(key)
        name_of = function.get("config") if isinstance(function, dict) else function
        if name_of == "hard_sigmoid":
            config[key] = _reference(OLD_HARD_SIGMOID)
            changes[f"kept the hard_sigmoid of Keras 2, 0.2 x + 0.5, in {name}"] += 1
    if name in ("GRU", "GRUCell") and "reset_after" not in config:
        config["reset_after"] = False
        changes[f"kept the old default reset_after=False of {name}"] += 1


def _known_options(layer: type[Any]) -> set[str]:
    """Return the names of all options that a layer takes, those of its bases included."""
    known: set[str] = set()
    for base in layer.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters  # type: ignore[misc]
            known.update(parameters)
            if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
                break  # passes nothing on
    return known


def _reference(name: str) -> Config:
    """Return how Keras 3 refers to a custom object that is a function."""
    return {"module": None, "class_name": "function", "config": name, "registered_name": name}
