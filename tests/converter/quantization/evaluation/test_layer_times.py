"""The file of layer times: what is read, and that wrong files are refused in one sentence."""

import json

import pytest

from edgeport import OptionError
from edgeport_converter import QuantizationOptions
from edgeport_converter.quantization.evaluation import layer_times

CONVERSIONS = {
    "quantize": 1e-6,
    "dequantize": 2e-6,
    "channels_last": 0.0,
    "channels_first": 0.0,
    "to_blocks": 0.0,
    "from_blocks": 0.0,
}


def content(**changes):
    row = {
        "node": "net/dense/MatMul",
        "operator": "Gemm",
        "float": {"seconds": 3e-6, "spread": 1e-7},
        "int8": {"seconds": 2e-6, "spread": 1e-7},
        "blocked": False,
        "shape": [1, 4],
        "conversions": CONVERSIONS,
    }
    return {
        "kind": "edgeport layer times",
        "format": 1,
        "machine": {"cpu": "Cortex-A76", "onnxruntime": "1.30.0"},
        "threads": 2,
        "model": {"name": "net", "source_sha256": "ab"},
        "artifacts": {"float": {"sha256": "1"}, "int8": {"sha256": "2"}},
        "inputs": {"x": {"shape": [1, 8], "conversions": CONVERSIONS}},
        "layers": [{**row, **changes}],
    }


def test_a_file_of_times_is_read(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps(content()))
    found = layer_times.read(tmp_path / "t.json")
    assert found.describe() == "Cortex-A76, onnxruntime 1.30.0, 2 threads"
    layer = found.layers["net/dense/MatMul"]
    assert (layer.in_float, layer.in_int8) == (3e-6, 2e-6)
    assert layer.conversions.dequantize == 2e-6
    assert found.digests == ("1", "2")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "another kind of file"),
        (json.dumps({**content(), "kind": "edgeport tuning"}), "another kind of file"),
        (json.dumps({**content(), "format": 2}), "it has format 2, this reads 1"),
        (json.dumps({**content(), "layers": []}), "it has no layers"),
        (json.dumps({**content(), "layers": content()["layers"] * 2}), "names a layer twice"),
        (json.dumps({**content(), "threads": 0}), "it has 0 threads"),
        (json.dumps({k: v for k, v in content().items() if k != "model"}), "it lacks 'model'"),
        (json.dumps(content(float={"seconds": float("nan")})), "has the time nan"),
        (json.dumps(content(int8={"seconds": float("inf")})), "has the time inf"),
        (json.dumps(content(int8={"seconds": -1e-6})), "has the time -1e-06"),
        (json.dumps(content(float={"seconds": "3"})), "has the time '3'"),
        (json.dumps(content(int8={"seconds": 10**400})), "expected a number of seconds"),
        (json.dumps(content(int8={"seconds": 1e300})), "has the time 1e+300"),
        (json.dumps(content(shape=[1, float("inf")])), "has the shape [1, inf]"),
        (json.dumps(content(shape=[1, -4])), "has the shape [1, -4]"),
        (json.dumps(content(shape=[2**40, 2**40])), "has the shape"),
        (json.dumps(content(shape="14")), "has the shape '14'"),
        (
            json.dumps({**content(), "machine": {"cpu": "\x1b[31m", "onnxruntime": "1.30.0"}}),
            "is no name",
        ),
        (json.dumps(content(float=None)), "not subscriptable"),
        (json.dumps(content(conversions={"quantize": 1})), "it lacks 'dequantize'"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path, changed, reason):
    (tmp_path / "t.json").write_text(changed)
    with pytest.raises(OptionError, match="holds no layer times") as caught:
        layer_times.read(tmp_path / "t.json")
    assert reason in str(caught.value)
    assert "measure them again with 'edgeport bench --layers'" in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(OptionError, match="cannot be read"):
        layer_times.read(tmp_path / "none.json")


def test_options_that_times_could_not_decide_are_refused():
    with pytest.raises(OptionError, match="quantize='weights'"):
        QuantizationOptions(layer_times="t.json", quantize="weights")
    with pytest.raises(OptionError, match="objective='size'"):
        QuantizationOptions(layer_times="t.json", objective="size")
    with pytest.raises(OptionError, match="layer_times is a int"):
        QuantizationOptions(layer_times=3)
