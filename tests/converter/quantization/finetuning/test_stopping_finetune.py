"""Fine-tuning that is interrupted: what goes on from there, and what is never touched."""

import hashlib
import os
import re
import resource
import signal
import tracemalloc
from types import SimpleNamespace

import keras
import numpy as np
import onnx_ir as ir
import pytest
import tensorflow as tf

import edgeport_converter
from edgeport_converter import Finetune
from edgeport_converter.conversion import finetuning, writing
from edgeport_converter.loading.purity import keeping_variables
from edgeport_converter.progress import Progress, Task
from edgeport_converter.quantization.finetuning.checkpoint import Checkpoint, Position, key_of
from edgeport_converter.quantization.finetuning.keras_links import with_values
from edgeport_converter.quantization.finetuning.samples import TrainingData


def stop():
    os.kill(os.getpid(), signal.SIGINT)


class Stopping(Progress):
    """Sends a SIGINT at a step of fine-tuning, or where a stage begins; keeps all lines."""

    def __init__(self, step=None, stage=None):
        self.step, self.at_stage, self.lines, self.steps = step, stage, [], 0

    def say(self, line):
        self.lines.append(line)

    def stage(self, name):
        if name == self.at_stage:
            stop()

    def task(self, what, total):
        return Steps(self) if what == "fine-tuning" else Task()


class Steps(Task):
    def __init__(self, progress):
        self.progress = progress

    def advance(self, steps=1):
        self.progress.steps += steps
        if self.progress.steps == self.progress.step:
            stop()


def convert(model, folder, taught, progress=None, **options):
    (x, y), judged = taught
    given = {"epochs": 2, "seed": 1, **options}
    return edgeport_converter.convert(
        model,
        folder / "a.onnx",
        calibration=x[:200],
        evaluation=judged,
        finetune=Finetune((x, y), model=folder / "tuned.keras", **given),
        quantize="static",
        objective="size",
        max_drop=0.03,
        progress=progress,
    )


def digest(model):
    found = hashlib.sha256()
    for weight in model.get_weights():
        found.update(weight.tobytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def uninterrupted(broken_by_int8, taught, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    report = convert(broken_by_int8, folder, taught)
    assert "fine-tuned" in report.recipe
    return report


def test_an_interrupted_training_ends_as_if_it_had_not_been(
    broken_by_int8, taught, uninterrupted, tmp_path
):
    # Three quarters of the first epoch are measured and kept; the steps after that are lost.
    report = convert(broken_by_int8, tmp_path, taught, Stopping(step=26))
    assert report.interrupted
    assert any("fine-tuning is kept as far as it went" in note for note in report.notes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "a.onnx.finetuning"]
    again = Stopping()
    resumed = convert(broken_by_int8, tmp_path, taught, again)
    assert any("fine-tuning goes on after 21 steps" in line for line in again.lines)
    name = "finetuned_to_sha256"
    assert resumed.card.provenance[name] == uninterrupted.card.provenance[name]
    assert resumed.card.sha256 == uninterrupted.card.sha256
    assert (
        digest(keras.models.load_model(tmp_path / "tuned.keras")) == resumed.card.provenance[name]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "tuned.keras"]


class FullDisk(Progress):
    """Lets no file grow beyond a kilobyte while candidates are made and trained."""

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def stage(self, name):
        most = 1000 if name == "quantize" else self.limits[0]
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, self.limits[1]))


def test_a_state_that_cannot_be_kept_costs_nothing_but_a_note(
    broken_by_int8, taught, uninterrupted, tmp_path
):
    report = convert(broken_by_int8, tmp_path, taught, FullDisk())
    assert report.card.sha256 == uninterrupted.card.sha256
    found = r"finetuning' cannot be kept \(.*File too large.*\), so that an interrupted training"
    assert any(re.search(found, note) for note in report.notes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "tuned.keras"]


@pytest.mark.slow
def test_another_training_is_not_gone_on_from(broken_by_int8, taught, uninterrupted, tmp_path):
    convert(broken_by_int8, tmp_path, taught, Stopping(step=26), seed=2)
    assert (tmp_path / "a.onnx.finetuning").exists()
    report = convert(broken_by_int8, tmp_path, taught)
    found = "is of another model, other data or other settings and was not used"
    assert any(found in note for note in report.notes)
    assert report.card.sha256 == uninterrupted.card.sha256
    assert not (tmp_path / "a.onnx.finetuning").exists()


def test_a_state_is_read_as_it_was_written_or_not_at_all(tmp_path):
    path = tmp_path / "a.onnx.finetuning"
    variables = [tf.zeros((2, 3)), tf.zeros(())]
    arrays = [np.arange(6.0, dtype=np.float32).reshape(2, 3), np.float32(7)]
    Checkpoint(path, "key").write(Position(3, 1, 0.5, float("inf"), arrays, arrays[:1]))
    found = Checkpoint(path, "key").read(variables, variables[:1])
    assert (found.done, found.waited, found.before, found.best) == (3, 1, 0.5, float("inf"))
    np.testing.assert_array_equal(found.variables[0], arrays[0])
    np.testing.assert_array_equal(found.kept[0], arrays[0])
    assert Checkpoint(path, "other key").read(variables, variables[:1]) is None
    for wanted in ([*variables, tf.zeros(1)], [tf.zeros((3, 2)), tf.zeros(())]):
        assert Checkpoint(path, "key").read(wanted, variables[:1]) is None
    for cut in (0, 1, 100, len(path.read_bytes()) - 1):
        broken = tmp_path / f"{cut}"
        broken.write_bytes(path.read_bytes()[:cut])
        other = Checkpoint(broken, "key")
        assert other.read(variables, variables[:1]) is None
        assert "cannot be read" in other.notes[0]


