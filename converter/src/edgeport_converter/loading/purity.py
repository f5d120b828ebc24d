"""Proof that a model computes from its inputs alone: the one list of operations that do not.

The export records one run of the model. Python state, a clock, a random number or a changed weight
would be frozen into the artifact as it was in that run. ``loading`` asks for SavedModels and for
models with Python code of their own; ``exporting`` looks for the same operations in each graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import tensorflow as tf

from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.model import LoadedModel, layer_of, shorten

_FREE_SIZE = 8
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Impurity:
    """One way to depend on more than the inputs.

    Attributes:
        operations: how the names of TensorFlow's operations of that kind begin.
        does: what they do, for a sentence whose subject is a layer or a model.
        way_out: what to do instead.
    """

    operations: tuple[str, ...]
    does: str
    way_out: str

    def find_in(self, graph_def: Any, outputs: Iterable[str] = ()) -> list[tuple[str, str]]:
        """Return name and operation of each such node that can run, as ``running_nodes`` says."""
        return [
            (node.name, node.op)
            for node in running_nodes(graph_def, outputs)
            if node.op.startswith(self.operations)
        ]


PYTHON = Impurity(
    ("PyFunc", "EagerPyFunc", "NumpyFunction"),
    "calls back into Python while it runs",
    "write it with Keras operations, keras.ops",
)
RANDOM = Impurity(
    (
        "Multinomial",
        "Random",
        "StatefulRandom",
        "StatefulStandardNormal",
        "StatefulTruncated",
        "StatefulUniform",
        "StatelessMultinomial",
        "StatelessRandom",
        "StatelessTruncated",
        "TruncatedNormal",
    ),
    "draws random numbers at inference",
    "leave that out where training is False",
)
WRITES = Impurity(
    ("Assign", "ResourceScatter"),
    "changes a variable while it answers",
    "return the state as an output instead",
)
_COMPILED = Impurity(
    ("XlaCallModule", "XlaLaunch", "TRTEngineOp"),
    "holds code compiled by another framework",
    "convert the Keras model itself",
)
_PARSING = Impurity(
    ("ParseExample", "ParseSingleExample", "DecodeJpeg", "DecodePng"),
    "reads serialized data",
    "save a signature that takes the tensors themselves",
)
# Random numbers before writes: the state of their generators is a variable.
_ALL = (PYTHON, RANDOM, WRITES, _COMPILED, _PARSING)


def require_pure(loaded: LoadedModel, owner: str) -> None:
    """Refuse a model whose answers depend on more than its inputs.

    Args:
        loaded: the model.
        owner: names the layer or model with the code, for the message.

    Raises:
        UnsupportedModelError: it calls Python while it runs, changes a variable, draws random
            numbers, cannot be traced, or gives two answers for the same input.
    """
    signature = {
        spec.name: tf.TensorSpec(spec.shape, tf.as_dtype(spec.dtype), name=spec.name)
        for spec in loaded.inputs
    }
    try:
        # A recurrent layer with dropout draws its masks at inference too, and uses none of them.
        # Drawing the seed would be a write that every output waits for.
        with tf.device("/cpu:0"), patch.object(keras.random.SeedGenerator, "next", _constant_seed):
            concrete = tf.function(loaded.call, autograph=False).get_concrete_function(signature)
    except Exception as cause:
        raise UnsupportedModelError(
            f"the call of {owner} cannot be traced ({shorten(cause)}), expected Keras or "
            "TensorFlow operations only: take conversions to numpy and Python numbers out of it"
        ) from cause
    outputs = [tensor.op.name for tensor in concrete.outputs]
    refuse_operations(concrete.graph.as_graph_def(), owner, outputs, loaded.model)
    _require_same_answer(loaded, owner)


def refuse_operations(
    graph_def: Any, owner: str, outputs: Iterable[str] = (), model: Any = None
) -> None:
    """Refuse a TensorFlow graph with operations that no file can hold.

    Args:
        graph_def: the graph, with the functions that it calls.
        owner: names the layer or model where the operation does not tell its layer.
        outputs: as for ``running_nodes``.
        model: the Keras model, for the names of its layers; None where there is none.

    Raises:
        UnsupportedModelError: there is one.
    """
    for impurity in _ALL:
        for place, operation in impurity.find_in(graph_def, outputs):
            layer = layer_of(model, place)
            subject = owner if layer is None else f"the {type(layer).__name__} '{layer.name}'"
            raise UnsupportedModelError(
                f"{subject} {impurity.does} (operation {operation}), expected tensors in, tensors "
                f"out and nothing else: {impurity.way_out}"
            )


def running_nodes(graph_def: Any, outputs: Iterable[str] = ()) -> Iterator[Any]:
    """Yield the nodes that can run: the graph's own, and those of functions that these call.

    The library of a SavedModel holds the functions of its training, too.

    Args:
        graph_def: a TensorFlow graph.
        outputs: names of the nodes whose results count; the others are left out unless these need
            them. Without any, all nodes of the graph count.
    """
    library = {function.signature.name: function for function in graph_def.library.function}
    waiting = [_needed(graph_def.node, outputs) if outputs else graph_def.node]
    while waiting:
        for node in waiting.pop():
            yield node
            called = {node.op}
            for value in node.attr.values():
                called.update([value.func.name], (each.name for each in value.list.func))
            for name in called & library.keys():
                waiting.append(library.pop(name).node_def)


def _needed(nodes: Iterable[Any], outputs: Iterable[str]) -> list[Any]:
    """Return the nodes that the outputs wait for, for their values or for their being done."""
    by_name = {node.name: node for node in nodes}
    needed: dict[str, Any] = {}
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = by_name[name]
            waiting += [each.lstrip("^").partition(":")[0] for each in by_name[name].input]
    return list(needed.values())


def _constant_seed(self: Any, ordered: bool = True) -> Any:
    return tf.constant([0, 0], dtype=self.state.dtype)


def _require_same_answer(loaded: LoadedModel, owner: str) -> None:
    """Call the code twice by hand; one sample is enough to see a counter, a clock, a dice."""
    generator = np.random.default_rng(0)
    inputs = {}
    for spec in loaded.inputs:
        shape = [
            (1 if axis == 0 else _FREE_SIZE) if size is None else size
            for axis, size in enumerate(spec.shape)
        ]
        if spec.dtype == "string":
            return
        inputs[spec.name] = tf.cast(generator.random(shape), tf.as_dtype(spec.dtype))
    try:
        with tf.device("/cpu:0"):
            first, second = loaded.call(inputs), loaded.call(inputs)
    except (tf.errors.OpError, ValueError):
        return  # a made-up size does not fit; parity is checked on sizes that do
    for name, tensor in first.items():
        one, two = np.asarray(tensor), np.asarray(second[name])
        equal = one.shape == two.shape and (
            np.allclose(one, two, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
            if one.dtype.kind == "f"
            else np.array_equal(one, two)
        )
        if not equal:
            raise UnsupportedModelError(
                f"{owner} gives two answers for the same input in '{name}', expected one that "
                "depends on the input alone: take counters, clocks and random numbers out of its "
                "call"
            )
