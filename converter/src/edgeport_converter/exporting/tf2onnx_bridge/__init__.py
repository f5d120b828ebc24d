"""From a frozen TensorFlow graph to ONNX by tf2onnx; ``PATCHES`` lists what is replaced in it.

    ordered_sets  sets in the order of insertion, so that files are the same in every process
    passes        corrections of tf2onnx's optimization passes, and names of replaced nodes
    translate     the translation itself, with tf2onnx's errors raised

Handlers of operations need no patch: tf2onnx takes them as an argument, see ``tf_ops``.

To add a patch: write a function ``(original, node_names) -> replacement`` in the module of its
subject (for a method, one with ``@function_patch``), and add a record to ``PATCHES``: target,
function, why, until when.
"""

from __future__ import annotations

from edgeport_converter.exporting.patching import Patch
from edgeport_converter.exporting.tf2onnx_bridge import ordered_sets, passes

_TRANSPOSE = "tf2onnx.optimizer.transpose_optimizer.TransposeOptimizer"

PATCHES: tuple[Patch, ...] = (
    Patch(
        "tf2onnx.utils.INTERNAL_NAME",
        lambda original, node_names: 1,
        why="new nodes are numbered through a whole process: the same model got other names",
        until="the numbers begin at 1 with each conversion",
    ),
    Patch(
        "tf2onnx.*.set",
        ordered_sets.ordered_set,
        why="tf2onnx goes over sets in the order of hashes, which differ from process to process: "
        "the same model gave other bytes",
        until="two processes with other hash seeds write the same bytes (test_same_bytes)",
    ),
    Patch(
        "tf2onnx.graph.Graph._unregister_input_name",
        passes.keep_other_consumers,
        why="when one of two nodes in a loop's subgraph that read an outer tensor is removed, the "
        "outer graph forgets the other one, and deletes the node that makes the tensor",
        until="a subgraph is forgotten with its last reader only",
    ),
    Patch(
        "tf2onnx.graph.Node.update_proto",
        passes.update_no_constants,
        why="each pass copies every constant into its node: 6 GB and 14 s for ResNet152",
        until="tf2onnx leaves constants alone, which never change",
    ),
    Patch(
        "tf2onnx.optimizer._optimizers",
        passes.without_einsum,
        why="the pass tries all orders of an equation's letters: an hour for eight of them; "
        "tf_ops.einsum has done its work",
        until="the pass reads the order from the equation",
    ),
    Patch(
        "tf2onnx.optimizer.back_to_back_optimizer._func_map",
        passes.keep_casts,
        why="of two casts the first is dropped, whatever it rounds: 0.5 by way of an integer "
        "becomes true",
        until="only casts that lose nothing are dropped, as optimizing.cast_rules does it",
    ),
    Patch(
        f"{_TRANSPOSE}._add_handler",
        passes.add_after_transpose,
        why="a number, or one value along another axis, that is added after a convolution is taken "
        "for its bias; and the convolution that it makes has lost its layer's name",
        until="it compares the shape with the channels, and keeps the name",
    ),
)
