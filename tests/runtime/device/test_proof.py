"""A kept graph answers nothing before its golden samples passed; they wait until an answer is
wanted, run once, and hold nothing in memory."""

from __future__ import annotations

import copy
import gc
import json
import logging
import os
import pickle
import signal
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import forge, golden, kept_in, mlp, needs_fork

from edgeport import Predictor, SelfTestError
from edgeport.device import tuning_file
from edgeport.engine.session import Session

OTHER = mlp().onnx.replace(b"Relu", b"Tanh")
X = np.linspace(-2, 2, 12, dtype="f4").reshape(2, 6)
ONE = np.linspace(-1, 1, 6, dtype="f4")[None]


@pytest.fixture
def kept(mlp_file: Path, folder: Path) -> Path:
    """The file of the graph that is kept of ``mlp_file``."""
    Predictor.load(mlp_file, cache_dir=folder)
    (path,) = kept_in(folder)
    return path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each run of any engine."""
    found: list[int] = []
    run = Session.run
    monkeypatch.setattr(Session, "run", lambda *given: [found.append(1), run(*given)][1])
    return found


def answer(predictor: Predictor) -> Any:
    return predictor.predict(X)


def ask_from_eight_threads(predictor: Predictor) -> None:
    """Ask 16 times and hold every answer to the formula."""
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(predictor.predict, [X] * 16):
            np.testing.assert_allclose(found, mlp().formula(X), atol=1e-5)


def after_a_fork(predictor: Predictor) -> Any:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            os.write(writer, predictor.predict(X).tobytes())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    return np.frombuffer(data, "f4").reshape(len(X), -1)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(answer, id="predict"),
        pytest.param(lambda p: p.predict(X, timeout=60.0), id="with a time limit"),
        pytest.param(lambda p: np.stack(list(p.stream(X))), id="stream"),
        pytest.param(lambda p: copy.copy(p).predict(X), id="copy"),
        pytest.param(lambda p: pickle.loads(pickle.dumps(p)).predict(X), id="pickle"),  # noqa: S301
        pytest.param(after_a_fork, id="fork", marks=needs_fork),
    ],
)
def test_no_answer_comes_from_a_kept_graph_before_its_golden_samples(
    call: Callable[[Predictor], Any],
    kept: Path,
    folder: Path,
    mlp_file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = kept.read_bytes()
    forge(kept, OTHER)
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        assert caplog.text == ""
        np.testing.assert_allclose(call(predictor), mlp().formula(X), atol=1e-5)
        assert kept.read_bytes() == whole  # made anew
        np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)
        assert (predictor.path, predictor.threads) == (str(mlp_file), 1)
    assert "is not used" in caplog.text


def test_classes_come_from_the_right_graph(kept: Path, folder: Path, mlp_file: Path) -> None:
    forge(kept, OTHER)
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        best = [rows[0] for rows in predictor.classify(X, top_k=1)]
    np.testing.assert_allclose([b.score for b in best], mlp().formula(X).max(axis=1), atol=1e-5)


def test_golden_samples_run_once_and_not_before_the_first_answer(
    kept: Path, folder: Path, mlp_file: Path, runs: list[int]
) -> None:
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        samples = len(predictor.card.golden_samples)
        assert samples > 0
        assert len(runs) == 0
        predictor.predict(X)
        assert len(runs) == samples + 1
        predictor.predict(X)
        assert len(runs) == samples + 2


def test_of_several_threads_one_runs_the_golden_samples(
    kept: Path, folder: Path, mlp_file: Path, runs: list[int]
) -> None:
    for _ in range(10):
        runs.clear()
        with Predictor.load(mlp_file, cache_dir=folder) as predictor:
            ask_from_eight_threads(predictor)
            assert len(runs) == 16 + len(predictor.card.golden_samples)


def test_of_several_threads_one_loads_the_artifact_instead(
    kept: Path, folder: Path, mlp_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        forge(kept, OTHER)
        caplog.clear()
        with Predictor.load(mlp_file, cache_dir=folder) as predictor:
            ask_from_eight_threads(predictor)
        assert caplog.text.count("is not used") == 1


@needs_fork
def test_threads_of_a_forked_child_prove_once_as_well(
    kept: Path, folder: Path, mlp_file: Path, runs: list[int]
) -> None:
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            try:
                ask_from_eight_threads(predictor)
                os.write(writer, b"%d" % len(runs))
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            counted = int(stream.read())
        os.waitpid(child, 0)
        assert counted == 16 + len(predictor.card.golden_samples)


@needs_fork
def test_a_fork_in_the_middle_of_the_proof_does_not_wait_for_its_parent(
    kept: Path, folder: Path, mlp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Session.run

    def slow(*given: Any) -> Any:
        time.sleep(0.3)
        return run(*given)

    with Predictor.load(mlp_file, cache_dir=folder) as predictor, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(Session, "run", slow)
        proving = pool.submit(predictor.predict, X)
        time.sleep(0.1)
        assert not proving.done()
        np.testing.assert_allclose(after_a_fork(predictor), mlp().formula(X), atol=1e-5)
        np.testing.assert_allclose(proving.result(), mlp().formula(X), atol=1e-5)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timer")
@pytest.mark.parametrize("graph", [mlp().onnx, OTHER], ids=["right", "other"])
def test_a_signal_handler_may_ask_in_the_middle_of_the_proof(
    graph: bytes, kept: Path, folder: Path, mlp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a device that polls a sensor; Python runs handlers in the main thread."""
    forge(kept, graph)
    asked: list[Any] = []
    run = Session.run

    def slow(*given: Any) -> Any:
        time.sleep(0.05)
        return run(*given)

    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        monkeypatch.setattr(Session, "run", slow)
        before = signal.signal(signal.SIGALRM, lambda *_: asked.append(predictor.predict(X)))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        np.testing.assert_allclose(asked[0], mlp().formula(X), atol=1e-5)
        np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)


