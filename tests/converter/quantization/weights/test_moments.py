import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeport_converter.quantization.weights.moments import measure_moments

GENERATOR = np.random.default_rng(9)


def make_model(operator, weight, x_shape, **attributes):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"], name="layer", **attributes)],
        "g",
        [value("x", TensorProto.FLOAT, x_shape)],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    return ir.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )


def normal(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


def patches(x, kernel, stride, pad, groups):
    """All that a convolution's sums read, (G, N * places, K), by plain loops."""
    padded = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    height, width = kernel
    split = padded.shape[1] // groups
    found = [[] for _ in range(groups)]
    for sample in padded:
        for top in range(0, padded.shape[2] - height + 1, stride):
            for left in range(0, padded.shape[3] - width + 1, stride):
                window = sample[:, top : top + height, left : left + width]
                for group in range(groups):
                    part = window[group * split : (group + 1) * split]
                    found[group].append(part.reshape(-1))
    return np.array(found)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (2, 1)])
def test_moments_of_a_convolution_are_those_of_all_its_patches(groups, stride, pad):
    # 5 x 5 places at most: fewer than are picked of a larger map, so all count.
    x = normal(50, 4, 5, 5) + 2
    weight = normal(8, 4 // groups, 3, 3)
    model = make_model(
        "Conv", weight, ["N", 4, 5, 5], group=groups, strides=[stride] * 2, pads=[pad] * 4
    )
    batches = [{"x": part} for part in np.array_split(x, 7)]
    found = measure_moments(model, list(model.graph), batches)["layer"]
    expected = patches(x.astype(np.float64), (3, 3), stride, pad, groups)
    np.testing.assert_allclose(found.mean, expected.mean(axis=1), atol=1e-5)
    for group in range(groups):
        covariance = np.cov(expected[group].T, bias=True)
        np.testing.assert_allclose(found.covariance[group], covariance, atol=1e-4)


def test_of_a_large_map_places_in_all_rows_and_columns_are_looked_at():
    x = np.zeros((1, 1, 32, 32), np.float32)
    x[..., 5:, 5:] = 1  # 71 % of the places
    model = make_model("Conv", normal(1, 1, 1, 1), ["N", 1, 32, 32])
    found = measure_moments(model, list(model.graph), [{"x": x}])["layer"]
    assert found.mean[0, 0] == pytest.approx((27 / 32) ** 2, abs=0.1)


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
def test_moments_of_a_dense_layer_are_those_of_numpy(operator):
    x = normal(500, 12) * np.linspace(0.1, 3, 12, dtype=np.float32) - 5
    model = make_model(operator, normal(12, 3), ["N", 12])
    batches = [{"x": part} for part in np.array_split(x, 9)]
    found = measure_moments(model, list(model.graph), batches)["layer"]
    np.testing.assert_allclose(found.mean[0], x.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.covariance[0], np.cov(x.T, bias=True), atol=1e-4)
