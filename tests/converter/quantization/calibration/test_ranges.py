import numpy as np
import onnx_ir as ir
import pytest
from graphs import model_of, node

from edgeport import ConversionError
from edgeport_converter.quantization.calibration.ranges import collect_ranges


@pytest.fixture
def graph():
    """Y = relu(x W), of which numpy knows every activation."""
    weights = np.array([[1.0, -2.0], [3.0, 0.5]], dtype=np.float32)
    nodes = [node("MatMul", ["x", "w"], "z"), node("Relu", ["z"], "y")]
    pair = ["N", 2]
    return model_of(nodes, {"x": pair}, {"y": pair}, {"w": weights}, {"z": pair})


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(37, 2)).astype(np.float32)


def split(x, size):
    return [{"x": x[i : i + size]} for i in range(0, len(x), size)]


def in_batches(graph, x, size):
    return collect_ranges(ir.from_proto(graph), lambda _: split(x, size))


def test_ranges_are_those_of_numpy(graph, x):
    z = x @ np.array([[1.0, -2.0], [3.0, 0.5]], dtype=np.float32)
    ranges = collect_ranges(ir.from_proto(graph), lambda size: split(x, 8))
    for name, values in {"x": x, "z": z, "y": np.maximum(z, 0)}.items():
        assert ranges[name] == pytest.approx((values.min(), values.max()), rel=1e-6)


@pytest.mark.parametrize("size", [1, 3, 36, 37, 100])
def test_any_split_into_batches_gives_the_same_ranges(graph, x, size):
    assert in_batches(graph, x, size) == in_batches(graph, x, 5)


def test_the_graph_is_left_as_it_was(graph, x):
    model = ir.from_proto(graph)
    collect_ranges(model, lambda size: split(x, 8))
    assert (
        ir.to_proto(model).SerializeToString()
        == ir.to_proto(ir.from_proto(graph)).SerializeToString()
    )


def test_an_activation_that_overflows_is_named(graph):
    with pytest.raises(ConversionError, match=r"'z' became NaN or infinite"):
        collect_ranges(
            ir.from_proto(graph), lambda size: [{"x": np.full((1, 2), 3e38, dtype=np.float32)}]
        )
