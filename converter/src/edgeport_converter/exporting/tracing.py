"""From a function over named tensors to a frozen TensorFlow graph.

The trace runs on the CPU, with Keras' recurrent layers and lookup tables leaving markers, and with
random seeds standing still: at inference nothing may depend on them, and ``exporting`` makes sure
of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tf2onnx import tf_loader

from edgeport_converter.exporting import lookups, paraphrases, recurrent, refusing
from edgeport_converter.exporting.markers import Markers
from edgeport_converter.loaded import LoadedModel

_OUTPUT_PREFIX = "edgeport_output"

# What TensorFlow's constant folding calls weights that it has multiplied by a scale behind them.
_MERGED_WEIGHTS = "/merged_input"

_MAX_FOLDS = 8  # each takes away one level of nested branches

# Attributes that keep a nested function from being written out: XLA's (Keras compiles grouped
# convolutions with it) and the user's.
_CLOSING_ATTRIBUTES = ("_XlaMustCompile", "_noinline", "_implements", "api_implements")


@dataclass(frozen=True, eq=False)
class FrozenGraph:
    """A TensorFlow graph without variables.

    Attributes:
        graph_def: the graph.
        inputs, outputs: tensor name in the graph -> the model's name.
        markers: what the graph's markers stand for.
        output_shapes: by the model's name, None for a free axis; None for an unknown rank.
    """

    graph_def: Any
    inputs: dict[str, str]
    outputs: dict[str, str]
    markers: Markers
    output_shapes: dict[str, tuple[int | None, ...] | None]


def trace(loaded: LoadedModel) -> FrozenGraph:
    """Return the model's graph as it computes at inference."""
    names = [info.name for info in loaded.outputs]

    def call(*tensors: Any) -> list[Any]:
        given = {info.name: tensor for info, tensor in zip(loaded.inputs, tensors, strict=True)}
        results = loaded.call(given)
        # An operation for each output, even where two of them, or an input, are one tensor.
        return [
            tf.identity(tf.convert_to_tensor(results[name]), name=f"{_OUTPUT_PREFIX}_{number}")
            for number, name in enumerate(names)
        ]

    signature = [
        tf.TensorSpec(info.shape, tf.as_dtype(info.dtype), name=f"edgeport_input_{number}")
        for number, info in enumerate(loaded.inputs)
    ]
    markers = Markers()
    # The CPU device keeps cuDNN's fused kernels, which ONNX has no word for, out of the trace.
    with tf.device("/cpu:0"), _inference(markers):
        concrete = tf.function(call, autograph=False).get_concrete_function(*signature)
        _refuse_writes(concrete, loaded.model)
        graph_def, inputs, outputs = _freeze(concrete, markers)
    return FrozenGraph(
        graph_def,
        dict(zip(inputs, (info.name for info in loaded.inputs), strict=True)),
        dict(zip(outputs, names, strict=True)),
        markers,
        {
            name: None if tensor.shape.rank is None else tuple(tensor.shape)
            for name, tensor in zip(names, concrete.outputs, strict=True)
        },
    )


@contextmanager
def _inference(markers: Markers) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(recurrent.substituted(markers))
        stack.enter_context(lookups.substituted(markers))
        stack.enter_context(paraphrases.substituted(markers))
        stack.enter_context(
            patch.object(keras.random.SeedGenerator, "next", _constant_seed)
        )  # fmt: skip
        # Keras' data layers cast their inputs inside a graph, which they take for a data pipeline.
        stack.enter_context(
            patch.object(keras.src.utils.backend_utils, "in_tf_graph", lambda: False)
        )
        stack.enter_context(_plain_scopes())
        yield


def _constant_seed(self: Any, ordered: bool = True) -> Any:
    """Return a seed without drawing it, which would be a side effect of the graph."""
    return tf.constant([0, 0], dtype=self.state.dtype)


@contextmanager
def _plain_scopes() -> Iterator[None]:
    """Let operations bear their layers' names without numbers.

    Keras opens a layer's scope twice, so TensorFlow names it ``dense_1``, which may be another
    layer's name. A scope whose name ends in a slash is entered as it is.
    """
    scope = keras.src.backend.tensorflow.core.name_scope

    def initialize(self: Any, name: str, **options: Any) -> None:
        super(scope, self).__init__(name, **options)
        outer = tf.get_current_name_scope()
        full = f"{outer}/{name}" if outer else name
        self._tf_name_scope = tf.name_scope(f"{full}/")

    with patch.object(scope, "__init__", initialize):
        yield


def _refuse_writes(concrete: Any, model: Any) -> None:
    """Refuse a graph that changes a variable, which no constant can stand for."""
    graph_def = concrete.graph.as_graph_def()
    places = [(node.name, node.op) for node in graph_def.node]
    places += [(f"{function.signature.name}/{node.name}", node.op)
               for function in graph_def.library.function
               for node in function.node_def]  # fmt: skip
    written = [place for place in places if place[1].startswith(("Assign", "ResourceScatter"))]
    if written:
        raise refusing.operation_refusal(model, written)


