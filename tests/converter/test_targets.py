"""Which onnxruntime an artifact has to open in."""

import pytest

from edgeport import OptionError
from edgeport_converter import UnsupportedModelError, convert
from edgeport_converter.targets import ONNXRUNTIME_FLOOR, find_engine, require_readable


def test_the_default_is_the_oldest_that_the_runtime_supports():
    engine = find_engine(ONNXRUNTIME_FLOOR)
    assert (engine.version, engine.newest_opset, engine.newest_ir_version) == ("1.19", 21, 10)
    assert engine.opset <= engine.newest_opset
    assert engine.ir_version <= engine.newest_ir_version


@pytest.mark.parametrize("version", ["1.19.2", "1.32.0", "2.0"])
def test_newer_engines_read_what_older_ones_did(version):
    assert find_engine(version).newest_opset >= 21


@pytest.mark.parametrize("version", ["1.18", "1.9.1", "0.5"])
def test_an_engine_that_the_runtime_does_not_support_is_refused(version):
    with pytest.raises(OptionError, match=rf"version is {version}, expected 1\.19 or newer"):
        find_engine(version)


@pytest.mark.parametrize("version", ["", "latest", "1", "1.x"])
def test_what_is_no_version_is_refused(version):
    with pytest.raises(OptionError, match=r"expected one such as '1\.19'"):
        find_engine(version)


@pytest.mark.parametrize(
    ("opset", "ir_version", "reason"), [(22, 10, "opset 22"), (21, 11, "IR version 11")]
)
def test_a_graph_that_needs_more_is_refused_with_the_reason(opset, ir_version, reason):
    engine = find_engine("1.19")
    require_readable(engine, {"": 21, "ai.onnx.ml": 2}, 10)
    with pytest.raises(UnsupportedModelError, match=f"{reason}, onnxruntime 1.19 reads up to"):
        require_readable(engine, {"": opset}, ir_version)


def test_the_card_records_the_engine(two_layer_model, tmp_path):
    report = convert(two_layer_model, tmp_path / "m.onnx", quantize="none", onnxruntime="1.21.1")
    requires = report.card.requires
    assert (requires.onnxruntime, requires.opset, requires.ir_version) == ("1.21", 17, 8)
