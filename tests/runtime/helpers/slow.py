"""A model whose run takes as long as it is told: a loop of matrix products."""

from __future__ import annotations

import functools

import numpy as np
import onnx_writer as ow
from examples import sealed, spec

from edgeport import ModelCard

SIDE = 160


@functools.cache
def looping() -> bytes:
    """``turns`` times x = x @ w, with w the identity: the answer is x, some 100 us a turn."""
    body = ow.graph(
        [
            ow.node("MatMul", ["inner", "w"], ["product"]),
            ow.node("Identity", ["go"], ["go_on"]),
        ],
        [("turn", "int64", []), ("go", "bool", []), ("inner", "float32", ["N", SIDE])],
        [("go_on", "bool", []), ("product", "float32", ["N", SIDE])],
        name="body",
    )
    content = ow.graph(
        [ow.node("Loop", ["turns", "go_first", "x"], ["y"], body=body)],
        [("x", "float32", ["N", SIDE]), ("turns", "int64", [])],
        [("y", "float32", ["N", SIDE])],
        {"w": np.eye(SIDE, dtype="f4"), "go_first": np.array(True)},
    )
    card = ModelCard(
        "looping",
        (spec("x", "float32", ("N", SIDE)), spec("turns", "int64", (), axes=())),
        (spec("y", "float32", ("N", SIDE)),),
    )
    return sealed(ow.model(content), card)


def x(samples: int = SIDE) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.ones((samples, SIDE), "f4")
