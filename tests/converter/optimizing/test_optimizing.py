"""Each rule before and after: the operators that are left, and the same answers."""

import math

import layer_cases
import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import model_of
from onnx import TensorProto, helper

from edgeport_converter import exporting
from edgeport_converter.loading.load import load_model
from edgeport_converter.optimizing import compact, optimize

RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def run(model, x):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})


def operators(model):
    return [node.op_type for node in model.graph.node]


def check(nodes, constants, x, expected, outputs=("y",)):
    """Optimize, compare answers, and return what is left."""
    shape = ["N", *x.shape[1:]]
    before = model_of(nodes, {"x": shape}, dict.fromkeys(outputs), constants)
    after = optimize(before)
    onnx.checker.check_model(after, full_check=True)
    for wanted, got in zip(run(before, x), run(after, x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5)
    assert operators(after) == expected
    return after


N = helper.make_node


@pytest.mark.parametrize(
    "name",
    [
        "model MNIST network",
        "model CNN",
        "model residual",
        "model autoencoder",
        "Conv1D same",
        "LSTM free",
    ],
)
def test_no_ordinary_model_grows(name):
    case = next(case for case in layer_cases.SMALL if case.name == name)
    exported = exporting.export(load_model(case.build()), opset=17, ir_version=8).graph
    optimized = optimize(exported)
    assert compact(optimized).ByteSize() <= compact(exported).ByteSize()
    assert len(optimized.graph.node) <= len(exported.graph.node)


@pytest.mark.parametrize("groups", [1, 4], ids=["convolution", "depthwise"])
def test_batch_normalization_after_a_convolution_moves_into_its_weights(groups):
    nodes = [
        N("Conv", ["x", "w"], ["c"], group=groups, name="layer/conv"),
        N("Mul", ["c", "scale"], ["s"]),
        N("Add", ["s", "shift"], ["y"]),
    ]
    constants = {
        "w": weights(4, 4 // groups, 3, 3),
        "scale": weights(1, 4, 1, 1),
        "shift": weights(1, 4, 1, 1),
    }
    after = check(nodes, constants, weights(2, 4, 6, 5), ["Conv"])
    assert after.graph.node[0].name == "layer/conv"


@pytest.mark.parametrize("groups", [1, 2])
def test_batch_normalization_after_a_transposed_convolution(groups):
    nodes = [
        N("ConvTranspose", ["x", "w", "b"], ["c"], group=groups, strides=[2, 2]),
        N("Mul", ["c", "scale"], ["s"]),
        N("Add", ["shift", "s"], ["y"]),
    ]
    constants = {
        "w": weights(4, 6 // groups, 3, 3),
        "b": weights(6),
        "scale": weights(6, 1, 1),
        "shift": weights(1, 6, 1, 1),
    }
    check(nodes, constants, weights(2, 4, 5, 5), ["ConvTranspose"])


def test_onnx_batch_normalization_is_folded_too():
    nodes = [
        N("Conv", ["x", "w"], ["c"]),
        N("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["y"]),
    ]
    constants = {
        "w": weights(5, 3, 1, 1),
        "scale": weights(5),
        "shift": weights(5),
        "mean": weights(5),
        "variance": np.abs(weights(5)) + 0.5,
    }
    check(nodes, constants, weights(2, 3, 4, 4), ["Conv"])


def test_dense_with_batch_normalization_is_one_gemm():
    nodes = [
        N("MatMul", ["x", "w"], ["m"]),
        N("Add", ["m", "b"], ["a"]),
        N("Mul", ["a", "scale"], ["s"]),
        N("Add", ["s", "shift"], ["y"]),
    ]
    constants = {"w": weights(6, 4), "b": weights(4), "scale": weights(4), "shift": weights(4)}
    check(nodes, constants, weights(3, 6), ["Gemm"])


def test_an_addition_that_gemm_cannot_broadcast_stays():
    nodes = [N("MatMul", ["x", "w"], ["m"]), N("Add", ["m", "b"], ["y"])]
    check(nodes, {"w": weights(6, 4), "b": weights(2, 1, 4)}, weights(3, 6), ["MatMul", "Add"])


def test_a_scale_per_place_is_not_taken_for_one_per_channel():
    nodes = [N("Conv", ["x", "w"], ["c"]), N("Mul", ["c", "scale"], ["y"])]
    constants = {"w": weights(4, 3, 1, 1), "scale": weights(1, 1, 4, 1)}
    check(nodes, constants, weights(2, 3, 4, 4), ["Conv", "Mul"])


def test_a_convolution_that_others_read_keeps_its_result():
    nodes = [
        N("Conv", ["x", "w"], ["c"]),
        N("Mul", ["c", "scale"], ["y"]),
        N("Relu", ["c"], ["z"]),
    ]
    constants = {"w": weights(4, 3, 1, 1), "scale": weights(1, 4, 1, 1)}
    check(nodes, constants, weights(2, 3, 4, 4), ["Conv", "Mul", "Relu"], outputs=("y", "z"))


def test_scaling_the_input_moves_into_a_padded_convolution():
    nodes = [N("Mul", ["x", "scale"], ["s"]), N("Conv", ["s", "w", "b"], ["y"], pads=[1] * 4)]
    constants = {"scale": np.float32(1 / 255), "w": weights(4, 3, 3, 3), "b": weights(4)}
    check(nodes, constants, weights(2, 3, 6, 6) * 255, ["Conv"])


def test_the_scale_of_a_gate_moves_into_the_convolution_after_it():
    nodes = [
        N("GlobalAveragePool", ["x"], ["g"]),
        N("Mul", ["g", "sixth"], ["s"]),
        N("Mul", ["x", "s"], ["m"]),
        N("Conv", ["m", "w", "b"], ["y"], pads=[1, 1, 1, 1]),
    ]
    constants = {"sixth": np.float32(1 / 6), "w": weights(4, 3, 3, 3), "b": weights(4)}
    check(nodes, constants, weights(2, 3, 6, 5), ["GlobalAveragePool", "Mul", "Conv"])


def test_the_scale_of_a_gate_stays_where_something_else_reads_the_product():
    nodes = [
        N("GlobalAveragePool", ["x"], ["g"]),
        N("Mul", ["g", "sixth"], ["s"]),
        N("Mul", ["x", "s"], ["m"]),
        N("Conv", ["m", "w"], ["y"], kernel_shape=[1, 1]),
        N("Relu", ["m"], ["z"]),
    ]
    constants = {"sixth": np.float32(1 / 6), "w": weights(4, 3, 1, 1)}
    left = ["GlobalAveragePool", "Mul", "Mul", "Conv", "Relu"]
    check(nodes, constants, weights(2, 3, 6, 5), left, outputs=("y", "z"))


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ([-1, 3, 4], ["Relu"]),
        ([0, 3, 4], ["Relu"]),
        ([0, -1, 4], ["Relu"]),
        ([0, 0, -1], ["Relu"]),
        ([-1, 4, 3], ["Reshape", "Relu"]),
        ([-1, 2, 6], ["Reshape", "Relu"]),
        ([-1, 12], ["Reshape", "Relu"]),
        ([2, 3, 4], ["Reshape", "Relu"]),  # insists on two samples
    ],
)
def test_a_reshape_goes_where_the_sizes_are_there_already(sizes, left):
    nodes = [N("Reshape", ["x", "sizes"], ["r"]), N("Relu", ["r"], ["y"])]
    check(nodes, {"sizes": np.array(sizes, np.int64)}, weights(2, 3, 4), left)


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ([-1, 3, 1, 1], ["GlobalAveragePool", "Relu"]),
        ([-1, 1, 1, 3], ["GlobalAveragePool", "Reshape", "Relu"]),
        ([0, 3, 1, 1], ["GlobalAveragePool", "Squeeze", "Reshape", "Relu"]),
    ],
)
def test_axes_of_one_that_are_dropped_before_a_reshape_stay(sizes, left):
    nodes = [
        N("GlobalAveragePool", ["x"], ["g"]),
        N("Squeeze", ["g", "axes"], ["s"]),
        N("Reshape", ["s", "sizes"], ["r"]),
        N("Relu", ["r"], ["y"]),
    ]
    constants = {"axes": np.array([2, 3]), "sizes": np.array(sizes, np.int64)}
    check(nodes, constants, weights(2, 3, 4, 5), left)


