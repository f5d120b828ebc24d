"""Proof that a model with Python code of its own computes from its inputs alone.

The export records one run of that code. Python state, a clock or a random number would be frozen
into the artifact as it was in that run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.model import LoadedModel, shorten

# TensorFlow operations by what is wrong with them at inference.
_PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction")
_ASSIGN = ("Assign", "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp",
           "ResourceScatterUpdate", "ResourceScatterAdd")  # fmt: skip
_RANDOM = ("RandomStandardNormal", "RandomUniform", "RandomUniformInt", "TruncatedNormal",
           "Multinomial", "RandomShuffle", "RandomGamma", "StatelessRandomUniform",
           "StatelessRandomUniformV2", "StatelessRandomUniformInt", "StatelessRandomUniformIntV2",
           "StatelessRandomNormal", "StatelessRandomNormalV2", "StatelessTruncatedNormal",
           "StatelessTruncatedNormalV2", "StatelessMultinomial")  # fmt: skip
_COMPILED = ("XlaCallModule", "XlaLaunch", "TRTEngineOp")
_PARSING = ("ParseExample", "ParseExampleV2", "ParseSingleExample", "DecodeJpeg", "DecodePng")

_FREE_SIZE = 8
_TOLERANCE = 1e-4


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
        with tf.device("/cpu:0"):
            concrete = tf.function(loaded.call, autograph=False).get_concrete_function(signature)
    except Exception as cause:
        raise UnsupportedModelError(
            f"the call of {owner} cannot be traced ({shorten(cause)}), expected Keras or "
            "TensorFlow operations only: take conversions to numpy and Python numbers out of it"
        ) from cause
    refuse_operations(concrete.graph.as_graph_def(), owner)
    _require_same_answer(loaded, owner)


def refuse_operations(graph_def: Any, owner: str) -> None:
    """Refuse a TensorFlow graph with operations that no file can hold.

    Raises:
        UnsupportedModelError: there is one.
    """
    found = {node.op for node in _nodes(graph_def)}
    for operations, does, way_out in (
        (_PYTHON, "calls back into Python while it runs", "say it in Keras operations"),
        (_RANDOM, "draws random numbers at inference", "leave that out where training is False"),
        # After the random ones, whose generators keep their state in a variable.
        (_ASSIGN, "changes a variable while it answers", "return the state as an output instead"),
        (_COMPILED, "holds code compiled by another framework", "convert the Keras model itself"),
        (_PARSING, "reads serialized data", "save a signature that takes the tensors themselves"),
    ):
        for operation in operations:
            if operation in found:
                raise UnsupportedModelError(
                    f"{owner} {does} (operation {operation}), expected tensors in, tensors out "
                    f"and nothing else: {way_out}"
                )


def _nodes(graph_def: Any) -> Iterator[Any]:
    """Yield the nodes that can run: the graph's own, and those of functions it reaches.

    The library of a SavedModel holds the functions of training, too.
    """
    library = {function.signature.name: function for function in graph_def.library.function}
    seen: set[str] = set()
    waiting = [list(graph_def.node)]
    while waiting:
        for node in waiting.pop():
            yield node
            called = {node.op}
            for value in node.attr.values():
                called.update([value.func.name], (f.name for f in value.list.func))
            for name in called & library.keys() - seen:
                seen.add(name)
                waiting.append(list(library[name].node_def))


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
