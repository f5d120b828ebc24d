"""`convert(engine="ray")` on two nodes of this machine chooses what one machine chooses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")
pytest.importorskip("tensorflow")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# A process of its own: Ray keeps state, and a node that dies takes workers along.
NODES = """
import json, os, signal, subprocess, sys, threading, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
import ray
from ray.cluster_utils import Cluster
from edgeport_converter import convert
from edgeport_converter.progress import Progress

folder, = sys.argv[1:]
started = time.monotonic()
chance = np.random.default_rng(0)
keras.utils.set_random_seed(3)


@keras.saving.register_keras_serializable("here")
class Doubling(keras.layers.Layer):  # of this program alone: no other machine can import it
    def call(self, x):
        return x * 2.0


def network(samples, own_layer=True):
    image = x = keras.Input((16, 16, 3), name="image")
    for filters in (16, 24, 32, 32):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        norm = keras.layers.BatchNormalization()
        x = keras.layers.Activation("relu")(norm(x))
        # Channels of sizes far apart, which int8 does not bear in every layer.
        gamma, beta, mean, variance = norm.get_weights()
        gamma, beta = chance.lognormal(0, 2, gamma.shape), chance.normal(size=beta.shape)
        norm.set_weights([gamma, beta, mean, variance])
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = Doubling()(x) if own_layer else x
    found = keras.Model(image, x).predict(samples, verbose=0)
    norm = keras.layers.BatchNormalization()
    x = norm(x)
    norm.set_weights([np.ones(32), np.zeros(32), found.mean(0), found.var(0)])
    return keras.Model(image, [
        keras.layers.Dense(10, activation="softmax", name="kind")(x),
        keras.layers.Dense(2, name="place")(x),
    ])


class Killer(Progress):
    def __init__(self, kill):
        self._kill, self.said = kill, []

    def say(self, line):
        self.said.append(line)
        if self._kill and line.startswith("quantize: static"):
            self._kill = self._kill()


x = chance.normal(size=(240, 16, 16, 3)).astype("f4")
x[::7] *= 6
model = network(x)
y = model.predict(x, verbose=0)[0].argmax(axis=1)
shift = 0.0  # a function that no other process could be sent
lock = threading.Lock()
options = {
    "calibration": x,
    "evaluation": (x[:160], y[:160]),
    "metric": lambda outputs, labels: (lock and shift + (outputs.argmax(-1) == labels).mean()),
    "max_drop": 0.004,
    "quantize": "static",
    "also": ("weights", "none"),
}
found = {}


def run(name, kill=None, **more):
    progress = Killer(kill)
    report = convert(model, f"{folder}/{name}.onnx", progress=progress, **options, **more)
    found[name] = {
        "recipe": report.recipe,
        "steps": [(step.recipe, step.loss, step.file_bytes) for step in report.steps],
        "notes": report.notes,
        "seconds": round(time.monotonic() - started, 1),
        "said": progress.said[:1],
    }


run("local")
nodes = {"num_cpus": 1, "object_store_memory": 200_000_000}
cluster = Cluster(initialize_head=True, head_node_args=nodes)
victim = cluster.add_node(**nodes)
ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
killed = []


def kill():
    cluster.remove_node(victim, allow_graceful=False)
    killed.append(time.monotonic() - started)


run("ray", kill, engine="ray")
found["killed"] = killed
found["still connected"] = ray.is_initialized()

# The command, ended by Ctrl-C at its first candidate.
network(x, own_layer=False).save(f"{folder}/model.keras")
np.save(f"{folder}/x.npy", x)
command = subprocess.Popen(
    [sys.executable, "-m", "edgeport", "convert", f"{folder}/model.keras",
     "-o", f"{folder}/command.onnx", "--calibration", f"{folder}/x.npy",
     "--quantize", "static", "--max-drop", "0.0005", "--engine", "ray"],
    env={**os.environ, "RAY_ADDRESS": cluster.address},
    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
)
said = []
for line in command.stderr:
    said.append(line)
    if "quantize: static" in line and len(said) < 1000:
        command.send_signal(signal.SIGINT)
        said += [""] * 1000
command.wait()
until = time.monotonic() + 60
while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
    assert time.monotonic() < until, "tasks run on after Ctrl-C"
    time.sleep(0.2)
found["command"] = {
    "exit": command.returncode,
    "said": [line for line in said if line.strip()][-1],
    "written": os.path.exists(f"{folder}/command.onnx"),
}
ray.shutdown()
cluster.shutdown()
print(json.dumps(found))
"""


def test_ray_chooses_what_one_machine_chooses_though_a_node_dies(tmp_path: Path) -> None:
    script = tmp_path / "nodes.py"
    script.write_text(NODES)
    done = subprocess.run(
        [sys.executable, script, tmp_path],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stderr[-3000:]
    found = json.loads(lines[-1])
    print(found)
    local, ray = found["local"], found["ray"]
    assert found["killed"], "the conversion was over before the node died"
    assert found["still connected"]
    assert "node" in local["recipe"], "no layer had to stay in float"
    assert ray["steps"] == local["steps"]
    assert ray["recipe"] == local["recipe"]
    assert ray["notes"] == local["notes"]
    for name in (".onnx", ".none.onnx"):  # the variant "weights" misses the budget
        alone, shared = (tmp_path / f"{engine}{name}" for engine in ("local", "ray"))
        assert shared.read_bytes() == alone.read_bytes()
    command = found["command"]
    assert command["exit"] == 130, command
    assert not command["written"]
    assert "none of 1 candidates kept the budget" in command["said"]


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from edgeport import OptionError
    from edgeport_converter import QuantizationOptions

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"pip install 'edgeport-converter\[ray\]'"):
        QuantizationOptions(engine="ray")
