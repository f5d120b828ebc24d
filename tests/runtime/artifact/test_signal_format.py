"""The card's part on signals: read as it was written, or refused with the card."""

from __future__ import annotations

import json
from typing import Any

import pytest
from examples import identity, mlp
from recordings import echo

from edgeport import ArtifactError, ModelCard, Predictor

SIGNAL = {"input": "x", "rate": 8, "window": 4, "hop": 2}


@pytest.mark.parametrize("channels", [0, 1, 3])
def test_a_signal_is_read_as_it_was_written(channels: int) -> None:
    card = echo(4, 9, channels, rate=52.5, mix_down=channels < 2, pad=True).card
    assert ModelCard.from_json(json.dumps(card.to_dict())) == card


def test_a_card_without_a_signal_is_written_as_ever() -> None:
    assert "signal" not in mlp().card.to_dict()
    assert ModelCard.from_json(json.dumps(mlp().card.to_dict())).signal is None


def test_unknown_keys_are_of_newer_converters() -> None:
    with Predictor.load(
        identity("int16", ("N", 4)).artifact(signal={**SIGNAL, "new": 1})
    ) as loaded:
        assert loaded.card.signal is not None
        assert loaded.card.signal.channels == 1


@pytest.mark.parametrize(
    "change",
    [
        {"input": "y"},
        {"rate": 0},
        {"rate": "8"},
        {"rate": float("inf")},
        {"rate": float("nan")},
        {"rate": 10**400},
        {"window": 5},
        {"window": 4.0},
        {"hop": 0},
        {"hop": 2**31},
        {"hop": None},
        {"channels": 2},
        {"channels": True},
        {"mix_down": "no"},
        {"pad": 1},
    ],
)
def test_a_signal_that_does_not_fit_the_input_is_no_card(change: dict[str, Any]) -> None:
    artifact = identity("int16", ("N", 4)).artifact(signal={**SIGNAL, **change})
    with pytest.raises(ArtifactError, match="has a card that cannot be read"):
        Predictor.load(artifact)


@pytest.mark.parametrize("shape", [("N", 4, 2, 1), ("N",), ("N", 4, 3)])
def test_an_input_of_another_shape_takes_no_windows(shape: tuple[int | str, ...]) -> None:
    with pytest.raises(ArtifactError, match="has a card that cannot be read"):
        Predictor.load(identity("int16", shape).artifact(signal={**SIGNAL, "channels": 2}))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "int64", "bool", "str"])
def test_a_signal_is_of_int16_or_floats(dtype: str) -> None:
    with pytest.raises(ArtifactError, match="has a card that cannot be read"):
        Predictor.load(identity(dtype, ("N", 4)).artifact(signal=SIGNAL))
