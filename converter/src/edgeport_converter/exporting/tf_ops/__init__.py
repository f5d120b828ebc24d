"""TensorFlow operations that tf2onnx does not translate, or translates wrongly.

    builder       what the conversions share: adding constants and nodes to the graph
    convolutions  grouped 3-D convolutions, and transposed convolutions
    einsum        einsum as a matrix product, which runs as fast and quantizes as well as a Dense
    images        TensorFlow's resizing of images, patches and crops as ONNX nodes
    integers      integer operations that ONNX's ones of the same name compute differently
    mathematics   functions, counts and comparisons that ONNX does not have in one node
    scatters      values added at their indices and segments, and diagonals of matrices
    signal        complex numbers as pairs of real ones, and Fourier transforms as ONNX's DFT

To add a handler: write ``(build) -> None`` in the module of its subject, which puts ONNX nodes in
the node's place (``Builder.replace``), and enter it by the operation's name in that module's
``HANDLERS``. A use without an ONNX form raises ``builder.NoOnnxFormError(reason)``. A new
module joins ``_HANDLERS`` below. Add a case to ``tests/converter/layer_cases``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from onnx import helper

from edgeport_converter.exporting.placeholders import Placeholders
from edgeport_converter.exporting.tf_ops import (
    convolutions,
    einsum,
    images,
    integers,
    mathematics,
    scatters,
    signal,
)
from edgeport_converter.exporting.tf_ops.builder import (
    LABEL_ENCODER_DOMAIN,
    LABEL_ENCODER_VERSION,
    Builder,
    NoOnnxFormError,
)

_HANDLERS: dict[str, Callable[[Builder], None]] = {
    **convolutions.HANDLERS,
    **einsum.HANDLERS,
    **images.HANDLERS,
    **integers.HANDLERS,
    **mathematics.HANDLERS,
    **scatters.HANDLERS,
    **signal.HANDLERS,
}

EXTRA_OPSETS = (helper.make_opsetid(LABEL_ENCODER_DOMAIN, LABEL_ENCODER_VERSION),)


def handlers(placeholders: Placeholders) -> dict[str, tuple[Callable[..., None], list[Any]]]:
    """Return the table that ``tf2onnx.tfonnx.process_tf_graph`` takes."""

    def placeholder(build: Builder) -> None:
        emit = placeholders.emitter(build.source.get_attr_str("token"))
        if emit is None:
            raise NoOnnxFormError("it calls Python code, which no ONNX file can hold")
        emit(build)

    table = _HANDLERS | {"PyFunc": placeholder, "EagerPyFunc": placeholder}
    return {operation: (_adapt(handler), []) for operation, handler in table.items()}


def _adapt(handler: Callable[[Builder], None]) -> Callable[..., None]:
    """Give a handler tf2onnx's signature."""

    def call(graph: Any, node: Any, name: str, args: Sequence[Any]) -> None:
        handler(Builder(graph, node))

    return call
