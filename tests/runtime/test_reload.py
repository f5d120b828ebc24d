"""Updates: a new file is served once it passed every check, else the old one goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_writer as ow
import pytest
from examples import identity, mlp, mlp_artifact, sealed, spec

from edgeport import (
    ArtifactError,
    InferenceError,
    InputError,
    IntegrityError,
    ModelCard,
    Predictor,
    Quantization,
)
from edgeport.loading import load_model


def version(number: int) -> bytes:
    """y = x + number, so that every answer tells which version gave it."""
    content = ow.graph(
        [ow.node("Add", ["x", "step"], ["y"])],
        [("x", "float32", ["N", 3])],
        [("y", "float32", ["N", 3])],
        {"step": np.float32(number)},
    )
    ports = [spec(name, "float32", ("N", 3), value_range=(0, 1)) for name in ("x", "y")]
    quantization = Quantization("static", "int8", "uint8", "any")
    card = ModelCard(f"v{number}", (ports[0],), (ports[1],), quantization=quantization)
    return sealed(ow.model(content), card)


def test_a_good_file_is_served_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(version(1))
    with Predictor.load(path) as predictor:
        predictor.predict(np.full(3, 9))
        assert predictor.out_of_range == {"x": 3}
        path.write_bytes(version(2))
        assert predictor.predict(np.zeros(3)).tolist() == [1, 1, 1]
        predictor.reload()
        assert predictor.predict(np.zeros(3)).tolist() == [2, 2, 2]
        assert predictor.card.name == "v2"
        assert predictor.out_of_range == {"x": 0}  # ranges are the model's own
        predictor.reload(version(3))
        assert predictor.predict(np.zeros(3)).tolist() == [3, 3, 3]
        assert predictor.path is None


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (version(2)[:-1], "is damaged"),
        (b"", r"is empty \(0 bytes\)"),
        (
            mlp_artifact(),
            r"has the inputs x float32 \(N, 6\), expected those that are being served",
        ),
        (identity("float64").artifact(), r"x float64 \(N, 3\), expected .*, x float32 \(N, 3\)"),
    ],
)
def test_a_bad_file_leaves_the_old_one_serving(new: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "new.onnx"
    path.write_bytes(new)
    with Predictor.load(version(1)) as predictor:
        with pytest.raises(ArtifactError, match=words):
            predictor.reload(path)
        assert predictor.predict(np.zeros(3)).tolist() == [1, 1, 1]
        assert predictor.card.name == "v1"


def test_new_labels_come_with_the_new_file() -> None:
    card = replace(mlp().card, labels=("a", "b", "c"))
    x = np.ones(6)
    with Predictor.load(mlp_artifact()) as predictor:
        (old,) = predictor.classify(x)
        predictor.reload(sealed(mlp().onnx, card))
        (new,) = predictor.classify(x)
    assert ("cat", "dog", "owl").index(old.name) == ("a", "b", "c").index(new.name)  # type: ignore[union-attr]


def test_a_closed_predictor_stays_closed() -> None:
    predictor = Predictor.load(version(1))
    predictor.close()
    with pytest.raises(InferenceError, match="is closed"):
        predictor.reload(version(2))


def test_threads_in_the_middle_of_reloads_get_answers_of_one_version() -> None:
    versions = [version(number) for number in range(4)]
    failures: list[Any] = []
    counts = [0] * 8
    with Predictor.load(versions[0], chunk_bytes=240) as predictor:

        def work(seed: int) -> None:
            rng = np.random.default_rng(seed)
            try:
                for _ in range(2000):
                    x = np.zeros((int(rng.integers(1, 40)), 3), "f4")
                    y = predictor.predict(x)
                    counts[seed] += 1
                    if y.shape != x.shape or len(set(y.ravel().tolist())) != 1:
                        failures.append(y)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for number in range(200):
            predictor.reload(versions[number % 4])
        for thread in threads:
            thread.join()
    assert failures == []
    assert counts == [2000] * 8


def test_a_call_in_flight_is_watched_by_the_model_that_answers_it() -> None:
    """The model with a range refuses what it would hide, whatever is served meanwhile."""
    float_model = sealed(identity().onnx, identity().card)
    bad = np.full((2, 3), np.nan, "f4")
    with Predictor.load(version(1)) as predictor:
        float_answers = Predictor.load(float_model)

        class Slow:
            def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
                thread = threading.Thread(target=predictor.reload, args=(float_model,))
                thread.start()
                thread.join()
                return bad

        with pytest.raises(InputError, match="which an int8 model would turn into an ordinary"):
            predictor.predict(Slow())
        assert predictor.out_of_range == float_answers.out_of_range == {}
        assert np.isnan(predictor.predict(bad)).all()


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Have ``act`` happen once, while the next file is being loaded."""
    actions = [act]

    def load(*arguments: Any) -> Any:
        model = load_model(*arguments)
        if actions:
            actions.pop()()
        return model

    monkeypatch.setattr("edgeport.predictor.load_model", load)


