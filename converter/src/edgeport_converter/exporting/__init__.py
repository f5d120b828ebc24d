"""From a loaded model to a float ONNX graph that bears the user's names.

One route: trace the model on the CPU, freeze its variables, let tf2onnx translate the frozen
graph with its errors raised and with our own conversions beside its own. Rewriting the graph for
speed is ``optimizing``'s business, proving it ``verifying``'s, which compares with the reference
outputs made here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx import helper
from tf2onnx import tfonnx

from edgeport import ConversionError, TensorSpec
from edgeport.golden import Array
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.exporting import refusing, tf_ops, tf_signal, tracing
from edgeport_converter.exporting.node_names import NodeNames
from edgeport_converter.exporting.tracing import FrozenGraph
from edgeport_converter.loaded import LoadedModel, TensorInfo

# Axis letters by rank, channels last, as Keras lays out its tensors; see edgeport.card.
_AXES_BY_RANK = {
    0: (),
    1: ("N",),
    2: ("N", "F"),
    3: ("N", "T", "F"),
    4: ("N", "H", "W", "C"),
    5: ("N", "D", "H", "W", "C"),
}

# What an activation's formula bounds its output by.
_OUTPUT_RANGES = {"softmax": (0.0, 1.0), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}

# A graph that draws numbers is not its inputs' function.
_IMPURE = ("Random", "StatelessRandom", "StatefulRandom", "StatefulUniform",
           "StatefulStandardNormal", "StatelessTruncated", "Multinomial",
           "StatelessMultinomial")  # fmt: skip
# Naming the axes of a larger graph is not worth copying it.
_INFERENCE_BYTES = 2**28

_COMPLEX = (tf.complex64.as_datatype_enum, tf.complex128.as_datatype_enum)


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """A float ONNX graph and its oracle.

    Attributes:
        graph: the ONNX model.
        inputs, outputs: in the Keras model's declared order.
        reference: runs the Keras model itself: arrays by input name, each with the batch axis N,
            to arrays by output name.
    """

    graph: onnx.ModelProto
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    reference: Callable[[Mapping[str, Array]], dict[str, Array]]


def export(loaded: LoadedModel, *, opset: int, ir_version: int) -> ExportedModel:
    """Return the model as a float ONNX graph.

    Args:
        loaded: the model as a function over named tensors.
        opset: the ONNX opset to export for.
        ir_version: the IR version to stamp.

    Raises:
        UnsupportedModelError: a layer or an operation has no ONNX form, or Keras itself cannot
            run the model.
    """
    refusing.refuse_layers(loaded.model)
    inputs = _describe_inputs(loaded.inputs)
    frozen = _trace(loaded)
    _require_pure(frozen, loaded.model)
    graph = _translate(frozen, loaded.model, opset)
    graph.ir_version = ir_version
    graph.graph.name = loaded.name
    _order(graph.graph.input, [spec.name for spec in inputs])
    _write_shapes(graph.graph.input, inputs)
    outputs = _describe_outputs(graph, _as_traced(loaded.outputs, frozen), inputs)
    _write_shapes(graph.graph.output, outputs)
    return ExportedModel(graph, inputs, outputs, _reference(loaded))


def _trace(loaded: LoadedModel) -> FrozenGraph:
    try:
        return tracing.trace(loaded)
    except (UnsupportedModelError, MemoryError):
        raise
    except Exception as cause:
        raise refusing.trace_refusal(loaded.model, cause, "trace") from cause


def _reference(loaded: LoadedModel) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    def reference(arrays: Mapping[str, Array]) -> dict[str, Array]:
        with tf.device("/cpu:0"):
            tensors = {info.name: _as_tensor(arrays[info.name], info) for info in loaded.inputs}
            try:
                results = loaded.call(tensors)
            except tf.errors.OpError as cause:
                raise refusing.trace_refusal(loaded.model, cause, "run") from cause
        return {name: _as_array(tensor) for name, tensor in results.items()}

    return reference


def _as_tensor(array: Array, info: TensorInfo) -> Any:
    # numpy's text arrays hold Python objects, which TensorFlow takes as lists only.
    return tf.constant(array.tolist() if array.dtype.kind == "O" else array, dtype=info.dtype)


def _as_array(tensor: Any) -> Array:
    array = np.asarray(tensor)
    if array.dtype.kind in "OS":
        array = np.vectorize(lambda text: text.decode("utf-8"), otypes=[object])(array)
    return array


def _require_pure(frozen: FrozenGraph, model: Any) -> None:
    """Refuse operations that draw numbers, and complex ones that have no conversion."""
    impure = [(node.name, node.op) for node in frozen.graph_def.node
              if node.op.startswith(_IMPURE)]  # fmt: skip
    impure += [(function.signature.name, node.op)
               for function in frozen.graph_def.library.function
               for node in function.node_def if node.op.startswith(_IMPURE)]  # fmt: skip
    if impure:
        raise refusing.operation_refusal(model, impure)
    strange = [
        (node.name, node.op)
        for node in frozen.graph_def.node
        if node.op not in tf_signal.COMPLEX_OPS
        and any(value.type in _COMPLEX for value in node.attr.values())
    ]
    if strange:
        raise refusing.operation_refusal(model, strange, "complex numbers")


def _translate(frozen: FrozenGraph, model: Any, opset: int) -> onnx.ModelProto:
    """Return tf2onnx's translation with the model's own names for inputs and outputs."""
    with _failed_nodes() as failed:
        try:
            with tf.Graph().as_default() as graph:
                tf.import_graph_def(frozen.graph_def, name="")
                # continue_on_error=False: by default tf2onnx logs what it cannot translate and
                # goes on to write an invalid file.
                translated = tfonnx.process_tf_graph(
                    graph,
                    continue_on_error=False,
                    opset=opset,
                    extra_opset=list(tf_ops.EXTRA_OPSETS),
                    custom_op_handlers=tf_ops.handlers(frozen.markers),
                    input_names=list(frozen.inputs),
                    output_names=list(frozen.outputs),
                    tensors_to_rename=frozen.inputs | frozen.outputs,
                )
                _require_onnx(translated, model, opset)
                names = NodeNames()
                translated = names.optimize(translated)
                result: onnx.ModelProto = translated.make_model("edgeport")
                names.restore(result.graph)
        except UnsupportedModelError:
            raise
        except Exception as cause:
            lines = str(cause).strip().splitlines() or [type(cause).__name__]
            place = failed or [("", "its operations")]
            raise refusing.operation_refusal(model, place, lines[0][:200]) from cause
    return result


class _FailureRecorder(logging.Handler):
    """Keeps the nodes that tf2onnx reports as failed, which its exceptions do not name."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.nodes: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "Failed to convert node" in str(record.msg) and isinstance(record.args, tuple):
            summary = str(record.args[2])
            kind = re.search(r"OP=(\w+)", summary)
            self.nodes.append((str(record.args[0]), kind[1] if kind else "an operation"))


