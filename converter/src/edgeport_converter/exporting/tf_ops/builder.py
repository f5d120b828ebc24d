"""What the conversions of TensorFlow operations share: adding constants and nodes to the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from tf2onnx import utils

LABEL_ENCODER_DOMAIN, LABEL_ENCODER_VERSION = "ai.onnx.ml", 2
"""ONNX's only table from one value to another lives in a domain of its own."""


_WITHOUT_WHERE = {
    **dict.fromkeys(
        (TensorProto.BOOL, TensorProto.INT8, TensorProto.INT16, TensorProto.UINT16),
        TensorProto.INT32,
    ),
    **dict.fromkeys((TensorProto.UINT32, TensorProto.UINT64), TensorProto.INT64),
}
"""Types that onnxruntime's Where does not take, and one that holds their values."""


class NoOnnxFormError(Exception):
    """An operation, used as it is here, has no ONNX form; the text is the reason for the user."""


class Builder:
    """Puts ONNX nodes in the place of one TensorFlow node.

    Attributes:
        graph: tf2onnx's graph.
        source: the TensorFlow node.
        inputs: the names of its inputs.
    """

    def __init__(self, graph: Any, source: Any) -> None:
        self.graph, self.source = graph, source
        self.inputs: list[str] = list(source.input)

    def constant(self, values: Any) -> str:
        """Add an array of the dtype to store; return its name."""
        name = utils.make_name(self.source.name)
        output: str = self.graph.make_const(name, np.asarray(values)).output[0]
        return output

    def scalar(self, value: float) -> str:
        """Add a number of the type of the node's first input; return its name."""
        dtype = utils.map_onnx_to_numpy_type(self.graph.get_dtype(self.inputs[0]))
        return self.constant(np.array(value, dtype))

    def int64(self, *values: int) -> str:
        """Add a vector of int64; return its name."""
        return self.constant(np.asarray(values, np.int64))

    def size(self, name: str, axis: int) -> str:
        """Return the size of an axis as a vector of one number, a constant where it is known.

        Not by Shape's attributes start and end, which tf2onnx's passes take no notice of, nor by
        a negative axis, whose size onnxruntime takes for 1.
        """
        shape = self.graph.get_shape(name)
        if shape is None:
            raise NoOnnxFormError("it takes a tensor of an unknown number of axes")
        axis %= len(shape)
        if shape[axis] >= 0:
            return self.int64(shape[axis])
        return self.node("Gather", self.node("Shape", name), self.int64(axis))

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add an ONNX node that does a part of the work; return its output."""
        name = utils.make_name(self.source.name)
        made = self.graph.make_node(op, list(inputs), attr=attributes, name=name)
        made.skip_conversion = True
        output: str = made.output[0]
        return output

    def replace(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> None:
        """Put an ONNX node in the node's place, with its name, outputs, shapes and types."""
        graph, source = self.graph, self.source
        outputs = list(source.output)
        shapes = [graph.get_shape(name) for name in outputs]
        dtypes = [graph.get_dtype(name) for name in outputs]
        graph.remove_node(source.name)
        made = graph.make_node(
            op,
            list(inputs),
            attr=attributes,
            name=source.name,
            outputs=outputs,
            shapes=shapes,
            dtypes=dtypes,
            domain=domain,
        )
        made.skip_conversion = True

    def replace_by_where(self, condition: str, chosen: str, other: str) -> None:
        """Put a Where in the node's place, between casts for a type that its kernels lack."""
        dtype = self.graph.get_dtype(self.source.output[0])
        wide = _WITHOUT_WHERE.get(dtype)
        if wide is None:
            self.replace("Where", condition, chosen, other)
            return
        sides = [self.node("Cast", side, to=wide) for side in (chosen, other)]
        self.replace("Cast", self.node("Where", condition, *sides), to=dtype)
