"""The constants of a quantized layer: int8 codes, scales and an int32 bias that fit each other.

Steps of ``store_layers``, for the weights that one layer reads, or several:

1. Choose the smallest scales at which every weight has a code and the bias fits int32, or take
   those that training has found.
2. Round the weights by what the layers read (GPTQ, see ``gptq``), or to the nearest code.
3. Take the mean of what rounding adds to the sums out of the bias: the bias correction of Nagel et
   al., "Data-Free Quantization through Weight Equalization and Bias Correction" (2019), section
   4.2, with the means of the calibration data.
4. Store weights and bias with a DequantizeLinear each; the steps of a bias are those of the sums,
   input scale * weight scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.artifact.golden import Array
from edgeport_converter.optimizing.constants import array_of, constant, known
from edgeport_converter.quantization.weights import forms
from edgeport_converter.quantization.weights.gptq import Rounder, choose_scales

# A bias is an int32 in steps of input scale * weight scale; half of its range is left for the sums.
_LARGEST_BIAS_CODE = 2.0**30
# Where all weights of a channel are zero, the steps of its bias alone decide.
_FINE_BIAS_CODE = 2.0**20
_SMALLEST_STEP = 1e-30  # of sums; far from what float32 cannot hold

# Channels from which two bytes a channel are more than the node that widens them.
_WIDE = 64

_DENSE = ("Gemm", "MatMul")


@dataclass(frozen=True, eq=False)
class _Layer:
    """An int8 layer whose constants are still in float.

    Attributes:
        node: it reads a DequantizeLinear.
        sums: its weights (G groups, O outputs, K inputs of a sum).
        bias: (G, O), None where it has none that is constant.
        input_scale: of what it reads.
    """

    node: ir.Node
    sums: Array
    bias: Array | None
    input_scale: float


def store_layers(
    graph: ir.Graph,
    layers: Iterable[ir.Node],
    rounder: Rounder,
    *,
    pairs: bool,
    one_scale: bool = False,
    domain: str = "",
) -> None:
    """Store weights and biases of int8 layers, in place.

    Args:
        graph: a graph with int8 activations.
        layers: nodes that read a DequantizeLinear, in running order. One whose weights are no
            constant is passed over.
        rounder: knows the layers by their nodes' names.
        pairs: whether two codes of one sign may add up to 128 at most.
        one_scale: whether all weights of a Gemm or MatMul share one scale.
        domain: of DequantizeLinear.
    """
    # Layers that share weights share codes, where their operators store them alike.
    sharing: dict[tuple[object, ...], list[ir.Node]] = {}
    for node in layers:
        if array_of(node.inputs[1]) is not None:
            form = (
                node.op_type in _DENSE or node.op_type,
                forms.groups_of(node),
                forms.is_transposed(node),
            )
            alpha = node.attributes.get_float("alpha", 1.0)
            sharing.setdefault((node.inputs[1], alpha, *form), []).append(node)
    for nodes in sharing.values():
        users = [_read(node) for node in nodes]
        one = one_scale and nodes[0].op_type in _DENSE
        _store(graph, users, rounder, domain, pairs=pairs, one_scale=one)


def _read(node: ir.Node) -> _Layer:
    """Return a layer with its constants; what a Gemm multiplies them by is in them."""
    alpha, beta = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    reading = None if node.inputs[0] is None else node.inputs[0].producer()
    assert reading is not None  # noqa: S101 - a DequantizeLinear, by the caller's promise
    sums = alpha * forms.as_sums(node, known(node.inputs[1]).astype(np.float64))
    groups, outputs, _ = sums.shape
    bias = array_of(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is not None:
        fits = bias.size in (1, groups * outputs)
        spread = np.broadcast_to(beta * bias.reshape(-1), groups * outputs) if fits else None
        bias = None if spread is None else spread.reshape(groups, outputs)
    return _Layer(node, sums, bias, float(known(reading.inputs[1])))


def _store(
    graph: ir.Graph,
    users: list[_Layer],
    rounder: Rounder,
    domain: str,
    *,
    pairs: bool,
    one_scale: bool,
) -> None:
    """Store weights that one layer reads, or several, and the biases of these."""
    node, sums = users[0].node, users[0].sums
    weights = node.inputs[1]
    assert weights is not None  # noqa: S101 - for types
    pairs = pairs and node.op_type != "ConvTranspose"  # it has no int8 kernel that could saturate
    given, least = rounder.scales(weights.name), _least_scales(users)
    if given is None:
        scales = choose_scales(sums, pairs=pairs, least=least)
    else:
        scales = np.maximum(given, least)
    if one_scale:
        scales = np.full_like(scales, scales.max())
    elif node.op_type == "ConvTranspose":  # its groups share a scale a channel
        scales = np.broadcast_to(scales.max(axis=0), scales.shape)
    scales = scales.astype(np.float32).astype(np.float64)
    readers = {layer.node.name or "": layer.bias is not None for layer in users}
    rounded = rounder.round(sums, scales, readers, pairs=pairs)
    stored = scales[0] if node.op_type == "ConvTranspose" else scales.reshape(-1)
    codes = forms.as_stored(node, rounded.codes, known(weights).shape)
    back = _dequantize(
        graph,
        node,
        constant(graph, f"{weights.name}/codes", codes),
        np.asarray(stored[0] if one_scale else stored, np.float32),
        0 if node.op_type == "Conv" or forms.is_transposed(node) else 1,
        domain,
    )
    error = rounded.codes * scales[..., None] - sums
    for layer in users:
        layer.node.replace_input_with(1, back)
        layer.node.attributes.pop("alpha", None)
        if layer.bias is None:
            continue
        layer.node.attributes.pop("beta", None)
        bias = layer.bias.astype(np.float64)
        mean = rounder.mean(layer.node.name or "")
        if mean is not None:
            bias = bias - np.einsum("gok,gk->go", error, mean)
        flat = scales.reshape(-1).astype(np.float32)
        steps = np.float32(layer.input_scale) * (flat[0] if one_scale else flat)
        _store_bias(graph, layer.node, bias.reshape(-1), np.asarray(steps), domain)


def _least_scales(users: list[_Layer]) -> Array:
    """Return the scales (G, O) at which each layer's bias fits int32."""
    dead = np.abs(users[0].sums).max(axis=2) == 0
    least = np.zeros(dead.shape)
    for layer in users:
        size = np.abs(np.zeros(dead.shape) if layer.bias is None else layer.bias.astype(np.float64))
        wanted = size / np.where(dead, _FINE_BIAS_CODE, _LARGEST_BIAS_CODE)
        least = np.maximum(least, np.maximum(wanted, _SMALLEST_STEP) / layer.input_scale)
    return least


