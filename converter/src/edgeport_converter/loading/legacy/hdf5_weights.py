"""Weights from a file into a model, each one checked to have arrived.

Keras assigns the weights of old HDF5 files to layers by their order, which frozen layers and
branches can change; here they are assigned by name. Keras loads its own archives. In both cases
every variable is first filled with a value that no file has, and checked afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import h5py
import keras
import numpy as np

from edgeport import ConversionError
from edgeport.artifact.golden import Array


def load_and_check(model: Any, load: Callable[[], None], source: str) -> None:
    """Let ``load`` fill the model; raises ConversionError if a weight was left out."""
    marked = [(weight, mark) for weight in model.weights if (mark := _mark(weight)) is not None]
    for weight, mark in marked:
        weight.assign(np.full(weight.shape, mark, keras.backend.standardize_dtype(weight.dtype)))
    load()
    left = [
        weight.path
        for weight, mark in marked
        if np.all(np.asarray(weight.numpy()) == np.asarray(mark, weight.numpy().dtype))
    ]
    if left:
        raise ConversionError(
            f"'{source}' has no value for {len(left)} of {len(model.weights)} weights (first "
            f"'{left[0]}'), expected all: the file and the layers' code belong to different models"
        )


def _mark(weight: Any) -> float | int | None:
    """Return a value that no trained weight has; None for an empty weight or another dtype."""
    if 0 in weight.shape:
        return None
    dtype = weight.numpy().dtype
    if np.issubdtype(dtype, np.integer):
        return int(np.iinfo(dtype).min) if np.iinfo(dtype).min < 0 else int(np.iinfo(dtype).max)
    if np.issubdtype(dtype, np.floating):
        return float(np.finfo(dtype).min)
    return None


def assign_by_name(model: Any, file: h5py.Group) -> None:
    """Assign the weights of an old HDF5 file by name; raises ConversionError if they do not fit."""
    layers = {layer.name.replace("/", "_"): layer for layer in model.layers if layer.weights}
    stored = {
        name.replace("/", "_"): weights  # ``graphs`` renames the layers so
        for name in _read_names(file, "layer_names")
        if (weights := list(_read_weights(file[name])))
    }
    if layers.keys() != stored.keys():
        missing = sorted(layers.keys() - stored.keys()) or sorted(stored.keys() - layers.keys())
        raise ConversionError(
            f"the file holds weights of {len(stored)} layers and the model has {len(layers)} "
            f"(first that differs: '{missing[0]}'), expected the same layers: pass the weights "
            "that belong to this model"
        )
    for name, layer in layers.items():
        _assign_layer(layer, stored[name])
    top = file.get("top_level_model_weights")
    extra = list(_read_weights(top)) if isinstance(top, h5py.Group) else []
    if extra:
        raise ConversionError(
            f"the file holds {len(extra)} weights that belong to no layer, expected none: save "
            "the model with Keras 3, model.save('model.keras')"
        )


def _read_names(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names; Keras splits a list above HDF5's limit for one attribute."""
    values = list(group.attrs.get(attribute, ()))
    number = 0
    while f"{attribute}{number}" in group.attrs:
        values.extend(group.attrs[f"{attribute}{number}"])
        number += 1
    return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values]


def _read_weights(group: h5py.Group) -> Iterator[StoredWeight]:
    for name in _read_names(group, "weight_names"):
        parts = name.split("/")
        parts[-1] = parts[-1].partition(":")[0]
        yield StoredWeight(tuple(parts), np.asarray(group[name]))


def _assign_layer(layer: Any, stored: list[StoredWeight]) -> None:
    if _inner_model(layer) is not None:
        leaves = list(_leaves(layer))
        shares = _share_out([leaf.name for leaf in leaves], stored)
        if shares is not None:
            for leaf, share in zip(leaves, shares, strict=True):
                _assign_layer(leaf, share)
            return
    variables = layer.trainable_weights + layer.non_trainable_weights
    if len(variables) != len(stored):
        raise ConversionError(
            f"the file holds {len(stored)} weights for layer '{layer.name}' and the layer has "
            f"{len(variables)}, expected as many: save the model with Keras 3, "
            "model.save('model.keras')"
        )
    ordered = from_cudnn(_in_order_of(layer, variables, stored), [v.shape for v in variables])
    for variable, weight in zip(variables, ordered, strict=True):
        if tuple(variable.shape) != weight.array.shape:
            raise ConversionError(
                f"the file's weight '{'/'.join(weight.parts)}' of layer '{layer.name}' has shape "
                f"{weight.array.shape}, expected {tuple(variable.shape)}: pass the weights that "
                "belong to this model"
            )
        variable.assign(weight.array)
    for part in _leaves(layer):
        if hasattr(part, "finalize_state"):  # Normalization derives constants from its weights
            part.finalize_state()


