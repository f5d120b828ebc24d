"""Files without a card: what their graphs say is taken at its word and no further."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_writer as ow
import onnxruntime
import pytest
from examples import sealed, spec

from edgeport import InferenceError, InputError, ModelCard, Predictor

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
        for x in (ROWS, ROWS[:2], ROWS[:1]):
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


@pytest.mark.parametrize(
    "shape",
    [
        ["?", 3, "?", "?"],
        ["None", 3, "None", "None"],
        [None, 3, None, None],
        ["batch", 3, "dim", "dim"],
        ["batch", 3, "batch", "batch"],
        ["N", 3, "N", "H"],
        ["-1", 3, "-1", "-1"],
    ],
)
def test_axes_of_one_sloppy_name_need_not_be_equal(shape: list[str | int | None]) -> None:
    """As text detectors and face detectors from elsewhere are exported."""
    onnx = one_input([ow.node("GlobalAveragePool", ["x"], ["y"])], shape, ["N", 3, 1, 1])
    x = np.random.default_rng(1).random((2, 3, 6, 10)).astype("f4")
    with Predictor.load(onnx) as predictor:
        np.testing.assert_array_equal(predictor.predict(x), plain(onnx, x=x))
        alone = predictor.predict(x[0])  # in front of the answer stands another name, so it stays
        np.testing.assert_array_equal(alone.reshape(-1), plain(onnx, x=x[:1]).reshape(-1))


def two(first: ow.Shape, second: ow.Shape) -> bytes:
    ports = [("a", "float32", first), ("b", "float32", second)]
    content = ow.graph([ow.node("Add", ["a", "b"], ["y"])], ports, [("y", "float32", [None, None])])
    return ow.model(content)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["?", 4], ["?", 4]),
        (["", 4], ["", 4]),
        (["unk", "T"], ["unk", "T"]),
        (["N", "T"], ["M", "T"]),
        (["rows", 4], [1, 4]),
    ],
)
def test_what_the_engine_makes_of_two_inputs_is_answered(first: ow.Shape, second: ow.Shape) -> None:
    onnx = two(first, second)
    a, b = np.ones((3, 4), "f4"), np.ones((1, 4), "f4")
    with Predictor.load(onnx) as predictor:
        np.testing.assert_array_equal(predictor.predict(a, b), plain(onnx, a=a, b=b))


def test_a_real_name_in_front_of_all_inputs_counts_samples() -> None:
    """Else a batch of 3 beside a batch of 1 would be answered by whatever the engine does."""
    a, b = np.ones((3, 4), "f4"), np.ones((1, 4), "f4")
    with Predictor.load(two(["batch", 4], ["batch", 4])) as predictor:
        with pytest.raises(InputError, match="has 1 along axis N and input 'a' has 3"):
            predictor.predict(a, b)
        np.testing.assert_array_equal(predictor.predict(a[0], b[0]), 2 * a[0])


@pytest.mark.parametrize("wrong", [np.ones((3, 2)), np.ones(1), [1.0], np.ones((1, 1))])
def test_a_scalar_is_a_scalar(wrong: Any) -> None:
    ports: list[tuple[str, str, ow.Shape]] = [("x", "float32", ["N", 2]), ("s", "float32", [])]
    content = ow.graph([ow.node("Mul", ["x", "s"], ["y"])], ports, [("y", "float32", ["N", 2])])
    x = np.ones((3, 2), "f4")
    with Predictor.load(ow.model(content)) as predictor:
        for right in (3, np.float32(3), np.array(3.0)):
            np.testing.assert_array_equal(predictor.predict(x, right), 3 * x)
        with pytest.raises(InputError, match=r"input 's' has shape .* expected \(\)"):
            predictor.predict(x, wrong)


@pytest.mark.parametrize("shape", [[1, 28, 28], [1, 4], [1], [1, 1, 1, 8]])
def test_a_leading_one_is_no_batch(shape: list[int]) -> None:
    """Three gray pictures are not one of three colours: the engine refuses them, and so do we."""
    onnx = one_input([ow.node("Neg", ["x"], ["y"])], shape, shape)
    x = np.ones((3, *shape[1:]), "f4")
    with Predictor.load(onnx) as predictor:
        np.testing.assert_array_equal(predictor.predict(x[:1]), -x[:1])
        for wrong in (x, x[0]):
            with pytest.raises(Exception, match=r"INVALID_ARGUMENT|Unable to handle"):
                plain(onnx, x=wrong)
            with pytest.raises(InputError, match="has shape"):
                predictor.predict(wrong)
