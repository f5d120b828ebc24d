"""The programs of runtime/ENGINES.md for Dask, Spark and Ray, and what their users get wrong.

An engine that is not installed fails its tests, with Python's sentence that names it. All run with
little memory and are ended by their tests.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import engines_page
import numpy as np
import pytest
from engines_page import blocks, run, start, truth
from examples import sealed
from onnx_writer import graph, model, node

import edgeport
from edgeport import EdgeportError, InputError, IntegrityError, Predictor
from edgeport.artifact.seal import read_card

pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("ray", reason="needs the environment of `make test-scale`")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    engines_page.fill(tmp_path)
    run(blocks("A predictor in other engines")[1], tmp_path)
    return tmp_path


def assert_table(folder: Path) -> None:
    """See that ``scores/`` has each row once, with the truth, bit for bit."""
    table = pq.read_table(folder / "scores").sort_by("id")
    wanted = truth(folder)
    assert table["id"].to_pylist() == list(range(len(wanted)))
    found = np.array(table["scores"].to_pylist(), "f4")
    assert found.tobytes() == wanted.tobytes()


def spoil(folder: Path, what: str) -> str:
    """Do to a program what its user gets wrong; return how the sentence begins."""
    content = (folder / "digits.onnx").read_bytes()
    rows = np.load(folder / "rows.npy")
    if what == "shape":
        rows = rows[:, :700]
    if what == "nan":
        rows[3, 5] = np.nan
    np.save(folder / "rows.npy", rows)
    run(blocks("A predictor in other engines")[1], folder)
    if what == "damaged":
        (folder / "digits.onnx").write_bytes(content[:30_000] + b"?" + content[30_001:])
    if what == "path":
        (folder / "digits.onnx").unlink()
    return {
        "shape": "edgeport.errors.InputError: input 'pixels' has shape (",
        "nan": "edgeport.errors.InputError: input 'pixels' is nan at [3, 5], expected finite",
        "damaged": "edgeport.errors.IntegrityError: 'digits.onnx' is damaged: its ",
        "path": "edgeport.errors.ArtifactError: there is no file 'digits.onnx': ",
    }[what]


WRONG = ["shape", "nan", "damaged", "path"]


# Dask


def test_dask(folder: Path) -> None:
    (program,) = blocks("Dask")
    run(program, folder)
    engines_page.assert_scores(folder)


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_dask_without_a_client(folder: Path, scheduler: str) -> None:
    (program,) = blocks("Dask")
    local = program.replace(".compute()", f'.compute(scheduler="{scheduler}")')
    local = local.replace("with Client(n_workers=2, threads_per_worker=1):", "if True:")
    run(local, folder)
    engines_page.assert_scores(folder)


@pytest.mark.parametrize("what", WRONG)
def test_dask_ends_with_the_sentence(folder: Path, what: str) -> None:
    (program,) = blocks("Dask")
    sentence = spoil(folder, what)
    done = start(program, folder)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(sentence), done.stderr


# Spark

LITTLE = {"PYSPARK_SUBMIT_ARGS": "--driver-memory 512m --conf spark.ui.enabled=false pyspark-shell"}


def test_spark(folder: Path) -> None:
    (program,) = blocks("Spark")
    run(program, folder, **LITTLE)
    assert_table(folder)


@pytest.mark.parametrize("what", ["nan", "path"])
def test_spark_tells_the_sentence(folder: Path, what: str) -> None:
    (program,) = blocks("Spark")
    sentence = spoil(folder, what)
    done = start(program, folder, **LITTLE)
    assert done.returncode == 1
    assert sentence in done.stderr


# Ray


@pytest.fixture(scope="module")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one node, to which the programs and this process connect."""
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 4, "object_store_memory": 150_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


def test_ray_data(folder: Path, ray_address: str) -> None:
    (program,) = blocks("Ray Data")
    run(program, folder, RAY_ADDRESS=ray_address)
    assert_table(folder)


@pytest.mark.parametrize("what", ["nan", "path"])
def test_ray_data_tells_the_sentence(folder: Path, ray_address: str, what: str) -> None:
    (program,) = blocks("Ray Data")
    sentence = spoil(folder, what)
    done = start(program, folder, RAY_ADDRESS=ray_address)
    assert done.returncode == 1
    assert sentence in done.stderr


