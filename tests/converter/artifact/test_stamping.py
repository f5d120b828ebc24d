import hashlib
import re

import numpy as np
import onnx
import pytest
from graphs import model_of, node

from edgeport import ConversionError, IntegrityError, ModelCard, Predictor, TensorSpec
from edgeport.artifact import golden
from edgeport.artifact.card import card_json
from edgeport_converter.artifact import stamping
from edgeport_converter.verification.runners import Runner, run_as_defined

SPEC = TensorSpec("x", np.dtype(np.float32), ("N", 4), ("N", "F"), (-1.0, 1.0))
OUT = TensorSpec("y", np.dtype(np.float32), ("N", 4), ("N", "C"))
RUNNER = Runner(ModelCard("times", (SPEC,), (OUT,)))
SCALE = np.array([1.0, 2.0, 3.0, 4.0], dtype=np.float32)


def make_graph(scale=SCALE):
    return model_of([node("Mul", ["x", "w"], "y")], {"x": ["N", 4]}, {"y": ["N", 4]}, {"w": scale})


@pytest.fixture
def samples():
    return {"x": np.random.default_rng(0).uniform(-1, 1, (20, 4)).astype(np.float32)}


@pytest.fixture
def stamped(samples):
    """(artifact, graph's run, golden samples) of a graph that multiplies by 1, 2, 3, 4."""
    run = run_as_defined(make_graph())
    golden_samples = [
        {
            "inputs": {"x": golden.encode_array(x)},
            "outputs": {"y": golden.encode_output(golden.GoldenOutput.of(run({"x": x})["y"], 128))},
        }
        for x in (samples["x"][:1], samples["x"][1:2])
    ]
    card = ModelCard("times", (SPEC,), (OUT,), tolerance={"y": 1e-6})
    text = card_json(card, golden_samples)
    return stamping.stamp(make_graph(), text), run, ModelCard.from_json(text).golden_samples


def test_the_digest_is_the_sha256_of_the_file_with_its_place_zeroed(stamped):
    artifact, _, _ = stamped
    place = re.search(rb"edgeport\.sha256\x12\x40([0-9a-f]{64})", artifact)
    zeroed = artifact[: place.start(1)] + b"0" * 64 + artifact[place.end(1) :]
    assert place.group(1).decode() == hashlib.sha256(zeroed).hexdigest()


def test_the_artifact_is_an_onnx_file_with_the_card_in_its_metadata(stamped):
    model = onnx.load_from_string(stamped[0])
    onnx.checker.check_model(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata.keys() == {"edgeport.sha256", "edgeport.card"}
    assert ModelCard.from_json(metadata["edgeport.card"]).name == "times"
    assert model.graph == make_graph().graph


def test_write_replaces_the_target_and_leaves_nothing_else(stamped, tmp_path):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    stamping.write(stamped[0], target, stamped[1], stamped[2], RUNNER)
    assert target.read_bytes() == stamped[0]
    assert list(tmp_path.iterdir()) == [target]
    x = np.array([1, 1, 1, 1], dtype=np.float32)
    with Predictor.load(target) as predictor:
        np.testing.assert_array_equal(predictor.predict(x), SCALE)


@pytest.mark.parametrize("fault", ["changed byte", "other answers"])
def test_write_leaves_the_target_when_the_file_does_not_hold(stamped, tmp_path, fault):
    artifact, run, samples = stamped
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    if fault == "changed byte":
        artifact = artifact[:-1] + bytes([artifact[-1] ^ 1])
    else:
        run = run_as_defined(make_graph(SCALE + 1))
    with pytest.raises((ConversionError, IntegrityError)):
        stamping.write(artifact, target, run, samples, RUNNER)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_mode_of_a_file_that_is_replaced_is_kept(stamped, tmp_path):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    target.chmod(0o640)
    stamping.write(stamped[0], target, stamped[1], stamped[2], RUNNER)
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_missing_folder_is_one_sentence(stamped, tmp_path):
    with pytest.raises(ConversionError, match=r"cannot be written .there is no folder"):
        stamping.write(stamped[0], tmp_path / "no" / "m.onnx", stamped[1], stamped[2], RUNNER)


def test_a_graph_that_breaks_onnx_rules_is_not_stamped():
    graph = make_graph()
    graph.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ConversionError, match="breaks a rule of ONNX"):
        stamping.stamp(graph, "{}")
