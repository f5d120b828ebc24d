"""Files without a card: what their graphs say is taken at its word and no further."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_writer as ow
import onnxruntime
import pytest
from examples import sealed, spec

from edgeport import InferenceError, ModelCard, Predictor

ROWS = np.random.default_rng(8).normal(size=(5, 4)).astype("f4")


def one_input(nodes: list[bytes], shape: ow.Shape, answer: ow.Shape, **weights: Any) -> bytes:
    return ow.model(ow.graph(nodes, [("x", "float32", shape)], [("y", "float32", answer)], weights))


def plain(onnx: bytes, **feeds: Any) -> Any:
    """What onnxruntime alone answers."""
    engine = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    return engine.run(None, feeds)[0]


def centred() -> bytes:
    """y = x - mean(x) over the first axis, which therefore counts no samples."""
    nodes = [
        ow.node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        ow.node("Sub", ["x", "mean"], ["y"]),
    ]
    return one_input(nodes, ["N", 4], ["N", 4])


def with_a_row_of_ones(first: str | None, last: str | None) -> bytes:
    nodes = [ow.node("Concat", ["x", "ones"], ["y"], axis=0)]
    return one_input(nodes, [first, 4], [last, 4], ones=np.ones((1, 4), "f4"))


def detections() -> bytes:
    """The rows whose largest value is above 1."""
    nodes = [
        ow.node("ReduceMax", ["x"], ["largest"], axes=[1], keepdims=0),
        ow.node("Greater", ["largest", "limit"], ["keep"]),
        ow.node("Compress", ["x", "keep"], ["y"], axis=0),
    ]
    return one_input(nodes, ["batch", 4], ["found", 4], limit=np.float32(1))


def mean(last: int | str) -> bytes:
    nodes = [ow.node("ReduceMean", ["x"], ["y"], axes=[0], keepdims=1)]
    return one_input(nodes, ["N", 4], [last, 4])


def test_a_stream_groups_no_samples() -> None:
    with Predictor.load(centred()) as predictor:
        answers = list(predictor.stream(ROWS))
    assert [answer.tolist() for answer in answers] == [[0, 0, 0, 0]] * 5


@pytest.mark.parametrize(
    "onnx",
    [
        with_a_row_of_ones("N", "M"),
        with_a_row_of_ones("N", "N"),  # the name is wrong
        with_a_row_of_ones(None, None),
        detections(),
        mean(1),
        mean("N"),
        mean("M"),
        centred(),
    ],
)
def test_answers_are_the_engines_own(onnx: bytes) -> None:
    with Predictor.load(onnx) as predictor:
        for x in (ROWS, ROWS[:2], ROWS[:1], ROWS[:0]):
            np.testing.assert_array_equal(predictor.predict(x), plain(onnx, x=x))
        alone = [plain(onnx, x=row[None]) for row in ROWS]
        for way in (map(predictor.predict, ROWS), predictor.stream(ROWS)):
            for answer, wanted in zip(way, alone, strict=True):
                assert answer.size == wanted.size  # no row is dropped
                np.testing.assert_array_equal(answer.reshape(-1), wanted.reshape(-1))


def test_a_card_that_promises_another_first_axis_is_found_out() -> None:
    specs = [spec(name, "float32", ("N", 4)) for name in "xy"]
    card = ModelCard("wrong", (specs[0],), (specs[1],))
    with Predictor.load(sealed(with_a_row_of_ones("N", "M"), card)) as predictor:
        for x in (ROWS, ROWS[0]):
            with pytest.raises(InferenceError, match=r"output 'y' has shape .* samples, expected"):
                predictor.predict(x)
        with pytest.raises(InferenceError, match="output 'y' has shape"):
            list(predictor.stream(ROWS))


def test_an_axis_that_the_graph_calls_n_is_not_the_batch() -> None:
    onnx = one_input([ow.node("Neg", ["x"], ["y"])], ["batch", "N", 3], ["batch", "N", 3])
    x = np.ones((5, 7, 3), "f4")
    with Predictor.load(onnx) as predictor:
        np.testing.assert_array_equal(predictor.predict(x), -x)
        np.testing.assert_array_equal(predictor.predict(x[0]), -x[0])


def test_axes_without_names_are_independent() -> None:
    content = ow.graph(
        [
            ow.node("ReduceSum", ["a"], ["p"], keepdims=0),
            ow.node("ReduceSum", ["b"], ["q"], keepdims=0),
            ow.node("Add", ["p", "q"], ["y"]),
        ],
        [("a", "float32", [None, 4]), ("b", "float32", [None, 2])],
        [("y", "float32", [])],
    )
    with Predictor.load(ow.model(content)) as predictor:
        assert predictor.predict(np.ones((3, 4)), np.ones((5, 2))) == 22


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_an_input_without_a_shape_takes_any(shape: tuple[int, ...]) -> None:
    def anything(name: str) -> bytes:  # a ValueInfoProto whose tensor type has no shape
        return ow.block(1, name) + ow.block(2, ow.block(1, ow.number(1, 1)))

    content = ow.graph([ow.node("Neg", ["x"], ["y"])], [], [])
    onnx = ow.model(content + ow.block(11, anything("x")) + ow.block(12, anything("y")))
    with Predictor.load(onnx) as predictor:
        np.testing.assert_array_equal(predictor.predict(np.ones(shape)), -np.ones(shape))
