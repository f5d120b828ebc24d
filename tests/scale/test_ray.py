"""`edgeport score --engine ray` on two nodes of this machine, one of which dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from examples import mlp_artifact
from test_local import contents, score

ray = pytest.importorskip("ray")
pytest.importorskip("pyarrow")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

NODES = """
import json, sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from edgeport.cli.main import main

out, *arguments = sys.argv[1:]
memory = 200_000_000
nodes = {"num_cpus": 1, "object_store_memory": memory}
cluster = Cluster(initialize_head=True, head_node_args=nodes)
victim = cluster.add_node(**nodes)
ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
killed = []

def kill():
    while len(list(Path(out, "done").glob("*.json"))) < 10:
        time.sleep(0.01)
    cluster.remove_node(victim, allow_graceful=False)
    killed.append(len(list(Path(out, "done").glob("*.json"))))

threading.Thread(target=kill, daemon=True).start()
code = main(["score", *arguments, "-o", out, "--engine", "ray", "--json"])
print(json.dumps({"code": code, "killed_at": killed}))
ray.shutdown()
cluster.shutdown()
"""


def test_a_node_that_dies_costs_no_row_and_changes_no_bit(tmp_path: Path) -> None:
    model, data = tmp_path / "mlp.onnx", tmp_path / "x.npy"
    model.write_bytes(mlp_artifact())
    np.save(data, np.random.default_rng(5).normal(size=(2_000_000, 6)).astype("f4"))
    arguments = [str(data), "--model", str(model), "--part-size", "512K"]
    out, local = tmp_path / "ray", tmp_path / "local"
    done = subprocess.run(
        [sys.executable, "-c", NODES, out, *arguments],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == 2, done.stderr[-3000:]
    facts, end = map(json.loads, lines)
    print(facts, end)
    assert end["code"] == 0
    assert "deprecated" not in done.stderr
    assert 10 <= end["killed_at"][0] < facts["parts"]
    assert score(*arguments, "-o", local) == facts
    assert contents(out) == contents(local)
    assert score(*arguments, "-o", out, "--verify") == facts
