"""Exact repairs of how a config of Keras 2 lists a model's layers, inputs and calls.

``configs`` calls this for each model and for each model inside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

Config = dict[str, Any]

MODULES = {
    "Functional": "keras.src.models.functional",
    "Model": "keras.src.models.functional",
    "Sequential": "keras",
}
"""The modules of the classes of models, as Keras 3 writes them into its own files."""

# Layers whose first state is, in Keras 2, further inputs in a list.
_RECURRENT = (
    *("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"),
    *("Bidirectional", "GRU", "LSTM", "RNN", "SimpleRNN"),
)


def repair_graph(part: Config, changes: Counter[str]) -> None:
    """Repair one model's graph in place, and count what was changed."""
    layers = part["config"].get("layers")
    if not isinstance(layers, list) or not layers:
        return
    _rename_layers(part["config"], layers, changes)
    if part["class_name"] == "Sequential":
        _declare_input(part, layers, changes)
    else:
        _count_calls_from_zero(part["config"], layers, changes)
        for key in ("input_layers", "output_layers"):
            # Keras 2 passed on a single tensor where the list holds one; Keras 3 passes the list
            # to the next layer. Only nested models show it, so no note is made.
            listed = part["config"].get(key)
            if isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], list):
                part["config"][key] = listed[0]
        for layer in layers:
            _link_tensors(layer, {other.get("name") for other in layers}, changes)


def _rename_layers(config: Config, layers: list[Config], changes: Counter[str]) -> None:
    """Replace the slashes in layer names, which Keras 3 reserves for paths."""
    names = {layer["config"].get("name", "") for layer in layers}
    new_names = {name: name.replace("/", "_") for name in names if "/" in name}
    if len(names - new_names.keys() | set(new_names.values())) != len(names):
        return  # two would become one
    for layer in layers:
        for part in (layer, layer["config"]):
            if part.get("name") in new_names:
                part["name"] = new_names[part["name"]]
                changes["replaced / by _ in layer names"] += part is layer["config"]
        for reference in _references(layer.get("inbound_nodes"), new_names):
            reference[0] = new_names[reference[0]]
    for key in ("input_layers", "output_layers"):
        for reference in list(_references(config.get(key), new_names)):
            reference[0] = new_names[reference[0]]


def _declare_input(model: Config, layers: list[Config], changes: Counter[str]) -> None:
    """Insert the InputLayer; without it Keras 3 would add a second batch axis to the shape."""
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
    """Return the shape, with the batch axis, that a layer's or model's config declares."""
    config = part["config"]
    for key in ("batch_input_shape", "batch_shape"):
        if isinstance(config.get(key), list):
            return list(config[key])
    layers = config.get("layers")
    if part["class_name"] in MODULES and isinstance(layers, list) and layers:
        shape = _input_shape(layers[0])
        if shape is not None:
            return shape
    shape = config.get("build_input_shape")
    return list(shape) if isinstance(shape, list) else None


def _count_calls_from_zero(config: Config, layers: list[Config], changes: Counter[str]) -> None:
    """Renumber the calls of nested models.

    Keras 2 counted a nested model's own graph as its call 0, so that the calls in the outer graph
    begin at 1. In Keras 3 they begin at 0, except where the outer model's outputs refer to a nested
    functional model.
    """
    nested = {
        layer.get("name", layer["config"].get("name")): layer["class_name"]
        for layer in layers
        if layer.get("class_name") in MODULES
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


def _link_tensors(layer: Config, names: set[Any], changes: Counter[str]) -> None:
    """Write calls with keyword arguments or first states in Keras 3's form.

    From the old form, Keras 3 would pass a tensor in a keyword argument, as attention has it, as
    the list ``["layer", call, tensor]``, and the first state of a recurrent layer as an input.
    """
    nodes = layer.get("inbound_nodes")
    if not isinstance(nodes, list):
        return
    for number, node in enumerate(nodes):
        if not isinstance(node, list) or not all(_is_reference(item, names) for item in node):
            continue
        tensors = [_tensor(item) for item in node]
        keywords = {
            key: _tensor(value) if _is_reference(value, names) else value
            for item in node
            for key, value in (item[3] if len(item) == 4 else {}).items()
        }
        has_state = layer["class_name"] in _RECURRENT and len(tensors) > 1
        if has_state and not layer["config"].get("num_constants"):
            keywords["initial_state"] = tensors[1:]
            del tensors[1:]
            layer.pop("build_config", None)  # of the inputs and the states together
        elif not any(isinstance(v, dict) and v.get("config") for v in keywords.values()):
            continue
        arguments = tensors[0] if len(tensors) == 1 else tensors
        nodes[number] = {"args": [arguments], "kwargs": keywords}
        changes[f"linked the tensors that {layer['class_name']} is called with"] += 1


def _tensor(reference: list[Any]) -> Config:
    # Only the history is read; the tensor itself is looked up by it.
    history = {"shape": [], "dtype": "float32", "keras_history": reference[:3]}
    return {"class_name": "__keras_tensor__", "config": history}