class Scorer:
    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"scores": self.predictor.predict(batch["data"])}


def test_errors_of_ray_data_are_caught_as_themselves(folder: Path, ray_address: str) -> None:
    import ray

    ray.data.DataContext.get_current().raise_original_map_exception = True
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    rows = ray.data.from_numpy(np.load(folder / "rows.npy")[:, :700])
    with Predictor.load(folder / "digits.onnx", threads=1) as predictor:
        actors = ray.data.ActorPoolStrategy(size=1)
        scored = rows.map_batches(Scorer, fn_constructor_args=(predictor,), compute=actors)
        with pytest.raises(InputError) as wrong:
            scored.take_all()
        assert wrong.value.expected == "(N, 784)"
        first = str(wrong.value.cause).splitlines()[0]
        assert first.startswith("input 'pixels' has shape (40, 700), expected (N, 784): ")
        content = (folder / "digits.onnx").read_bytes()
        (folder / "digits.onnx").write_bytes(content[:-1])
        with pytest.raises(IntegrityError) as wrong:
            scored.take_all()
        assert str(wrong.value.cause).startswith(f"'{folder}/digits.onnx' is damaged: ")


def test_every_error_is_the_cause_of_a_task_s(ray_address: str) -> None:
    import ray

    kinds = [getattr(edgeport, name) for name in edgeport.__all__ if name.endswith("Error")]
    assert len(kinds) > 8

    @ray.remote(num_cpus=0.1)
    def fail(kind: type[EdgeportError]) -> None:
        raise kind("what, found, expected: next")

    for kind, task in [(kind, fail.remote(kind)) for kind in kinds]:
        with pytest.raises(kind) as caught:
            ray.get(task)
        assert type(caught.value.cause) is kind
        assert str(caught.value.cause) == "what, found, expected: next"


# Ray Serve


