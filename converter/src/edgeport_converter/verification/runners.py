"""Models that insist on a number of samples: any number of them, in parts of that size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime

from edgeport import ModelCard, Predictor, TensorSpec
from edgeport.artifact.card import card_json
from edgeport.artifact.golden import Array
from edgeport.artifact.seal import seal

Run = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Arrays by input name, each with the batch axis N, to arrays by output name."""
Batches = Callable[[int], Iterable[Mapping[str, Array]]]


def fixed_batch(inputs: Sequence[TensorSpec]) -> int | None:
    """Return the number of samples that the model insists on, None where it takes any."""
    sizes = [spec.shape[0] for spec in inputs if spec.has_batch_axis]
    return next((size for size in sizes if isinstance(size, int)), None)


def fill_batch(arrays: Mapping[str, Array], size: int) -> dict[str, Array]:
    """Return the samples with the last one repeated until there are ``size``."""
    return {
        name: np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])
        if len(array) < size
        else array
        for name, array in arrays.items()
    }


def run_in_parts(run: Run, size: int | None) -> Run:
    """Return ``run`` for any number of samples; what fills the last part is cut off again."""
    if size is None:
        return run

    def in_parts(arrays: Mapping[str, Array]) -> dict[str, Array]:
        count = len(next(iter(arrays.values())))
        parts = [
            run(fill_batch({k: a[start : start + size] for k, a in arrays.items()}, size))
            for start in range(0, count, size)
        ]
        return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}

    return in_parts


def batches_in_parts(batches: Batches, size: int | None) -> Batches:
    """Return the same samples in batches of the fixed size, whatever size is asked for."""
    if size is None:
        return batches

    def in_parts(_: int) -> Iterator[dict[str, Array]]:
        return (fill_batch(batch, size) for batch in batches(size))

    return in_parts


def open_graph(graph: onnx.ModelProto, card: ModelCard, *, threads: int | None = None) -> Predictor:
    """Return the graph as a predictor that knows its inputs and outputs as a device will.

    Args:
        graph: a finished graph.
        card: names, shapes and axes; a graph alone does not tell a batch from another axis.
        threads: as for ``Predictor.load``.
    """
    return Predictor.load(seal(graph.SerializeToString(), card_json(card, [])), threads=threads)


def as_run(predictor: Predictor) -> Run:
    """Return the predictor as a function that always answers with a dict."""
    names = [spec.name for spec in predictor.card.outputs]

    def run(arrays: Mapping[str, Array]) -> dict[str, Array]:
        answer = predictor.predict(dict(arrays))
        return answer if isinstance(answer, dict) else {names[0]: answer}

    return run


def run_as_defined(graph: onnx.ModelProto) -> Run:
    """Return the graph as a function, computed node by node as ONNX defines it.

    Without fusions a quantized layer is DequantizeLinear, a float operator and QuantizeLinear,
    which is exact on every CPU; an int8 kernel may saturate. So this is what golden outputs are
    taken from.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [node.name for node in session.get_outputs()]

    def run(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(names, session.run(names, dict(arrays)), strict=True))

    return run