def _freeze(concrete: Any, markers: Markers) -> tuple[Any, Sequence[str], Sequence[str]]:
    """Return the graph with variables as constants, and its inputs' and outputs' tensor names."""
    frozen = convert_variables_to_constants_v2(
        concrete, lower_control_flow=False, aggressive_inlining=True
    )
    inputs = [tensor.name for tensor in frozen.inputs]
    outputs = [tensor.name for tensor in frozen.outputs]
    graph_def = frozen.graph.as_graph_def(add_shapes=True)
    del frozen  # it holds all weights once more
    for node in graph_def.node:
        node.device = ""
        for attribute in _CLOSING_ATTRIBUTES:
            node.attr.pop(attribute, None)
    for function in graph_def.library.function:
        for attribute in _CLOSING_ATTRIBUTES:
            function.attr.pop(attribute, None)
    for _ in range(_MAX_FOLDS):
        with tf.Graph().as_default():
            tf.import_graph_def(graph_def, name="")
            graph_def = tf_loader.tf_optimize(inputs, outputs, graph_def)
        markers.write_shapes(graph_def)
        if not (_write_known_sizes(graph_def) | _choose_known_branches(graph_def)):
            break
    _name_after_weights(graph_def)
    return graph_def, inputs, outputs


def _name_after_weights(graph_def: Any) -> None:
    """Give operations back to the layers whose weights they use.

    TensorFlow moves the scale of a BatchNormalization into the weights of the convolution before
    it, and calls the result by the scale's name; the weights still bear the convolution's.
    """
    taken = {node.name for node in graph_def.node}
    renamed = {}
    for node in graph_def.node:
        for source in node.input:
            owner = source.removesuffix(_MERGED_WEIGHTS)
            if owner != source and owner not in taken and node.name != owner:
                renamed[node.name] = owner
                taken.add(owner)
                node.name = owner
                break
    for node in graph_def.node:
        for place, source in enumerate(node.input):
            mark = "^" if source.startswith("^") else ""
            name, colon, port = source.removeprefix("^").partition(":")
            if name in renamed:
                node.input[place] = f"{mark}{renamed[name]}{colon}{port}"


def _write_known_sizes(graph_def: Any) -> bool:
    """Put constants in the place of asked sizes that are known; return whether there were any.

    TensorFlow folds a shape only if all of its sizes are known, and the batch never is.
    """
    sources = {node.name for node in graph_def.node if node.op == "Shape"}
    if not any(node.op == "StridedSlice" and node.input[0].partition(":")[0] in sources
               for node in graph_def.node):  # fmt: skip
        return False
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    values = {}
    for op in graph.get_operations():
        if op.type == "StridedSlice" and op.inputs[0].op.type == "Shape":
            value = _known_slice(op)
            if value is not None:
                values[op.name] = value
    for node in graph_def.node:
        if node.name in values:
            dtype = node.attr["T"].type
            del node.input[:]
            node.op = "Const"
            node.attr.clear()
            node.attr["dtype"].type = dtype
            node.attr["value"].tensor.CopyFrom(
                tf.make_tensor_proto(values[node.name], dtype=tf.as_dtype(dtype))
            )
    return bool(values)


def _known_slice(op: Any) -> np.ndarray[Any, Any] | None:
    """Return what a StridedSlice takes out of a shape, None where a free size is among it."""
    shape = op.inputs[0].op.inputs[0].shape
    bounds = [tf.get_static_value(tensor) for tensor in op.inputs[1:4]]
    masks = {name: op.get_attr(f"{name}_mask") for name in
             ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}  # fmt: skip
    if shape.rank is None or any(bound is None or len(bound) != 1 for bound in bounds):
        return None
    if masks["ellipsis"] or masks["new_axis"]:
        return None
    begin, end, step = (int(bound[0]) for bound in bounds)
    sizes = shape.as_list()
    if masks["shrink_axis"]:
        taken = sizes[begin]
        return None if taken is None else np.array(taken)
    picked = sizes[slice(None if masks["begin"] else begin, None if masks["end"] else end, step)]
    return None if None in picked else np.array(picked)


def _choose_known_branches(graph_def: Any) -> bool:
    """Turn an If on a constant into a call of its branch; return whether there were any."""
    constants = {node.name: node for node in graph_def.node if node.op == "Const"}
    found = False
    for node in graph_def.node:
        if node.op not in ("If", "StatelessIf"):
            continue
        decision = constants.get(node.input[0].split(":")[0].lstrip("^"))
        if decision is None:
            continue
        found = True
        is_true = bool(tf.make_ndarray(decision.attr["value"].tensor))
        branch = node.attr["then_branch" if is_true else "else_branch"].func.name
        types = {name: node.attr[name] for name in ("Tin", "Tout")}
        node.op = "PartitionedCall" if node.op == "StatelessIf" else "StatefulPartitionedCall"
        node.input.pop(0)
        kept = {name: type(value).FromString(value.SerializeToString())
                for name, value in types.items()}  # fmt: skip
        node.attr.clear()
        for name, value in kept.items():
            node.attr[name].CopyFrom(value)
        node.attr["f"].func.name = branch
    return found
