"""A swish between int8 layers computed in float by one kernel.

``x * sigmoid(x)`` in int8 takes two passes over the codes, a table look-up and a product, each of
which rounds. onnxruntime has a kernel for the whole function in float, ``QuickGelu`` with
``alpha=1``, and on a CPU with wide vectors it is faster than both together, although the codes
have to be read as float before and rounded after. onnxruntime does not fuse the function by itself
there, since it gives each reader of a tensor a DequantizeLinear of its own. Whether it pays differs
by CPU: ``search.faster_forms`` measures it.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from edgeport_converter.quantization.tensors import only_use

_DOMAIN = "com.microsoft"  # QuickGelu is onnxruntime's own


def find_swishes(graph: ir.Graph) -> list[tuple[ir.Node, ir.Node]]:
    """Return the Sigmoid and the Mul of each swish whose codes are read and rounded around both."""
    found = []
    for sigmoid in [node for node in graph if node.op_type == "Sigmoid"]:
        given = sigmoid.inputs[0]
        reading = None if given is None else given.producer()
        rounding, _ = only_use(sigmoid.outputs[0])
        if reading is None or rounding is None:
            continue
        if (reading.op_type, rounding.op_type) != ("DequantizeLinear", "QuantizeLinear"):
            continue
        back, _ = only_use(rounding.outputs[0])
        product = None if back is None else only_use(back.outputs[0])[0]
        if back is None or product is None or product.op_type != "Mul":
            continue
        if given in product.inputs:
            found.append((sigmoid, product))
    return found


def compute_in_float(model: ir.Model) -> None:
    """Compute each swish between int8 layers by one node in float, in place."""
    graph = model.graph
    swishes = find_swishes(graph)
    for sigmoid, product in swishes:
        whole = ir.node(
            "QuickGelu", [sigmoid.inputs[0]], {"alpha": 1.0}, domain=_DOMAIN, name=product.name
        )
        graph.insert_before(product, whole)
        whole.outputs[0].shape, whole.outputs[0].type = (
            product.outputs[0].shape,
            product.outputs[0].type,
        )
        product.outputs[0].replace_all_uses_with(whole.outputs[0])
        graph.remove(product, safe=True)
    if swishes:
        model.opset_imports[_DOMAIN] = 1
        common.RemoveUnusedNodesPass()(model)
