"""ONNX graphs in a few lines, for tests of one piece of the converter."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def node(operator, inputs, output, **attributes):
    """A node of one output, which is also its name."""
    return helper.make_node(operator, inputs, [output], output, **attributes)


def model_of(nodes, inputs, outputs, constants=None, known=None):
    """A model of opset 17 and IR version 8.

    ``inputs``, ``outputs`` and ``known``, inner tensors, are shapes by name: ["N", 3] of float32,
    None for one that is not known, or a pair such as (TensorProto.UINT8, ["N", 3]). Constants are
    arrays by name.
    """
    graph = helper.make_graph(
        nodes,
        "g",
        _ports(inputs),
        _ports(outputs),
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (constants or {}).items()],
        value_info=_ports(known or {}),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _ports(shapes):
    pairs = {
        name: shape if isinstance(shape, tuple) else (TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    return [helper.make_tensor_value_info(name, *pair) for name, pair in pairs.items()]
