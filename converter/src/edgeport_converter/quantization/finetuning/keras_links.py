"""Which Keras variable a graph's weights come from, and the way back into it.

The export turns a kernel, multiplies it by the factor of a BatchNormalization, by the scale of an
input, and by what equalization chose. All of that is a factor for each output and one for each
input: ``W = s[o] * K[o, k] * r[k]``. ``find_links`` finds factors and variable by the values, so it
needs no more of a model than its variables: subclassed, nested and wrapped layers are all alike. A
bias goes back into the layer's own, or into beta of the BatchNormalization.

A wrong link would be seen: the parity check compares the trained graph with the Keras model that
holds the weights that were put back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import onnx_ir as ir

from edgeport.artifact.golden import Array
from edgeport_converter.loading.model import all_layers, layer_of
from edgeport_converter.loading.purity import assign_all
from edgeport_converter.optimizing.constants import array_of, known
from edgeport_converter.optimizing.layer_inputs import by_channel
from edgeport_converter.quantization.qdq.quantize import weighted_nodes
from edgeport_converter.quantization.tensors import only_use
from edgeport_converter.quantization.weights import forms
from edgeport_converter.quantization.weights.equalization import DIVIDED, EQUALIZED

_CLOSE = 1e-4  # of the largest weight, between what was exported and what the factors give
_ROUNDS = 4  # of fitting factors of outputs and inputs in turn


@dataclass(frozen=True, eq=False)
class Link:
    """Weights of a graph, and the variables that they come from.

    Attributes:
        node: the first that reads them.
        weights: their name in the graph.
        kernel: the Keras variable.
        axes: how its axes are turned before it is reshaped to the weights' form.
        outputs, inputs: the factors s (R, 1) and r (R, K).
        bias: the name of the bias in the graph, None where it does not change.
        shift: the Keras variable that it moves.
        shift_factors: what a step of ``shift`` is multiplied by on its way to the bias.
    """

    node: ir.Node
    weights: str
    kernel: Any
    axes: tuple[int, ...]
    outputs: Array
    inputs: Array
    bias: str | None = None
    shift: Any = None
    shift_factors: Array = field(default_factory=lambda: np.ones(()))

    def kernel_of(self, trained: Array) -> Array:
        """Return the kernel that is exported as these weights; channels without factor stay."""
        before = self.kernel.numpy()
        rows = _rows(self.node, trained)
        factor = self.outputs * self.inputs
        old = _rows(self.node, before.transpose(self.axes).reshape(trained.shape))
        new = np.where(factor != 0, rows / np.where(factor != 0, factor, 1), old)
        shape = tuple(before.shape[axis] for axis in self.axes)
        stored = forms.as_stored(self.node, _sums(self.node, new), trained.shape)
        return stored.reshape(shape).transpose(np.argsort(self.axes)).astype(before.dtype)

    def shift_of(self, before: Array, trained: Array) -> Array:
        """Return the variable that is exported as this bias."""
        moved = (trained.astype(np.float64) - before).reshape(-1) / self.shift_factors
        found: Array = (self.shift.numpy() + moved).astype(self.shift.numpy().dtype)
        return found


def find_links(model: Any, graph: ir.Graph) -> list[Link]:
    """Return the weights of a graph that can be put back into a Keras model.

    Left out are those of frozen variables, of variables that are exported as several weights, and
    of layers whose arithmetic is more than factors.

    Args:
        model: the Keras model.
        graph: its float graph, optimized and equalized.
    """
    variables = [each for each in model.weights if len(each.shape) > 1]
    found: dict[str, Link | None] = {}
    for node in weighted_nodes(graph):
        name = node.inputs[1].name or ""  # type: ignore[union-attr]  # it is a constant
        plain = all(node.attributes.get_float(key, 1.0) == 1.0 for key in ("alpha", "beta"))
        if name not in found and plain:
            found[name] = _find_kernel(model, node, name, variables)
    links = [each for each in found.values() if each is not None]
    used = Counter(id(each.kernel) for each in links)
    links = [each for each in links if used[id(each.kernel)] == 1]
    shifted = [_with_bias(model, each) for each in links]
    moved = Counter(id(each.shift) for each in shifted)
    kept = [
        link if moved[id(link.shift)] == 1 else plain
        for link, plain in zip(shifted, links, strict=True)
    ]
    return [each for each in kept if each.kernel.trainable]


def _find_kernel(model: Any, node: ir.Node, name: str, variables: list[Any]) -> Link | None:
    weights = known(node.inputs[1]).astype(np.float64)
    if not weights.any():
        return None
    divided = np.asarray(1 / node.meta[DIVIDED]) if DIVIDED in node.meta else np.ones(1)
    known_inputs = _rows(node, np.broadcast_to(by_channel(divided, node), weights.shape))
    rows = _rows(node, weights) / known_inputs
    layer = layer_of(model, node.name or "")
    own = {id(each) for each in getattr(layer, "weights", ())}
    for variable in sorted(variables, key=lambda each: id(each) not in own):
        if int(np.prod(variable.shape)) != weights.size:
            continue
        for axes in _turns(len(variable.shape)):
            kernel = np.asarray(variable.numpy(), np.float64)
            given = _rows(node, kernel.transpose(axes).reshape(weights.shape))
            factors = _fit(given, rows, may_fit_inputs=id(variable) in own)
            if factors is not None:
                outputs, inputs = factors
                return Link(node, name, variable, axes, outputs, inputs * known_inputs)
    return None


def _turns(rank: int) -> list[tuple[int, ...]]:
    """Return how Keras' kernels are turned: (kernel axes, I, O), (kernel axes, C, M), (I, O)."""
    places = tuple(range(rank - 2))
    return list(
        dict.fromkeys(
            [
                (rank - 1, rank - 2, *places),
                (rank - 2, rank - 1, *places),
                tuple(range(rank)),
            ]
        )
    )


