"""Exact repairs of configs that Keras 2 wrote and Keras 3 refuses or, worse, misreads.

Each repair says the same model in Keras 3's words, so no answer changes, and each is reported.
Where no exact words exist the config stays as it is, and Keras 3 refuses it by name.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras

Config = dict[str, Any]

OLD_HARD_SIGMOID = "keras_2_hard_sigmoid"
"""The name under which ``OBJECTS`` holds the hard sigmoid of Keras 2."""

_MODELS = ("Sequential", "Functional", "Model")

# Keys that Keras 3 does not know, with the values at which they change no answer: what Keras 2
# wrote by default, and choices between equal ways to compute. Anything else is left for Keras 3
# to refuse.
_ANY = object()
_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "adjustment": (None,),
    "causal": (False,),
    "experimental_run_tf_function": (_ANY,),
    "fused": (_ANY,),
    "groups": (1,),
    "implementation": (_ANY,),
    "input_dtype": (_ANY,),
    "ragged": (False, None),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "renorm_momentum": (_ANY,),  # renorm itself is only dropped at False
    "sparse": (False, None),
    "time_major": (False,),
    "virtual_batch_size": (None,),
}

# Names that TensorFlow 1.13 to 2.0 wrote for layers that are in Keras 3 under the plain name.
_RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "DenseFeaturesV2": "DenseFeatures",
    "GRUV2": "GRU",
    "LSTMV2": "LSTM",
    "UnifiedGRU": "GRU",
    "UnifiedLSTM": "LSTM",
}

MIXED_POLICIES = ("mixed_float16", "mixed_bfloat16")
HALF_DTYPES = ("float16", "bfloat16")


def keras_2_hard_sigmoid(x: Any) -> Any:
    """Return max(0, min(1, 0.2 x + 0.5)).

    Keras 3 gives the name ``hard_sigmoid`` to another function, relu6(x + 3) / 6, and loads old
    files without a word.
    """
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


OBJECTS = {OLD_HARD_SIGMOID: keras_2_hard_sigmoid}
"""What a repaired config refers to; pass it as custom objects."""


def is_old(keras_version: str | None, config: Config) -> bool:
    """Whether Keras 1 or 2 wrote the config."""
    if keras_version is not None:
        return keras_version.split(".")[0] in ("1", "2")
    return "module" not in config


def repair(config: Config) -> tuple[Config, tuple[str, ...]]:
    """Return a config of Keras 2 in the words of Keras 3, and what was changed.

    Args:
        config: ``{"class_name": …, "config": …}`` of the whole model; it is not changed.
    """
    config = copy.deepcopy(config)
    changes: Counter[str] = Counter()
    for part in list(_objects(config)):
        _repair_object(part, changes)
    for part in list(_objects(config)):
        if part["class_name"] in _MODELS:
            _repair_model(part, changes)
    for part in list(_objects(config)):
        if part["class_name"] != "InputLayer":  # declared once, and read by now
            part["config"].pop("batch_input_shape", None)
    return config, tuple(_say(change, count) for change, count in changes.items())


def in_float32(config: Config) -> tuple[Config, str | None]:
    """Return the config with float32 for every mixed precision policy, and the policy's name.

    Variables are float32 under these policies, so the weights stay the same to the bit; only the
    rounding of what is computed between them goes.
    """
    found: set[str] = set()

    def replace(part: Any) -> Any:
        if isinstance(part, list):
            return [replace(item) for item in part]
        if not isinstance(part, dict):
            return part
        return {
            key: _float32_policy(value, found) if key == "dtype" else replace(value)
            for key, value in part.items()
        }

    replaced = replace(config)
    return replaced, min(found, default=None)


def _float32_policy(value: Any, found: set[str]) -> Any:
    name = value
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        name = value["config"].get("name")
    if name in MIXED_POLICIES:
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


def _repair_object(part: Config, changes: Counter[str]) -> None:
    renamed = _RENAMED.get(part["class_name"])
    if renamed is not None:
        changes[f"read {part['class_name']} as {renamed}, its name today,"] += 1
        part["class_name"] = renamed
    name, config = part["class_name"], part["config"]
    policy = config.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") in ("Policy", "PolicyV1"):
        config["dtype"] = policy["config"]["name"]
    layer = getattr(keras.layers, name, None)
    if not inspect.isclass(layer):
        return
    known = _known_options(layer)
    for key in [key for key in config if key not in known and key in _WITHOUT_EFFECT]:
        if _WITHOUT_EFFECT[key] == (_ANY,) or config[key] in _WITHOUT_EFFECT[key]:
            changes[f"dropped {key}={config.pop(key)!r}, which changes nothing, from {name}"] += 1
    for key in ("activation", "recurrent_activation"):
        if _function_name(config.get(key)) == "hard_sigmoid":
            config[key] = OLD_HARD_SIGMOID
            changes[f"kept the hard_sigmoid of Keras 2, 0.2 x + 0.5, in {name}"] += 1
    if name in ("GRU", "GRUCell") and "reset_after" not in config:
        config["reset_after"] = False
        changes[f"kept the old default reset_after=False of {name}"] += 1


def _known_options(layer: type[Any]) -> set[str]:
    """Return the names of all options that a layer and its bases take."""
    return {
        name
        for base in layer.__mro__
        if "__init__" in vars(base)
        for name in inspect.signature(base.__init__).parameters  # type: ignore[misc]
    }


def _function_name(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("config")
    return value if isinstance(value, str) else None


def _repair_model(part: Config, changes: Counter[str]) -> None:
    layers = part["config"].get("layers")
    if not isinstance(layers, list) or not layers:
        return
    if part["class_name"] == "Sequential":
        _declare_input(part, layers, changes)
    else:
        _count_calls_from_zero(part["config"], layers, changes)
        for key in ("input_layers", "output_layers"):
            # Keras 2 gave a lone tensor for a list of one; Keras 3 hands the list on to the next
            # layer. Only nested models show it, so it is not worth a note.
            listed = part["config"].get(key)
            if isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], list):
                part["config"][key] = listed[0]
        for layer in layers:
            _link_keyword_tensors(layer, {other.get("name") for other in layers}, changes)


def _declare_input(model: Config, layers: list[Config], changes: Counter[str]) -> None:
    """Insert the InputLayer; Keras 3 would take the batch axis in the shape for a second one."""
    first = layers[0]
    if first["class_name"] == "InputLayer":
        return
    shape = _input_shape(model)
    if shape is None:
        return
    dtype = first["config"].get("dtype")
    declared: Config = {
        "class_name": "InputLayer",
        "config": {
            "batch_shape": shape,
            "dtype": dtype if isinstance(dtype, str) and "mixed" not in dtype else "float32",
            "name": f"{first['config'].get('name', 'sequential')}_input",
        },
    }
    if "module" in first:
        declared |= {"module": "keras.layers", "registered_name": None}
    layers.insert(0, declared)
    changes["declared the input of Sequential as an InputLayer"] += 1


def _input_shape(part: Config) -> list[int | None] | None:
    """Return the shape, with the batch axis, that a layer or model says it was built for."""
    config = part["config"]
    for key in ("batch_input_shape", "batch_shape"):
        if isinstance(config.get(key), list):
            return list(config[key])
    layers = config.get("layers")
    if part["class_name"] in _MODELS and isinstance(layers, list) and layers:
        shape = _input_shape(layers[0])
        if shape is not None:
            return shape
    shape = config.get("build_input_shape")
    return list(shape) if isinstance(shape, list) else None


def _count_calls_from_zero(config: Config, layers: list[Config], changes: Counter[str]) -> None:
    """Renumber the calls of nested models.

    Keras 2 counted a nested model's own graph as its call 0, so the calls in the outer graph begin
    at 1; Keras 3 begins at 0, but for the outputs' references to a nested functional model.
    """
    nested = {
        layer.get("name", layer["config"].get("name")): layer["class_name"]
        for layer in layers
        if layer.get("class_name") in _MODELS
    }
    inner = [
        reference
        for layer in layers
        for reference in _references(layer.get("inbound_nodes"), nested.keys())
    ]
    outer = list(_references(config.get("output_layers"), nested.keys()))
    for name, class_name in nested.items():
        own_inner = [reference for reference in inner if reference[0] == name]
        own_outer = [reference for reference in outer if reference[0] == name]
        if not own_inner + own_outer:
            continue
        start = min(reference[1] for reference in own_inner + own_outer)
        for reference in own_inner:
            reference[1] -= start
        for reference in own_outer:
            reference[1] -= start if class_name == "Sequential" else start - 1
        if start:
            changes["numbered the calls of nested models from 0"] += 1


def _references(part: Any, names: Any) -> Iterator[list[Any]]:
    """Yield the ``[layer, call, tensor, …]`` lists below that refer to one of the names."""
    if isinstance(part, list):
        if _is_reference(part, names):
            yield part
            part = part[3:]
        for value in part:
            yield from _references(value, names)
    elif isinstance(part, dict):
        for value in part.values():
            yield from _references(value, names)


def _is_reference(part: Any, names: Any) -> bool:
    return (
        isinstance(part, list)
        and len(part) in (3, 4)
        and isinstance(part[0], str)
        and part[0] in names
        and isinstance(part[1], int)
        and isinstance(part[2], int)
    )


def _link_keyword_tensors(layer: Config, names: set[Any], changes: Counter[str]) -> None:
    """Say calls with tensors in keyword arguments, such as attention's, in Keras 3's form.

    Keras 3 hands the old form's ``["layer", call, tensor]`` to the layer as a list.
    """
    nodes = layer.get("inbound_nodes")
    if not isinstance(nodes, list):
        return
    for number, node in enumerate(nodes):
        if not isinstance(node, list) or not all(_is_reference(item, names) for item in node):
            continue
        keywords = {key: v for item in node for key, v in (item[3] if item[3:] else {}).items()}
        if not any(_is_reference(value, names) for value in keywords.values()):
            continue
        tensors = [_tensor(item) for item in node]
        nodes[number] = {
            "args": [tensors[0] if len(tensors) == 1 else tensors],
            "kwargs": {
                key: _tensor(value) if _is_reference(value, names) else value
                for key, value in keywords.items()
            },
        }
        changes[f"linked the keyword tensors of {layer['class_name']}"] += 1


def _tensor(reference: list[Any]) -> Config:
    # Only the history is read; the tensor itself is looked up by it.
    history = {"shape": [], "dtype": "float32", "keras_history": reference[:3]}
    return {"class_name": "__keras_tensor__", "config": history}


def _say(change: str, count: int) -> str:
    times = "" if count == 1 else f" ({count} times)"
    return f"Keras 2 file: {change.rstrip(',')}{times}"
