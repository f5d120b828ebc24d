"""A quantized graph as a TensorFlow function of its weights, scales and ranges.

The graph is the one that the recipe makes, with its QuantizeLinear and DequantizeLinear, computed
node by node as ONNX defines it. So fake quantization stands where the artifact has the true one.
``training`` changes the variables; ``Trainable.trained`` gives them back as constants.

Learned step size: the scales of weights and the ends of activation ranges are learned with the
weights, by gradients that pass through the rounding as if it were not there. Source: Esser et al.,
"Learned Step Size Quantization" (2020); equation 3 is what differentiating scale * round(x / scale)
gives so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from edgeport.artifact.golden import Array
from edgeport_converter.optimizing.constants import array_of, known
from edgeport_converter.quantization.calibration.ranges import Ranges
from edgeport_converter.quantization.finetuning.operators import OPERATORS, require_operators
from edgeport_converter.quantization.qdq.insertion import choose_scale
from edgeport_converter.quantization.qdq.placement import WEIGHTED_OPERATORS
from edgeport_converter.quantization.weights import forms
from edgeport_converter.quantization.weights.gptq import FULL_LIMIT, PAIR_LIMIT

_CODES = "/codes"

# A weight starts between the codes where the exact one lies, but no further from its own code than
# this, so that it rounds to the code that GPTQ chose. Chosen: half a step is the border.
_INSIDE = 0.45

# A variable moves by about the learning rate at a step. Weights are counted in steps of their
# scale; scales and ranges move by this share as often as a weight moves by one code. Chosen.
_SCALE_SHARE = 0.5
# A bias is counted in what one code of a weight adds at half of the input's range.
_HALF_RANGE = 128.0


@dataclass(frozen=True, eq=False)
class Trained:
    """What was learned, by the names of the float graph's tensors.

    Attributes:
        weights: as stored, whole numbers of scales.
        scales: (G groups, O outputs) of these weights.
        biases: as stored.
        ranges: of all activations, learned or not.
    """

    weights: dict[str, Array]
    scales: dict[str, Array]
    biases: dict[str, Array]
    ranges: Ranges


class _Weights:
    """The weights of a layer as rows (R, K) in steps of the scale that they start with."""

    def __init__(
        self, node: ir.Node, codes: Array, scale: Array, exact: Array, *, pairs: bool
    ) -> None:
        self._node, self._shape, self._pairs = node, exact.shape, pairs
        rows = forms.as_sums(node, codes.astype(np.float64))
        self._groups = rows.shape[0]
        rows = rows.reshape(-1, rows.shape[-1])
        self.start = np.broadcast_to(scale.reshape(-1), len(rows)).astype(np.float32)
        within = forms.as_sums(node, exact.astype(np.float64)).reshape(rows.shape)
        within = np.clip(within / self.start[:, None] - rows, -_INSIDE, _INSIDE)
        self.rows = tf.Variable((rows + within).astype(np.float32))
        self.stretch = tf.Variable(np.zeros(len(rows), np.float32))

    @property
    def variables(self) -> list[Any]:
        return [self.rows, self.stretch]

    def quantized(self) -> tuple[Any, Any]:
        """Return codes (R, K) and scales (R,)."""
        exact = self.rows / tf.exp(_SCALE_SHARE * self.stretch)[:, None]
        return _codes_of(exact, pairs=self._pairs), self.scales()

    def scales(self) -> Any:
        """Return the scale of each output's weights (R,)."""
        return tf.exp(_SCALE_SHARE * self.stretch) * self.start

    def tensor(self) -> Any:
        """Return the weights that int8 stores, in the layer's own form."""
        codes, scales = self.quantized()
        rows = codes * scales[:, None]
        node, shape = self._node, self._shape
        if node.op_type == "Conv":
            return tf.reshape(rows, shape)
        if node.op_type == "ConvTranspose":
            return tf.transpose(
                tf.reshape(rows, [shape[1], shape[0], *shape[2:]]),
                [1, 0, *range(2, len(shape))],
            )
        return rows if forms.is_transposed(node) else tf.transpose(rows)

    def stored(self) -> tuple[Array, Array]:
        """Return weights as stored and scales (G, O)."""
        codes, scales = (each.numpy() for each in self.quantized())
        scales = scales.astype(np.float64).reshape(self._groups, -1)
        sums = codes.astype(np.float64).reshape(*scales.shape, -1) * scales[..., None]
        return forms.as_stored(self._node, sums, self._shape).astype(np.float32), scales


