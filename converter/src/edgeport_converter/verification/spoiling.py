"""Whether a check can fail: weights are spoiled by noise, and the check has to notice.

A parity check on inputs for which every answer is 0 or 1 passes whatever the weights are. So the
graph's own weights are spoiled, all of them, layer by layer and channel by channel, and the answers
have to move by more than the check allows. ``parity`` calls ``try_spoiling``; ``artifact`` spoils
whole graphs, for golden samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from edgeport import TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.verification.logits import GraphLogits
from edgeport_converter.verification.runners import Run, in_fixed_batches

SLIGHT = 0.05
"""Standard deviation of the noise, relative to each weight, that a good check notices."""
STRONG = 0.3
"""The same, of weights that are plainly wrong."""

# What all trials together may compute. At some ten billion multiply-accumulates a second, that of
# one core, they take a second or two.
_MOST_MULTIPLY_ACCUMULATES = 4e9
_MOST_TRIALS = 48
_FEWEST_TRIALS = 3
_MOST_SAMPLES = 8
_CHANNELS = 4  # a layer
# Noise is drawn once and repeated. A prime length keeps it from lining up with rows of weights.
_NOISE_VALUES = 65_521
_CODES = (np.dtype(np.int8), np.dtype(np.uint8))
_MIDDLE = 128  # the code of zero, where weights are stored as uint8


@dataclass(frozen=True)
class SpoiledTrial:
    """Weights that were spoiled to see whether the parity check notices.

    Attributes:
        what: "graph", "layer" or "channel": what was spoiled at once.
        noise: standard deviation, relative to each weight.
        tried: how many such graphs there were.
        noticed: how many of them the check would have refused.
    """

    what: str
    noise: float
    tried: int
    noticed: int

    def describe(self) -> str:
        """Return what was not noticed, such as ``3 of 28 layers whose weights are 5% off``."""
        off = f"whose weights are {self.noise:.0%} off"
        if self.what == "graph":
            return f"a graph {off}"
        return f"{self.tried - self.noticed} of {self.tried} {self.what}s {off}"


def with_noise(weights: Array, share: float, seed: int) -> Array:
    """Return weights times ``1 + share * n`` with normal noise n; integer codes stay codes."""
    noise = np.random.default_rng(seed).standard_normal(_NOISE_VALUES, np.float32)
    factors = 1 + np.float32(share) * np.resize(noise, weights.shape)
    if weights.dtype not in _CODES:
        return np.asarray(weights * factors, weights.dtype)
    zero = _MIDDLE if weights.dtype == np.uint8 else 0
    limits = np.iinfo(weights.dtype)
    codes = np.rint((weights.astype(np.float32) - zero) * factors) + zero
    return codes.clip(limits.min, limits.max).astype(weights.dtype)


def spoil(graph: onnx.ModelProto, share: float, seed: int = 0) -> onnx.ModelProto:
    """Return a copy of a float or quantized graph with noise on all of its weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    sizes = _sizes_in(copy)
    for tensor in copy.graph.initializer:
        array = _weights(tensor, sizes)
        if array is not None:
            tensor.CopyFrom(numpy_helper.from_array(with_noise(array, share, seed), tensor.name))
    return copy


def has_weights(graph: onnx.ModelProto) -> bool:
    """Whether there is anything to spoil."""
    sizes = _sizes_in(graph)
    return any(_weights(tensor, sizes) is not None for tensor in graph.graph.initializer)


def _sizes_in(graph: onnx.ModelProto) -> frozenset[str]:
    """Return the initializers that hold the region and the scales of a Resize.

    They are floats and no weights: with noise, the operator changes shapes or fails.
    """
    return frozenset(
        name for node in graph.graph.node if node.op_type == "Resize" for name in node.input[1:3]
    )


def _weights(tensor: onnx.TensorProto, sizes: frozenset[str]) -> Array | None:
    """Return an initializer's array if it holds weights: several floats or 8-bit codes."""
    if tensor.name in sizes or tensor.data_type not in (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT8,
    ):
        return None
    array = numpy_helper.to_array(tensor)
    return array if array.size > 1 else None


