"""A kept graph answers nothing before its golden samples passed: they run at every load."""

from __future__ import annotations

import gc
import logging
import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import forge, kept_in, mlp

from edgeport import Predictor, SelfTestError
from edgeport.engine.session import Session

OTHER = mlp().onnx.replace(b"Relu", b"Tanh")
X = np.linspace(-2, 2, 12, dtype="f4").reshape(2, 6)


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


def test_golden_samples_run_at_load_and_then_no_more(
    kept: Path, folder: Path, mlp_file: Path, runs: list[int]
) -> None:
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        samples = len(predictor.card.golden_samples)
        assert samples > 0
        assert len(runs) == samples
        predictor.predict(X)
        assert len(runs) == samples + 1


@pytest.mark.parametrize("way", ["load", "reload", "pickle"])
def test_a_kept_graph_that_fails_its_golden_samples_is_replaced(
    way: str, kept: Path, folder: Path, mlp_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = kept.read_bytes()
    predictor = Predictor.load(mlp_file, cache_dir=folder)
    forge(kept, OTHER)
    if way == "load":
        predictor = Predictor.load(mlp_file, cache_dir=folder)
    elif way == "reload":
        predictor.reload()
    else:
        predictor = pickle.loads(pickle.dumps(predictor))  # noqa: S301 - our own
        predictor.predict(X)  # which loads it
    assert "gives another answer on this device" in caplog.text
    assert "the artifact itself is loaded" in caplog.text
    assert kept.read_bytes() == whole
    np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)
    assert (predictor.path, predictor.threads) == (str(mlp_file), 1)


def test_an_artifact_that_fails_after_its_kept_graph_says_so(
    kept: Path, folder: Path, mlp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a device whose memory became bad."""
    run = Session.run
    monkeypatch.setattr(Session, "run", lambda *given: [y + 1 for y in run(*given)])
    with pytest.raises(SelfTestError, match="gives another answer") as caught:
        Predictor.load(mlp_file, cache_dir=folder)
    assert caught.value.path == str(mlp_file)


def test_a_reload_that_fails_leaves_the_model_that_serves(
    kept: Path, folder: Path, mlp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        run = Session.run
        with monkeypatch.context() as patch:
            patch.setattr(Session, "run", lambda *given: [y + 1 for y in run(*given)])
            with pytest.raises(SelfTestError):
                predictor.reload()
        np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)


def test_a_logging_handler_may_load_the_same_artifact(
    kept: Path, folder: Path, mlp_file: Path
) -> None:
    forge(kept, OTHER)
    answers: list[Any] = []

    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not answers:
                answers.append(None)
                with Predictor.load(mlp_file, cache_dir=folder) as predictor:
                    answers[0] = predictor.predict(X)

    logger, handler = logging.getLogger("edgeport"), Asking()
    logger.addHandler(handler)
    try:
        Predictor.load(mlp_file, cache_dir=folder)
    finally:
        logger.removeHandler(handler)
    np.testing.assert_allclose(answers[0], mlp().formula(X), atol=1e-5)


def test_a_refused_engine_is_freed_at_once(
    kept: Path, folder: Path, mlp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine of the forged graph, of the one that was written, and of the artifact."""
    forge(kept, OTHER)
    engines: list[weakref.ref[Any]] = []
    start = Session.__init__

    def begin(self: Any, *given: Any, **options: Any) -> None:
        start(self, *given, **options)
        engines.append(weakref.ref(self))

    monkeypatch.setattr(Session, "__init__", begin)
    gc.collect()
    gc.disable()
    try:
        predictor = Predictor.load(mlp_file, cache_dir=folder)
        assert sum(engine() is not None for engine in engines) == 1
        predictor.close()
        assert [engine() for engine in engines] == [None] * len(engines)
    finally:
        gc.enable()
