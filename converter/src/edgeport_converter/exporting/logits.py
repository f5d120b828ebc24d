"""Logits of the Keras model: what goes into the last function of an output that bounds answers.

A trained network is often so sure of itself that its softmax or sigmoid gives 0 or 1, whatever its
weights are, within rounding. The values before that function still tell. Here they are found in the
graph that TensorFlow traces, so that layers of any kind and SavedModels have them;
``verification.logits`` finds the same in the ONNX graph, by the same rule and under the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import function_def_to_graph

from edgeport.artifact.golden import Array
from edgeport_converter.exporting.reference import as_arrays, as_tensors
from edgeport_converter.loading.model import LoadedModel, logits_name
from edgeport_converter.loading.purity import keeping_variables

Logits = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Arrays by input name to the answers by output name, and the logits by ``logits_name``."""

_SQUASHING = {
    "Softmax": "softmax",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Relu": "clip",
    "Relu6": "clip",
    "Minimum": "clip",
    "Maximum": "clip",
    "ClipByValue": "clip",
}
# Operations that move values without changing them: those of the first input, or of all inputs up
# to the one given.
_MOVES_FIRST = frozenset(
    {
        *("Identity", "IdentityN", "StopGradient", "PreventGradient", "EnsureShape", "Cast"),
        *("Reshape", "Squeeze", "ExpandDims", "Transpose", "StridedSlice", "Slice", "GatherV2"),
    }
)
_MOVES_ALL = {"ConcatV2": -1, "Pack": None}
_AFFINE = frozenset({"Mul", "Add", "AddV2", "Sub", "RealDiv", "Neg"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_CONSTANTS = frozenset({"Const", "ReadVariableOp"})


def logits_of(loaded: LoadedModel) -> Logits:
    """Return the model as a function that gives its logits, too, as far as they are found.

    The model is traced at the first call, and again for other sizes of free axes. Its variables
    stay as they are.
    """

    @cache
    def traced(*sizes: tuple[int, ...]) -> tuple[Any, list[str]]:
        names: list[str] = []

        def listed(*tensors: Any) -> list[Any]:
            given = {info.name: each for info, each in zip(loaded.inputs, tensors, strict=True)}
            results = loaded.call(given)
            found = {info.name: tf.convert_to_tensor(results[info.name]) for info in loaded.outputs}
            for name, tensor in list(found.items()):
                before, kinds = _before(tensor)
                if kinds:
                    found[logits_name(name, kinds)] = before
            names[:] = found
            return [tf.identity(tensor) for tensor in found.values()]

        signature = [
            tf.TensorSpec([*info.shape[:1], *size], tf.as_dtype(info.dtype))
            for info, size in zip(loaded.inputs, sizes, strict=True)
        ]
        return tf.function(listed, autograph=False).get_concrete_function(*signature), names

    def logits(arrays: Mapping[str, Array]) -> dict[str, Array]:
        with tf.device("/cpu:0"), keeping_variables(loaded.model):
            given = list(as_tensors(arrays, loaded.inputs).values())
            function, names = traced(*[tuple(tensor.shape[1:]) for tensor in given])
            with _as_traced():
                return as_arrays(dict(zip(names, function(*given), strict=True)))

    return logits


@contextmanager
def _as_traced() -> Iterator[None]:
    """Run graphs as they were traced: rewriting one costs more than a few runs of it."""
    options = tf.config.optimizer
    before = options.get_experimental_options().get("disable_meta_optimizer", False)
    options.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        options.set_experimental_options({"disable_meta_optimizer": before})


def _before(tensor: Any) -> tuple[Any, tuple[str, ...]]:
    """Return what the tensor would be without its last squashing function, and its kind.

    1. Calls of functions are opened, as in a SavedModel.
    2. Behind operations that move, scale or shift values, the squashing function is looked for.
    3. Where it is found, those operations are repeated on what goes into it.

    Returns:
        The tensor itself and no kind, where there is none.
    """
    op = tensor.op
    if op.type in _CALLS:
        return _before(_opened(tensor))
    kind = _SQUASHING.get(op.type)
    if kind is not None:
        source = _varying(op)
        return (tensor, ()) if source is None else (_below_clips(op.inputs[source], kind), (kind,))
    places = _moved(op)
    found = {place: _before(op.inputs[place]) for place in places}
    kinds = tuple(kind for _, below in found.values() for kind in below)
    if not kinds:
        return tensor, ()
    inputs = [found[place][0] if place in found else each for place, each in enumerate(op.inputs)]
    repeated = op.graph.create_op(
        op.type,
        inputs,
        [each.dtype for each in op.outputs],
        attrs=dict(op.node_def.attr.items()),
        compute_device=False,
    )
    return repeated.outputs[tensor.value_index], kinds


def _below_clips(tensor: Any, kind: str) -> Any:
    """Return the tensor below further bounds, since a clip may be a minimum and a maximum."""
    while kind == "clip" and _SQUASHING.get(tensor.op.type) == "clip":
        source = _varying(tensor.op)
        if source is None:
            break
        tensor = tensor.op.inputs[source]
    return tensor


def _moved(op: Any) -> list[int]:
    """Return the places of the inputs whose values the operation moves, scales or shifts."""
    if op.type in _MOVES_ALL:
        return list(range(len(op.inputs)))[: _MOVES_ALL[op.type]]
    if op.type == "Cast" and not op.outputs[0].dtype.is_floating:
        return []  # a count of something, or a decision
    if op.type in _MOVES_FIRST:
        return [0]
    if op.type in _AFFINE:
        source = _varying(op)
        return [] if source is None or (op.type == "RealDiv" and source) else [source]
    return []


def _varying(op: Any) -> int | None:
    """Return the place of the only input that is no constant, None if there are others."""
    places = [place for place, tensor in enumerate(op.inputs) if not _is_constant(tensor)]
    return places[0] if len(places) == 1 else None


def _is_constant(tensor: Any) -> bool:
    op = tensor.op
    while op.type in ("Identity", "Cast"):
        op = op.inputs[0].op
    return op.type in _CONSTANTS


def _opened(tensor: Any) -> Any:
    """Return the tensor as the called function computes it, in the graph of the caller."""
    op = tensor.op
    graph = op.graph
    definition = function_def_to_graph.get_function_def(op.get_attr("f").name, graph)
    body, names = function_def_to_graph.function_def_to_graph_def(definition)
    signature = definition.signature
    inputs = {
        f"{argument.name}:0": each
        for argument, each in zip(signature.input_arg, op.inputs, strict=True)
    }
    result = definition.ret[signature.output_arg[tensor.value_index].name]
    (found,) = tf.import_graph_def(
        body, input_map=inputs, return_elements=[names[result]], name="opened"
    )
    return found
