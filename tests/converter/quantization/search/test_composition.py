"""Formats by a board's times: the cheapest of all assignments, and what a file of times forces."""

import itertools
import json

import keras
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeport import OptionError, Predictor
from edgeport.cli.main import main
from edgeport_converter import convert
from edgeport_converter.quantization.evaluation.layer_times import (
    Conversions,
    LayerTime,
    LayerTimes,
)
from edgeport_converter.quantization.search.composition import compose

# Two branches that meet, and a tensor with two readers: name, inputs, operator.
NODES = (
    ("a", ("x",), "Conv"),
    ("b", ("a",), "Conv"),
    ("c", ("b",), "Conv"),
    ("add", ("a", "c"), "Add"),
    ("d", ("add",), "Conv"),
    ("e", ("add",), "Conv"),
    ("last", ("d", "e"), "Mul"),
)
QUANTIZE, DEQUANTIZE, LAST, FIRST, TO_BLOCKS, FROM_BLOCKS = range(6)


def graph():
    shape = ["N", 4, 8, 8]
    nodes = [
        helper.make_node(kind, [*read, *(["w"] if kind == "Conv" else [])], [name], name)
        for name, read, kind in NODES
    ]
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, shape)],
        [value("last", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w")],
        value_info=[value(name, TensorProto.FLOAT, shape) for name, _, _ in NODES[:-1]],
    )
    return ir.from_proto(helper.make_model(made, ir_version=8)).graph


def least(costs, conversions, blocked):
    """Return the least sum over all assignments, by the definition and without a graph."""
    names = [name for name, _, _ in NODES]
    best = float("inf")
    for formats in itertools.product((False, True), repeat=len(names)):
        in_int8 = dict(zip(names, formats, strict=True))
        if any(in_int8[name] and costs[name][1] is None for name in names):
            continue
        total = sum(costs[name][in_int8[name]] for name in names)
        for made in ("x", *names):
            readers = [name for name, read, _ in NODES if made in read]
            wanted = {in_int8[name] for name in readers} | ({False} if made == "last" else set())
            change = conversions[made]
            if made == "x":
                total += change[QUANTIZE] if True in wanted else 0
            elif in_int8[made] and False in wanted:
                total += change[DEQUANTIZE] + change[FIRST]
                total += change[TO_BLOCKS] if any(name in blocked for name in readers) else 0
            elif not in_int8[made] and True in wanted:
                total += change[QUANTIZE] + change[LAST]
                total += change[FROM_BLOCKS] if made in blocked else 0
        best = min(best, total)
    return best


seconds = st.integers(1, 60)
changes = st.tuples(*[st.integers(0, 9)] * 6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(seconds, st.none() | seconds), min_size=7, max_size=7),
    st.lists(changes, min_size=8, max_size=8),
    st.sets(st.sampled_from([name for name, _, kind in NODES if kind == "Conv"])),
)
def test_the_composition_is_the_cheapest_of_all_assignments(costs, conversions, blocked):
    by_name = dict(zip([name for name, _, _ in NODES], costs, strict=True))
    given_changes = dict(zip(["x", *by_name], conversions, strict=True))
    times = LayerTimes(
        "board",
        "1.0",
        1,
        "",
        {
            name: LayerTime(
                in_float, in_int8, name in blocked, (1, 4, 8, 8), Conversions(*given_changes[name])
            )
            for name, (in_float, in_int8) in by_name.items()
        },
        {"x": Conversions(*given_changes["x"])},
    )
    found = compose(graph(), times)
    assert found.seconds == pytest.approx(least(by_name, given_changes, blocked))


def test_a_node_without_time_has_the_format_of_the_kernel_that_does_its_work():
    costs = {name: LayerTime(10.0, 1.0) for name, _, _ in NODES}
    costs["c"] = LayerTime(1.0, 50.0)  # and the addition with it, which float convolutions take in
    costs["add"] = LayerTime(0.0, 5.0)
    found = compose(graph(), LayerTimes("board", "1.0", 1, "", costs))
    assert found.float_nodes == {"c", "add"}


