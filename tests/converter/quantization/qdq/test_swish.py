"""A swish between int8 layers as one float node, beside its formula in float64."""

import keras
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import model_of
from onnx import TensorProto, helper

from edgeport import Predictor
from edgeport_converter import convert
from edgeport_converter.quantization.evaluation import timing
from edgeport_converter.quantization.qdq.swish import compute_in_float, find_swishes
from edgeport_converter.quantization.tensors import open_session

SCALE, ZERO, STEP, MIDDLE = 0.05, 120, 0.03, 10


def int8_swish(*, other=False, shared=False):
    """Return codes -> swish -> codes, as the int8 form has it.

    With ``other`` the product multiplies by something else, with ``shared`` the sigmoid's codes are
    an answer as well.
    """
    constants = {
        "s": np.float32(SCALE), "z": np.uint8(ZERO), "gs": np.float32(1 / 255),
        "gz": np.uint8(0), "ys": np.float32(STEP), "yz": np.uint8(MIDDLE),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["xf"]),
        helper.make_node("DequantizeLinear", ["x", "ys", "z"], ["x2"]),
        helper.make_node("Sigmoid", ["xf"], ["g"], "net/sigmoid"),
        helper.make_node("QuantizeLinear", ["g", "gs", "gz"], ["gq"]),
        helper.make_node("DequantizeLinear", ["gq", "gs", "gz"], ["gf"]),
        helper.make_node("Mul", ["x2" if other else "xf", "gf"], ["m"], "net/mul"),
        helper.make_node("QuantizeLinear", ["m", "ys", "yz"], ["y"]),
    ]
    outputs = dict.fromkeys(("y", "gq") if shared else ("y",), (TensorProto.UINT8, None))
    model = model_of(nodes, {"x": (TensorProto.UINT8, ["N", 256])}, outputs, constants)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def test_every_code_becomes_the_nearest_code_of_its_swish():
    model = int8_swish()
    compute_in_float(model)
    kinds = [node.op_type for node in model.graph]
    assert not {"Sigmoid", "Mul"}.intersection(kinds)
    codes = np.arange(256, dtype=np.uint8)[None]
    x = SCALE * (codes.astype(np.float64) - ZERO)
    wanted = np.clip(x / (1 + np.exp(-x)) / STEP + MIDDLE, 0, 255)
    for optimized in (False, True):
        (found,) = open_session(model, optimized=optimized).run(None, {"x": codes})
        assert np.abs(found - wanted).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("options", [{"other": True}, {"shared": True}])
def test_what_is_no_swish_alone_stays(options):
    model = int8_swish(**options)
    before = [node.op_type for node in model.graph]
    compute_in_float(model)
    assert find_swishes(model.graph) == []
    assert [node.op_type for node in model.graph] == before


@pytest.mark.parametrize("faster", [True, False])
def test_a_network_takes_it_where_the_whole_graph_is_faster(faster, tmp_path, monkeypatch):
    keras.utils.set_random_seed(3)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((16, 16, 4)),
            layers.Conv2D(32, 3, activation="swish"),
            layers.Conv2D(32, 3, activation="swish"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )

    def is_whole(graph):
        return any(node.op_type == "QuickGelu" for node in graph.graph.node)

    def takes(graph):
        if not any(tensor.data_type == TensorProto.INT8 for tensor in graph.graph.initializer):
            return 200.0
        return (60.0 if faster else 120.0) if is_whole(graph) else 100.0

    def node_times(graph, sample):
        per_node = takes(graph) / len(graph.graph.node)
        return {node.name: per_node for node in graph.graph.node}

    monkeypatch.setattr(timing, "node_times_us", node_times)
    monkeypatch.setattr(
        timing, "median_latencies_us", lambda graphs, card, sample: [takes(g) for g in graphs]
    )
    x = np.random.default_rng(0).normal(size=(64, 16, 16, 4)).astype(np.float32)
    path = tmp_path / "m.onnx"
    report = convert(network, path, calibration=x, evaluation=x, max_drop=0.5)
    assert is_whole(onnx.load(path)) is faster
    assert ("swish in float" in str(report.recipe)) is faster
    expected = np.asarray(network(x))
    found = Predictor.load(path).predict(x)
    assert 10 * np.log10(np.var(expected) / np.mean((found - expected) ** 2)) > 20