def test_a_state_with_a_changed_byte_is_never_an_error(tmp_path):
    path = tmp_path / "a.onnx.finetuning"
    variables, arrays = [tf.zeros(3)], [np.arange(3, dtype=np.float32)]
    Checkpoint(path, "key").write(Position(3, 1, 0.5, 0.4, arrays, arrays))
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << generator.integers(8)
        path.write_bytes(changed)
        found = Checkpoint(path, "key").read(variables, variables)
        if found is not None:  # it was a byte of no meaning
            assert (found.done, found.waited, found.before, found.best) == (3, 1, 0.5, 0.4)
            for array in (*found.variables, *found.kept):
                np.testing.assert_array_equal(array, arrays[0])


def network(wires, add="Add"):
    """Return a graph of two layers without weights, the second of which adds two tensors."""
    x, first, second = (ir.val(n, ir.DataType.FLOAT, ["N", 4]) for n in ("x", "first", "second"))
    nodes = [ir.node("Relu", [x], outputs=[first])]
    given = {"x": x, "first": first}
    nodes.append(ir.node(add, [given[name] for name in wires], outputs=[second]))
    return ir.Graph([x], [second], nodes=nodes, opset_imports={"": 17})


def test_a_training_is_known_by_the_wires_of_the_graph_and_by_each_setting():
    one = {"x": np.zeros((60, 4), np.float32)}
    data = TrainingData(one, one, None, None, are_classes=False, sha256="")
    graphs = [("x", "first"), ("first", "first"), ("first", "x")]
    keys = {key_of([network(wires)], [], data, (1,)) for wires in graphs}
    keys |= {key_of([network(graphs[0], "Mul")], [], data, (1,))}
    keys |= {key_of([network(graphs[0])], [], data, (2,))}
    assert len(keys) == 5
    renamed = network(graphs[0])
    for number, node in enumerate(renamed):
        node.outputs[0].name = f"other{number}"
    assert key_of([renamed], [], data, (1,)) in keys


def test_large_data_is_not_copied_to_know_a_training():
    x = np.zeros((1000, 1000))
    data = TrainingData({"x": x}, {"x": x[:1]}, x[:, 0], x[:1, 0], are_classes=False, sha256="")
    tracemalloc.start()
    key_of([], [], data, ())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 10


@pytest.mark.parametrize(
    "place",
    [
        "proof",
        pytest.param("digest", marks=pytest.mark.slow),
        pytest.param("agreement", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_after_the_training_changes_neither_model_nor_tuned_file(
    place, broken_by_int8, taught, tmp_path, monkeypatch
):
    before = digest(broken_by_int8)
    (tmp_path / "tuned.keras").write_bytes(b"former")
    from edgeport_converter.quantization.finetuning import finetune

    module, name = {
        "proof": (finetuning, "prove_parity"),
        "digest": (finetune, "_digest"),
        "agreement": (finetune, "run_as_defined"),
    }[place]
    original = getattr(module, name)

    def stopping(*given, **named):
        stop()
        return original(*given, **named)

    monkeypatch.setattr(module, name, stopping)
    report = convert(broken_by_int8, tmp_path, taught, epochs=1)
    assert report.interrupted  # with the graph that keeps a layer in float
    assert "fine-tuned" not in report.recipe
    assert digest(broken_by_int8) == before
    assert (tmp_path / "tuned.keras").read_bytes() == b"former"


@pytest.mark.parametrize(
    "stage",
    [
        "stamp",
        pytest.param("write fine-tuned model", marks=pytest.mark.slow),
        pytest.param("in the middle of saving", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_while_writing_leaves_both_targets_as_they_were(
    stage, broken_by_int8, taught, tmp_path, monkeypatch
):
    before = digest(broken_by_int8)
    for name in ("tuned.keras", "a.onnx"):
        (tmp_path / name).write_bytes(b"former")
    if stage.startswith("in the middle"):
        monkeypatch.setattr(writing, "_require_values", lambda *_: stop())
    with pytest.raises(KeyboardInterrupt):
        convert(broken_by_int8, tmp_path, taught, Stopping(stage=stage))
    assert digest(broken_by_int8) == before
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(found) == ["a.onnx", "a.onnx.finetuning", "tuned.keras"]
    assert found["a.onnx"] == found["tuned.keras"] == b"former"


class Interrupted:
    """A plain variable, as tf_keras has; each of its first assignments is interrupted."""

    trainable = False

    def __init__(self, value, times):
        self.variable, self.times = tf.Variable(value), times

    def numpy(self):
        return self.variable.numpy()

    def assign(self, value):
        if self.times and float(value) < 0:
            self.times -= 1
            raise KeyboardInterrupt
        self.variable.assign(value)


@pytest.mark.parametrize("kind", ["fine-tuned weights", "statistics"])
def test_plain_variables_get_their_values_back_however_often_ctrl_c_comes(kind):
    variables = [Interrupted(-1.0, 3), Interrupted(-2.0, 2)]
    model = SimpleNamespace(non_trainable_weights=variables)
    values = [(each, 5.0) for each in variables]
    within = keeping_variables(model) if kind == "statistics" else with_values(values)
    with pytest.raises(KeyboardInterrupt), within:
        _ = [each.assign(5.0) for each in variables]
    assert [float(each.numpy()) for each in variables] == [-1.0, -2.0]