def test_a_reload_that_began_earlier_replaces_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with Predictor.load(version(1)) as predictor:
        meanwhile(monkeypatch, lambda: predictor.reload(version(3)))
        predictor.reload(version(2))
        assert predictor.predict(np.zeros(3)).tolist() == [3, 3, 3]
        assert predictor.card.name == "v3"


def test_a_predictor_closed_during_a_reload_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor.load(version(1))
    meanwhile(monkeypatch, predictor.close)
    with pytest.raises(InferenceError, match="is closed"):
        predictor.reload(version(2))
    with pytest.raises(InferenceError, match="is closed"):
        predictor.predict(np.zeros(3))


def test_a_failed_later_reload_leaves_room_for_the_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    with Predictor.load(version(1)) as predictor:

        def fail() -> None:
            with pytest.raises(ArtifactError):
                predictor.reload(b"")

        meanwhile(monkeypatch, fail)
        predictor.reload(version(2))
        assert predictor.card.name == "v2"


def test_a_reload_to_a_file_that_nobody_vouches_for_is_refused() -> None:
    with Predictor.load(version(1)) as predictor:
        with pytest.raises(ArtifactError, match="has no card, expected one"):
            predictor.reload(identity().onnx)
        assert predictor.card.name == "v1"


def test_labels_that_change_places_are_refused() -> None:
    def labelled(*labels: str) -> bytes:
        return sealed(mlp().onnx, replace(mlp().card, labels=labels))

    with Predictor.load(labelled("cat", "dog", "owl")) as predictor:
        with pytest.raises(ArtifactError, match="has the label 'dog' in place 0"):
            predictor.reload(labelled("dog", "cat", "owl"))
        predictor.reload(labelled("cat", "dog", "eagle"))
        assert predictor.card.labels == ("cat", "dog", "eagle")


def test_axes_that_change_places_are_refused() -> None:
    """Both take (N, 3, 3, 3); an image laid out for one is another image to the other."""

    def laid_out(letters: str) -> bytes:
        ports = [spec(name, "float32", ("N", 3, 3, 3), axes=tuple(letters)) for name in ("x", "y")]
        return sealed(
            identity("float32", ("N", 3, 3, 3)).onnx, ModelCard("m", (ports[0],), (ports[1],))
        )

    with Predictor.load(laid_out("NHWC")) as predictor:
        with pytest.raises(ArtifactError, match=r"'x' with the axes \(N, C, H, W\), expected"):
            predictor.reload(laid_out("NCHW"))
        assert predictor.card.inputs[0].axes == ("N", "H", "W", "C")
        predictor.reload(laid_out("NDTF"))  # other words for the same places


def test_a_predictor_whose_engine_is_lost_takes_the_new_file_by_reload(tmp_path: Path) -> None:
    """A worker that is forked after an update: the old file is gone, the new one is there."""
    path = tmp_path / "served.onnx"
    path.write_bytes(version(1))
    with Predictor.load(path) as predictor:
        path.write_bytes(version(2))
        predictor._open().session.is_lost = True  # what a fork leaves behind
        with pytest.raises(IntegrityError, match=r"reload\(\) takes the new one"):
            predictor.predict(np.zeros(3))
        predictor.reload()
        assert predictor.predict(np.zeros(3)).tolist() == [2, 2, 2]
