"""Models of which it is known by construction what their answers hang on."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
from examples import Array, Example, model, node, spec
from onnx_writer import graph

from edgeport import ModelCard
from edgeport.artifact.column import Column
from edgeport.artifact.signal_format import SignalFormat

SIDE, RATE = 8, 8


def weighing(
    weights: Array, shape: tuple[int | str, ...], axes: tuple[str, ...], dtype: str = "float32"
) -> Example:
    """y (N, K) = x W, where x is any array of a sample with all of its values in one row."""
    wide = weights.reshape(len(weights), -1).astype("f4")
    content = graph(
        [
            node("Cast", ["x"], ["numbers"], to=1),
            node("Flatten", ["numbers"], ["row"], axis=1),
            node("MatMul", ["row", "w"], ["y"]),
        ],
        [("x", dtype, shape)],
        [("y", "float32", ["N", wide.shape[1]])],
        {"w": wide},
        name="weighing",
    )
    card = ModelCard(
        name="weighing",
        inputs=(spec("x", dtype, shape, axes=axes),),
        outputs=(spec("y", "float32", ("N", wide.shape[1])),),
    )
    return Example(model(content), card, lambda x: x.reshape(len(x), -1).astype(np.float64) @ wide)


QUADRANT: Array = np.zeros((SIDE, SIDE))
QUADRANT[: SIDE // 2, : SIDE // 2] = 1


@functools.cache
def quadrant() -> Example:
    """y = the sum of the top left quadrant of a picture (N, 8, 8, 1)."""
    return weighing(QUADRANT.reshape(-1, 1), ("N", SIDE, SIDE, 1), ("N", "H", "W", "C"))


@functools.cache
def second_second(dtype: str = "int16") -> Example:
    """y = the sum of the second second of a window of three, at 8 Hz."""
    weights = np.repeat([0.0, 1.0, 0.0], RATE).reshape(-1, 1)
    plain = weighing(weights, ("N", 3 * RATE), ("N", "T"), dtype)
    signal = SignalFormat("x", RATE, 3 * RATE, 3 * RATE)
    return replace(plain, card=replace(plain.card, signal=signal))


@functools.cache
def one_column(classifies: bool = False) -> Example:
    """Of the columns age, income and noise, the answer reads income alone.

    The value is 2 * income; of a classifier, class 'rich' has the score income and 'poor' its
    negative.
    """
    weights: Any = [[0, 0], [-1, 1], [0, 0]] if classifies else [[0], [2], [0]]
    plain = weighing(np.array(weights, float), ("N", 3), ("N", "F"))
    columns = tuple(Column(name, "number", "x") for name in ("age", "income", "noise"))
    labels = ("poor", "rich") if classifies else None
    return replace(plain, card=replace(plain.card, columns=columns, labels=labels))
