"""Placeholder ops: places in a traced TensorFlow graph that ONNX nodes will take.

Some of what Keras computes is one operator in ONNX and many in TensorFlow: an LSTM arrives as a
loop, a lookup table as a resource. While the model is traced, a Keras patch puts one placeholder op
in such a place. It holds the inputs and the shapes of the outputs; when tf2onnx reaches it, the
function that the patch gave for it writes the ONNX nodes.

The placeholder ops are TensorFlow's own PyFunc: no pass of TensorFlow changes one, since none can
know what it calls. Nothing ever runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Emit = Callable[[Any], None]
"""Writes the ONNX nodes of a placeholder op with the ``tf_ops.builder.Builder`` at its place."""

_PREFIX = "edgeport placeholder "


class Placeholders:
    """The placeholder ops of one trace, and what each of them becomes."""

    def __init__(self) -> None:
        self._places: list[tuple[Emit, list[tf.TensorShape]]] = []

    def place(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[tuple[tf.DType, Sequence[int | None]]],
        emit: Emit,
        name: str,
    ) -> list[Any]:
        """Return the tensors of a new placeholder op in the graph that is being traced.

        ``outputs`` has (dtype, shape) of each tensor; ``emit`` writes the ONNX nodes later.
        """
        tensors = tf.raw_ops.PyFunc(
            input=list(inputs),
            token=self._token(emit, [shape for _, shape in outputs]),
            Tout=[dtype for dtype, _ in outputs],
            name=name,
        )
        for tensor, (_, shape) in zip(tensors, outputs, strict=True):
            tensor.set_shape(shape)
        return list(tensors)

    def node(self, name: str, source: str, types: tuple[int, int], shape: Any, emit: Emit) -> Any:
        """Return a placeholder op of one input and one output for a graph that is traced already.

        ``types`` are those of input and output, as TensorFlow's protobuf numbers them.
        """
        made = tf.compat.v1.NodeDef(op="PyFunc", name=name, input=[source])
        made.attr["token"].s = self._token(emit, [shape]).encode()
        made.attr["Tin"].list.type.append(types[0])
        made.attr["Tout"].list.type.append(types[1])
        return made

    def _token(self, emit: Emit, shapes: Sequence[Any]) -> str:
        self._places.append((emit, [tf.TensorShape(shape) for shape in shapes]))
        return f"{_PREFIX}{len(self._places) - 1}"

    def write_shapes(self, graph_def: Any) -> None:
        """Write the output shapes where TensorFlow's import reads them; its passes drop them.

        TensorFlow cannot infer the shapes of a PyFunc's outputs.
        """
        for node in graph_def.node:
            token = node.attr["token"].s.decode() if node.op == "PyFunc" else ""
            if token.startswith(_PREFIX):
                _, shapes = self._places[int(token.removeprefix(_PREFIX))]
                del node.attr["_output_shapes"].list.shape[:]
                node.attr["_output_shapes"].list.shape.extend(s.as_proto() for s in shapes)

    def emitter(self, token: str) -> Emit | None:
        """Return what writes the nodes of the PyFunc with this token, None for a user's PyFunc."""
        if not token.startswith(_PREFIX):
            return None
        return self._places[int(token.removeprefix(_PREFIX))][0]