def _leaves(layer: Any) -> Iterator[Any]:
    """Yield the layers with weights that have no layers in a model of their own."""
    model = _inner_model(layer)
    if model is not None:
        for inner in model.layers:
            yield from _leaves(inner)
    elif layer.weights:
        yield layer


def _inner_model(layer: Any) -> Any:
    """Return the model that a layer is or wraps, as TimeDistributed can; None for a plain layer."""
    inner = layer.layer if isinstance(layer, keras.layers.Wrapper) else layer
    return inner if isinstance(inner, keras.Model) else None


def _share_out(names: list[str], stored: list[StoredWeight]) -> list[list[StoredWeight]] | None:
    """Return each inner layer's weights, None where their names do not tell whose they are.

    The file lists a nested model's trainable weights first, so its order depends on what was
    frozen when it was saved.
    """
    if len(set(names)) != len(names):
        return None
    shares: dict[str, list[StoredWeight]] = {name: [] for name in names}
    for weight in stored:
        owner = _owner(weight.parts[:-1], shares.keys())
        if owner is None:
            return None
        shares[owner].append(weight)
    return [shares[name] for name in names] if all(shares.values()) else None


def _owner(parts: tuple[str, ...], names: Collection[str]) -> str | None:
    """Return the layer that a path names, the longest name first; None where two fit.

    A name with a slash spans several parts; ``graphs`` has put underscores there.
    """
    for length in range(len(parts), 0, -1):
        spans = {"_".join(parts[i : i + length]) for i in range(len(parts) - length + 1)}
        found = spans & set(names)
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _in_order_of(
    layer: Any, variables: list[Any], stored: list[StoredWeight]
) -> list[StoredWeight]:
    """Return one layer's stored weights in the order of its variables."""
    wanted = [_KERNEL_NAMES.get(variable.name, variable.name) for variable in variables]
    found = [weight.kind for weight in stored]
    if wanted == found:
        return stored
    if sorted(wanted) == sorted(found) and len(set(found)) == len(found):
        return [stored[found.index(kind)] for kind in wanted]
    if _inner_model(layer) is not None:
        raise ConversionError(
            f"the file's weights of the model '{layer.name}' inside the model have names that do "
            f"not tell whose they are (first '{'/'.join(stored[0].parts)}'), expected the names "
            "of its layers: save the model with Keras 3, model.save('model.keras')"
        )
    return stored  # a plain layer with unknown names: order and shapes have to serve


# Keras 3 calls this kernel; older files use the layer's own word.
_KERNEL_NAMES = {"depthwise_kernel": "kernel"}


@dataclass(frozen=True)
class StoredWeight:
    """A weight in a file.

    Attributes:
        parts: of its name, the last one without TensorFlow's ``:0``.
        array: its value.
    """

    parts: tuple[str, ...]
    array: Array

    @property
    def kind(self) -> str:
        """Keras 3's name for what the layer uses it for, such as "kernel" or "bias"."""
        return _KERNEL_NAMES.get(self.parts[-1], self.parts[-1])


def from_cudnn(
    stored: Sequence[StoredWeight], shapes: Sequence[Sequence[int]]
) -> list[StoredWeight]:
    """Return the weights of CuDNNLSTM and CuDNNGRU as LSTM and GRU have them, others as they are.

    The GPU library has two biases, where LSTM has one sum and GRU two rows, and its matrices are
    transposed, gate by gate.

    ``shapes`` are those of the layer's variables, in whose order the weights are stored.

    **Source**: the conversion that Keras 2 did when it loaded weights, ``hdf5_format.py``.
    """
    result = list(stored)
    for i in range(len(stored) - 2):
        kernel, recurrent, bias = stored[i : i + 3]
        kinds = [weight.kind for weight in (kernel, recurrent, bias)]
        if kinds != ["kernel", "recurrent_kernel", "bias"] or bias.array.ndim != 1:
            continue
        units = recurrent.array.shape[0]
        gates = len(bias.array) // (2 * units)
        if len(bias.array) != 2 * gates * units or recurrent.array.shape[1] != gates * units:
            continue
        rows = bias.array.reshape(2, gates * units)
        sums = len(shapes[i + 2]) == 1
        result[i] = replace(kernel, array=_by_gate(kernel.array, gates, order="F"))
        result[i + 1] = replace(recurrent, array=_by_gate(recurrent.array, gates, order="C"))
        result[i + 2] = replace(bias, array=rows.sum(axis=0) if sums else rows)
    return result


def _by_gate(matrix: Array, gates: int, *, order: Literal["C", "F"]) -> Array:
    """Transpose each gate's part; "F" for input matrices, which may not be square."""
    parts = np.hsplit(matrix, gates)
    return np.hstack([part.T.reshape(part.shape, order=order) for part in parts])
