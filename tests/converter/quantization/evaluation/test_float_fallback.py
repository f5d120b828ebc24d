"""Layers left in float for speed: the proposals beside all there are, and what comes of them."""

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import model_of
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgeport_converter import convert
from edgeport_converter.quantization.evaluation import timing
from edgeport_converter.quantization.evaluation.float_fallback import proposals

# What `proposals` states of a border: three nodes of 3.5 µs, and 0.5 ns a value for each.
NODE_US, VALUE_US = 10.5, 0.0015


def chain(sizes, between=()):
    """Return a graph of convolutions, each reading an image of so many values a side."""
    weights = np.ones((1, 1, 1, 1), np.float32)
    nodes = []
    for place in range(len(sizes)):
        nodes.append(
            helper.make_node("Conv", [f"t{place}", "w"], [f"t{place + 1}"], f"conv{place}")
        )
        if place in between:
            nodes[-1].output[0] = f"t{place}c"
            nodes.append(
                helper.make_node("Relu", [f"t{place}c"], [f"t{place + 1}"], f"relu{place}")
            )
    inner = {f"t{place}": ["N", 1, size, size] for place, size in enumerate(sizes)}
    first = {"t0": inner.pop("t0")}
    last = {f"t{len(sizes)}": ["N", 1, sizes[-1], sizes[-1]]}
    return ir.from_proto(model_of(nodes, first, last, {"w": weights}, inner)).graph


def cost(in_float, sizes, float_us, int8_us):
    """Return the time of an assignment; the graph's input comes in float."""
    total, before = 0.0, True
    for now, size, slow, fast in zip(in_float, sizes, float_us, int8_us, strict=True):
        total += slow if now else fast
        total += 0 if now == before else NODE_US + VALUE_US * size**2
        before = now
    return total


times = st.lists(st.integers(0, 200), min_size=7, max_size=7)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 100), min_size=2, max_size=7), times, times)
def test_no_choice_of_layers_is_faster_than_the_first_proposal(sizes, float_us, int8_us):
    count = len(sizes)
    names = [f"conv{place}" for place in range(count)]
    float_us, int8_us = float_us[:count], int8_us[:count]
    graph = chain(sizes)
    found = proposals(
        graph, dict(zip(names, float_us, strict=True)), dict(zip(names, int8_us, strict=True))
    )
    least = min(
        cost(each, sizes, float_us, int8_us)
        for each in itertools.product([False, True], repeat=count)
    )
    trivial = [cost([same] * count, sizes, float_us, int8_us) for same in (False, True)]
    if least < min(trivial) - 1e-9:
        first = [name in found[0] for name in names]
        assert cost(first, sizes, float_us, int8_us) == pytest.approx(least)
    assert all(0 < len(layers) < count for layers in found)


def test_a_node_without_weights_counts_for_the_layer_before_it():
    graph = chain([2, 2, 2], between=[0])
    int8_us = {"conv0": 10, "relu0": 50, "conv1": 10, "conv2": 10}
    float_us = dict.fromkeys(int8_us, 10) | {"conv1": 60, "conv2": 60}
    assert proposals(graph, float_us, int8_us) == [frozenset({"conv0"})]


def test_a_layer_that_saves_less_than_two_full_borders_is_proposed_for_cpus_with_cheaper_ones():
    graph = chain([2, 2, 2])
    layers = ("conv0", "conv1", "conv2")
    int8_us = dict.fromkeys(layers, 10) | {"conv1": 20}  # two borders of 10.5 µs, or of a quarter
    float_us = dict.fromkeys(layers, 40) | {"conv1": 8}
    assert proposals(graph, float_us, int8_us) == [frozenset({"conv1"})]


def test_nothing_is_proposed_where_int8_is_faster_everywhere():
    graph = chain([8, 8, 8])
    layers = ("conv0", "conv1", "conv2")
    assert proposals(graph, dict.fromkeys(layers, 30), dict.fromkeys(layers, 10)) == []


@pytest.mark.parametrize("channels", [3, 8, 16])
def test_every_layer_has_a_time_whatever_the_engine_makes_of_it(channels):
    generator = np.random.default_rng(0)
    first = generator.normal(size=(16, channels, 3, 3)).astype(np.float32)
    second = generator.normal(size=(16, 16, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "net/first/Conv"),
        helper.make_node("Relu", ["a"], ["b"], "net/first/Relu"),
        helper.make_node("Conv", ["b", "v"], ["y"], "net/second/Conv"),
    ]
    shapes = {"x": [1, channels, 20, 20]}, {"y": [1, 16, 16, 16]}
    model = model_of(nodes, *shapes, {"w": first, "v": second})
    found = timing.node_times_us(model, {"x": np.zeros((1, channels, 20, 20), np.float32)})
    assert found["net/first/Conv"] + found["net/first/Relu"] > 0
    assert found["net/second/Conv"] > 0


@pytest.fixture(scope="module")
def network():
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(8, 3, activation="relu", name="narrow"),
            keras.layers.Conv2D(16, 3, activation="relu", name="wide"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, name="scores"),
        ]
    )


def stores_as_int8(path, layer):
    graph = onnx.load(path).graph
    node = next(n for n in graph.node if n.op_type == "Conv" and f"/{layer}/" in n.name)
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    sources = {name: n for n in graph.node for name in n.output}
    weights = node.input[1]
    if weights in constants:
        return False
    assert constants[sources[weights].input[0]] == TensorProto.INT8
    return True


@pytest.mark.parametrize(
    ("recipe", "objective", "is_int8"),
    [
        ("static", "latency", False),
        ("auto", "balanced", False),
        ("static", "balanced", True),  # the same command, the same file
        ("auto", "size", True),
    ],
)
def test_a_layer_that_int8_slows_down_stays_in_float(
    network, recipe, objective, is_int8, tmp_path, monkeypatch
):
    """The machine's int8 triples the first layer's time and saves half of the others'."""
    slow = {"narrow": (20.0, 60.0), "wide": (40.0, 20.0), "scores": (4.0, 4.0)}

    def runs_as_int8(graph, layer):
        constants = {tensor.name for tensor in graph.graph.initializer}
        node = next(
            n
            for n in graph.graph.node
            if f"/{layer}/" in n.name and n.op_type in ("Conv", "Gemm", "MatMul")
        )
        return node.input[1] not in constants

    def node_times(graph, sample):
        return {
            node.name: next(
                (
                    times[runs_as_int8(graph, layer)]
                    for layer, times in slow.items()
                    if f"/{layer}/" in node.name
                ),
                0.0,
            )
            for node in graph.graph.node
            if node.op_type in ("Conv", "Gemm", "MatMul")
        }

    def latencies(graphs, card, sample):
        return [
            sum(times[runs_as_int8(graph, layer)] for layer, times in slow.items())
            for graph in graphs
        ]

    monkeypatch.setattr(timing, "node_times_us", node_times)
    monkeypatch.setattr(timing, "median_latencies_us", latencies)
    x = np.random.default_rng(0).random((64, 16, 16, 3), dtype=np.float32)
    path = tmp_path / "m.onnx"
    report = convert(
        network, path, calibration=x, quantize=recipe, objective=objective, max_drop=0.1
    )
    assert stores_as_int8(path, "narrow") is is_int8
    assert stores_as_int8(path, "wide")
    formats = {line.name: line.number_format for line in report.layers}
    assert formats["narrow"] == ("int8" if is_int8 else "float32")