def test_a_logging_handler_may_ask_when_it_is_told(
    kept: Path, folder: Path, mlp_file: Path
) -> None:
    forge(kept, OTHER)
    asked: list[Any] = []

    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            asked.append(predictor.predict(X))

    logger, handler = logging.getLogger("edgeport"), Asking()
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        logger.addHandler(handler)
        try:
            np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)
        finally:
            logger.removeHandler(handler)
        (found,) = asked
        np.testing.assert_allclose(found, mlp().formula(X), atol=1e-5)


def test_an_interrupted_proof_is_made_up_for(
    kept: Path, folder: Path, mlp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(kept, OTHER)
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:

        def interrupted(*_: Any) -> Any:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Session, "run", interrupted)
            with pytest.raises(KeyboardInterrupt):
                predictor.predict(X)
        np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)


def test_an_artifact_that_fails_behind_a_kept_graph_says_so(
    kept: Path, folder: Path, mlp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a device whose memory became bad."""
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        run = Session.run
        monkeypatch.setattr(Session, "run", lambda *given: [y + 1 for y in run(*given)])
        for _ in range(2):
            with pytest.raises(SelfTestError, match="gives another answer") as caught:
                predictor.predict(X)
            assert caught.value.path == str(mlp_file)


def test_a_reload_proves_the_new_model_before_it_serves(
    kept: Path, folder: Path, mlp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        predictor.predict(X)
        run = Session.run
        with monkeypatch.context() as patch:
            patch.setattr(Session, "run", lambda *given: [y + 1 for y in run(*given)])
            with pytest.raises(SelfTestError):
                predictor.reload()
        np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)


def test_a_sibling_that_was_tuned_for_stands_for_the_artifact(tmp_path: Path, folder: Path) -> None:
    sample = golden(ONE, mlp().formula(ONE).astype("f4"))
    artifact, sibling = tmp_path / "a.onnx", tmp_path / "b.onnx"
    artifact.write_bytes(mlp().artifact(sample))
    sibling.write_bytes(mlp().artifact(sample, multiply_accumulates=72))
    digests = [Predictor.load(path).card.sha256 for path in (artifact, sibling)]
    choice = tuning_file.Choice(1, False, "all", sibling.name, digests[1])._asdict()
    content = {**tuning_file.circumstances(str(digests[0])), "choice": choice}
    Path(f"{artifact}.tune.json").write_text(json.dumps(content))
    Predictor.load(artifact, cache_dir=folder)
    (kept,) = kept_in(folder)
    forge(kept, OTHER)
    with Predictor.load(artifact, cache_dir=folder) as predictor:
        np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)
        assert predictor.path == str(artifact)
        assert predictor.tuning is not None
        assert predictor.card.multiply_accumulates == 72
        again = pickle.loads(pickle.dumps(predictor))  # noqa: S301
        np.testing.assert_allclose(again.predict(X), mlp().formula(X), atol=1e-5)


@pytest.fixture
def without_collection() -> Any:
    """What is freed now is freed since nothing refers to it any more."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collection")
def test_an_engine_that_never_answered_is_freed_at_once(
    kept: Path, folder: Path, mlp_file: Path
) -> None:
    predictor = Predictor.load(mlp_file, cache_dir=folder)
    assert predictor._model is not None
    engine = weakref.ref(predictor._model.session)
    predictor.close()
    assert engine() is None


@pytest.mark.usefixtures("without_collection")
def test_a_refused_engine_is_freed_at_once(kept: Path, folder: Path, mlp_file: Path) -> None:
    forge(kept, OTHER)
    predictor = Predictor.load(mlp_file, cache_dir=folder)
    assert predictor._model is not None
    engine = weakref.ref(predictor._model.session)
    predictor.predict(X)
    assert engine() is None
    engine = weakref.ref(predictor._model.session)
    predictor.close()
    assert engine() is None


@pytest.mark.usefixtures("without_collection")
def test_a_model_that_never_answered_is_freed_by_a_reload(
    kept: Path, folder: Path, mlp_file: Path
) -> None:
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        assert predictor._model is not None
        engine = weakref.ref(predictor._model.session)
        predictor.reload()
        assert engine() is None
