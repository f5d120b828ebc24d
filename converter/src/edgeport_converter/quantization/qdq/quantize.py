"""One recipe -> one quantized graph.

Which recipe is right for a model is decided in ``search``. The ranges come from ``calibration``;
weights alone are stored smaller by ``weights.weight_only``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgeport_converter.optimizing.constants import array_of
from edgeport_converter.quantization.calibration.ranges import Ranges
from edgeport_converter.quantization.qdq import placement
from edgeport_converter.quantization.qdq.hard_sigmoid import bound_codes
from edgeport_converter.quantization.qdq.insertion import insert_conversions
from edgeport_converter.quantization.qdq.pixel_blocks import compute_over_blocks
from edgeport_converter.quantization.qdq.pixel_inputs import round_offsets
from edgeport_converter.quantization.qdq.swish import compute_in_float
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.quantization.weights.gptq import Rounder
from edgeport_converter.quantization.weights.int8_layers import store_layers
from edgeport_converter.quantization.weights.weight_only import store_weights_as_int8
from edgeport_converter.quiet import quiet_logging
from edgeport_converter.targets import Target

# Never Conv: its dynamic form, ConvInteger, is slow or does not load (microsoft/onnxruntime#15888).
_DYNAMIC_OPERATORS = ("MatMul", "Gemm", "LSTM")

# Their weights are the larger part of many a text or sound model.
_WITHOUT_INT8_KERNEL = ("Gather", "GRU", "LSTM", "RNN")

_PAIRED = "two of one sign add up to 128 at most"

_INT8 = (ir.DataType.INT8, ir.DataType.UINT8)


@dataclass(frozen=True, eq=False)
class QuantizedGraph:
    """A quantized graph and what it is.

    Attributes:
        graph: in onnx-ir.
        weights, activations: number formats, for the card.
        float_layers: node name -> why it stayed in float.
    """

    graph: ir.Model
    weights: str
    activations: str
    float_layers: dict[str, str] = field(default_factory=dict)


def quantize(
    model: ir.Model,
    recipe: Recipe,
    ranges: Ranges,
    target: Target,
    rounder: Rounder | None = None,
) -> QuantizedGraph:
    """Return the graph that a recipe makes.

    The model is not changed. Static kinds need ranges; without a rounder, weights go to the nearest
    code.
    """
    rounder = rounder or Rounder()
    if recipe.kind == "none":
        return QuantizedGraph(model, "float32", "float32")
    if recipe.kind == "weights":
        stored = store_weights_as_int8(model, recipe.float_nodes, rounder)
        return QuantizedGraph(stored, "int8 per channel", "float32")
    if recipe.kind == "dynamic":
        return _quantize_dynamic(model, recipe)
    return _quantize_static(model, recipe, ranges, target, rounder)


def weighted_nodes(graph: ir.Graph) -> list[ir.Node]:
    """Return the nodes that int8 can store smaller, in running order."""
    return [
        node
        for node in graph
        if node.op_type in placement.WEIGHTED_OPERATORS and array_of(node.inputs[1]) is not None
    ]


def is_quantized(graph: ir.Graph) -> bool:
    """Whether any constant is stored in int8."""
    return any(
        value.dtype in _INT8 and value.shape is not None and len(value.shape) > 1
        for value in graph.initializers.values()
    )


def _quantize_static(
    model: ir.Model, recipe: Recipe, ranges: Ranges, target: Target, rounder: Rounder
) -> QuantizedGraph:
    is_wide = recipe.kind == "int16"
    # 16-bit activations have no int8 kernel that could saturate.
    saturates = target.saturates and not is_wide
    result = model.clone()
    graph = result.graph
    pixel_inputs = round_offsets(graph)
    in_float = recipe.float_nodes | placement.gains_nothing(graph, recipe.float_nodes)
    in_float = in_float.union(node.name or "" for found in pixel_inputs for node in found.nodes)
    ranges = {**ranges, **{found.value.name or "": found.range for found in pixel_inputs}}
    inserted = insert_conversions(
        result,
        [n for n in graph if n.op_type in placement.STATIC_OPERATORS and n.name not in in_float],
        ranges,
        pixels=pixel_inputs,
        wide=is_wide,
    )
    bounded: frozenset[str] = frozenset()
    if not is_wide:
        bounded = bound_codes(graph, in_float, inserted.limited)
    store_layers(
        graph,
        inserted.layers,
        rounder,
        pairs=saturates,
        one_scale=recipe.one_scale,
        domain=inserted.domain,
    )
    if not is_wide:
        placement.keep_float_layers(graph)
    common.RemoveUnusedNodesPass()(result)
    if not is_wide:
        compute_over_blocks(result, recipe.in_blocks)
        if recipe.float_swish:
            compute_in_float(result)
    if recipe.stores_rest:
        done = {node.name or "" for node in graph if node.op_type not in _WITHOUT_INT8_KERNEL}
        result = store_weights_as_int8(result, recipe.float_nodes | done, rounder)
    return QuantizedGraph(
        result,
        weights=f"int8 per channel, {_PAIRED if saturates else 'all 8 bits used'}",
        activations="uint16" if is_wide else "uint8",
        float_layers=_float_layers(
            model.graph, recipe, placement.STATIC_OPERATORS, in_float, bounded
        ),
    )


def _quantize_dynamic(model: ir.Model, recipe: Recipe) -> QuantizedGraph:
    with tempfile.TemporaryDirectory() as folder, quiet_logging():
        path = Path(folder) / "dynamic.onnx"
        quantize_dynamic(
            ir.to_proto(model),
            path,
            op_types_to_quantize=list(_DYNAMIC_OPERATORS),
            per_channel=True,
            # Also where the target's own kernels take 8: which CPU will judge it here is not known,
            # and MatMulInteger has no other definition than its kernel.
            reduce_range=True,
            weight_type=QuantType.QInt8,
            # It makes MatMul and Add of Gemm first, and gives them names of their own.
            nodes_to_exclude=sorted(
                recipe.float_nodes | {f"{name}_MatMul" for name in recipe.float_nodes}
            ),
        )
        graph = ir.from_proto(onnx.load(path))
    return QuantizedGraph(
        graph,
        weights="int8 per channel, 7 bits used",
        activations="uint8, range measured at each run",
        float_layers=_float_layers(model.graph, recipe, _DYNAMIC_OPERATORS),
    )


def _float_layers(
    graph: ir.Graph,
    recipe: Recipe,
    operators: Sequence[str],
    in_float: Collection[str] = (),
    bounded: Collection[str] = (),
) -> dict[str, str]:
    reasons = {}
    for node in graph:
        name = node.name or ""
        if name in recipe.float_nodes:
            reasons[name] = "kept in float for the budget, for speed, or on request"
        elif name in in_float:
            reasons[name] = f"{node.op_type} is computed in float, where int8 would gain nothing"
        elif node.op_type not in operators and name not in bounded:
            reasons[name] = f"{node.op_type} is computed in float by this recipe"
    return reasons