@contextmanager
def _failed_nodes() -> Iterator[list[tuple[str, str]]]:
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
    """Refuse what tf2onnx passed over: nodes that are still TensorFlow's."""
    graph.delete_unused_nodes(graph.outputs)  # some handlers leave the old node behind
    strangers = [
        (node.name, node.type)
        for inner in _graphs(graph)
        for node in inner.get_nodes()
        if node.domain in ("", "ai.onnx")
        and node.type not in ("Placeholder", "Const")
        and not onnx.defs.has(node.type)
    ]
    if strangers:
        raise refusing.operation_refusal(model, strangers)


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.get_nodes():
        for inner in (node.get_body_graphs() or {}).values():
            yield from _graphs(inner)


def _describe_inputs(infos: Sequence[TensorInfo]) -> tuple[TensorSpec, ...]:
    """Give the free axes letters; axes that need not agree get numbers behind."""
    used: dict[str, int] = {}
    specs = []
    for info in infos:
        axes = _letters(info)
        shape = tuple(
            _free_name(axis, used) if size is None else size
            for axis, size in zip(axes, info.shape, strict=True)
        )
        dtype = np.dtype(object if info.dtype == "string" else info.dtype)
        specs.append(TensorSpec(info.name, dtype, shape, axes))
    return tuple(specs)


