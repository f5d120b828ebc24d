"""Weights as sums read them, beside what the operators compute."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeport_converter.quantization.weights.forms import as_stored, as_sums
from edgeport_converter.verification.runners import run_as_defined

GENERATOR = np.random.default_rng(9)
CASES = [
    ("Conv", {"group": 3}, (6, 2, 3, 3)),
    ("ConvTranspose", {}, (4, 5, 2, 2)),
    ("ConvTranspose", {"group": 2}, (4, 5, 2, 2)),
    ("Gemm", {}, (5, 4)),
    ("Gemm", {"transB": 1}, (5, 4)),
    ("MatMul", {}, (5, 4)),
]


@pytest.mark.parametrize(("operator", "attributes", "shape"), CASES)
def test_the_form_of_sums_can_be_undone(operator, attributes, shape):
    node = ir.node(operator, [], attributes)
    weights = GENERATOR.normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(as_stored(node, as_sums(node, weights), shape), weights)


@pytest.mark.parametrize(("operator", "attributes", "shape"), CASES)
def test_each_output_reads_the_weights_of_its_own_sum(operator, attributes, shape):
    """A layer with the weights of one output alone answers in that output alone."""
    node = ir.node(operator, [], attributes)
    weights = GENERATOR.normal(size=shape).astype(np.float32)
    sums = as_sums(node, weights)
    outputs = sums.shape[0] * sums.shape[1]
    kept = np.zeros_like(sums).reshape(outputs, -1)
    kept[1] = sums.reshape(outputs, -1)[1]
    image = operator.startswith("Conv")
    groups = attributes.get("group", 1)
    channels = shape[1] * groups if operator == "Conv" else shape[0]
    if not image:
        channels = shape[1] if "transB" in attributes else shape[0]
    x = np.ones((1, channels, 4, 4) if image else (1, channels), np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"], **attributes)],
        "g",
        [value("x", TensorProto.FLOAT, x.shape)],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(as_stored(node, kept.reshape(sums.shape), shape), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = np.abs(run_as_defined(model)({"x": x})["y"][0]).reshape(outputs, -1).max(axis=1)
    assert np.flatnonzero(found).tolist() == [1]