def _store_bias(graph: ir.Graph, node: ir.Node, bias: Array, steps: Array, domain: str) -> None:
    """Store a bias (O,) as int32 in steps of its layer's sums, or as int16 that is widened.

    The bias of a wide Gemm is stored in 16 bits where it fits. Convolutions are left alone: there
    are many of them, and each such step costs time at loading.
    """
    limit, narrow = np.iinfo(np.int32), np.iinfo(np.int16)
    codes = np.clip(np.rint(bias / steps.astype(np.float64)), limit.min, limit.max).astype(np.int32)
    name = f"{node.inputs[2].name}/codes"  # type: ignore[union-attr]  # _read has seen it
    is_narrow = narrow.min <= codes.min() and codes.max() <= narrow.max
    if node.op_type == "Gemm" and codes.size >= _WIDE and is_narrow:
        stored = constant(graph, name, codes.astype(np.int16))
        widening = ir.node("Cast", [stored], {"to": ir.DataType.INT32}, name="")
        graph.insert_before(node, widening)
        value = widening.outputs[0]
        value.dtype = ir.DataType.INT32
    else:
        value = constant(graph, name, codes)
    node.replace_input_with(2, _dequantize(graph, node, value, steps, 0, domain))


def _dequantize(
    graph: ir.Graph, reader: ir.Node, codes: ir.Value, scale: Array, axis: int, domain: str
) -> ir.Value:
    """Return the floats of codes, by one scale or one for each place of an axis.

    Each scale has a zero point, although it is zero: onnxruntime's QGemm refuses one for all.
    """
    assert codes.dtype is not None  # noqa: S101 - of constants it is known
    zero = np.zeros(scale.shape, codes.dtype.numpy())
    inputs = [
        codes,
        constant(graph, f"{codes.name}/scale", scale),
        constant(graph, f"{codes.name}/zero_point", zero),
    ]
    attributes = {"axis": axis} if scale.ndim else {}
    node = ir.node("DequantizeLinear", inputs, attributes, domain=domain, name="")
    node.outputs[0].dtype = ir.DataType.FLOAT
    graph.insert_before(reader, node)
    return node.outputs[0]