@pytest.mark.parametrize(("from_blocks", "expected"), [(1.0, {"a", "b"}), (9.0, set())])
def test_what_a_blocked_kernel_takes_in_leaves_its_channels_in_blocks(from_blocks, expected):
    """Float saves 5 in ``a``, whose kernel does the work of ``b``, too; its answer has to change.

    In float ``b``'s answer costs its change from blocks once, for the only reader in int8.
    """
    costs = {name: LayerTime(10.0, 1.0) for name, _, _ in NODES}
    nothing = Conversions(0.0, 0.0)
    costs["a"] = LayerTime(1.0, 6.0, True, (1, 4, 8, 8), nothing)
    costs["b"] = LayerTime(0.0, 0.0, False, (), Conversions(0.0, 0.0, from_blocks=from_blocks))
    found = compose(graph(), LayerTimes("board", "1.0", 1, "", costs))
    assert found.float_nodes == expected


def test_a_layer_that_stays_in_float_on_request_does_so_whatever_it_takes():
    costs = {name: LayerTime(10.0, 1.0) for name, _, _ in NODES}
    found = compose(graph(), LayerTimes("board", "1.0", 1, "", costs), {"b"})
    assert found.float_nodes == {"b"}
    assert found.int8_layers == 4


X = np.random.default_rng(3).normal(size=(120, 12, 12, 3)).astype(np.float32)
OPTIONS = {"calibration": X, "max_drop": 0.9}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Return the model's file and what the board, this machine, measured of its siblings."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(16, 3, activation="relu", padding="same", name="one"),
            layers.Conv2D(16, 3, activation="swish", padding="same", name="two"),
            layers.Conv2D(16, 3, activation="relu", padding="same", name="three"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, "softmax", name="four"),
        ]
    )
    folder = tmp_path_factory.mktemp("board")
    model.save(folder / "m.keras")
    output = folder / "m.onnx"
    report = convert(folder / "m.keras", output, quantize="static", also=["none"], **OPTIONS)
    command = ["bench", "--layers", str(report.variants["none"]), str(output)]
    assert main([*command, "-o", str(folder / "times.json"), "--seconds", "0.1"]) == 0
    return folder, json.loads((folder / "times.json").read_text())


def is_int8(path):
    """Return, by Keras layer, whether the file stores the layer's weights as int8 codes."""
    found = onnx.load(path).graph
    makers = {name: node for node in found.node for name in node.output}
    return {
        node.name.split("/")[-2]: node.input[1] in makers
        for node in found.node
        if node.op_type in ("Conv", "Gemm", "MatMul")
    }


def test_times_measured_here_are_read_and_used(measured):
    folder, content = measured
    names = {row["node"].split("/")[-2] for row in content["layers"]}
    assert {"one", "two", "three", "four"} <= names
    times = [row for row in content["layers"] if row["operator"] == "Conv"]
    assert len(times) == 3
    assert all(row["float"]["seconds"] + row["int8"]["seconds"] > 0 for row in times)
    report = convert(
        folder / "m.keras", folder / "o.onnx", layer_times=folder / "times.json", **OPTIONS
    )
    assert content["machine"]["cpu"] in report.reason
    assert content["machine"]["cpu"] in report.card.provenance["layer_times"]
    with Predictor.load(folder / "o.onnx") as predictor:
        expected = np.asarray(keras.saving.load_model(folder / "m.keras")(X[:16]))
        np.testing.assert_allclose(predictor.predict(X[:16]), expected, atol=0.1)


