"""Names and letters for the axes of inputs and outputs, and their order in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgeport import ConversionError, OptionError, TensorSpec
from edgeport.artifact.card import format_shape
from edgeport_converter.exporting.tracing import FrozenGraph
from edgeport_converter.loading.model import TensorInfo

# Axis letters by rank, channels last, as Keras lays out its tensors; see edgeport.artifact.card.
_AXES_BY_RANK = {
    0: (),
    1: ("N",),
    2: ("N", "F"),
    3: ("N", "T", "F"),
    4: ("N", "H", "W", "C"),
    5: ("N", "D", "H", "W", "C"),
}

# The bounds of an output by its activation's formula.
_OUTPUT_RANGES = {"softmax": (0.0, 1.0), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}

# Naming the axes of a larger graph is not worth copying it.
_INFERENCE_BYTES = 2**28


def describe_inputs(infos: Sequence[TensorInfo]) -> tuple[TensorSpec, ...]:
    """Name the free axes by letters; axes whose sizes may differ get numbers: T, T2."""
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


def write(
    graph: onnx.ModelProto,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorInfo],
    frozen: FrozenGraph,
) -> tuple[TensorSpec, ...]:
    """Order the graph's inputs and outputs as declared, name their axes; describe the outputs."""
    _order(graph.graph.input, [spec.name for spec in inputs])
    write_shapes(graph.graph.input, inputs)
    specs = _describe_outputs(graph, _as_traced(outputs, frozen), inputs)
    write_shapes(graph.graph.output, specs)
    return specs


def _describe_outputs(
    graph: onnx.ModelProto, infos: Sequence[TensorInfo], inputs: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    """Put the graph's outputs into the declared order and describe them.

    A free axis has an input's name only if ONNX can tell that it has the input's size:
    onnxruntime shares memory between tensors whose axes have equal names. Where TensorFlow does
    not know a size and ONNX does, it is fixed.
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
                continue
            found = inferred.get((info.name, place))
            if axis != "N" and (found in names or isinstance(found, int)):
                shape.append(found)
            else:
                shape.append(_free_name(axis, used))
        # Some layers declare another dtype than they give; parity is judged by what they give.
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        known = _OUTPUT_RANGES.get(info.activation or "")
        specs.append(TensorSpec(info.name, dtype, tuple(shape), axes, known))
    return tuple(specs)


def _inferred_axes(
    graph: onnx.ModelProto, infos: Sequence[TensorInfo]
) -> dict[tuple[str, int], int | str]:
    """Return the names and sizes that ONNX infers for the outputs' axes, by output and place."""
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
        (value.name, place): dimension.dim_param or dimension.dim_value
        for value in found.graph.output
        for place, dimension in enumerate(value.type.tensor_type.shape.dim)
        if dimension.dim_param or dimension.dim_value
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


def one_sample(spec: TensorSpec) -> TensorSpec:
    """Return the input or output with one sample in place of a free number.

    Raises:
        OptionError: the model insists on another number.
    """
    if not spec.has_batch_axis or spec.shape[0] == 1:
        return spec
    if isinstance(spec.shape[0], int):
        raise OptionError(
            f"one_by_one was given and '{spec.name}' has the shape {format_shape(spec.shape)}, "
            "expected a free number of samples: leave one_by_one out, or batch_size in keras.Input"
        )
    return replace(spec, shape=(1, *spec.shape[1:]))


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


def write_shapes(values: Any, specs: Sequence[TensorSpec]) -> None:
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
