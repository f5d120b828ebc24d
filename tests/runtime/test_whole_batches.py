"""Models whose answers depend on the whole batch: nothing is split, padded or streamed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_writer as ow
import pytest
from examples import mlp, mlp_artifact, sealed, softmax, spec

from edgeport import InputError, ModelCard, OptionError, Predictor, UnsupportedFormatError
from edgeport.artifact import card as cards
from edgeport.cli.main import main

Array = npt.NDArray[Any]


def centre(batch: int | str = "N", **changes: Any) -> bytes:
    """y = softmax(x - the mean of x over the batch)."""
    content = ow.graph(
        [
            ow.node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
            ow.node("Sub", ["x", "m"], ["d"]),
            ow.node("Softmax", ["d"], ["y"], axis=-1),
        ],
        [("x", "float32", [batch, 3])],
        [("y", "float32", [batch, 3])],
    )
    inputs, outputs = ((spec(name, "float32", (batch, 3)),) for name in "xy")
    card = ModelCard("centre", inputs, outputs, samples_interact=True)
    return sealed(ow.model(content), card, **changes)


def centred(x: Array) -> Array:
    wide = x.astype(np.float64)
    return softmax(wide - wide.mean(axis=0))


@pytest.fixture
def batch() -> Array:
    return np.random.default_rng(0).normal(size=(1000, 3)).astype("f4")


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "centre.onnx"
    path.write_bytes(centre())
    return str(path)


def test_a_batch_beyond_every_chunk_is_run_whole() -> None:
    x = np.random.default_rng(1).normal(size=(400_000, 3)).astype("f4")  # 9.6 MB with its answer
    x[:200_000] += 5
    with Predictor.load(centre()) as predictor:
        np.testing.assert_allclose(predictor.predict(x), centred(x), atol=1e-5)


def test_one_sample_is_a_batch_of_one(batch: Array) -> None:
    with Predictor.load(centre()) as predictor:
        for _ in range(3):  # the first run binds the fast path's buffers
            np.testing.assert_allclose(predictor.predict(batch[0]), np.full(3, 1 / 3), atol=1e-6)
            np.testing.assert_allclose(predictor.predict(batch[:2]), centred(batch[:2]), atol=1e-6)


def test_classify_answers_the_whole_batch(batch: Array) -> None:
    with Predictor.load(centre()) as predictor:
        best = [int(row[0].name) for row in predictor.classify(batch)]
    assert best == centred(batch).argmax(axis=1).tolist()


def test_an_empty_batch_has_no_answers() -> None:
    with Predictor.load(centre()) as predictor:
        assert predictor.predict(np.zeros((0, 3), "f4")).shape == (0, 3)


def test_streams_and_smaller_chunks_are_refused(batch: Array) -> None:
    with (
        Predictor.load(centre()) as predictor,
        pytest.raises(OptionError, match=r"stream .* depend on the whole batch.*pass the batch"),
    ):
        predictor.stream(iter(batch))
    with pytest.raises(OptionError, match=r"chunk_bytes is 4096.*depend on the whole batch"):
        Predictor.load(centre(), chunk_bytes=4096)


def test_a_fixed_batch_is_never_filled_up(batch: Array) -> None:
    with Predictor.load(centre(4)) as predictor:
        np.testing.assert_allclose(predictor.predict(batch[:4]), centred(batch[:4]), atol=1e-6)
        with pytest.raises(InputError, match=r"3 samples.*exactly 4.*depend on each other"):
            predictor.predict(batch[:3])


def test_a_runtime_of_format_1_refuses_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "FORMAT_VERSION", 1)
    with pytest.raises(UnsupportedFormatError, match=r"card format 2.*update edgeport"):
        Predictor.load(centre(format_version=2))


def test_other_cards_are_written_as_before() -> None:
    card = mlp().card
    assert "samples_interact" not in card.to_dict()
    assert card.to_dict()["format_version"] == 1
    marked = replace(card, samples_interact=True).to_dict()
    assert (marked["samples_interact"], marked["format_version"]) == (True, 2)
    assert ModelCard.from_json(json.dumps(marked)).samples_interact


@pytest.mark.parametrize("value", [1, "no", None, []])
def test_a_mark_that_is_neither_yes_nor_no_is_refused(value: Any) -> None:
    with pytest.raises(cards.ArtifactError, match="samples_interact"):
        Predictor.load(centre(samples_interact=value))


def test_a_reload_does_not_bring_interaction_to_callers_that_stream() -> None:
    card = replace(mlp().card, samples_interact=True)
    with (
        Predictor.load(mlp_artifact()) as predictor,
        pytest.raises(cards.ArtifactError, match=r"depend on the whole batch.*by itself"),
    ):
        predictor.reload(sealed(mlp().onnx, card))


def test_predict_answers_all_rows_of_all_files_in_one_run(
    file: str, batch: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [str(tmp_path / name) for name in ("a.npy", "b.npy")]
    np.save(parts[0], batch[:60])
    np.save(parts[1], batch[60:80])
    out = tmp_path / "out.npy"
    assert main(["predict", file, *parts, "--output", str(out)]) == 0
    np.testing.assert_allclose(np.load(out), centred(batch[:80]), atol=1e-6)
    assert "80 samples are answered in one run" in capsys.readouterr().err
    assert main(["predict", file, *parts, "--top-k", "1", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    best = [int(json.loads(line)[0]["name"]) for line in lines]
    assert best == centred(batch[:80]).argmax(axis=1).tolist()
    assert main(["predict", file, *parts, "--batch-size", "8"]) != 0
    assert "--batch-size is 8, expected none" in capsys.readouterr().err


def test_predict_without_rows_writes_no_rows(file: str, tmp_path: Path) -> None:
    data, out = tmp_path / "none.npy", tmp_path / "out.npy"
    np.save(data, np.zeros((0, 3), "f4"))
    assert main(["predict", file, str(data), "--output", str(out)]) == 0
    assert np.load(out).shape == (0, 3)


def test_info_and_bench_say_that_batches_run_whole(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["info"], ["bench", "--seconds", "0.01"]):
        assert main([command[0], file, *command[1:]]) == 0
        assert "run whole, since each answer depends on all" in capsys.readouterr().out
