"""Rewriting the graph for speed and size, with onnxscript's rewriter and onnx-ir's passes.

``optimize`` runs before calibration, so that the ranges belong to the graph that is shipped.
``compact`` runs after quantization and changes names and order only: tools that fold constants
there would undo the quantization, since they fold the weights' DequantizeLinear away.

    activation_rules  activations in the words that onnxruntime has kernels for
    affine_rules      scales and shifts into the weights of the operator before or behind them
    cast_rules        number formats that come and go
    constants         constants of a graph under the rewriter's hands: reading them, and making
                      new ones
    input_scaling     scaling of inputs: moved behind the layout's changes, and into the first
                      layer's weights
    layer_inputs      A scale or an offset of what a layer reads, taken into the layer's weights
                      and bias instead
    rewrite_rules     the rewriter's rules that onnxscript does not bring along
    shape_rules       axes of one that come and go, sizes that are known, and pooling in its own
                      words
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.rules.common import (
    fuse_batchnorm_into_conv_rule,
    fuse_batchnorm_into_conv_transpose_rule,
    fuse_batchnorm_into_gemm_rule,
    fuse_pad_into_conv_rule,
    mul_by_1_rule,
    no_op_cast_rule,
    no_op_transpose_rule,
    reshape_reshape_rule,
    successive_relu_rule,
    transpose_transpose_rule,
    unsqueeze_unsqueeze_rule,
)

from edgeport import ConversionError
from edgeport_converter.optimizing import rewrite_rules
from edgeport_converter.optimizing.input_scaling import simplify_input_scaling

# What each is worth stands in converter/README.md, by tests/benchmarks/passes.py. Those for Conv
# save bytes, and onnxruntime does the same at each load; those for Gemm, gates and shapes save
# time as well.
_RULES = (
    mul_by_1_rule,
    no_op_cast_rule,
    transpose_transpose_rule,
    no_op_transpose_rule,
    reshape_reshape_rule,
    unsqueeze_unsqueeze_rule,
    successive_relu_rule,
    fuse_pad_into_conv_rule,
    fuse_batchnorm_into_conv_rule,
    fuse_batchnorm_into_conv_transpose_rule,
    *rewrite_rules.rules(),
    fuse_batchnorm_into_gemm_rule,
)

# One rule makes room for another: a Gemm for the scale behind it, a sequence for its bias.
_MAX_ROUNDS = 8

# Constants are computed ahead up to this many elements, so that folding never makes a file grow.
_FOLD_ELEMENTS = 256

# Where a node's metadata holds the name that it had in the export, by its operator.
_NAME_OF = "edgeport.name.{}"
_FORMER_TYPES = {"Gemm": ("MatMul",)}


def optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with the same answers: Dense layers as Gemm, BatchNormalization folded.

    Args:
        model: a float graph; it is not changed.
    """
    graph = ir.from_proto(model)
    names = [value.name for value in model.graph.output]
    graph = _run(
        graph,
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.ShapeInferencePass(),  # the rules look at ranks, which the export leaves out
        *_identity_elimination(graph),
    )
    optimizer.fold_constants(
        graph, input_size_limit=_FOLD_ELEMENTS, output_size_limit=_FOLD_ELEMENTS
    )
    graph = _run(
        graph, common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
    )
    _remember_names(graph)
    for _ in range(_MAX_ROUNDS):
        if not RewriteRuleSet(list(_RULES)).apply_to_model(graph):
            break
        graph = _run(
            graph,
            common.ShapeInferencePass(),
            common.RemoveUnusedNodesPass(),
            *_identity_elimination(graph),
        )
    simplify_input_scaling(graph)
    graph = _run(
        graph,
        common.DeduplicateHashedInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ShapeInferencePass(),
    )
    _name_after_layers(graph)
    proto = ir.to_proto(graph)
    if [value.name for value in proto.graph.output] != names:
        raise ConversionError(
            f"optimizing turned the outputs {names} into "
            f"{[value.name for value in proto.graph.output]}: report this model"
        )
    return proto


def _run(graph: ir.Model, *passes: ir.passes.PassBase) -> ir.Model:
    return ir.passes.Sequential(*passes)(graph).model


def _identity_elimination(model: ir.Model) -> tuple[ir.passes.PassBase, ...]:
    """Return the pass, but for a graph in which one tensor goes out under two names.

    onnx-ir would rename the one output and lose the other.
    """
    outputs = set(model.graph.outputs)
    for node in model.graph:
        if node.op_type == "Identity" and node.inputs[0] in outputs and node.outputs[0] in outputs:
            return ()
    return (common.IdentityEliminationPass(),)


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same graph with nothing that only a reader of the export needs.

    Inputs, outputs and the names of computing nodes stay, so that a profile still leads back to
    the Keras layer; all other names become short, repeated constants are stored once, shapes of
    inner tensors and doc strings go.

    Args:
        model: a float or quantized graph; it is not changed.
    """
    graph = ir.from_proto(model)
    passes = (
        common.DeduplicateHashedInitializersPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),
    )
    proto: onnx.ModelProto = ir.to_proto(ir.passes.Sequential(*passes)(graph).model)
    del proto.graph.value_info[:]
    del proto.metadata_props[:]
    proto.producer_name, proto.producer_version = "edgeport-converter", ""
    if not any(_has_subgraph(node) for node in proto.graph.node):
        _shorten_names(proto.graph)
    return proto


def _remember_names(model: ir.Model) -> None:
    """Note each node's name where the rewriter passes it on to the node that replaces it."""
    for node in model.graph:
        node.metadata_props[_NAME_OF.format(node.op_type)] = node.name or ""


def _name_after_layers(model: ir.Model) -> None:
    """Name the nodes that the rewriter made after the nodes whose work they do.

    A Conv that has taken in a BatchNormalization goes on bearing the convolution's name.
    """
    taken = {node.name for node in model.graph if not (node.name or "").startswith("node_")}
    for node in model.graph:
        noted = node.metadata_props
        if node.name not in taken:
            candidates = [
                noted.get(_NAME_OF.format(kind), "")
                for kind in (node.op_type, *_FORMER_TYPES.get(node.op_type, ()))
            ]
            output = (node.outputs[0].name or "").removesuffix(":0")
            name = next(filter(None, candidates), output)
            node.name = name if name not in taken else f"{name}/{node.op_type}"
            taken.add(node.name)
        for key in [key for key in noted if key.startswith(_NAME_OF.format(""))]:
            del noted[key]


def _has_subgraph(node: onnx.NodeProto) -> bool:
    return any(a.HasField("g") or a.graphs for a in node.attribute)


def _shorten_names(graph: onnx.GraphProto) -> None:
    kept = {value.name for value in (*graph.input, *graph.output)}
    kept.add("")  # an optional input that is left out
    short: dict[str, str] = {}

    def rename(name: str) -> str:
        if name in kept:
            return name
        if name not in short:
            number = len(short)
            while (candidate := _base36(number)) in kept or candidate in short.values():
                number += 1
            short[name] = candidate
        return short[name]

    for node in graph.node:
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.name = ""
    for tensor in graph.initializer:
        tensor.name = rename(tensor.name)


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = digits[number % 36]
    while number := number // 36:
        text = digits[number % 36] + text
    return text