def _rows(node: ir.Node, weights: Array) -> Array:
    sums = forms.as_sums(node, weights)
    return sums.reshape(-1, sums.shape[-1])


def _sums(node: ir.Node, rows: Array) -> Array:
    groups = forms.groups_of(node)
    return rows.reshape(groups, len(rows) // groups, -1)


def _fit(kernel: Array, weights: Array, *, may_fit_inputs: bool) -> tuple[Array, Array] | None:
    """Return factors (R, 1) and (1, K) with ``weights = outputs * kernel * inputs``, or None.

    Factors of the outputs are tried alone first. Where a row or a column is a single number, any
    two matrices fit, so that those of the inputs are only taken from the layer's own variables.
    """
    outputs, inputs = np.ones((len(kernel), 1)), np.ones((1, kernel.shape[1]))
    allowed = _CLOSE * np.abs(weights).max()
    for turn in range(_ROUNDS if may_fit_inputs else 1):
        scaled = kernel * inputs
        outputs = _ratio(weights, scaled, axis=1)
        if np.abs(weights - outputs * scaled).max() <= allowed:
            return outputs, inputs
        if turn + 1 < _ROUNDS:
            inputs = _ratio(weights, kernel * outputs, axis=0)
    return None


def _ratio(wanted: Array, given: Array, axis: int) -> Array:
    square = (given * given).sum(axis=axis, keepdims=True)
    found: Array = (wanted * given).sum(axis=axis, keepdims=True)
    return np.where(square > 0, found / np.where(square > 0, square, 1), 0.0)


def _with_bias(model: Any, link: Link) -> Link:
    """Return the link with the variable that moves the bias, as far as the values tell it."""
    node = link.node
    value = node.inputs[2] if len(node.inputs) > 2 else None
    bias = array_of(value)
    if value is None or bias is None or only_use(value)[0] is not node:
        return link
    flat = bias.astype(np.float64).reshape(-1)
    equalized = np.asarray(node.meta.get(EQUALIZED, np.ones(len(flat))), np.float64)
    own = getattr(_owner_of(model, link.kernel), "bias", None)
    start = np.zeros(len(flat)) if own is None else np.asarray(own.numpy(), np.float64).reshape(-1)
    if len(start) != len(flat) or len(equalized) != len(flat):
        return link
    allowed = _CLOSE * max(np.abs(flat).max(), 1e-30)
    for beta, mean, factor in _norms(model, len(flat)):
        moved = equalized * (factor * (start - mean) + beta.numpy())
        if beta.trainable and np.abs(moved - flat).max() <= allowed:
            return _moving(link, value.name or "", beta, equalized)
    if own is not None and own.trainable and np.abs(equalized * start - flat).max() <= allowed:
        return _moving(link, value.name or "", own, equalized)
    return link


def _moving(link: Link, name: str, variable: Any, factors: Array) -> Link:
    return Link(
        link.node, link.weights, link.kernel, link.axes, link.outputs, link.inputs,
        name, variable, factors,
    )  # fmt: skip


def _owner_of(model: Any, variable: Any) -> Any:
    """Return the innermost layer that has a variable."""
    owners = [each for each in all_layers(model) if any(v is variable for v in each.weights)]
    return min(owners, key=lambda each: len(each.weights), default=None)


def _norms(model: Any, channels: int) -> Iterator[tuple[Any, Array, Array]]:
    """Yield beta, mean and factor of each BatchNormalization of so many channels."""
    for layer in all_layers(model):
        variance, beta = getattr(layer, "moving_variance", None), getattr(layer, "beta", None)
        if variance is None or beta is None or tuple(variance.shape) != (channels,):
            continue
        gamma = getattr(layer, "gamma", None)
        scale = 1.0 if gamma is None else np.asarray(gamma.numpy(), np.float64)
        factor = scale / np.sqrt(np.asarray(variance.numpy(), np.float64) + layer.epsilon)
        yield beta, np.asarray(layer.moving_mean.numpy(), np.float64), factor


def values_for(
    links: list[Link], graph: ir.Graph, weights: Mapping[str, Array], biases: Mapping[str, Array]
) -> list[tuple[Any, Array]]:
    """Return the Keras variables that change, with their new values."""
    found = []
    for link in links:
        if link.weights in weights:
            found.append((link.kernel, link.kernel_of(weights[link.weights])))
        if link.bias is not None and link.bias in biases:
            before = known(graph.initializers[link.bias]).astype(np.float64)
            found.append((link.shift, link.shift_of(before, biases[link.bias])))
    return found


@contextmanager
def with_values(values: list[tuple[Any, Array]]) -> Iterator[None]:
    """Have a model answer with other values of its variables within the block.

    Variables of Keras 3 are read through a stateless scope, so that the model itself never changes.
    What was traced before the block has the former values. Plain variables of TensorFlow, which
    tf_keras has, are assigned and given their own values back, however often Ctrl-C comes.
    """
    if all(isinstance(variable, keras.Variable) for variable, _ in values):
        with keras.StatelessScope(state_mapping=values):
            yield
        return
    before = [(variable, variable.numpy()) for variable, _ in values]
    try:
        for variable, value in values:
            variable.assign(value)
        yield
    finally:
        assign_all(before)
