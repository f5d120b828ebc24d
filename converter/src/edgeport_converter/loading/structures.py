"""Nested inputs and outputs of a functional model, as named tensors in the declared order.

Works for Keras 3 and tf_keras, which share this interface.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgeport_converter.loading.model import Call, TensorInfo, unique_names

_Path = tuple[Any, ...]


def make_call(
    model: Any, inputs: Any, outputs: Any
) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...], Call]:
    """Return what goes into a model, what comes out, and the function over named tensors.

    A tensor in a dict is named by its key, which is what the model's callers write; any other one
    by the layer that made it.

    Args:
        model: is called with the inputs' structure and ``training=False``.
        inputs: symbolic tensors in the structure that the model was declared with.
        outputs: the same of what it returns.
    """
    leaves_in, leaves_out = dict(_walk(inputs)), dict(_walk(outputs))
    names_in = _input_names(inputs)
    names_out = list(name_outputs(model, inputs, outputs))
    name_by_path = dict(zip(leaves_in, names_in, strict=True))

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        arguments = _fill(inputs, {path: tensors[name] for path, name in name_by_path.items()})
        results = model(arguments, training=False)
        found = (_follow(results, path) for path in leaves_out)
        return dict(zip(names_out, found, strict=True))

    return (
        tuple(_info(name, t) for name, t in zip(names_in, leaves_in.values(), strict=True)),
        tuple(
            _info(name, tensor, _activation(tensor))
            for name, tensor in zip(names_out, leaves_out.values(), strict=True)
        ),
        call,
    )


def parts_of(config: Any) -> Iterator[Any]:
    """Yield a model's config and every value in it, outermost first."""
    yield config
    if isinstance(config, (dict, list)):
        for value in list(config.values()) if isinstance(config, dict) else config:
            yield from parts_of(value)


def name_outputs(model: Any, inputs: Any, outputs: Any) -> dict[str, Any]:
    """Return the symbolic outputs of a model by their names, in the declared order."""
    leaves = dict(_walk(outputs))
    names = unique_names(_output_names(model, list(leaves)), tuple(_input_names(inputs)))
    return dict(zip(names, leaves.values(), strict=True))


def _walk(structure: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """Yield path and leaf in the declared order; Keras' own flattening sorts dicts by key."""
    if isinstance(structure, Mapping):
        for key, value in structure.items():
            yield from _walk(value, (*path, key))
    elif isinstance(structure, (list, tuple)):
        for number, value in enumerate(structure):
            yield from _walk(value, (*path, number))
    else:
        yield path, structure


def _fill(structure: Any, leaves: Mapping[_Path, Any], path: _Path = ()) -> Any:
    """Return plain dicts, lists and tuples of that structure with other leaves."""
    if isinstance(structure, Mapping):
        return {key: _fill(value, leaves, (*path, key)) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        items = [_fill(value, leaves, (*path, n)) for n, value in enumerate(structure)]
        return tuple(items) if isinstance(structure, tuple) else items
    return leaves[path]


def _follow(results: Any, path: _Path) -> Any:
    for step in path:
        if not isinstance(results, (Mapping, list, tuple)):
            return results  # Keras unpacks a list of one
        results = results[step]
    return results


def _key(path: _Path) -> str | None:
    """Return the name that a path through a dict gives, "a" or "a.0"."""
    if not any(isinstance(step, str) for step in path):
        return None
    return ".".join(str(step) for step in path)


def _input_names(inputs: Any) -> list[str]:
    return unique_names([_key(path) or _input_name(tensor) for path, tensor in _walk(inputs)])


def _input_name(tensor: Any) -> str:
    """Return the InputLayer's name, which survives saving; the tensor's may not."""
    name: str = getattr(_layer_of(tensor), "name", None) or tensor.name.partition(":")[0]
    return name


def _output_names(model: Any, paths: list[_Path]) -> list[str]:
    layers = list(getattr(model, "output_names", None) or ())
    if len(layers) != len(paths):  # a Sequential model has no such list
        layers = [model.layers[-1].name if model.layers else model.name] * len(paths)
    return [_key(path) or layer for path, layer in zip(paths, layers, strict=True)]


def _info(name: str, tensor: Any, activation: str | None = None) -> TensorInfo:
    dtype = getattr(tensor.dtype, "name", None) or str(tensor.dtype)
    shape = tuple(None if size is None else int(size) for size in tensor.shape)
    return TensorInfo(name, shape, dtype, activation)


def _activation(tensor: Any) -> str | None:
    """Return the name of the activation that a symbolic output comes from."""
    layer = _layer_of(tensor)
    while getattr(layer, "layers", None) and getattr(layer, "outputs", None):
        tensor = layer.outputs[tensor._keras_history.tensor_index]  # of a nested model's own layer
        layer = _layer_of(tensor)
    if layer is None:
        return None
    name = getattr(getattr(layer, "activation", None), "__name__", None)
    return name or type(layer).__name__.lower()


def _layer_of(tensor: Any) -> Any:
    """Return the layer that made a symbolic tensor; no public way leads from one to the other."""
    history = getattr(tensor, "_keras_history", None)
    return getattr(history, "operation", None) or getattr(history, "layer", None)
