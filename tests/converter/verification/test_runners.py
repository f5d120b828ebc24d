"""How a graph is run: fixed batches, int8 as ONNX defines it, dynamic int8 one by one."""

import numpy as np
import pytest
from graphs import model_of, node
from onnx import TensorProto, helper

from edgeport import ModelCard, TensorSpec
from edgeport_converter.targets import find_target
from edgeport_converter.verification.runners import (
    Runner,
    batches_for,
    cut_into_batches,
    in_fixed_batches,
    run_as_defined,
)

X = np.arange(14, dtype=np.float32).reshape(7, 2)
FREE = TensorSpec("x", np.dtype(np.float32), ("N", 2), ("N", "F"))
FIXED = TensorSpec("x", np.dtype(np.float32), (3, 2), ("N", "F"))


def doubling_graph(samples):
    nodes = [node("Mul", ["x", "two"], "y"), node("Neg", ["y"], "z")]
    two = np.float32([2])
    return model_of(nodes, {"x": [samples, 2]}, {"z": [samples, 2]}, {"two": two})


def card_of(spec):
    return ModelCard("m", (spec,), (TensorSpec("z", spec.dtype, spec.shape, ("N", "C")),))


class Counting:
    """A run that notes the number of samples of each call."""

    def __init__(self):
        self.sizes = []

    def __call__(self, arrays):
        self.sizes.append(len(arrays["x"]))
        return {"y": arrays["x"] + 1}


@pytest.mark.parametrize(("spec", "sizes"), [(FREE, [7]), (FIXED, [3, 3, 3])])
def test_a_model_gets_the_number_of_samples_that_it_insists_on(spec, sizes):
    run = Counting()
    np.testing.assert_array_equal(in_fixed_batches(run, [spec])({"x": X})["y"], X + 1)
    assert run.sizes == sizes


def test_samples_are_cut_into_full_batches():
    batches = [batch["x"][:, 0].tolist() for batch in cut_into_batches({"x": X}, 4, [FREE])]
    assert batches == [[0, 2, 4, 6], [8, 10, 12, 12]]
    sizes = [len(batch["x"]) for batch in cut_into_batches({"x": X}, 4, [FIXED])]
    assert sizes == [3, 3, 3]


def test_a_fixed_size_is_that_of_every_pass():
    def batches(size):
        return ({"x": X[start : start + size]} for start in range(0, 7, size))

    assert [len(batch["x"]) for batch in batches_for(batches, [FREE])(5)] == [5, 2]
    assert [len(batch["x"]) for batch in batches_for(batches, [FIXED])(5)] == [3, 3, 3]


@pytest.mark.parametrize("spec", [FREE, FIXED])
@pytest.mark.parametrize(
    ("kind", "target"),
    [("none", None), ("static", "any"), ("static", "arm64"), ("dynamic", "arm64")],
)
def test_every_way_to_run_a_graph_takes_any_number_of_samples(spec, kind, target):
    graph = doubling_graph(spec.shape[0])
    runner = Runner(card_of(spec), kind, None if target is None else find_target(target))
    with runner.open(graph) as run:
        np.testing.assert_array_equal(run({"x": X})["z"], -2 * X)
    np.testing.assert_array_equal(runner.as_defined(graph)({"x": X})["z"], -2 * X)


@pytest.mark.parametrize(
    ("kind", "target", "as_defined"),
    [("none", "arm64", False), ("static", "any", False), ("static", "x86-64-v4", True)],
)
def test_int8_for_cpus_unlike_this_one_is_judged_as_defined(kind, target, as_defined):
    assert Runner(card_of(FREE), kind, find_target(target)).judges_as_defined == as_defined


def test_dynamic_int8_does_not_mix_samples():
    """One scale for a whole batch would drown the small sample in the large one's step."""
    weights = np.eye(2, dtype=np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["wide", "scale"], ["z"]),
    ]
    graph = model_of(nodes, {"x": ["N", 2]}, {"z": ["N", 2]}, {"w": weights})
    x = np.float32([[0.01, 0.02], [100, 200]])
    runner = Runner(card_of(FREE), "dynamic", find_target("any"))
    assert run_as_defined(graph)({"x": x})["z"][0, 1] == 0
    for run in (runner.as_defined(graph), None):
        if run is None:
            with runner.open(graph) as opened:
                found = opened({"x": x})["z"]
        else:
            found = run({"x": x})["z"]
        np.testing.assert_allclose(found, x, rtol=0.01)


def test_inner_tensors_are_answered_as_defined():
    found = run_as_defined(doubling_graph("N"), ["y", "z"])({"x": X})
    np.testing.assert_array_equal(found["y"], 2 * X)
    np.testing.assert_array_equal(found["z"], -2 * X)
    assert [value.name for value in doubling_graph("N").graph.output] == ["z"]
