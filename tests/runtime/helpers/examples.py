"""Small models, each with a formula in numpy beside it, as plain ONNX and as sealed artifacts."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx_writer import graph, model, node

from edgeport import FrameFormat, GoldenSample, ModelCard, Quantization, TensorSpec
from edgeport.artifact.golden import GoldenOutput, encode_array, encode_output
from edgeport.artifact.seal import seal

Array = npt.NDArray[Any]
Child = Callable[..., "subprocess.CompletedProcess[str]"]
"""The fixture that runs code in a fresh interpreter with an empty home folder."""

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


@dataclass(frozen=True, eq=False)
class Example:
    """A plain ONNX file, the card that fits it, and what it computes, by numpy alone."""

    onnx: bytes
    card: ModelCard
    formula: Callable[[Array], Array]

    def artifact(self, *golden: GoldenSample, **changes: Any) -> bytes:
        return sealed(self.onnx, self.card, *golden, **changes)


def sealed(onnx: bytes, card: ModelCard, *golden: GoldenSample, **changes: Any) -> bytes:
    """Return the artifact with golden samples, and with other values for keys of its card."""
    samples = [
        {
            "inputs": {name: encode_array(array) for name, array in sample.inputs.items()},
            "outputs": {name: encode_output(out) for name, out in sample.outputs.items()},
        }
        for sample in golden
    ]
    return seal(onnx, json.dumps({**card.to_dict(), "golden_samples": samples, **changes}))


def golden(x: Array, y: Array) -> GoldenSample:
    return GoldenSample({"x": x}, {"y": GoldenOutput.of(y, 1000)})


def softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def spec(name: str, dtype: str, shape: tuple[int | str, ...], **more: Any) -> TensorSpec:
    axes = more.pop("axes", ("N", *"F" * (len(shape) - 1)))
    return TensorSpec(name, np.dtype(object if dtype == "str" else dtype), shape, axes, **more)


@functools.cache
def mlp() -> Example:
    """Float, 6 features, 8 hidden units, 3 classes: softmax(relu(x W + b) V + c)."""
    rng = np.random.default_rng(1)
    w, b = rng.normal(size=(6, 8)).astype("f4"), rng.normal(size=8).astype("f4")
    v, c = rng.normal(size=(8, 3)).astype("f4"), rng.normal(size=3).astype("f4")
    content = graph(
        [
            node("Gemm", ["x", "w", "b"], ["h"]),
            node("Relu", ["h"], ["r"]),
            node("Gemm", ["r", "v", "c"], ["s"]),
            node("Softmax", ["s"], ["y"], axis=-1),
        ],
        [("x", "float32", ["N", 6])],
        [("y", "float32", ["N", 3])],
        {"w": w, "b": b, "v": v, "c": c},
        name="mlp",
    )
    card = ModelCard(
        name="mlp",
        inputs=(spec("x", "float32", ("N", 6)),),
        outputs=(spec("y", "float32", ("N", 3), value_range=(0.0, 1.0)),),
        labels=("cat", "dog", "owl"),
        tolerance={"y": 1e-5},
    )

    def formula(x: Array) -> Array:
        return softmax(np.maximum(np.asarray(x, np.float64) @ w + b, 0) @ v + c)

    return Example(model(content), card, formula)


@functools.cache
def mlp_artifact() -> bytes:
    """Return the network above, sealed, with one golden sample."""
    x = np.linspace(-1, 1, 6, dtype="f4")[None]
    return mlp().artifact(golden(x, mlp().formula(x).astype("f4")))


@functools.cache
def int8() -> Example:
    """Static int8: x in steps of 1/255, weights in steps of 1/64, answers in steps of 1/8.

    The weights use 7 of their 8 bits: with more, a CPU without VNNI saturates and is off.
    """
    codes = np.random.default_rng(2).integers(-64, 64, size=(6, 4)).astype("i1")
    content = graph(
        [
            node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["xq"]),
            node("DequantizeLinear", ["xq", "x_scale", "x_zero"], ["xd"]),
            node("DequantizeLinear", ["wq", "w_scale", "w_zero"], ["wd"]),
            node("MatMul", ["xd", "wd"], ["m"]),
            node("QuantizeLinear", ["m", "y_scale", "y_zero"], ["yq"]),
            node("DequantizeLinear", ["yq", "y_scale", "y_zero"], ["y"]),
        ],
        [("x", "float32", ["N", 6])],
        [("y", "float32", ["N", 4])],
        {
            "wq": codes,
            "x_scale": np.float32(1 / 255),
            "x_zero": np.uint8(0),
            "w_scale": np.float32(1 / 64),
            "w_zero": np.int8(0),
            "y_scale": np.float32(1 / 8),
            "y_zero": np.uint8(128),
        },
        name="int8",
    )
    card = ModelCard(
        name="int8",
        inputs=(spec("x", "float32", ("N", 6), value_range=(0.0, 1.0)),),
        outputs=(spec("y", "float32", ("N", 4)),),
        quantization=Quantization("static", "int8", "uint8", "any"),
        tolerance={"y": 0.125},
    )

    def formula(x: Array) -> Array:
        steps = np.clip(np.rint(np.asarray(x, np.float64) * 255), 0, 255)
        exact = steps @ codes.astype(np.float64) / 255 / 64
        return np.asarray(np.clip(np.rint(exact * 8) + 128, 0, 255) / 8 - 16)

    return Example(model(content), card, formula)


@functools.cache
def doubler(dtype: str = "float32", shape: tuple[int | str, ...] = ("N", 3)) -> Example:
    """y = x + x, for any dtype that the operator Add takes."""
    return _elementwise(node("Add", ["x", "x"], ["y"]), "doubler", dtype, shape, lambda x: x + x)


@functools.cache
def identity(dtype: str = "float32", shape: tuple[int | str, ...] = ("N", 3)) -> Example:
    """y = x, bit by bit, for any dtype."""
    return _elementwise(node("Identity", ["x"], ["y"]), "identity", dtype, shape, lambda x: x)


def _elementwise(
    operator: bytes,
    name: str,
    dtype: str,
    shape: tuple[int | str, ...],
    formula: Callable[[Array], Array],
) -> Example:
    content = graph([operator], [("x", dtype, shape)], [("y", dtype, shape)], name=name)
    card = ModelCard(name, (spec("x", dtype, shape),), (spec("y", dtype, shape),))
    return Example(model(content), card, formula)


@functools.cache
def two_inputs() -> Example:
    """total = left + right, both (N, T); difference = left - right."""
    shape = ("N", "T")
    content = graph(
        [
            node("Add", ["left", "right"], ["total"]),
            node("Sub", ["left", "right"], ["difference"]),
        ],
        [("left", "float32", shape), ("right", "float32", shape)],
        [("total", "float32", shape), ("difference", "float32", shape)],
    )
    specs = [
        spec(n, "float32", shape, axes=("N", "T")) for n in ("left", "right", "total", "difference")
    ]
    card = ModelCard("two_inputs", tuple(specs[:2]), tuple(specs[2:]))
    return Example(model(content), card, lambda x: x)


@functools.cache
def camera(order: str = "rgb", size: tuple[int, int] | None = None) -> Example:
    """Frames of any size, or of one: the mean of each channel, and the first and the last pixel.

    So another size, a turn, a mirror image and swapped channels each change the answer.
    """
    channels = 1 if order == "gray" else 3
    shape: tuple[int | str, ...] = ("N", *(size or ("height", "width")), channels)
    content = graph(
        [
            node("Cast", ["image"], ["pixels"], to=1),
            node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
            node("Gather", ["pixels", "zero"], ["top"], axis=1),
            node("Gather", ["top", "zero"], ["first"], axis=1),
            node("Gather", ["pixels", "end"], ["bottom"], axis=1),
            node("Gather", ["bottom", "end"], ["last"], axis=1),
            node("Concat", ["mean", "first", "last"], ["y"], axis=1),
        ],
        [("image", "uint8", shape)],
        [("y", "float32", ["N", 3 * channels])],
        {"zero": np.int64(0), "end": np.int64(-1)},
        name="camera",
    )
    card = ModelCard(
        name="camera",
        inputs=(spec("image", "uint8", shape, axes=("N", "H", "W", "C")),),
        outputs=(spec("y", "float32", ("N", 3 * channels)),),
        frames={
            "image": FrameFormat(
                order, (96, 96, 3), size, 1080 * 1920, f"keras-bilinear order={order}"
            )
        },
        tolerance={"y": 1e-3},
    )

    def formula(frames: Array) -> Array:
        mean = frames.astype(np.float64).mean(axis=(1, 2))
        return np.concatenate([mean, frames[:, 0, 0], frames[:, -1, -1]], axis=1)

    return Example(model(content), card, formula)


def kept_in(folder: Path) -> list[Path]:
    """Return the files of kept graphs."""
    return sorted(folder.iterdir()) if folder.exists() else []


def forge(file: Path, graph: bytes) -> None:
    """Put another graph into a kept graph's file, with head and digest as they have to be."""
    head = file.read_bytes().split(b"\n", 1)[0]
    digest = hashlib.sha256(graph).hexdigest().encode()
    file.write_bytes(head + b"\n" + digest + b"\n" + graph)


def in_threads(work: Callable[[Any], object], items: Iterable[Any]) -> None:
    """Call ``work`` with each item in a thread of its own, and wait for all of them."""
    threads = [threading.Thread(target=work, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