def test_shifting_the_input_of_a_padded_convolution_stays():
    nodes = [N("Add", ["x", "shift"], ["s"]), N("Conv", ["s", "w"], ["y"], pads=[1] * 4)]
    constants = {"shift": np.float32(-1), "w": weights(4, 3, 3, 3)}
    check(nodes, constants, weights(2, 3, 6, 6), ["Add", "Conv"])


def test_a_clipped_line_is_a_hard_sigmoid():
    nodes = [
        N("Add", ["x", "three"], ["a"]),
        N("Clip", ["a", "zero", "six"], ["c"]),
        N("Mul", ["c", "sixth"], ["h"]),
        N("Mul", ["x", "h"], ["y"]),
    ]
    constants = {
        "three": np.float32(3),
        "zero": np.float32(0),
        "six": np.float32(6),
        "sixth": np.float32(1 / 6),
    }
    check(nodes, constants, weights(4, 20) * 4, ["HardSigmoid", "Mul"])


def test_a_clipped_line_of_another_height_stays():
    nodes = [
        N("Add", ["x", "three"], ["a"]),
        N("Clip", ["a", "zero", "five"], ["c"]),
        N("Mul", ["c", "sixth"], ["y"]),
    ]
    constants = {
        "three": np.float32(3),
        "zero": np.float32(0),
        "five": np.float32(5),
        "sixth": np.float32(1 / 6),
    }
    check(nodes, constants, weights(4, 20) * 4, ["Add", "Clip", "Mul"])


