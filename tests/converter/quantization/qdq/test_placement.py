"""Where int8 begins and ends, and the scales at its borders."""

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from graphs import model_of, node
from onnx import TensorProto, helper, numpy_helper

from edgeport_converter.quantization.calibration.ranges import collect_ranges
from edgeport_converter.quantization.qdq.quantize import quantize, weighted_nodes
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.quantization.weights.gptq import Rounder
from edgeport_converter.quantization.weights.moments import measure_moments
from edgeport_converter.targets import find_target
from edgeport_converter.verification.runners import run_as_defined

GENERATOR = np.random.default_rng(4)
X = GENERATOR.normal(size=(100, 3, 8, 8)).astype(np.float32)


def make(nodes, outputs, **constants):
    model = model_of(nodes, {"x": ["N", 3, 8, 8]}, dict.fromkeys(outputs), constants)
    return onnx.shape_inference.infer_shapes(model)


def normal(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def pooled():
    """Conv, relu, mean of 36 places, Dense."""
    return make(
        [
            node("Conv", ["x", "w", "b"], "conv"),
            node("Relu", ["conv"], "relu"),
            node("AveragePool", ["relu"], "pool", kernel_shape=[6, 6]),
            node("Reshape", ["pool", "shape"], "flat"),
            node("Gemm", ["flat", "v", "c"], "y"),
        ],
        ["y"],
        w=normal(64, 3, 3, 3),
        b=normal(64),
        v=normal(64, 80),
        c=normal(80),
        shape=np.array([-1, 64]),
    )


def ranges_of(model, x=X):
    return collect_ranges(ir.from_proto(model), lambda size: [{"x": x}])


def quantized(model, recipe, x=X):
    float_graph = ir.from_proto(model)
    layers = weighted_nodes(float_graph.graph)
    rounder = Rounder(measure_moments(float_graph, layers, [{"x": x}]))
    made = quantize(float_graph, recipe, ranges_of(model, x), find_target("any"), rounder)
    return replace(made, graph=ir.to_proto(made.graph))


def signal_to_noise(found, expected):
    return 10 * np.log10(np.var(expected) / np.mean((found - expected) ** 2))


def constants(graph):
    return {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}


def scale_of(graph, tensor):
    reader = next(
        n for n in graph.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == tensor
    )
    return float(constants(graph)[reader.input[1]])


def test_a_pooled_tensor_has_the_scale_of_its_own_values(pooled):
    graph = quantized(pooled, Recipe("static")).graph
    _, highest = ranges_of(pooled)["pool"]
    assert scale_of(graph, "pool") == pytest.approx(highest / 255, rel=1e-5)
    assert scale_of(graph, "relu") > 2 * scale_of(graph, "pool")
    found = run_as_defined(graph)({"x": X})["y"]
    assert signal_to_noise(found, run_as_defined(pooled)({"x": X})["y"]) > 30


def test_one_scale_a_dense_layer_stores_one_number(pooled):
    many, one = (quantized(pooled, Recipe("static", one_scale=each)) for each in (False, True))
    sizes = []
    for each in (many, one):
        gemm = next(n for n in each.graph.graph.node if n.op_type == "Gemm")
        reader = next(n for n in each.graph.graph.node if gemm.input[1] in n.output)
        sizes.append(constants(each.graph)[reader.input[1]].size)
    assert sizes == [80, 1]
    onnx.checker.check_model(one.graph)
    found = run_as_defined(one.graph)({"x": X})["y"]
    assert signal_to_noise(found, run_as_defined(pooled)({"x": X})["y"]) > 30


def test_a_wide_bias_is_stored_in_16_bits_and_the_same(pooled):
    graph = quantized(pooled, Recipe("static")).graph
    gemm = next(n for n in graph.graph.node if n.op_type == "Gemm")
    reader = next(n for n in graph.graph.node if gemm.input[2] in n.output)
    cast = next(n for n in graph.graph.node if reader.input[0] in n.output)
    codes, steps = constants(graph)[cast.input[0]], constants(graph)[reader.input[1]]
    assert codes.dtype == np.int16
    bias = constants(pooled)["c"]
    # Within the correction of the mean error, which is a fraction of a weight's step each.
    assert np.abs(codes * steps - bias).max() < 0.1 * np.abs(bias).max()


def test_what_no_int8_layer_reads_stays_in_float():
    model = make(
        [
            node("Conv", ["x", "w"], "large"),
            node("Conv", ["x", "v"], "small"),
            node("Concat", ["large", "small"], "joined", axis=1),
            node("Transpose", ["joined"], "y", perm=[0, 2, 3, 1]),
        ],
        ["y"],
        w=1000 * normal(4, 3, 1, 1),
        v=normal(2, 3, 1, 1),
    )
    result = quantized(model, Recipe("static"))
    assert result.float_layers == {
        "joined": "Concat is computed in float, where int8 would gain nothing",
        "y": "Transpose is computed in float, where int8 would gain nothing",
    }
    found = run_as_defined(result.graph)({"x": X})["y"]
    expected = run_as_defined(model)({"x": X})["y"]
    for channel in range(6):
        assert signal_to_noise(found[..., channel], expected[..., channel]) > 30


def test_a_concat_between_int8_layers_is_int8():
    model = make(
        [
            node("Conv", ["x", "w"], "one"),
            node("Conv", ["x", "v"], "two"),
            node("Concat", ["one", "two"], "joined", axis=1),
            node("Conv", ["joined", "u"], "y"),
        ],
        ["y"],
        w=normal(4, 3, 1, 1),
        v=normal(4, 3, 1, 1),
        u=normal(4, 8, 1, 1),
    )
    assert quantized(model, Recipe("static")).float_layers == {}


def test_what_lies_between_float_layers_is_float():
    model = make(
        [
            node("Conv", ["x", "w"], "one"),
            node("Conv", ["x", "v"], "two"),
            node("Add", ["one", "two"], "sum"),
            node("Relu", ["sum"], "relu"),
            node("Conv", ["relu", "u"], "last"),
            node("Conv", ["last", "u"], "y"),
        ],
        ["y"],
        w=normal(4, 3, 1, 1),
        v=normal(4, 3, 1, 1),
        u=normal(4, 4, 1, 1),
    )
    kept = frozenset({"one", "two", "last"})
    result = quantized(model, Recipe("static", float_nodes=kept))
    assert result.float_layers.keys() == {"one", "two", "sum", "relu", "last"}


def test_onnxruntime_computes_a_layer_in_float_that_is_to_stay_in_float(tmp_path):
    model = make(
        [
            node("Conv", ["x", "w"], "one"),
            node("Relu", ["one"], "relu"),
            node("Conv", ["relu", "v"], "two"),
            node("Relu", ["two"], "relu2"),
            node("Conv", ["relu2", "u"], "y"),
        ],
        ["y"],
        w=normal(8, 3, 1, 1),
        v=normal(8, 8, 1, 1),
        u=normal(8, 8, 1, 1),
    )
    graph = quantized(model, Recipe("static", float_nodes=frozenset({"two"}))).graph
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3  # it warns that such a file is for this machine only
    onnxruntime.InferenceSession(graph.SerializeToString(), options)
    operators = [n.op_type for n in onnx.load(tmp_path / "loaded.onnx").graph.node]
    assert operators.count("QLinearConv") == 2
    assert operators.count("Conv") + operators.count("FusedConv") == 1


def test_a_float_layer_that_shares_weights_with_an_int8_layer_keeps_the_float_ones():
    model = make(
        [
            node("Conv", ["x", "w", "b"], "first"),
            node("Relu", ["first"], "relu"),
            node("Conv", ["relu", "w2", "b"], "second"),
            node("Conv", ["second", "w2", "b"], "third"),
        ],
        ["third"],
        w=normal(16, 3, 3, 3),
        w2=normal(16, 16, 3, 3),
        b=normal(16),
    )
    graph = quantized(model, Recipe("static", float_nodes=frozenset({"third"}))).graph
    third = next(n for n in graph.graph.node if n.name == "third")
    found = {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}
    before = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    np.testing.assert_array_equal(found[third.input[1]], before["w2"])
    np.testing.assert_array_equal(found[third.input[2]], before["b"])
    second = next(n for n in graph.graph.node if n.name == "second")
    assert second.input[1] not in found  # it comes from a DequantizeLinear


# Features of a table, as sensors give them: one scale for all of them would leave only the largest.
FEATURES = np.array([1e-3, 1.0, 1e2, 1e4, 1e6], np.float32)


@pytest.fixture(scope="module")
def tabular():
    """Normalization, Dense; both operands of the Normalization are constants."""
    nodes = [
        node("Reshape", ["x", "shape"], "flat"),
        node("Mul", ["flat", "factor"], "normal"),
        node("Add", ["normal", "offset"], "centred"),
        node("Gemm", ["centred", "w", "b"], "hidden"),
        node("Relu", ["hidden"], "relu"),
        node("Gemm", ["relu", "v", "c"], "y"),
    ]
    constants = {
        "shape": np.array([-1, 5]),
        "factor": 1 / FEATURES,
        "offset": normal(5),
        "w": normal(5, 80),
        "b": normal(80),
        "v": normal(80, 3),
        "c": normal(3),
    }
    model = model_of(nodes, {"x": ["N", 5, 1]}, {"y": ["N", 3]}, constants)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("kind", ["static", "int16"])
def test_features_of_unlike_sizes_are_normalized_in_float(tabular, kind):
    generator = np.random.default_rng(11)
    x, fresh = (
        (generator.normal(size=(200, 5)) * FEATURES).astype(np.float32)[..., None] for _ in range(2)
    )
    graph = quantized(tabular, Recipe(kind), x).graph
    wanted = run_as_defined(tabular)({"x": fresh})["y"]
    found = run_as_defined(graph)({"x": fresh})["y"]
    assert 10 * np.log10(np.var(wanted) / np.mean((found - wanted) ** 2)) > 30
    (rounded,) = (
        n.input[0]
        for n in graph.graph.node
        if n.op_type == "QuantizeLinear" and n.input[0] in ("x", "flat", "normal", "centred")
    )
    assert rounded == "centred"


@pytest.mark.parametrize("kind", ["static", "int16"])
@pytest.mark.parametrize("after", ["Identity", "Sigmoid"])
@pytest.mark.parametrize("limit", ["Relu", "Clip"])
def test_a_limit_that_only_float_reads_is_kept(limit, after, kind):
    constants = {
        "w": normal(192, 16),
        "b": normal(16),
        "shape": np.array([-1, 192]),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    inputs = ["gemm", "low", "high"] if limit == "Clip" else ["gemm"]
    model = make(
        [
            node("Reshape", ["x", "shape"], "flat"),
            node("Gemm", ["flat", "w", "b"], "gemm"),
            node(limit, inputs, "limited"),
            node(after, ["limited"], "y"),
        ],
        ["limited", "y"],
        **constants,
    )
    graph = quantized(model, Recipe(kind)).graph
    wanted, found = (run_as_defined(g)({"x": X}) for g in (model, graph))
    assert found["limited"].min() == 0  # half of all values are below without it
    for name in ("limited", "y"):
        noise = np.mean((found[name] - wanted[name]) ** 2)
        assert 10 * np.log10(np.var(wanted[name]) / noise) > 25


def test_a_relu_stays_the_answer_of_a_layer_beside_one_in_float():
    model = make(
        [
            node("Reshape", ["x", "shape"], "flat"),
            node("Gemm", ["flat", "w", "b"], "first"),
            node("Relu", ["first"], "relu"),
            node("Gemm", ["relu", "v", "c"], "second"),
            node("Relu", ["second"], "y"),
        ],
        ["y"],
        w=normal(192, 16),
        b=normal(16),
        shape=np.array([-1, 192]),
        v=normal(16, 8),
        c=normal(8),
    )
    for in_float in ("first", "second"):
        graph = quantized(model, Recipe("static", float_nodes=frozenset({in_float}))).graph
        wanted, found = (run_as_defined(g)({"x": X})["y"] for g in (model, graph))
        assert 10 * np.log10(np.var(wanted) / np.mean((found - wanted) ** 2)) > 30


def gelu_between_layers(kind):
    """Dense, gelu as TensorFlow writes it after optimizing, Dense."""
    steps = {
        "erf": [
            node("Div", ["h", "root2"], "d"),
            node("Erf", ["d"], "curve"),
            node("Add", ["curve", "one"], "a"),
            node("Mul", ["h", "a"], "m"),
            node("Mul", ["m", "half"], "g"),
        ],
        "tanh": [
            node("Pow", ["h", "three"], "p"),
            node("Mul", ["p", "cubic"], "c"),
            node("Add", ["h", "c"], "s"),
            node("Mul", ["s", "root"], "r"),
            node("Tanh", ["r"], "curve"),
            node("Add", ["curve", "one"], "a"),
            node("Mul", ["h", "half"], "b"),
            node("Mul", ["b", "a"], "g"),
        ],
    }[kind]
    value = helper.make_tensor_value_info
    constants = {
        "w": normal(32, 64) / 4,
        "bias": normal(64),
        "v": normal(64, 8) / 8,
        "one": np.float32(1),
        "half": np.float32(0.5),
        "root2": np.float32(np.sqrt(2)),
        "three": np.float32(3),
        "cubic": np.float32(0.044715),
        "root": np.float32(np.sqrt(2 / np.pi)),
    }
    graph = helper.make_graph(
        [
            node("MatMul", ["x", "w"], "product"),
            node("Add", ["product", "bias"], "h"),
            *steps,
            node("MatMul", ["g", "v"], "y"),
        ],
        "g",
        [value("x", TensorProto.FLOAT, ["N", 16, 32])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a, np.float32), n) for n, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize(("kind", "kernels"), [("erf", "BiasGelu"), ("tanh", "FastGelu")])
def test_the_engine_runs_a_gelu_between_int8_layers_as_one_kernel(kind, kernels, tmp_path):
    model = gelu_between_layers(kind)
    x = GENERATOR.normal(size=(60, 16, 32)).astype(np.float32)
    made = quantized(model, Recipe("static"), x)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session = onnxruntime.InferenceSession(
        made.graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kinds = [each.op_type for each in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kernels in kinds
    assert sum("MatMul" in each and each != "MatMul" for each in kinds) == 2
    (found,) = session.run(None, {"x": x})
    (expected,) = run_as_defined(model)({"x": x}).values()
    assert signal_to_noise(found, expected) > 30


@pytest.mark.parametrize("kind", ["static", "int16"])
@pytest.mark.parametrize("outputs", [["y"], ["y", "relu"]], ids=["inside", "an output"])
def test_a_relu_in_front_of_a_gelu_is_kept(outputs, kind):
    model = make(
        [
            node("Reshape", ["x", "shape"], "flat"),
            node("Gemm", ["flat", "w", "b"], "gemm"),
            node("Relu", ["gemm"], "relu"),
            node("Mul", ["relu", "slope"], "step"),
            node("Erf", ["step"], "curve"),
            node("Add", ["curve", "one"], "shifted"),
            node("Mul", ["relu", "shifted"], "gelu"),
            node("Gemm", ["gelu", "v", "c"], "y"),
        ],
        outputs,
        w=normal(192, 16) / 8,
        b=normal(16),
        shape=np.array([-1, 192]),
        c=normal(8),
        v=normal(16, 8),
        slope=np.float32(np.sqrt(0.5)),
        one=np.float32(1),
    )
    graph = quantized(model, Recipe(kind)).graph
    wanted, found = (run_as_defined(g)({"x": X}) for g in (model, graph))
    for name in outputs:
        assert signal_to_noise(found[name], wanted[name]) > 25


@pytest.mark.parametrize("kind", ["static", "int16"])
@pytest.mark.parametrize("read", ["gemm", "hard", "v", "x"])
def test_what_a_branch_reads_is_there(read, kind):
    value = helper.make_tensor_value_info
    branches = {
        f"{name}_branch": helper.make_graph(
            [
                node("ReduceMax", [read], f"{name}/top", keepdims=0),
                node(operator, [f"{name}/top"], name),
            ],
            name,
            [],
            [value(name, TensorProto.FLOAT, [])],
        )
        for name, operator in (("then", "Neg"), ("else", "Abs"))
    }
    model = make(
        [
            node("Reshape", ["x", "shape"], "flat"),
            node("Gemm", ["flat", "w", "b"], "gemm"),
            node("HardSigmoid", ["gemm"], "hard", alpha=1 / 6, beta=0.5),
            node("If", ["yes"], "branch", **branches),
            node("Gemm", ["hard", "v", "c"], "z"),
            node("Add", ["z", "branch"], "y"),
        ],
        ["y"],
        w=normal(192, 16) / 8,
        b=normal(16),
        shape=np.array([-1, 192]),
        c=normal(8),
        v=normal(16, 8),
        yes=np.array(True),
    )
    graph = quantized(model, Recipe(kind)).graph
    wanted, found = (run_as_defined(g)({"x": X})["y"] for g in (model, graph))
    assert signal_to_noise(found, wanted) > 25


def test_a_clip_whose_bound_no_scale_can_do_the_work_of_is_kept():
    """Each range holds zero, so a lower bound above zero is not at the end of the codes."""
    model = make(
        [
            node("Conv", ["x", "w", "b"], "conv"),
            node("Clip", ["conv", "low", "high"], "clip"),
            node("Conv", ["clip", "v"], "y"),
        ],
        ["y"],
        w=normal(8, 3, 3, 3),
        b=normal(8),
        v=normal(4, 8, 1, 1),
        low=np.float32(1),
        high=np.float32(6),
    )
    graph = quantized(model, Recipe("static")).graph
    wanted, found = (run_as_defined(g)({"x": X})["y"] for g in (model, graph))
    assert signal_to_noise(found, wanted) > 30


@pytest.mark.parametrize("kind", ["static", "int16"])
def test_an_output_that_a_relu_reads_keeps_its_negative_values(kind):
    model = make(
        [
            node("Conv", ["x", "w", "b"], "conv"),
            node("Relu", ["conv"], "relu"),
            node("Conv", ["relu", "v"], "y"),
        ],
        ["conv", "y"],
        w=normal(8, 3, 3, 3),
        b=normal(8),
        v=normal(4, 8, 1, 1),
    )
    graph = quantized(model, Recipe(kind)).graph
    wanted, found = (run_as_defined(g)({"x": X}) for g in (model, graph))
    for name in ("conv", "y"):
        assert signal_to_noise(found[name], wanted[name]) > 30


def test_a_constant_that_a_float_node_shares_stays_exact_for_it():
    model = make(
        [
            node("Conv", ["x", "w"], "conv"),
            node("Add", ["conv", "shared"], "sum"),
            node("Conv", ["sum", "v"], "y"),
            node("Pow", ["x", "shared"], "power"),
        ],
        ["y", "power"],
        w=normal(3, 3, 1, 1),
        v=normal(4, 3, 1, 1),
        shared=np.array([1.0, 2.0, 3.0], np.float32).reshape(1, 3, 1, 1) + np.float32(1e-3),
    )
    x = np.abs(X)
    graph = quantized(model, Recipe("static"), x).graph
    (expected, found) = (run_as_defined(g)({"x": x})["power"] for g in (model, graph))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["static", "int16"])
@pytest.mark.parametrize("shape", [(6, 8, 8), (8, 8)], ids=["the first operand", "a matrix"])
def test_a_product_of_a_constant_first_stays_in_float(shape, kind):
    model = make(
        [
            node("Conv", ["x", "w"], "conv"),
            node("MatMul", ["filter", "conv"], "product"),
            node("Conv", ["product", "v"], "y"),
        ],
        ["y"],
        w=normal(6, 3, 1, 1),
        v=normal(4, 6, 1, 1),
        filter=normal(*shape),
    )
    graph = quantized(model, Recipe(kind)).graph
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (wanted,) = run_as_defined(model)({"x": X}).values()
    (found,) = session.run(None, {"x": X})
    assert signal_to_noise(found, wanted) > 25


def test_what_passes_on_an_int8_tensor_is_int8_whichever_reader_comes_first():
    model = make(
        [
            node("Sigmoid", ["x"], "given"),
            node("MaxPool", ["given"], "pool", kernel_shape=[2, 2]),
            node("Conv", ["given", "w"], "z"),
            node("Conv", ["pool", "w"], "y"),
        ],
        ["y", "z"],
        w=normal(4, 3, 1, 1),
    )
    graph = quantized(model, Recipe("static")).graph.graph
    producers = {name: n for n in graph.node for name in n.output}
    (pool,) = (n for n in graph.node if n.op_type == "MaxPool")
    assert producers[pool.input[0]].op_type == "DequantizeLinear"
