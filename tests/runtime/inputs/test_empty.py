"""Empty batches and empty axes: 40 operators, with and without a card, and no process ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_writer as ow
import pytest
from examples import sealed, spec

from edgeport import InputError, ModelCard, Predictor

RNG = np.random.default_rng(6)
INTS = np.array


def weights(**shapes: tuple[int, ...]) -> dict[str, Any]:
    return {name: RNG.normal(size=shape).astype("f4") for name, shape in shapes.items()}


# By operator: its attributes, further inputs, and the shape of the answer; x is (N, T, 4).
SAME: tuple[int | str, ...] = ("N", "T", 4)
ALIKE = (
    "Relu",
    "Sigmoid",
    "Tanh",
    "Exp",
    "Abs",
    "Neg",
    "Sqrt",
    "Erf",
    "Elu",
    "Selu",
    "Softplus",
    "Softsign",
    "HardSigmoid",
    "LeakyRelu",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Reciprocal",
    "Softmax",
    "LogSoftmax",
    "Identity",
    "HardSwish",
)
OPERATORS: dict[str, tuple[dict[str, Any], Mapping[str, Any], tuple[int | str, ...]]] = {
    **{name: ({}, {}, SAME) for name in ALIKE},
    "CumSum": ({}, {"axis": np.int64(1)}, SAME),
    "MatMul": ({}, weights(w=(4, 3)), ("N", "T", 3)),
    "Add": ({}, weights(b=(4,)), SAME),
    "PRelu": ({}, weights(slope=(4,)), SAME),
    "ReduceMean": ({"axes": [1], "keepdims": 0}, {}, ("N", 4)),
    "ReduceMax": ({"axes": [1], "keepdims": 0}, {}, ("N", 4)),
    "ReduceProd": ({"axes": [1], "keepdims": 0}, {}, ("N", 4)),
    "ReduceSum": ({"keepdims": 0}, {"axes": INTS([1])}, ("N", 4)),
    "ReduceL2": ({"axes": [1], "keepdims": 0}, {}, ("N", 4)),
    "ReduceLogSumExp": ({"axes": [1], "keepdims": 0}, {}, ("N", 4)),
    "ArgMax": ({"axis": 1, "keepdims": 0}, {}, ("N", 4)),
    "Transpose": ({"perm": [0, 2, 1]}, {}, ("N", 4, "T")),
    "Gather": ({"axis": 2}, {"indices": INTS([1, 3])}, ("N", "T", 2)),
    "Slice": ({}, {"a": INTS([0]), "b": INTS([2]), "c": INTS([2])}, ("N", "T", 2)),
    "Tile": ({}, {"times": INTS([1, 1, 2])}, ("N", "T", 8)),
    "Conv": ({"kernel_shape": [1]}, {}, ("N", 2, 4)),
    "MaxPool": ({"kernel_shape": [2]}, {}, ("N", "T", 3)),
    "AveragePool": ({"kernel_shape": [2]}, {}, ("N", "T", 3)),
    "GlobalAveragePool": ({}, {}, ("N", "T", 1)),
    "LayerNormalization": ({}, weights(scale=(4,), bias=(4,)), SAME),
    "Resize": ({}, {}, ("N", "T", 8)),
    "GRU": ({}, {}, (1, "N", 3)),
    "LSTM": ({}, {}, (1, "N", 3)),
    "RNN": ({}, {}, (1, "N", 3)),
}


def graph_of(operator: str, first: str | None = "N") -> bytes:
    attributes, more, shape = OPERATORS[operator]
    declared = [first if size == "N" else size for size in shape]
    inputs: list[str] = ["x", *more]
    nodes: list[bytes] = []
    given: dict[str, Any] = dict(more)
    outputs = ["y"]
    if operator in ("GRU", "LSTM", "RNN"):
        gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[operator]
        given = weights(w=(1, 3 * gates, 4), r=(1, 3 * gates, 3))
        nodes = [ow.node("Transpose", ["x"], ["steps"], perm=[1, 0, 2])]
        inputs, outputs, attributes = ["steps", "w", "r"], ["", "y"], {"hidden_size": 3}
    elif operator == "Conv":
        given = weights(k=(2, 5, 1))  # the input's axis T counts its channels
        inputs = ["x", "k"]
    elif operator == "Resize":
        given = {"roi": np.zeros(0, "f4"), "scales": np.array([1, 1, 2], "f4")}
        inputs = ["x", "roi", "scales"]
    nodes.append(ow.node(operator, inputs, outputs, **attributes))
    dtype = "int64" if operator == "ArgMax" else "float32"
    content = ow.graph(nodes, [("x", "float32", [first, "T", 4])], [("y", dtype, declared)], given)
    return ow.model(content)


def card_of(operator: str) -> ModelCard:
    shape = OPERATORS[operator][2]
    dtype = "int64" if operator == "ArgMax" else "float32"
    axes = tuple("N" if size == "N" else "T" for size in shape)
    return ModelCard(
        operator,
        (spec("x", "float32", ("N", "T", 4), axes=("N", "T", "F")),),
        (spec("y", dtype, shape, axes=axes),),
    )


def test_there_are_forty_operators_and_more() -> None:
    assert len(OPERATORS) >= 40


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("form", ["sealed", "foreign", "foreign, no names"])
def test_no_operator_sees_an_empty_axis(operator: str, form: str) -> None:
    data = graph_of(operator, None if form == "foreign, no names" else "N")
    if form == "sealed":
        data = sealed(data, card_of(operator))
    shape = OPERATORS[operator][2]
    steps = 5 if operator == "Conv" else 2
    with Predictor.load(data) as predictor:
        for x in (np.zeros((1, 0, 4), "f4"), np.zeros((0, 4), "f4"), np.zeros((3, 0, 4), "f4")):
            with pytest.raises(InputError, match=r"input 'x' has nothing along axis"):
                predictor.predict(x)
        one = predictor.predict(np.ones((1, steps, 4), "f4"))
        nothing = np.zeros((0, steps, 4), "f4")
        if shape[0] != "N":
            with pytest.raises(InputError, match="was given an empty batch, expected at least 1"):
                predictor.predict(nothing)
        else:
            answer = predictor.predict(nothing)
            assert (answer.shape, answer.dtype) == ((0, *one.shape[1:]), one.dtype)


def test_an_axis_that_only_the_answer_has_is_taken_from_one_made_up_sample() -> None:
    content = ow.graph(
        [ow.node("Concat", ["x", "x"], ["y"], axis=1)],
        [("x", "float32", ["N", "T"])],
        [("y", "float32", ["N", "twice"])],
    )
    card = ModelCard(
        "twice", (spec("x", "float32", ("N", "T")),), (spec("y", "float32", ("N", "twice")),)
    )
    with Predictor.load(sealed(ow.model(content), card)) as predictor:
        assert predictor.predict(np.zeros((0, 3), "f4")).shape == (0, 6)
    with (
        Predictor.load(ow.model(content)) as predictor,
        pytest.raises(InputError, match="nothing tells the shape of an answer to none"),
    ):
        predictor.predict(np.zeros((0, 3), "f4"))


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 0, 3)])
def test_an_input_of_any_shape_is_held_to_it_too(shape: tuple[int, ...]) -> None:
    def anything(name: str) -> bytes:  # a ValueInfoProto whose tensor type has no shape
        return ow.block(1, name) + ow.block(2, ow.block(1, ow.number(1, 1)))

    content = ow.graph([ow.node("Neg", ["x"], ["y"])], [], [])
    onnx = ow.model(content + ow.block(11, anything("x")) + ow.block(12, anything("y")))
    with (
        Predictor.load(onnx) as predictor,
        pytest.raises(InputError, match="input 'x' has nothing along axis"),
    ):
        predictor.predict(np.zeros(shape))


def test_an_empty_batch_of_several_outputs_and_an_empty_stream() -> None:
    ports = [spec(name, "float32", ("N", 2)) for name in ("x", "y", "z")]
    content = ow.graph(
        [ow.node("Neg", ["x"], ["y"]), ow.node("Abs", ["x"], ["z"])],
        [("x", "float32", ["N", 2])],
        [("y", "float32", ["N", 2]), ("z", "float32", ["N", 2])],
    )
    card = ModelCard("two", (ports[0],), tuple(ports[1:]))
    with Predictor.load(sealed(ow.model(content), card)) as p:
        answers = p.predict(np.zeros((0, 2), "f4"))
        assert {name: array.shape for name, array in answers.items()} == {"y": (0, 2), "z": (0, 2)}
        assert p.predict(np.zeros((0, 2), "f4"), timeout=60)["y"].shape == (0, 2)
        assert list(p.stream([])) == []