def gelu_nodes(factor):
    constants = {name: np.float32(v) for name, v in (("half", 0.5), ("one", 1.0), ("c", factor))}
    nodes = [
        N("Mul", ["half", "x"], ["h"]),
        N("Neg", ["x"], ["n"]),
        N("Mul", ["n", "c"], ["s"]),
        N("Erf", ["s"], ["e"]),
        N("Sub", ["one", "e"], ["u"]),
        N("Mul", ["h", "u"], ["y"]),
    ]
    return nodes, constants


def test_gelu_is_written_so_that_the_engine_fuses_it(tmp_path):
    x = weights(4, 20) * 3
    after = check(*gelu_nodes(0.5**0.5), x, ["Div", "Erf", "Add", "Mul", "Mul"])
    wanted = [value * 0.5 * math.erfc(-value / math.sqrt(2)) for value in x.ravel().tolist()]
    np.testing.assert_allclose(run(after, x)[0].ravel(), wanted, rtol=1e-5, atol=1e-6)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(after.SerializeToString(), options)
    assert operators(onnx.load(tmp_path / "fused.onnx")) == ["Gelu"]


def test_an_error_function_of_another_width_stays():
    check(*gelu_nodes(0.5), weights(4, 20), ["Mul", "Neg", "Mul", "Erf", "Sub", "Mul"])


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (TensorProto.DOUBLE, []),
        (TensorProto.FLOAT16, ["Cast", "Cast"]),
        (TensorProto.INT32, ["Cast", "Cast"]),
    ],
)
def test_a_cast_goes_only_where_it_loses_nothing(between, expected):
    nodes = [
        N("Cast", ["x"], ["a"], to=between),
        N("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
        N("Add", ["b", "b"], ["y"]),
    ]
    check(nodes, {}, weights(4, 6), [*expected, "Add"])


def test_the_mean_over_all_places_is_a_global_pooling():
    nodes = [N("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)]
    check(nodes, {}, weights(2, 3, 4, 5), ["GlobalAveragePool", "Squeeze"])


def test_the_mean_over_channels_stays():
    nodes = [N("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=1)]
    check(nodes, {}, weights(2, 3, 4, 5), ["ReduceMean"])


def test_sequences_with_a_height_of_one_lose_it():
    nodes = [
        N("Unsqueeze", ["x", "one"], ["u"]),
        N("Transpose", ["u"], ["t"], perm=[0, 3, 1, 2]),
        N("Conv", ["t", "w"], ["c"], pads=[0, 1, 0, 1], strides=[1, 2], dilations=[1, 1]),
        N("Squeeze", ["c", "two"], ["s"]),
        N("Add", ["s", "b"], ["y"]),
    ]
    constants = {
        "one": np.array([1]),
        "two": np.array([2]),
        "w": weights(5, 3, 1, 3),
        "b": weights(1, 5, 1),
    }
    after = check(nodes, constants, weights(2, 9, 3), ["Transpose", "Conv"])
    kernel = next(tensor for tensor in after.graph.initializer if len(tensor.dims) == 3)
    assert list(kernel.dims) == [5, 3, 3]


def test_a_height_of_one_that_several_layers_read_goes():
    """Two branches of a residual network: each folds what follows its Squeeze."""
    nodes = [N("Unsqueeze", ["x", "two"], ["u"])]
    for name in "ab":
        nodes += [
            N("Conv", ["u", f"w{name}"], [f"c{name}"], strides=[1, 2]),
            N("Squeeze", [f"c{name}", "two"], [f"s{name}"]),
            N("Mul", [f"s{name}", f"m{name}"], [f"f{name}"]),
        ]
    nodes.append(N("Add", ["fa", "fb"], ["y"]))
    constants = {"two": np.array([2])}
    for name in "ab":
        constants |= {f"w{name}": weights(5, 3, 1, 1), f"m{name}": weights(1, 5, 1)}
    check(nodes, constants, weights(2, 3, 9), ["Conv", "Conv", "Add"])


def test_a_transposed_convolution_of_a_sequence_has_no_height():
    nodes = [
        N("Unsqueeze", ["x", "two"], ["u"]),
        N("ConvTranspose", ["u", "w"], ["c"], strides=[1, 2], output_padding=[0, 1]),
        N("Squeeze", ["c", "two"], ["s"]),
        N("Add", ["s", "b"], ["y"]),
    ]
    constants = {"two": np.array([2]), "w": weights(3, 5, 1, 3), "b": weights(1, 5, 1)}
    check(nodes, constants, weights(2, 3, 9), ["ConvTranspose"])


def test_the_padding_of_a_causal_convolution_moves_into_it():
    """Two of them, as Keras exports them: the transpositions between them cancel."""
    constants = {"pads": np.array([0, 2, 0, 0, 0, 0])}
    nodes, name = [], "x"
    for number in range(2):
        nodes += [
            N("Pad", [name, "pads"], [f"p{number}"]),
            N("Transpose", [f"p{number}"], [f"t{number}"], perm=[0, 2, 1]),
            N("Conv", [f"t{number}", f"w{number}"], [f"c{number}"]),
            N("Transpose", [f"c{number}"], [f"n{number}"], perm=[0, 2, 1]),
        ]
        constants[f"w{number}"] = weights(3, 3, 3)
        name = f"n{number}"
    nodes.append(N("Relu", [name], ["y"]))
    after = ["Transpose", "Conv", "Conv", "Transpose", "Relu"]
    check(nodes, constants, weights(2, 9, 3), after)


def test_a_padding_of_all_axes_with_a_value_moves_after_a_transposition():
    nodes = [
        N("Pad", ["x", "pads", "value"], ["p"]),
        N("Transpose", ["p"], ["t"], perm=[2, 0, 1]),
        N("Relu", ["t"], ["y"]),
    ]
    constants = {"pads": np.array([1, 2, 3, 4, 5, 6]), "value": np.array(7.0, np.float32)}
    check(nodes, constants, weights(2, 3, 4), ["Transpose", "Pad", "Relu"])


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [0, 1, 0, 0]])
@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_a_pool_of_a_sequence_has_no_height(pool, pads):
    nodes = [
        N("Unsqueeze", ["x", "two"], ["u"]),
        N(pool, ["u"], ["p"], kernel_shape=[1, 2], strides=[1, 2], pads=pads),
        N("Conv", ["p", "w"], ["c"], strides=[1, 2]),
        N("Squeeze", ["c", "two"], ["s"]),
        N("Add", ["s", "b"], ["y"]),
    ]
    constants = {"two": np.array([2]), "w": weights(5, 3, 1, 3), "b": weights(1, 5, 1)}
    check(nodes, constants, weights(2, 3, 9), [pool, "Conv"])


def test_a_pool_over_a_height_stays():
    nodes = [
        N("Unsqueeze", ["x", "two"], ["u"]),
        N("MaxPool", ["u"], ["p"], kernel_shape=[2, 2], strides=[1, 2], pads=[1, 0, 0, 0]),
        N("Relu", ["p"], ["y"]),
    ]
    check(nodes, {"two": np.array([2])}, weights(2, 3, 9), ["Unsqueeze", "MaxPool", "Relu"])


def test_transpositions_that_undo_each_other_go():
    nodes = [
        N("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
        N("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2]),
        N("Relu", ["b"], ["y"]),
    ]
    check(nodes, {}, weights(2, 3, 4, 5), ["Relu"])


def test_a_transposition_goes_that_undoes_one_which_others_read():
    nodes = [
        N("Transpose", ["x"], ["a"], perm=[0, 2, 1]),
        N("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        N("Relu", ["b"], ["y"]),
        N("Relu", ["a"], ["z"]),
    ]
    check(nodes, {}, weights(2, 3, 4), ["Transpose", "Relu", "Relu"], outputs=("y", "z"))


def test_transpositions_that_follow_each_other_become_one():
    nodes = [
        N("Transpose", ["x"], ["a"], perm=[1, 2, 0]),
        N("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        N("Relu", ["b"], ["y"]),
    ]
    check(nodes, {}, weights(2, 3, 4), ["Transpose", "Relu"])


def test_padding_moves_into_the_convolution():
    nodes = [N("Pad", ["x", "pads"], ["p"]), N("Conv", ["p", "w"], ["y"])]
    constants = {"pads": np.array([0, 0, 1, 2, 0, 0, 3, 4]), "w": weights(4, 3, 3, 3)}
    check(nodes, constants, weights(2, 3, 6, 6), ["Conv"])


def test_constants_are_computed_ahead_and_dead_code_goes():
    nodes = [
        N("Add", ["a", "b"], ["c"]),
        N("Relu", ["x"], ["unused"]),
        N("Mul", ["x", "c"], ["y"]),
    ]
    constants = {"a": weights(3), "b": weights(3), "never": weights(50)}
    after = check(nodes, constants, weights(2, 3), ["Mul"])
    assert [list(tensor.dims) for tensor in after.graph.initializer] == [[3]]


def test_equal_constants_and_equal_computations_are_kept_once():
    same = weights(3)
    nodes = [
        N("Mul", ["x", "a"], ["p"]),
        N("Mul", ["x", "b"], ["q"]),
        N("Sub", ["p", "q"], ["y"]),
    ]
    after = check(nodes, {"a": same, "b": same.copy()}, weights(2, 3), ["Mul", "Sub"])
    assert len(after.graph.initializer) == 1


def test_a_tensor_that_goes_out_under_two_names_goes_out_twice():
    nodes = [N("Relu", ["x"], ["y"]), N("Identity", ["y"], ["z"])]
    after = optimize(model_of(nodes, {"x": ["N", 3]}, {"y": None, "z": None}))
    x = weights(2, 3)
    y, z = run(compact(after), x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(z, y)


def test_a_constant_that_is_split_is_not_told_on_the_screen(caplog):
    """onnxscript warns that it leaves this operator, which no user can do anything about."""
    nodes = [N("Split", ["c", "sizes"], ["a", "b"], axis=0), N("Add", ["x", "a"], ["y"])]
    constants = {"c": np.arange(4, dtype=np.float32), "sizes": np.array([3, 1])}
    check(nodes, constants, weights(2, 3), ["Split", "Add"])
    assert caplog.records == []  # Python shows a warning that no program has a handler for
