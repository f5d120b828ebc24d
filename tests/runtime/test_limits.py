"""What the README's "Limits" says of engines, each in a process that may die."""

from __future__ import annotations

from pathlib import Path

import onnx_writer as ow
import pytest
from examples import Child

from edgeport.engine.session import engine_version


@pytest.mark.parametrize("operator", ["Div", "Mod"])
def test_which_engines_refuse_to_divide_by_zero(
    operator: str, child: Child, tmp_path: Path
) -> None:
    """The README names the version: an older engine ends the process, or gives some number."""
    ports = [(name, "int32", ["n"]) for name in ("x", "divisor", "y")]
    content = ow.graph([ow.node(operator, ["x", "divisor"], ["y"])], ports[:2], ports[2:])
    (tmp_path / "m.onnx").write_bytes(ow.model(content))
    code = """
import numpy, edgeport
try:
    with edgeport.Predictor.load("m.onnx") as predictor:
        predictor.predict(*numpy.array([[1, 2], [1, 0]], "i4"))
except edgeport.InferenceError as error:
    print(error)
"""
    first_that_refuses = (1, 25)
    version = tuple(map(int, engine_version().split(".")[:2]))
    assert (" by zero" in child(code).stdout) == (version >= first_that_refuses)
