"""A model of tables with a formula beside it, as an artifact whose card has columns."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
from examples import Array, Example, graph, model, node, sealed, spec

from edgeport import ModelCard
from edgeport.artifact.column import Column

WEIGHTS = np.array([[1.0], [0.25], [-4.0]], np.float32)  # exact in float32
NUMBERS = (
    Column("width_m", "number", "features", "m", (0.5, 5.0)),
    Column("height_cm", "number", "features", "cm", (10.0, 200.0)),
    Column("turns", "number", "features", "", (0.0, 8.0), missing=3.0),
)
REGION = Column("Région du nord", "category", "region", categories=("north", "south"))


def score(width: float, height: float, turns: float) -> float:
    """What the model answers, by hand."""
    return width + height / 4 - 4 * (3.0 if turns != turns else turns)


@functools.cache
def numbers() -> Example:
    """y = features W, where a NaN in the third column counts as 3."""
    content = graph(
        [
            node("IsNaN", ["features"], ["gone"]),
            node("Where", ["gone", "fill", "features"], ["whole"]),
            node("MatMul", ["whole", "w"], ["y"]),
        ],
        [("features", "float32", ["N", 3])],
        [("y", "float32", ["N", 1])],
        {"w": WEIGHTS, "fill": np.array([np.nan, np.nan, 3.0], np.float32)},
    )
    card = ModelCard(
        name="numbers",
        inputs=(spec("features", "float32", ("N", 3)),),
        outputs=(spec("y", "float32", ("N", 1)),),
        columns=NUMBERS,
    )
    return Example(model(content), card, lambda x: np.array([[score(*row)] for row in x]))


@functools.cache
def mixed() -> Example:
    """The same, and the text that it was given."""
    one = numbers()
    content = graph(
        [
            node("IsNaN", ["features"], ["gone"]),
            node("Where", ["gone", "fill", "features"], ["whole"]),
            node("MatMul", ["whole", "w"], ["y"]),
            node("Identity", ["region"], ["echo"]),
        ],
        [("features", "float32", ["N", 3]), ("region", "str", ["N", 1])],
        [("y", "float32", ["N", 1]), ("echo", "str", ["N", 1])],
        {"w": WEIGHTS, "fill": np.array([np.nan, np.nan, 3.0], np.float32)},
    )
    card = replace(
        one.card,
        inputs=(*one.card.inputs, spec("region", "str", ("N", 1))),
        outputs=(*one.card.outputs, spec("echo", "str", ("N", 1))),
        columns=(*NUMBERS, REGION),
    )
    return Example(model(content), card, one.formula)


def artifact(example: Example, *columns: Column, **changes: Any) -> bytes:
    """Return the artifact, with other columns if there are any."""
    card = replace(example.card, columns=columns or example.card.columns)
    return sealed(example.onnx, card, **changes)


ROWS: Array = np.array([[1.5, 100.0, 2.0], [0.5, 20.0, 8.0], [4.0, 180.0, 0.0]], np.float32)