class _Bias:
    """A bias (R,), and by how much it has moved."""

    def __init__(self, start: Array, unit: Array) -> None:
        self._start, self._unit = start.astype(np.float32), unit.astype(np.float32)
        self.moved = tf.Variable(np.zeros(start.shape, np.float32))

    def tensor(self) -> Any:
        return self._start + self._unit * self.moved

    def rounded(self, steps: Any) -> Any:
        """Return what int32 codes stand for, in steps of the layer's sums (R,)."""
        exact = self.tensor()
        steps = tf.reshape(steps, exact.shape)
        return _rounded(exact / steps) * steps


class _Range:
    """The ends of an activation's range; an end at zero stays, and none passes a clip's bound."""

    def __init__(self, low: float, high: float, bounds: tuple[float, float]) -> None:
        self._start, self._bounds = np.array([low, high], np.float32), bounds
        self.stretch = tf.Variable(np.zeros(2, np.float32))

    def ends(self) -> tuple[Any, Any]:
        low, high = tf.unstack(self._start * tf.exp(_SCALE_SHARE * self.stretch))
        return tf.maximum(low, self._bounds[0]), tf.minimum(high, self._bounds[1])

    def scale(self) -> tuple[Any, Any]:
        """Return scale and zero point, as ``choose_scale`` does."""
        low, high = self.ends()
        low = tf.cast(tf.minimum(low, 0.0), tf.float64)
        high = tf.cast(tf.maximum(high, 0.0), tf.float64)
        scale = (high - low) / 255.0
        return tf.cast(scale, tf.float32), tf.cast(_rounded(-low / scale), tf.float32)


