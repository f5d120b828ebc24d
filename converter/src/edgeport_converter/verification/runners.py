"""How a graph is run: fixed batches, int8 for other CPUs, dynamic int8.

Every stage that runs a graph follows three rules, and takes them from here:

1. A model may insist on a number of samples. It gets batches of that size, the last one filled up
   with its last sample, and the answers to what fills it are cut off.
2. The int8 kernels of this machine may compute wrong what the target's compute right. A graph that
   is quantized for such a target is computed node by node as ONNX defines it.
3. The recipe ``dynamic`` finds its ranges in each batch, so that samples change each other's
   answers. Such a graph gets one sample at a time, as ``Predictor`` runs it on a device.

Batches of a graph that is opened as a ``Predictor`` are filled up by ``edgeport.inputs.batching``;
those of Keras and of graphs that run as defined are filled up here. What is compared, measured or
written is decided elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgeport import ModelCard, Predictor, TensorSpec
from edgeport.artifact.card import card_json
from edgeport.artifact.golden import Array
from edgeport.artifact.seal import seal
from edgeport.device.cpus import THREADS_VARIABLE, choose_threads
from edgeport_converter.targets import Target

Run = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Arrays by input name, each with the batch axis N, to arrays by output name."""

Batches = Callable[[int], Iterable[Mapping[str, Array]]]
"""Starts a pass over samples, in batches of the given size, the last one shorter."""


@dataclass(frozen=True)
class Runner:
    """Runs the graphs of one model, recipe and target.

    Attributes:
        card: the model's inputs and outputs, with their axes.
        kind: the recipe's, "none" for a float graph.
        target: what the graph is quantized for; None for a float graph.
    """

    card: ModelCard
    kind: str = "none"
    target: Target | None = None

    @property
    def judges_as_defined(self) -> bool:
        """Whether a graph is judged as ONNX defines it, not as this machine computes it."""
        return self.kind != "none" and self.target is not None and self.target.judged_as_defined

    @contextmanager
    def open(self, graph: onnx.ModelProto) -> Iterator[Run]:
        """Open a finished graph and run it as it is judged.

        Raises:
            ArtifactError: the runtime cannot open the graph.
        """
        with open_graph(graph, self.card) as predictor:
            if self.judges_as_defined:
                yield self.as_defined(graph)
            else:
                yield self._one_by_one(as_run(predictor))

    @contextmanager
    def open_file(self, path: Path) -> Iterator[Run]:
        """Open an artifact and run it as its graph is judged.

        Raises:
            ArtifactError: the runtime cannot open the file, or its self-test fails.
        """
        if self.judges_as_defined:  # this machine's kernels may fail the self-test
            yield self.as_defined(onnx.load(path))
        else:
            with Predictor.load(path) as predictor:
                yield self._one_by_one(as_run(predictor))

    def as_defined(self, graph: onnx.ModelProto) -> Run:
        """Return the graph as a function of any number of samples, as ONNX defines it."""
        return self._one_by_one(in_fixed_batches(run_as_defined(graph), self.card.inputs))

    def _one_by_one(self, run: Run) -> Run:
        return _in_parts(run, 1) if self.kind == "dynamic" else run


def open_graph(graph: onnx.ModelProto, card: ModelCard, *, threads: int | None = None) -> Predictor:
    """Return the graph as a predictor that knows its inputs and outputs as a device will.

    Args:
        graph: a finished graph.
        card: names, shapes and axes; a graph alone does not tell a batch from another axis.
        threads: as for ``Predictor.load``.
    """
    card = replace(card, columns=())  # the converter's own samples are arrays by input name
    return Predictor.load(seal(graph.SerializeToString(), card_json(card, [])), threads=threads)


def as_run(predictor: Predictor) -> Run:
    """Return the predictor as a function that always answers with a dict."""
    names = [spec.name for spec in predictor.card.outputs]

    def run(arrays: Mapping[str, Array]) -> dict[str, Array]:
        answer = predictor.predict(dict(arrays))
        return answer if isinstance(answer, dict) else {names[0]: answer}

    return run


def run_as_defined(graph: onnx.ModelProto, names: Sequence[str] = ()) -> Run:
    """Return the graph as a function, computed node by node as ONNX defines it.

    Without fusions a quantized layer is DequantizeLinear, a float operator and QuantizeLinear,
    which is exact on every CPU; an int8 kernel may saturate. Golden outputs are taken from this.

    Args:
        graph: a finished graph.
        names: inner tensors to answer with, instead of the outputs.
    """
    if names:
        graph = _with_outputs(graph, names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # its errors are raised, too
    limit_threads(options)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = list(names) or [node.name for node in session.get_outputs()]

    def run(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(names, session.run(names, dict(arrays)), strict=True))

    return run


def limit_threads(options: onnxruntime.SessionOptions) -> None:
    """Give a session as many threads as ``EDGEPORT_THREADS`` says, where it says any."""
    if os.environ.get(THREADS_VARIABLE):
        options.intra_op_num_threads = choose_threads(None, None)


def _with_outputs(graph: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    present = {value.name for value in copy.graph.output}
    for name in dict.fromkeys(names):
        if name not in present:
            copy.graph.output.add(name=name)  # onnxruntime finds its type
    return copy


def in_fixed_batches(run: Run, inputs: Sequence[TensorSpec]) -> Run:
    """Return ``run`` for any number of samples, also where the model insists on one."""
    size = fixed_batch(inputs)
    return run if size is None else _in_parts(run, size)


def cut_into_batches(
    samples: Mapping[str, Array], size: int, inputs: Sequence[TensorSpec]
) -> Iterator[dict[str, Array]]:
    """Yield samples in full batches, of the size that the model insists on where it does.

    Args:
        samples: by input name; the last one is repeated until the last batch is full.
        size: of a batch, where the model takes any.
        inputs: the model's.
    """
    size = fixed_batch(inputs) or size
    for start in range(0, len(next(iter(samples.values()))), size):
        yield _fill_batch(
            {name: array[start : start + size] for name, array in samples.items()}, size
        )


def batches_for(batches: Batches, inputs: Sequence[TensorSpec]) -> Batches:
    """Return the same samples in batches that the model takes, whatever size is asked for."""
    size = fixed_batch(inputs)
    if size is None:
        return batches

    def of_fixed_size(_: int) -> Iterator[dict[str, Array]]:
        return (_fill_batch(batch, size) for batch in batches(size))

    return of_fixed_size


def fixed_batch(inputs: Sequence[TensorSpec]) -> int | None:
    """Return the number of samples that the model insists on, None where it takes any."""
    sizes = [spec.shape[0] for spec in inputs if spec.has_batch_axis]
    return next((size for size in sizes if isinstance(size, int)), None)


def _fill_batch(arrays: Mapping[str, Array], size: int) -> dict[str, Array]:
    """Return the samples with the last one repeated until there are ``size``."""
    return {
        name: np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])
        if len(array) < size
        else array
        for name, array in arrays.items()
    }


def _in_parts(run: Run, size: int) -> Run:
    """Return ``run`` in batches of one size; the answers to what fills the last are cut off."""

    def in_parts(arrays: Mapping[str, Array]) -> dict[str, Array]:
        count = len(next(iter(arrays.values())))
        if count == size:
            return run(arrays)
        parts = [
            run(_fill_batch({k: a[start : start + size] for k, a in arrays.items()}, size))
            for start in range(0, count, size)
        ]
        return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}

    return in_parts