class SpoilableGraph:
    """A float graph whose weights can be replaced for a run, without another session.

    Its weights are inputs of the session, so that hundreds of spoiled graphs cost a run each, and
    the weights are in memory once more at most.

    Attributes:
        weights: the float initializers of several values, by name; those of zeros alone, which
            noise does not change, stay in the graph.
        layers: those of them that belong to a layer's sums; all, where there are none.
    """

    def __init__(
        self, graph: onnx.ModelProto, inputs: Sequence[TensorSpec], logits: GraphLogits
    ) -> None:
        bare = onnx.ModelProto(ir_version=graph.ir_version)
        bare.opset_import.extend(graph.opset_import)
        bare.functions.extend(graph.functions)
        bare.graph.name = graph.graph.name
        bare.graph.node.extend([*graph.graph.node, *logits.nodes])
        bare.graph.input.extend(graph.graph.input)
        bare.graph.output.extend(graph.graph.output)
        for name in logits.names:
            bare.graph.output.add(name=name)  # onnxruntime finds its type
        bare.graph.sparse_initializer.extend(graph.graph.sparse_initializer)
        self.weights: dict[str, Array] = {}
        sizes = _sizes_in(graph)
        for tensor in graph.graph.initializer:
            array = _weights(tensor, sizes)
            if array is not None and array.dtype == np.float32 and array.any():
                self.weights[tensor.name] = array
                value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                bare.graph.input.append(value)
            else:
                bare.graph.initializer.append(tensor)
        deep = [name for name, array in self.weights.items() if array.ndim > 1]
        self.layers = deep or list(self.weights)
        self._channel_axes = _channel_axes(bare.graph)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            bare.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._names = [value.name for value in self._session.get_outputs()]
        self._inputs = inputs

    def with_weights(self, replaced: Mapping[str, Array]) -> Run:
        """Return the graph with some weights replaced, computed as ONNX defines it."""
        weights = {**self.weights, **replaced}

        def run(arrays: Mapping[str, Array]) -> dict[str, Array]:
            answers = self._session.run(self._names, {**arrays, **weights})
            return dict(zip(self._names, answers, strict=True))

        return in_fixed_batches(run, self._inputs)

    def with_spoiled(self, names: Sequence[str], share: float) -> Run:
        """Return the graph with noise on some weights."""
        return self.with_weights({name: with_noise(self.weights[name], share, 0) for name in names})

    def with_spoiled_channel(self, name: str, share: float, seed: int) -> Run:
        """Return the graph with noise on the weights of one output channel that has some."""
        array = self.weights[name].copy()
        axis = self._channel_axes.get(name, array.ndim - 1)
        others = tuple(place for place in range(array.ndim) if place != axis)
        channels = np.flatnonzero(np.any(array != 0, axis=others))
        place = (slice(None),) * axis + (np.random.default_rng(seed).choice(channels),)
        array[place] = with_noise(array[place], share, seed)
        return self.with_weights({name: array})


def _channel_axes(graph: onnx.GraphProto) -> dict[str, int]:
    """Return the axis of the output channels by the names of weights, where it is not the last."""
    axes = {}
    for node in graph.node:
        transposed = any(each.name == "transB" and each.i for each in node.attribute)
        if node.op_type == "Conv" or (node.op_type == "Gemm" and transposed):
            axes[node.input[1]] = 0
        elif node.op_type in ("ConvTranspose", "LSTM", "GRU", "RNN"):
            axes[node.input[1]] = 1
    return axes


def try_spoiling(
    spoilable: SpoilableGraph,
    excess: Callable[[Mapping[str, Array], Mapping[str, Array]], float],
    samples: Mapping[str, Array],
    multiply_accumulates: int | None,
) -> tuple[SpoiledTrial, ...]:
    """Return what the parity check would notice, on a few samples.

    1. All weights get slight noise, then strong noise.
    2. The weights of single layers get slight noise, of all layers where there is time.
    3. The weights of single channels get strong noise, some in each layer where there is time.

    Networks that compute more are tried on fewer samples, then in fewer layers and channels, spread
    evenly, so that the trials stay within a fixed amount of arithmetic.

    Args:
        spoilable: the graph, with its logits.
        excess: from the right answers and others, the largest difference in units of what the
            check allows.
        samples: by input name.
        multiply_accumulates: of the graph for one sample, None where unknown.
    """
    layers = spoilable.layers
    if not layers:
        return ()
    cost = multiply_accumulates or sum(each.size for each in spoilable.weights.values())
    runs = _MOST_MULTIPLY_ACCUMULATES / max(cost, 1)
    trials = int(np.clip(runs / 2, _FEWEST_TRIALS, _MOST_TRIALS))
    count = int(np.clip(runs / (2 * min(trials, len(layers)) + 2), 1, _MOST_SAMPLES))
    few = {name: array[:count] for name, array in samples.items()}
    right = spoilable.with_weights({})(few)

    def is_noticed(run: Run) -> bool:
        try:
            return excess(right, run(few)) > 1
        except Exception:  # of the engine, or answers of another shape: the check would raise, too
            return True

    def tried(what: str, noise: float, spoiled: Iterable[Run]) -> SpoiledTrial:
        found = [is_noticed(run) for run in spoiled]
        return SpoiledTrial(what, noise, len(found), sum(found))

    every = list(spoilable.weights)
    places = np.linspace(0, len(layers) - 1, min(trials, len(layers))).round().astype(int)
    single = [layers[place] for place in places]
    channels = min(trials, _CHANNELS * len(single))
    return (
        tried("graph", SLIGHT, [spoilable.with_spoiled(every, SLIGHT)]),
        tried("graph", STRONG, [spoilable.with_spoiled(every, STRONG)]),
        tried("layer", SLIGHT, (spoilable.with_spoiled([name], SLIGHT) for name in single)),
        tried(
            "channel",
            STRONG,
            (
                spoilable.with_spoiled_channel(single[number % len(single)], STRONG, number)
                for number in range(channels)
            ),
        ),
    )
