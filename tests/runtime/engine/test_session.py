"""The border to onnxruntime: every exception of the engine becomes one of edgeport's."""

from __future__ import annotations

import re

import numpy as np
import onnx_writer as ow
import onnxruntime
import pytest
from examples import mlp
from onnxruntime.capi import onnxruntime_pybind11_state as engine

from edgeport import ArtifactError, EdgeportError, InferenceError, UnsupportedFormatError
from edgeport.engine.session import Session, engine_version

ENGINE_ERRORS = [
    value
    for value in vars(engine).values()
    if isinstance(value, type) and issubclass(value, Exception)
]


def test_there_are_engine_errors_to_walk() -> None:
    assert {"Fail", "InvalidArgument", "InvalidGraph", "NoSuchFile", "RuntimeException"} <= {
        error.__name__ for error in ENGINE_ERRORS
    }


class Failing:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, *arguments: object, **options: object) -> object:
        raise self.error


BROKEN = [*ENGINE_ERRORS, RuntimeError, MemoryError, TypeError, ValueError]


@pytest.mark.parametrize("kind", BROKEN)
def test_an_error_while_running_is_an_inference_error(kind: type[Exception]) -> None:
    session = Session(mlp().onnx)
    session._run = Failing(kind("[ONNXRuntimeError] : 2 : FAIL : the reason"))
    with pytest.raises(InferenceError, match="the reason") as caught:
        session.run({"x": np.zeros((1, 6), "f4")})
    assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize("kind", BROKEN)
def test_an_error_while_loading_is_one_of_edgeports(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeport.engine.session._Engine", Failing(kind("the reason")))
    wanted = InferenceError if kind is MemoryError else ArtifactError
    with pytest.raises(wanted, match="the reason") as caught:
        Session(mlp().onnx)
    assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_no_error_of_the_engine(kind: type[BaseException]) -> None:
    session = Session(mlp().onnx)
    session._run = Failing(kind())
    with pytest.raises(kind):
        session.run({"x": np.zeros((1, 6), "f4")})


def test_messages_are_one_line_without_the_engines_prefixes() -> None:
    content = ow.graph(
        [ow.node("Reshape", ["x", "s"], ["y"])],
        [("x", "float32", ["N"])],
        [("y", "float32", [None])],
        {"s": np.array([7])},
    )
    with pytest.raises(EdgeportError) as caught:
        Session(ow.model(content)).run({"x": np.zeros(3, "f4")})
    text = str(caught.value)
    assert "\n" not in text
    assert "ONNXRuntimeError" not in text
    assert not re.search(r"/\w+/\w+/.*\.(cc|h):\d+", text)


def test_a_sequence_output_is_refused_by_its_type() -> None:
    content = ow.graph([ow.node("SequenceConstruct", ["x"], ["y"])], [("x", "float32", [2])], [])
    element = ow.block(1, ow.number(1, 1))
    output = ow.block(12, ow.block(1, "y") + ow.block(2, ow.block(4, ow.block(1, element))))
    with pytest.raises(UnsupportedFormatError, match=r"tensor 'y' of type seq\(tensor\(float\)\)"):
        Session(ow.model(content + output))


def test_ports_are_what_the_graph_declares() -> None:
    content = ow.graph(
        [ow.node("Identity", ["x"], ["y"])],
        [("x", "int64", ["N", 3, None])],
        [("y", "int64", ["N", 3, None])],
        name="ports",
    )
    session = Session(ow.model(content))
    assert session.graph_name == "ports"
    (port,) = session.inputs
    assert (port.name, port.dtype, port.shape) == ("x", np.dtype("int64"), ("N", 3, None))


def test_the_version_is_the_installed_ones() -> None:
    assert engine_version() == onnxruntime.__version__