@pytest.fixture
def served(folder: Path, ray_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of Serve with the page's service, at first with ``digits.onnx`` of the folder."""
    from ray import serve

    first, update = blocks("Ray Serve")
    service = (first + "\n\n" + update).replace("/models/", f"{folder}/")
    (folder / "digits_service.py").write_text(service, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}/"
    serve.shutdown()
    sys.modules.pop("digits_service", None)


def other_artifact(folder: Path) -> Path:
    """Return an artifact of the same inputs and outputs with other answers."""
    weights = np.random.default_rng(3).normal(size=(784, 10)).astype("f4")
    nodes = [node("MatMul", ["pixels", "w"], ["z"]), node("Softmax", ["z"], ["digit"], axis=1)]
    ports = [("pixels", "float32", ["N", 784])], [("digit", "float32", ["N", 10])]
    card = read_card(folder / "digits.onnx")
    assert card is not None
    content = sealed(model(graph(nodes, *ports, {"w": weights})), replace(card, golden_samples=()))
    path = folder / "digits-2.onnx"
    path.write_bytes(content)
    return path


def damaged_artifact(folder: Path) -> Path:
    path = folder / "digits-3.onnx"
    content = (folder / "digits.onnx").read_bytes()
    path.write_bytes(content[:30_000] + b"?" + content[30_001:])
    return path


def ask(address: str, rows: Any) -> Any:
    """Return what the service answers; raises HTTPError where it does not answer with 200."""
    question = urllib.request.Request(address, json.dumps(rows).encode())  # noqa: S310 - http
    with urllib.request.urlopen(question, timeout=60) as answer:  # noqa: S310 - http
        return json.load(answer)


class Clients:
    """Three clients that ask for all rows again and again, and what came back.

    Attributes:
        answers: of each request the step of the test in which it began, and the name of the
            artifact whose exact answer came.
        failures: every request that got another answer, or none.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self.rows = np.load(folder / "rows.npy").tolist()
        names = ("digits.onnx", "digits-2.onnx")
        self.truths = {truth(folder, name).tobytes(): name for name in names}
        assert len(self.truths) == 2
        self.step = 0
        self.answers: list[tuple[int, str]] = []
        self.failures: list[str] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]

    def _ask(self) -> None:
        while not self._ended.is_set():
            step = self.step
            try:
                found = np.array(ask(self.address, self.rows), "f4").tobytes()
                self.answers.append((step, self.truths[found]))
            except Exception as error:
                self.failures.append(repr(error))

    def next(self, count: int = 100) -> set[str]:
        """Return which artifacts answered the requests that begin from now on."""
        self.step += 1
        names: list[str] = []
        while len(names) < count and not self.failures:
            time.sleep(0.01)
            names = [name for step, name in list(self.answers) if step == self.step]
        assert self.failures == []
        return set(names)

    def wait_for(self, name: str) -> None:
        """Return when this artifact alone answers."""
        for _ in range(1000):
            if self.next(30) == {name}:
                return
        raise AssertionError(f"'{name}' does not answer alone")

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        print(f"{len(self.answers)} requests answered, {len(self.failures)} failed")


def status_of(application: str) -> Any:
    from ray import serve

    return serve.status().applications[application].deployments["Digits"]


def is_settled(application: str) -> set[str]:
    """Wait for two replicas that run, and no others; return their names."""
    import ray
    from ray import serve

    for _ in range(1200):
        found = serve.status().applications.get(application)
        if found is not None and "Digits" in found.deployments:
            one = found.deployments["Digits"]
            states = {str(state): count for state, count in one.replica_states.items()}
            if one.status == "HEALTHY" and states == {"RUNNING": 2}:
                names = ray.util.list_named_actors(all_namespaces=True)
                return {each["name"] for each in names if "#Digits#" in each["name"]}
        time.sleep(0.1)
    raise AssertionError(found)


def test_ray_serve_takes_a_new_artifact_under_load(folder: Path, served: str) -> None:
    import digits_service
    import ray

    ray.cloudpickle.register_pickle_by_value(digits_service)
    other, damaged = other_artifact(folder), damaged_artifact(folder)
    digits_service.serve_model(str(folder / "digits.onnx"))
    with Clients(served, folder) as clients:
        assert clients.next() == {"digits.onnx"}
        digits_service.serve_model(str(other))
        is_settled("default")
        assert clients.next() == {"digits-2.onnx"}
        with pytest.raises(IntegrityError, match=r"digits-3.onnx' is damaged: its 60,606 bytes"):
            digits_service.serve_model(str(damaged))
        is_settled("default")
        assert clients.next() == {"digits-2.onnx"}
    assert clients.failures == []
    for rows, sentence in (
        ({"pixels": [0]}, "float() argument must be a string or a real number, not 'dict'"),
        ([[0.0] * 700], "input 'pixels' has shape (1, 700), expected (N, 784): "),
        ([[float("nan")] * 784], "input 'pixels' is nan at [0, 0], expected finite numbers"),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(served, rows)
        assert refused.value.code == 400
        assert json.load(refused.value)["error"].startswith(sentence)


def test_ray_serve_reloads_in_place_under_load(folder: Path, served: str) -> None:
    import yaml
    from ray.serve.context import _get_global_client  # what `serve deploy` sends goes there
    from ray.serve.schema import ServeDeploySchema

    (text,) = blocks("Ray Serve", "yaml")

    def deploy(path: Path) -> None:
        config = yaml.safe_load(text.replace("/models/digits.onnx", str(path)))
        (application,) = config["applications"]
        application["runtime_env"] = {"env_vars": {"PYTHONPATH": str(folder)}}
        _get_global_client().deploy_apps(ServeDeploySchema(**config))

    other, damaged = other_artifact(folder), damaged_artifact(folder)
    deploy(folder / "digits.onnx")
    before = is_settled("digits")
    with Clients(served, folder) as clients:
        assert clients.next() == {"digits.onnx"}
        deploy(other)
        clients.wait_for("digits-2.onnx")
        assert clients.next() == {"digits-2.onnx"}
        assert is_settled("digits") == before  # the same replicas
        deploy(damaged)
        for _ in range(1000):
            assert clients.next(30) == {"digits-2.onnx"}
            if status_of("digits").status == "DEPLOY_FAILED":
                break
        assert f"IntegrityError: '{damaged}' is damaged: its 60,606" in status_of("digits").message
        assert clients.next() == {"digits-2.onnx"}
        deploy(folder / "digits.onnx")
        clients.wait_for("digits.onnx")
        is_settled("digits")
    assert clients.failures == []
