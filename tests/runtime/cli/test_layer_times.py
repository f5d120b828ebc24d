"""`edgeport bench --layers`: siblings made by hand, lines of profiles, and what is refused."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_writer as ow
import pytest
from commands import Capture, fails, run
from examples import sealed, spec

from edgeport import ModelCard, OptionError, Predictor
from edgeport.artifact.card import Quantization
from edgeport.artifact.graph_nodes import Node, read_nodes
from edgeport.cli.conversion_times import conversion_steps, measure_conversions
from edgeport.cli.layer_times import Layers, attribute
from edgeport.cli.made_graphs import chain
from edgeport.cli.main import main
from edgeport.cli.profiles import NodeTimes
from edgeport.engine.session import Session

CARD = ModelCard(
    "net",
    (spec("x", "float32", ("N", 8), axes=("N", "F")),),
    (spec("y", "float32", ("N", 4), axes=("N", "C")),),
    provenance={"source_sha256": "ab" * 32},
)
INT8_CARD = replace(CARD, quantization=Quantization("static", "int8", "uint8", "any"))


def named(name: str, *arguments: object) -> bytes:
    """NodeProto.name is field 3."""
    return ow.node(*arguments) + ow.block(3, name)  # type: ignore[arg-type]


def model(weights: dict[str, object], *nodes: bytes) -> bytes:
    ports = [("x", "float32", ["N", 8])], [("y", "float32", ["N", 4])]
    return ow.model(ow.graph(nodes, *ports, weights), opset=13)


def in_float() -> bytes:
    weights = {"w1": np.ones((8, 16), "f4"), "w2": np.ones((16, 4), "f4")}
    return model(
        weights,
        named("net/one/MatMul", "MatMul", ["x", "w1"], ["a"]),
        named("net/one/Relu", "Relu", ["a"], ["b"]),
        named("net/two/MatMul", "MatMul", ["b", "w2"], ["y"]),
    )


def in_int8() -> bytes:
    weights = {
        "w1": np.ones((8, 16), "i1"),
        "w2": np.ones((16, 4), "i1"),
        "s": np.float32(0.01),
        "z": np.uint8(0),
        "zw": np.int8(0),
    }
    return model(
        weights,
        ow.node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        ow.node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        ow.node("DequantizeLinear", ["w1", "s", "zw"], ["w1d"]),
        named("net/one/MatMul", "MatMul", ["xd", "w1d"], ["a"]),
        ow.node("QuantizeLinear", ["a", "s", "z"], ["aq"]),
        ow.node("DequantizeLinear", ["aq", "s", "z"], ["ad"]),
        ow.node("DequantizeLinear", ["w2", "s", "zw"], ["w2d"]),
        named("net/two/MatMul", "MatMul", ["ad", "w2d"], ["y"]),
    )


@pytest.fixture
def siblings(tmp_path: Path) -> tuple[Path, Path]:
    files = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    files[0].write_bytes(sealed(in_float(), CARD))
    files[1].write_bytes(sealed(in_int8(), INT8_CARD))
    return files


def test_the_times_of_siblings_are_measured_layer_by_layer(
    siblings: tuple[Path, Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    output = tmp_path / "times.json"
    found = run(capsys, "bench", "--layers", *siblings, "-o", output, "--seconds", "0.05")
    assert json.loads(output.read_text()) == found
    assert list(temporary.iterdir()) == []
    rows = {row["node"]: row for row in found["layers"]}
    assert list(rows) == ["net/one/MatMul", "net/one/Relu", "net/two/MatMul"]
    for row in rows.values():
        assert row["float"]["seconds"] >= 0
        assert row["int8"]["seconds"] >= 0
    assert rows["net/one/Relu"]["int8"]["seconds"] == 0  # the int8 file has no such node
    assert rows["net/two/MatMul"]["conversions"]["quantize"] >= 0
    assert found["model"] == {"name": "net", "source_sha256": "ab" * 32}
    assert found["inputs"]["x"]["shape"] == [1, 8]
    assert (found["kind"], found["format"], found["threads"]) == ("edgeport layer times", 1, 1)
    assert main(["bench", "--layers", *map(str, siblings), "--seconds", "0.05"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["layer", "float", "us", "int8", "us", "better"]
    assert shown[-1].endswith("1 thread(s)")
    assert shown[-2].startswith("one run")


@pytest.mark.parametrize(("work", "threads"), [(192, 1), (2**26, 2), (None, 2)])
def test_the_profile_is_that_of_one_sample_as_predict_runs_it(
    work: int | None, threads: int, siblings: tuple[Path, Path], capsys: Capture
) -> None:
    for path, made, card in zip(siblings, (in_float, in_int8), (CARD, INT8_CARD), strict=True):
        path.write_bytes(sealed(made(), replace(card, multiply_accumulates=work)))
    with Predictor.load(siblings[0], threads=2) as predictor:
        assert predictor._model is not None
        assert predictor._model.session.threads == threads
    command = ("bench", "--layers", *siblings, "--seconds", "0.05", "--threads", "2")
    assert run(capsys, *command)["threads"] == threads


def test_files_that_are_no_siblings_are_refused(
    siblings: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    output = tmp_path / "times.json"
    output.write_text("as it was")
    one, other = siblings
    code, sentence = fails(capsys, "bench", "--layers", other, one, "-o", output)
    assert code == OptionError.exit_code
    assert f"'{other}' has the recipe 'static', expected 'none' there" in sentence
    stranger = replace(INT8_CARD, provenance={"source_sha256": "cd" * 32})
    other.write_bytes(sealed(in_int8(), stranger))
    _, sentence = fails(capsys, "bench", "--layers", one, other, "-o", output)
    assert f"'{other}' is no sibling of '{one}', it has another provenance" in sentence
    _, sentence = fails(capsys, "bench", "--layers", one, "-o", output)
    assert "pass both after --layers" in sentence
    _, sentence = fails(capsys, "bench", one, other)
    assert "pass both after --layers" in sentence
    _, sentence = fails(capsys, "bench", "--layers", one, other, "-o", one)
    assert str(one) in sentence
    assert output.read_text() == "as it was"


def line(name: str, operator: str, inputs: tuple[str, ...] = (), *outputs: str) -> NodeTimes:
    return NodeTimes(Node(name, operator, inputs, outputs), (), (1.0,))


def test_the_lines_of_a_profile_are_attributed_to_nodes() -> None:
    """Names as onnxruntime 1.19 and 1.32 give them."""
    float_nodes = read_nodes(in_float())
    lines = [
        line("fused net/one/MatMul", "MatMul"),
        line("b_nchwc", "MatMul"),  # named after what the kernel writes, the Relu's output
        line("net/two/MatMul_token_7", "MatMul"),
        line("ReorderOutput_token_3", "ReorderOutput", ("b",), "b"),
        line("Transpose_token_9", "Transpose", ("k",), "l"),
    ]
    assert attribute(lines, float_nodes) == [
        "net/one/MatMul",
        "net/one/MatMul",
        "net/two/MatMul",
        "",
        "",
    ]
    lines = [
        line("QLinearMatMul", "QLinearMatMul", ("xq", "s", "z", "w1", "s", "zw", "s", "z"), "aq"),
        line("QLinearMatMul_token_4", "QLinearMatMul", ("t", "s", "z", "w2", "s", "zw"), "u"),
        line("QuantizeLinear_0", "QuantizeLinear", ("x", "s", "z"), "xq"),
    ]
    assert attribute(lines, read_nodes(in_int8())) == ["net/one/MatMul", "net/two/MatMul", ""]


@pytest.mark.parametrize("shape", [(1, 12), (1, 3, 5, 7)])
def test_the_conversions_that_are_measured_bring_a_tensor_to_codes_and_back(
    shape: tuple[int, ...],
) -> None:
    x = np.linspace(-3, 3, int(np.prod(shape))).astype(np.float32).reshape(shape)
    session = Session(chain(conversion_steps(shape, blocks=False), shape), optimization="none")
    (found,) = session.run({"x": x})
    codes = np.clip(np.rint(x / np.float32(0.01)) + 128, 0, 255)
    np.testing.assert_allclose(found, (codes - 128) * np.float32(0.01), atol=1e-6)


def test_conversions_are_measured_for_every_shape_once(tmp_path: Path) -> None:
    shapes = [(1, 64), (1, 8, 6, 6), (1, 64)]
    found = measure_conversions(shapes, 1, 0.02, tmp_path, 0.0, blocks=True)
    assert set(found) == set(shapes)
    assert found[1, 64].channels_last == found[1, 64].to_blocks == 0
    assert all(seconds >= 0 for each in found.values() for seconds in each.to_dict().values())
    assert list(tmp_path.iterdir()) == []


def conv_in_int8(*, fast: bool) -> bytes:
    """Codes -> Conv -> codes -> swish -> codes; the fast form has blocks and one swish in float."""
    constants = {
        "w": np.ones((4, 3, 3, 3), "i1"), "s": np.float32(0.01), "z": np.uint8(0),
        "zw": np.int8(0), "size": np.ones(4, "i8"),
    }  # fmt: skip
    first = [
        ow.node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        ow.node("DequantizeLinear", ["w", "s", "zw"], ["wd"]),
    ]
    codes = "xq"
    if fast:
        first.append(named("net/one/Conv/blocks", "Reshape", ["xq", "size"], ["xb"]))
        codes = "xb"
    first += [
        ow.node("DequantizeLinear", [codes, "s", "z"], ["xd"]),
        named("net/one/Conv", "Conv", ["xd", "wd"], ["a"]),
        ow.node("QuantizeLinear", ["a", "s", "z"], ["aq"]),
        ow.node("DequantizeLinear", ["aq", "s", "z"], ["ad"]),
    ]
    if fast:
        swish = [named("net/one/Mul", "QuickGelu", ["ad"], ["m"])]
    else:
        swish = [
            named("net/one/Sigmoid", "Sigmoid", ["ad"], ["g"]),
            ow.node("QuantizeLinear", ["g", "s", "z"], ["gq"]),
            ow.node("DequantizeLinear", ["gq", "s", "z"], ["gd"]),
            named("net/one/Mul", "Mul", ["ad", "gd"], ["m"]),
        ]
    last = [
        ow.node("QuantizeLinear", ["m", "s", "z"], ["mq"]),
        ow.node("DequantizeLinear", ["mq", "s", "z"], ["y"]),
    ]
    return model(constants, *first, *swish, *last)


def conv_in_float() -> bytes:
    return model(
        {"w": np.ones((4, 3, 3, 3), "f4")},
        named("net/one/Conv", "Conv", ["x", "w"], ["a"]),
        named("net/one/Sigmoid", "Sigmoid", ["a"], ["g"]),
        named("net/one/Mul", "Mul", ["a", "g"], ["y"]),
    )


def test_what_stands_around_a_fast_form_counts_for_it() -> None:
    """Names as onnxruntime 1.32 gives them."""
    lines = [
        line("input_q", "QuantizeLinear"),
        line("net/one/Conv/blocks", "Reshape", ("xq", "size"), "xb"),
        line("net/one/Conv_token_2", "QLinearConv", ("xb",), "aq"),
        line("DequantizeLinear_16", "DequantizeLinear"),
        line("Transpose_token_8", "Transpose", ("aq",), "at"),
        line("net/one/Mul", "QuickGelu", ("_token_12",), "m"),
        line("QuantizeLinear_18", "QuantizeLinear"),
        line("DequantizeLinear_20", "DequantizeLinear"),
    ]
    names = attribute(lines, read_nodes(conv_in_int8(fast=True)))
    assert names == [
        "",
        "net/one/Conv/blocks",
        "net/one/Conv",
        "net/one/Mul",
        "",
        "net/one/Mul",
        "net/one/Mul",
        "",
    ]


def test_a_swish_that_the_engine_has_fused_belongs_to_its_product() -> None:
    """Names as onnxruntime 1.32 gives them in float."""
    lines = [
        line("net/one/Conv_nchwc", "Conv", ("x",), "a"),
        line("ReorderOutput_token_3", "ReorderOutput", ("a",), "b"),
        line("QuickGelu_12", "QuickGelu"),
    ]
    names = attribute(lines, read_nodes(conv_in_float()))
    assert names == ["net/one/Conv", "", "net/one/Mul"]


@pytest.mark.parametrize(
    ("blocks", "swish"), [(1.0, 1.0), (1.0, 9.0), (9.0, 1.0), (9.0, 9.0)], ids=str
)
def test_of_several_int8_files_each_layer_has_its_fastest_form(blocks: float, swish: float) -> None:
    def timed(seconds: float, *rest: object) -> NodeTimes:
        return replace(line(*rest), rounds=(seconds,))  # type: ignore[arg-type]

    in_float = [
        timed(20.0, "net/one/Conv", "Conv", ("x",), "a"),
        timed(5.0, "net/one/Mul", "QuickGelu", ("a",), "y"),
    ]
    plain = [
        timed(4.0, "net/one/Conv", "QLinearConv", ("xq",), "aq"),
        timed(2.0, "net/one/Sigmoid", "QLinearSigmoid", ("aq",), "gq"),
        timed(2.0, "net/one/Mul", "QLinearMul", ("aq", "gq"), "mq"),
    ]
    fast = [
        timed(1.0, "net/one/Conv/blocks", "Reshape", ("xq",), "xb"),
        timed(blocks, "net/one/Conv", "QLinearConv", ("xb",), "aq"),
        timed(1.0, "dequantize", "DequantizeLinear", ("aq",), "ad"),
        timed(swish, "net/one/Mul", "QuickGelu", ("ad",), "m"),
        timed(1.0, "quantize", "QuantizeLinear", ("m",), "mq"),
    ]
    artifacts = [conv_in_float(), conv_in_int8(fast=False), conv_in_int8(fast=True)]
    layers = Layers([*map(read_nodes, artifacts)], [in_float, plain, fast])
    rows = {row["operator"]: row for row in layers.rows({})}
    conv, sigmoid, product = (rows[kind] for kind in ("Conv", "Sigmoid", "Mul"))
    assert (conv["int8"]["seconds"], conv["form"]) == (
        (1 + blocks, "blocks") if 1 + blocks < 4 else (4.0, "")
    )
    swishes = [(each["int8"]["seconds"], each["form"]) for each in (sigmoid, product)]
    assert swishes == (
        [(0.0, "swish"), (2 + swish, "swish")] if 2 + swish < 4 else [(2.0, ""), (2.0, "")]
    )


def test_a_hard_sigmoid_that_clips_codes_is_in_int8() -> None:
    """Names as the converter and onnxruntime 1.32 give them."""
    in_float = model(
        {"w": np.ones((4, 3, 3, 3), "f4")},
        named("net/one/Conv", "Conv", ["x", "w"], ["a"]),
        named("net/one/truediv", "HardSigmoid", ["a"], ["g"]),
        named("net/one/Mul", "Mul", ["a", "g"], ["y"]),
    )
    in_int8 = model(
        {"s": np.float32(0.01), "z": np.uint8(0), "one": np.uint8(100)},
        ow.node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        ow.node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        named("net/one/truediv", "Clip", ["xq", "z", "one"], ["gq"]),
        ow.node("DequantizeLinear", ["gq", "s", "z"], ["gd"]),
        named("net/one/Mul", "Mul", ["xd", "gd"], ["m"]),
        ow.node("QuantizeLinear", ["m", "s", "z"], ["mq"]),
        ow.node("DequantizeLinear", ["mq", "s", "z"], ["y"]),
    )
    profiles = [
        [line("net/one/Conv", "Conv", ("x",), "a"), line("net/one/Mul", "Mul", ("a", "g"), "y")],
        [
            line("net/one/truediv", "Clip", ("xq", "z", "one"), "gq"),
            line("net/one/Mul", "QLinearMul", ("xq", "gq"), "mq"),
        ],
    ]
    layers = Layers([read_nodes(in_float), read_nodes(in_int8)], profiles)
    rows = {row["operator"]: row for row in layers.rows({})}
    assert rows["HardSigmoid"]["int8"] is not None
    assert rows["HardSigmoid"]["int8"]["seconds"] == profiles[1][0].seconds
