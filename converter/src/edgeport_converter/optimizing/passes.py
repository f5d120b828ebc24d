"""``optimize`` and ``compact``: which passes run over a graph, and in which order."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer
from onnxscript.rewriter import RewriteRuleSet

from edgeport import ConversionError
from edgeport_converter.optimizing import names
from edgeport_converter.optimizing.input_scaling import simplify_input_scaling
from edgeport_converter.optimizing.rewrite_rules import RULES
from edgeport_converter.quiet import quiet_logging

# A rule can make room for another: BatchNormalization needs two, and the Gemm that they end in.
_MAX_ROUNDS = 8

# Constants of at most so many elements are computed ahead, so that folding makes no file grow.
_FOLD_ELEMENTS = 256


def optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with the same answers and fewer operators.

    1. Constants become initializers, and small ones that follow from others are computed ahead.
    2. The rules of ``rewrite_rules`` run in rounds until none applies.
    3. The scaling of inputs moves into the first layers (``input_scaling``).
    4. Equal constants and equal computations are kept once, and what nothing reads is removed.
    5. Nodes get the names of the nodes that they replace.

    The given graph is not changed.
    """
    graph = ir.from_proto(model)
    outputs = [value.name for value in model.graph.output]
    graph = _run(
        graph,
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.ShapeInferencePass(),  # the rules look at ranks, which the export leaves out
        *_identity_elimination(graph),
    )
    with quiet_logging():  # it warns of operators that it leaves as they are
        optimizer.fold_constants(
            graph, input_size_limit=_FOLD_ELEMENTS, output_size_limit=_FOLD_ELEMENTS
        )
    graph = _run(
        graph, common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
    )
    names.remember(graph)
    for _ in range(_MAX_ROUNDS):
        if not RewriteRuleSet(list(RULES)).apply_to_model(graph):
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
    names.name_after_layers(graph)
    proto = ir.to_proto(graph)
    if [value.name for value in proto.graph.output] != outputs:
        raise ConversionError(
            f"optimizing turned the outputs {outputs} into "
            f"{[value.name for value in proto.graph.output]}: report this model"
        )
    return proto


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same graph in fewer bytes.

    Inputs, outputs and the names of computing nodes stay, so that a profile still leads back to
    the Keras layer. All other names become short, equal constants are stored once, and shapes of
    inner tensors and doc strings go. Nothing is folded: folding would undo the quantization, since
    the DequantizeLinear of weights has constant inputs.

    The given graph is not changed.
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
        names.shorten(proto.graph)
    return proto


def _run(graph: ir.Model, *passes: ir.passes.PassBase) -> ir.Model:
    return ir.passes.Sequential(*passes)(graph).model


def _identity_elimination(model: ir.Model) -> tuple[ir.passes.PassBase, ...]:
    """Return the pass, or none for a graph in which it would lose an output.

    onnx-ir takes an Identity away and gives its output's name to its input. That is wrong where the
    input is an output, too, and where a branch or a loop returns a tensor of the graph around it.
    """
    outputs = set(model.graph.outputs)
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.op_type == "Identity" and node.outputs[0].is_graph_output():
            source = node.inputs[0]
            producer = None if source is None else source.producer()
            if source in outputs or (producer is not None and producer.graph is not node.graph):
                return ()
    return (common.IdentityEliminationPass(),)


def _has_subgraph(node: onnx.NodeProto) -> bool:
    return any(a.HasField("g") or a.graphs for a in node.attribute)
