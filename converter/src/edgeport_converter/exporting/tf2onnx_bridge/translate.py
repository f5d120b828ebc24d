"""From a frozen TensorFlow graph to ONNX, by tf2onnx with its errors raised.

By default tf2onnx logs what it cannot translate and goes on to write an invalid file. Here such an
operation raises ``UnsupportedModelError``. ``exported_model`` calls ``translate``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import tensorflow as tf
from tf2onnx import optimizer, tfonnx

from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.exporting import tf2onnx_bridge, tf_ops, unsupported
from edgeport_converter.exporting.patching import applied, refuse_missing_name
from edgeport_converter.exporting.tf2onnx_bridge.passes import NodeNames, restore_names
from edgeport_converter.exporting.tf_ops.builder import NoOnnxFormError
from edgeport_converter.exporting.tracing import FrozenGraph


def translate(frozen: FrozenGraph, model: Any, opset: int) -> onnx.ModelProto:
    """Return tf2onnx's translation with the model's own names for inputs and outputs.

    Raises:
        UnsupportedModelError: an operation has no form in this opset, or tf2onnx failed.
    """
    names: NodeNames = {}
    with _failed_nodes() as failed, applied(tf2onnx_bridge.PATCHES, names):
        try:
            with tf.Graph().as_default() as graph:
                tf.import_graph_def(frozen.graph_def, name="")
                translated = tfonnx.process_tf_graph(
                    graph,
                    continue_on_error=False,
                    opset=opset,
                    extra_opset=list(tf_ops.EXTRA_OPSETS),
                    custom_op_handlers=tf_ops.handlers(frozen.placeholders),
                    input_names=list(frozen.inputs),
                    output_names=list(frozen.outputs),
                    tensors_to_rename=frozen.inputs | frozen.outputs,
                    const_node_values=frozen.weights,
                )
                _require_onnx(translated, model, opset)
                translated = optimizer.optimize_graph(translated, catch_errors=False)
                result: onnx.ModelProto = translated.make_model("edgeport")
                restore_names(result.graph, names)
        except (UnsupportedModelError, MemoryError):
            raise
        except Exception as cause:
            refuse_missing_name(cause)
            reason = _reason(cause)
            if failed and reason is not None:
                raise unsupported.operation_refusal(model, failed, reason) from cause
            unknown = _of_unknown_rank(frozen)
            if unknown is not None:
                raise unsupported.unknown_rank_refusal(model, unknown) from cause
            where = failed or _loops(frozen)
            known = unsupported.known_failure(model, where, cause)
            raise known or unsupported.translation_failure(model, failed, cause) from cause
    return result


def _loops(frozen: FrozenGraph) -> list[tuple[str, str]]:
    """Return the loops, (name, type): tf2onnx does not log those that it fails at."""
    return [
        (node.name, node.op)
        for node in frozen.graph_def.node
        if node.op in ("While", "StatelessWhile")
    ]


_WINDOWED = ("Conv", "Depthwise", "MaxPool", "AvgPool")


def _of_unknown_rank(frozen: FrozenGraph) -> str | None:
    """Return the first convolution or pooling of a tensor of unknown rank, None without one."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen.graph_def, name="")
    for operation in graph.get_operations():
        if operation.type.startswith(_WINDOWED) and any(
            tensor.shape.rank is None for tensor in operation.inputs
        ):
            return str(operation.name)
    return None


# With this prefix tf2onnx refuses an operation, or a use of it, that it does not support.
_CHECKED = "make_sure failure: "


def _reason(cause: Exception) -> str | None:
    """Return why an operation has no ONNX form; None if the error is a fault of tf2onnx."""
    text = str(cause).strip()
    if isinstance(cause, (NoOnnxFormError, NotImplementedError)) or text.startswith(_CHECKED):
        return text.removeprefix(_CHECKED).splitlines()[0][:200] if text else None
    return None


class _FailureRecorder(logging.Handler):
    """Collects the failed nodes from tf2onnx's log, since its exceptions do not name them."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.nodes: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "Failed to convert node" in str(record.msg) and isinstance(record.args, tuple):
            summary = str(record.args[2])
            kind = re.search(r"OP=(\w+)", summary)
            self.nodes.append((str(record.args[0]), kind[1] if kind else ""))


@contextmanager
def _failed_nodes() -> Iterator[list[tuple[str, str]]]:
    """Yield a list to which (node, operation) is added for each failure that tf2onnx logs.

    Meanwhile nothing else reads tf2onnx's log.
    """
    logger = logging.getLogger("tf2onnx")
    recorder, propagate, level = _FailureRecorder(), logger.propagate, logger.level
    handlers = logger.handlers
    logger.handlers, logger.propagate = [recorder], False
    logger.setLevel(logging.ERROR)
    try:
        yield recorder.nodes
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def _require_onnx(graph: Any, model: Any, opset: int) -> None:
    """Refuse a graph with nodes that ONNX does not define, or that a later opset defines.

    tf2onnx keeps TensorFlow nodes that it does not know, and checks opsets only in part.
    """
    graph.delete_unused_nodes(graph.outputs)  # some handlers leave the old node in the graph
    nodes = [
        (node.name, node.type)
        for inner in _graphs(graph)
        for node in inner.get_nodes()
        if node.domain in ("", "ai.onnx") and node.type not in ("Placeholder", "Const")
    ]
    foreign = [node for node in nodes if not onnx.defs.has(node[1])]
    if foreign:
        raise unsupported.operation_refusal(model, foreign)
    newer = [node for node in nodes if not onnx.defs.has(node[1], max_inclusive_version=opset)]
    if newer:
        raise unsupported.operation_refusal(model, newer, f"not in opset {opset}")


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and all of its subgraphs."""
    yield graph
    for node in graph.get_nodes():
        for inner in (node.get_body_graphs() or {}).values():
            yield from _graphs(inner)