@pytest.mark.parametrize("slow", [(), ("two",), ("one", "three"), ("one", "two", "three", "four")])
def test_layers_that_the_board_is_slow_at_in_int8_are_in_float(measured, slow):
    folder, content = measured
    content = json.loads(json.dumps(content))
    for row in content["layers"]:
        scope = row["node"].split("/")[-2]
        row["float"]["seconds"] = 1.0
        row["int8"] = {"seconds": 9.0 if scope in slow else 0.1, "spread": 0.0}
        row["conversions"] = None
    for each in content["inputs"].values():
        each["conversions"] = None
    (folder / "forced.json").write_text(json.dumps(content))
    convert(folder / "m.keras", folder / "f.onnx", layer_times=folder / "forced.json", **OPTIONS)
    assert is_int8(folder / "f.onnx") == {
        layer: layer not in slow for layer in ("one", "two", "three", "four")
    }


@pytest.mark.parametrize("forms", [(), ("blocks",), ("swish",), ("blocks", "swish")])
def test_a_layer_has_the_form_that_its_time_was_measured_in(measured, forms):
    folder, content = measured
    content = json.loads(json.dumps(content))
    for row in content["layers"]:
        row["float"]["seconds"] = 1.0
        row["int8"] = {"seconds": 0.1, "spread": 0.0}
        is_first = row["operator"] == "Conv" and "/one/" in row["node"]
        is_swish = row["operator"] in ("Sigmoid", "Mul")
        form = "blocks" if is_first else "swish" if is_swish else ""
        row["form"] = form if form in forms else ""
    (folder / "forms.json").write_text(json.dumps(content))
    report = convert(
        folder / "m.keras", folder / "b.onnx", layer_times=folder / "forms.json", **OPTIONS
    )
    found = onnx.load(folder / "b.onnx").graph
    assert any(node.op_type == "QuickGelu" for node in found.node) == ("swish" in forms)
    weights = {tensor.name: tensor.dims for tensor in found.initializer}
    codes = {node.output[0]: node.input[0] for node in found.node}
    kernels = [
        weights[codes[node.input[1]]]
        for node in found.node
        if node.op_type == "Conv" and "/one/" in node.name
    ]
    # Blocks of four pixels: twelve channels are read, and four outputs of sixteen are written.
    assert [list(kernel[:2]) for kernel in kernels] == [[64, 12] if "blocks" in forms else [16, 3]]
    assert ("over blocks of pixels" in report.recipe) == ("blocks" in forms)


def test_times_of_a_form_that_is_unknown_here_are_refused(measured):
    folder, content = measured
    content = json.loads(json.dumps(content))
    content["layers"][0]["form"] = "winograd"
    (folder / "form.json").write_text(json.dumps(content))
    with pytest.raises(OptionError, match="the form 'winograd', which this does not know"):
        convert(folder / "m.keras", folder / "w.onnx", layer_times=folder / "form.json", **OPTIONS)


def test_times_of_another_model_are_refused_and_nothing_is_written(measured):
    folder, content = measured
    other = {**content, "model": {**content["model"], "source_sha256": "0" * 64}}
    (folder / "other.json").write_text(json.dumps(other))
    with pytest.raises(OptionError, match="source digest 000000000000, expected"):
        convert(folder / "m.keras", folder / "n.onnx", layer_times=folder / "other.json", **OPTIONS)
    rows = [row for row in content["layers"] if "/two/" not in row["node"]]
    (folder / "few.json").write_text(json.dumps({**content, "layers": rows}))
    with pytest.raises(OptionError, match=r"lack 1 of 4 layers, '.*two.*' first"):
        convert(folder / "m.keras", folder / "n.onnx", layer_times=folder / "few.json", **OPTIONS)
    assert not (folder / "n.onnx").exists()


def test_times_of_another_onnxruntime_are_used_with_a_note(measured):
    folder, content = measured
    other = {**content, "machine": {**content["machine"], "onnxruntime": "1.19.2"}}
    (folder / "old.json").write_text(json.dumps(other))
    report = convert(
        folder / "m.keras", folder / "v.onnx", layer_times=folder / "old.json", **OPTIONS
    )
    assert any("layer times are of onnxruntime 1.19.2" in note for note in report.notes)
