"""Small average pools as depthwise convolutions, which have a faster int8 kernel."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from edgeport_converter.optimizing.constants import constant

_MOST_PLACES = 25
_KEPT_ATTRIBUTES = ("kernel_shape", "pads", "strides")


def find_small_pools(graph: ir.Graph, in_float: Collection[str] = ()) -> frozenset[str]:
    """Return the names of the average pools that can become a convolution.

    A pool that leaves padding out of its means, or rounds its size up, stays: it divides by
    another number at the border. So does one over all of a map: its int8 kernel is fast, and the
    weights would be as large as what it reads.
    """
    return frozenset(
        node.name or ""
        for node in graph
        if node.op_type == "AveragePool"
        and node.name not in in_float
        and _channels(node)
        and node.outputs[0].shape is not None
        and any(size != 1 for size in node.outputs[0].shape[2:])
        and _divides_by_one_number(node)
    )


def convolve_pools(model: ir.Model, names: Collection[str]) -> ir.Model:
    """Return the graph with these average pools as depthwise convolutions of the same names."""
    result = model.clone()
    for pool in [node for node in result.graph if node.name in names]:
        count = _channels(pool)
        size = pool.attributes.get_ints("kernel_shape")
        weights = np.full((count, 1, *size), 1 / math.prod(size), np.float32)
        kept = {key: pool.attributes[key] for key in _KEPT_ATTRIBUTES if key in pool.attributes}
        answer = pool.outputs[0]
        convolution = ir.node(
            "Conv",
            [pool.inputs[0], constant(result.graph, f"{pool.name}/weights", weights)],
            {**kept, "group": count},
            name=pool.name,
        )
        ir.convenience.replace_nodes_and_values(
            result.graph, pool, [pool], [convolution], [answer], convolution.outputs
        )
    return result


def _channels(pool: ir.Node) -> int:
    """Return the number of channels of a sequence or image of float32, 0 for anything else."""
    value = pool.inputs[0]
    if value is None or value.dtype != ir.DataType.FLOAT or value.shape is None:
        return 0
    if len(value.shape) not in (3, 4) or not isinstance(value.shape[1], int):
        return 0
    return value.shape[1]


def _divides_by_one_number(pool: ir.Node) -> bool:
    attributes = pool.attributes
    automatic = attributes.get_string("auto_pad", "NOTSET")
    pads = any(attributes.get_ints("pads", [])) or automatic not in ("NOTSET", "VALID")
    counts = attributes.get_int("count_include_pad", 0) and "auto_pad" not in attributes
    return (
        1 < math.prod(attributes.get_ints("kernel_shape")) <= _MOST_PLACES
        and not attributes.get_int("ceil_mode", 0)
        and (not pads or bool(counts))
        and all(step == 1 for step in attributes.get_ints("dilations", []))
    )
