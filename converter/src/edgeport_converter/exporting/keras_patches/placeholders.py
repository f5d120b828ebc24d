"""Marker operations: places in a traced TensorFlow graph that an ONNX node will take.

Some of what Keras computes has a direct word in ONNX and only a long paraphrase in TensorFlow: an
LSTM arrives as a loop, a lookup table as a resource. While the model is traced, such a place is
marked by one operation that holds the inputs and the shapes of the outputs; ``tf_ops`` turns it
into ONNX nodes. The markers are TensorFlow's own PyFunc, which every pass leaves alone since it
cannot know what is behind it; nothing ever runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Emit = Callable[[Any, Any], None]
"""Replaces a marker in tf2onnx's graph: (graph, marker node)."""

_PREFIX = "edgeport marker "


class Markers:
    """The markers of one trace, and what each of them becomes."""

    def __init__(self) -> None:
        self._emitters: list[Emit] = []
        self._shapes: list[list[tf.TensorShape]] = []

    def place(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[tuple[tf.DType, Sequence[int | None]]],
        emit: Emit,
        name: str,
    ) -> list[Any]:
        """Return the tensors of a new marker in the graph that is being traced.

        Args:
            inputs: tensors.
            outputs: (dtype, shape) of each tensor to return.
            emit: writes the ONNX nodes later.
            name: of the operation, below the current name scope.
        """
        token = f"{_PREFIX}{len(self._emitters)}"
        self._emitters.append(emit)
        self._shapes.append([tf.TensorShape(shape) for _, shape in outputs])
        tensors = tf.raw_ops.PyFunc(
            input=list(inputs), token=token, Tout=[dtype for dtype, _ in outputs], name=name
        )
        for tensor, (_, shape) in zip(tensors, outputs, strict=True):
            tensor.set_shape(shape)
        return list(tensors)

    def write_shapes(self, graph_def: Any) -> None:
        """Write the markers' output shapes where importing looks for them; optimizing drops them.

        TensorFlow cannot infer what comes out of a PyFunc.
        """
        for node in graph_def.node:
            token = node.attr["token"].s.decode() if node.op == "PyFunc" else ""
            if token.startswith(_PREFIX):
                shapes = self._shapes[int(token.removeprefix(_PREFIX))]
                del node.attr["_output_shapes"].list.shape[:]
                node.attr["_output_shapes"].list.shape.extend(s.as_proto() for s in shapes)

    def emitter(self, token: str) -> Emit | None:
        """Return what a PyFunc's token stands for, None for a stranger's PyFunc."""
        if not token.startswith(_PREFIX):
            return None
        return self._emitters[int(token.removeprefix(_PREFIX))]