def _letters(info: TensorInfo, *, is_output: bool = False) -> tuple[str, ...]:
    rank = len(info.shape)
    if rank == 2 and info.shape[1] is None:
        return ("N", "T")  # a row of free length is a sequence
    if rank == 2 and is_output:
        return ("N", "C")
    others = tuple(f"A{axis}" for axis in range(1, rank))
    return _AXES_BY_RANK.get(rank, ("N", *others))


def _free_name(axis: str, used: dict[str, int]) -> str:
    if axis == "N":
        return axis
    count = used[axis] = used.get(axis, 0) + 1
    return axis if count == 1 else f"{axis}{count}"


def _describe_outputs(
    graph: onnx.ModelProto, infos: Sequence[TensorInfo], inputs: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    """Put the graph's outputs into the declared order and describe them.

    A free axis has an input's name only if ONNX can tell that it has the input's size:
    onnxruntime shares memory between tensors whose axes have equal names.
    """
    _order(graph.graph.output, [info.name for info in infos])
    inferred = _inferred_axes(graph, infos)
    names = {size for spec in inputs for size in spec.shape[1:] if isinstance(size, str)}
    used = {axis: len([name for name in names if name.startswith(axis)]) for axis in "ATDHWFC"}
    specs = []
    for info, value in zip(infos, graph.graph.output, strict=True):
        axes = _letters(info, is_output=True)
        shape: list[int | str] = []
        for place, (axis, size) in enumerate(zip(axes, info.shape, strict=True)):
            if size is not None:
                shape.append(size)
            elif axis != "N" and inferred.get((info.name, place)) in names:
                shape.append(inferred[info.name, place])
            else:
                shape.append(_free_name(axis, used))
        # Some layers declare another dtype than they give; parity is judged by what they give.
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        known = _OUTPUT_RANGES.get(info.activation or "")
        specs.append(TensorSpec(info.name, dtype, tuple(shape), axes, known))
    return tuple(specs)


def _inferred_axes(
    graph: onnx.ModelProto, infos: Sequence[TensorInfo]
) -> dict[tuple[str, int], str]:
    """Return the names that ONNX infers for the outputs' axes, by output and place."""
    is_free = any(size is None for info in infos for size in info.shape[1:])
    if not is_free or graph.ByteSize() > _INFERENCE_BYTES:
        return {}
    bare = onnx.ModelProto()
    bare.CopyFrom(graph)
    del bare.graph.value_info[:]
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    found = onnx.shape_inference.infer_shapes(bare)
    return {
        (value.name, place): dimension.dim_param
        for value in found.graph.output
        for place, dimension in enumerate(value.type.tensor_type.shape.dim)
        if dimension.dim_param
    }


def _as_traced(infos: Sequence[TensorInfo], frozen: FrozenGraph) -> list[TensorInfo]:
    """Correct the declared shapes by the traced ones.

    Some layers declare a size that they give while training only, such as RandomCrop.
    """
    result = []
    for info in infos:
        traced = frozen.output_shapes[info.name]
        if traced is None:
            result.append(info)
        elif len(traced) != len(info.shape):
            result.append(replace(info, shape=traced))
        else:
            sizes = zip(info.shape, traced, strict=True)
            shape = tuple(said if given is None else given for said, given in sizes)
            result.append(replace(info, shape=shape))
    return result


def _order(values: Any, names: list[str]) -> None:
    by_name = {value.name: value for value in values}
    if sorted(by_name) != sorted(names):
        raise ConversionError(
            f"the export has the inputs or outputs {sorted(by_name)}, expected {sorted(names)}: "
            "report this model"
        )
    ordered = [by_name[name] for name in names]
    del values[:]
    values.extend(ordered)


def _write_shapes(values: Any, specs: Sequence[TensorSpec]) -> None:
    """Write sizes and the names of free axes into the graph's inputs or outputs."""
    for value, spec in zip(values, specs, strict=True):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for size in spec.shape:
            dimension = shape.dim.add()
            if isinstance(size, int):
                dimension.dim_value = size
            else:
                dimension.dim_param = size