class Trainable:
    """A quantized graph whose weights, scales and ranges are variables.

    Args:
        quantized: with uint8 activations, as the recipe makes it.
        source: the float graph that it was made from.
        ranges: of the source's activations.
        weights, biases: the names of the source's constants that may change.
        pairs: whether two codes of one sign add up to 128 at most.
        fixed: names of activations whose ranges do not change.

    Raises:
        UnknownOperatorError: the graph has an operator that is not known here.
    """

    def __init__(
        self,
        quantized: ir.Model,
        source: ir.Graph,
        ranges: Ranges,
        weights: Collection[str],
        biases: Collection[str],
        *,
        pairs: bool,
        fixed: Collection[str] = (),
    ) -> None:
        require_operators(quantized.graph)
        self.graph, self._ranges = quantized.graph, ranges
        self._weights: dict[str, _Weights] = {}
        self._biases: dict[str, _Bias] = {}
        self._learned: dict[str, _Range] = {}
        self._replaced: dict[ir.Value, Any] = {}  # what a DequantizeLinear of constants gives
        self._scales: dict[ir.Value, _Range] = {}  # by the constant with the scale
        self._kept: set[ir.Value | None] = set()  # scales that do not change
        for node in self.graph:
            if node.op_type in WEIGHTED_OPERATORS:
                self._take_layer(node, source, weights, biases, pairs=pairs)
        bounds = _bounds_of(source)
        for node in self.graph:
            if node.op_type == "QuantizeLinear":
                self._take_range(node, bounds, fixed)

    @property
    def variables(self) -> list[Any]:
        """All that training may change."""
        found = [each for weights in self._weights.values() for each in weights.variables]
        found += [bias.moved for bias in self._biases.values()]
        return found + [each.stretch for each in self._learned.values()]

    @property
    def rounded(self) -> list[str]:
        """The names of the activations that are rounded to codes."""
        nodes = [node for node in self.graph if node.op_type == "QuantizeLinear"]
        return [node.inputs[0].name or "" for node in nodes if node.inputs[0] is not None]

    def _take_layer(
        self,
        node: ir.Node,
        source: ir.Graph,
        weights: Collection[str],
        biases: Collection[str],
        *,
        pairs: bool,
    ) -> None:
        reading, name = _constant_of(node, 1)
        bias, bias_name = _constant_of(node, 2)
        codes = node.inputs[0].producer() if node.inputs[0] is not None else None
        if reading is None or codes is None or codes.op_type != "DequantizeLinear":
            return
        if name not in weights or name not in source.initializers:
            if bias is not None:  # its codes count steps of this scale
                self._kept.add(codes.inputs[1])
            return
        if name not in self._weights:
            stored, scale = known(reading.inputs[0]), known(reading.inputs[1])
            exact = known(source.initializers[name])
            limited = pairs and node.op_type != "ConvTranspose"
            self._weights[name] = _Weights(node, stored, scale, exact, pairs=limited)
        layer = self._weights[name]
        self._replaced[reading.outputs[0]] = layer.tensor
        if bias is None or bias_name not in source.initializers:
            return
        # What rounding added to the sums was taken out of the bias; trained weights are rounded
        # already, so a bias that stays is the float one.
        start = known(source.initializers[bias_name])
        steps = known(bias.inputs[1])
        if bias_name in biases and bias_name not in self._biases:
            corrected = _constant_codes(bias).astype(np.float64) * steps
            self._biases[bias_name] = _Bias(corrected.reshape(start.shape), _HALF_RANGE * steps)
        own = self._biases.get(bias_name) or _Bias(start, np.zeros(start.shape))
        self._replaced[bias.outputs[0]] = lambda: own.rounded(
            self._scale_of(codes)[0] * layer.scales()
        )

    def _take_range(
        self,
        node: ir.Node,
        bounds: Mapping[str, tuple[float, float]],
        fixed: Collection[str],
    ) -> None:
        scale, zero = node.inputs[1], node.inputs[2]
        name = (scale.name if scale is not None else None) or ""
        name = name.partition("/scale")[0] if name.endswith("/scale") else ""
        settled = scale is None or scale in self._scales or scale in self._kept
        if scale is None or settled or name in fixed or name not in self._ranges:
            return
        low, high = self._ranges[name]
        chosen, offset = choose_scale(low, high, np.dtype(np.uint8))
        if float(chosen) != float(known(scale)) or offset != int(known(zero)):
            return  # another step has chosen it
        if max(high, 0.0) - min(low, 0.0) > 0:
            found = _Range(min(low, 0.0), max(high, 0.0), bounds.get(name, (-np.inf, np.inf)))
            self._learned[name] = self._scales[scale] = found

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs, and the activations that are rounded, by name."""
        values: dict[ir.Value, Any] = {}
        named: dict[str, Any] = {}
        for value in self.graph.inputs:
            values[value] = tf.convert_to_tensor(inputs[value.name or ""])
        for node in self.graph:
            self._compute(node, values, named)
        for value in self.graph.outputs:
            named[value.name or ""] = self._read(value, values)
        for value in self.graph.outputs:  # what stands before the last function of an output
            source = value.producer()
            if source is not None and source.inputs and source.inputs[0] is not None:
                named[f"before {value.name}"] = self._read(source.inputs[0], values)
        return named

    def _compute(self, node: ir.Node, values: dict[ir.Value, Any], named: dict[str, Any]) -> None:
        output = node.outputs[0]
        if output in self._replaced:
            values[output] = self._replaced[output]()
            return
        given = [None if value is None else self._read(value, values) for value in node.inputs]
        read: Any = given[0] if given else None
        if node.op_type == "QuantizeLinear":
            scale, zero = self._scale_of(node)
            codes = _rounded(read / scale) + zero
            values[output] = tf.clip_by_value(codes, 0.0, 255.0)
        elif node.op_type == "DequantizeLinear":
            source = node.inputs[0].producer() if node.inputs[0] is not None else None
            rounds = source is not None and source.op_type == "QuantizeLinear"
            scale, zero = self._scale_of(source if rounds and source is not None else node)
            if scale.shape.rank:
                shape = [1] * read.shape.rank
                shape[node.attributes.get_int("axis", 1)] = -1
                scale, zero = tf.reshape(scale, shape), tf.reshape(zero, shape)
            values[output] = (tf.cast(read, tf.float32) - zero) * scale
            if rounds and source is not None and source.inputs[0] is not None:
                named[source.inputs[0].name or ""] = values[output]
        else:
            answer = OPERATORS[node.op_type](node, *given)
            answers = answer if isinstance(answer, tuple) else (answer,)
            values.update(zip(node.outputs, answers, strict=False))

    def _scale_of(self, node: ir.Node) -> tuple[Any, Any]:
        scale, zero = node.inputs[1], node.inputs[2]
        if scale in self._scales:
            return self._scales[scale].scale()
        return tf.constant(known(scale)), tf.cast(known(zero), tf.float32)

    def _read(self, value: ir.Value, values: dict[ir.Value, Any]) -> Any:
        if value not in values:
            values[value] = tf.constant(known(value))
        return values[value]

    def trained(self) -> Trained:
        """Return the present values of all variables."""
        stored = {name: weights.stored() for name, weights in self._weights.items()}
        ranges = dict(self._ranges)
        for name, each in self._learned.items():
            low, high = each.ends()
            ranges[name] = float(low), float(high)
        return Trained(
            {name: weights for name, (weights, _) in stored.items()},
            {name: scales for name, (_, scales) in stored.items()},
            {name: bias.tensor().numpy() for name, bias in self._biases.items()},
            ranges,
        )


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _rounded(x: Any) -> Any:
    """Round half to even; gradients pass as if nothing were rounded (straight through).

    The sum x + (round(x) - x), which needs no gradient of its own, is a few millionths off a whole
    number in float32, and so may decide a tie between codes the other way.
    """
    return tf.round(x), lambda gradient: gradient


def _codes_of(exact: Any, *, pairs: bool) -> Any:
    """Return codes (R, K) within the limits of ``gptq``: what no code stands for is clipped."""
    if not pairs:
        return tf.clip_by_value(_rounded(exact), -float(FULL_LIMIT), float(FULL_LIMIT))
    limits = []
    for signed in (-exact, exact):
        top = tf.one_hot(tf.argmax(signed, axis=1), exact.shape[1])
        most = tf.round(tf.reduce_max(signed, axis=1, keepdims=True))
        most = tf.clip_by_value(most, PAIR_LIMIT / 2, float(FULL_LIMIT))
        limits.append(tf.stop_gradient(tf.where(top > 0, most, PAIR_LIMIT - most)))
    return tf.clip_by_value(_rounded(exact), -limits[0], limits[1])


def _constant_of(node: ir.Node, place: int) -> tuple[ir.Node | None, str]:
    """Return the DequantizeLinear of a layer's constant, and the constant's name in the source."""
    value = node.inputs[place] if place < len(node.inputs) else None
    reading = None if value is None else value.producer()
    if reading is None or reading.op_type != "DequantizeLinear":
        return None, ""
    codes = reading.inputs[0]
    widening = None if codes is None else codes.producer()
    if widening is not None and widening.op_type == "Cast":
        codes = widening.inputs[0]
    name = (codes.name if codes is not None and array_of(codes) is not None else None) or ""
    if not name.endswith(_CODES):
        return None, ""
    return reading, name.removesuffix(_CODES)


def _constant_codes(reading: ir.Node) -> Array:
    codes = reading.inputs[0]
    widening = None if codes is None else codes.producer()
    return known(codes if widening is None else widening.inputs[0])


def _bounds_of(graph: ir.Graph) -> dict[str, tuple[float, float]]:
    """Return the bounds of each Clip by its output: codes may end there in its place."""
    found = {}
    for node in graph:
        if node.op_type == "Clip":
            ends = [array_of(value) for value in node.inputs[1:3]]
            ends += [None] * (2 - len(ends))
            low = -np.inf if ends[0] is None else float(ends[0].reshape(-1)[0])
            high = np.inf if ends[1] is None else float(ends[1].reshape(-1)[0])
            found[node.outputs[0].name or ""] = (low, high)
    return found
