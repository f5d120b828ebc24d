"""The columns of a card: through JSON and back, absent where there are none, checked when read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from column_models import NUMBERS, REGION, mixed
from examples import mlp

from edgeport import ArtifactError, ModelCard
from edgeport.artifact.column import Column


def test_columns_survive_the_way_through_json() -> None:
    card = mixed().card
    assert ModelCard.from_json(json.dumps(card.to_dict())) == card
    assert card.to_dict()["format_version"] == 1
    assert card.to_dict()["columns"][1] == {
        "name": "height_cm",
        "kind": "number",
        "input": "features",
        "unit": "cm",
        "value_range": [10.0, 200.0],
    }


def test_a_card_without_columns_does_not_mention_them() -> None:
    assert "columns" not in mlp().card.to_dict()
    assert ModelCard.from_json(json.dumps(mlp().card.to_dict())).columns == ()


def test_columns_in_words() -> None:
    assert [column.in_words for column in (*NUMBERS, REGION, Column("a", "number", "x", "kg"))] == [
        "width_m: number, 0.5 to 5 m",
        "height_cm: number, 10 to 200 cm",
        "turns: number, 0 to 8, a missing value counts as 3",
        "Région du nord: category, 'north', 'south'",
        "a: number, in kg",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"kind": "date"},
        {"input": "region"},
        {"value_range": [2, 1]},
        {"value_range": [0, float("nan")]},
        {"missing": "none"},
        {"missing": float("nan")},
        {"categories": "abc"},
    ],
)
def test_a_damaged_column_is_refused(change: dict[str, Any]) -> None:
    data = mixed().card.to_dict()
    data["columns"][0] |= change
    with pytest.raises(ArtifactError, match="has a card that cannot be read"):
        ModelCard.from_json(json.dumps(data))
