"""Lookup tables of a SavedModel as ONNX-ML LabelEncoder nodes.

The functions of a SavedModel are traced already, so that no patch of ``tf.lookup`` reaches them:
they read a table through a captured handle. Its contents are exported here, and each lookup becomes
a placeholder op in the frozen graph.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgeport_converter.exporting.keras_patches import lookups
from edgeport_converter.exporting.placeholders import Placeholders

_LOOKUP = "LookupTableFindV2"


def captured_handles(concrete: Any) -> dict[str, Any]:
    """Return the handles of the resources that are no variables, by the name of their input."""
    variables = {id(variable.handle) for variable in concrete.graph.variables}
    return {
        inside.name.removesuffix(":0"): handle
        for handle, inside in concrete.graph.captures
        if handle.dtype == tf.resource and id(handle) not in variables
    }


def replace_lookups(graph_def: Any, tables: dict[str, Any], placeholders: Placeholders) -> None:
    """Put placeholder ops in the place of the lookups in captured tables, in place.

    The inputs of the tables are removed as well.

    Raises:
        UnsupportedModelError: a table holds neither text nor numbers.
    """
    if not tables:
        return
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    nodes, dropped = [], set()
    for node in graph_def.node:
        op = graph.get_operation_by_name(node.name)
        if node.op == _LOOKUP and _origin(op.inputs[0].op) in tables:
            handle = tables[_origin(op.inputs[0].op)]
            nodes += _label_encoder(op, node, handle, placeholders)
        elif node.op in ("Placeholder", "Identity") and _origin(op) in tables:
            dropped.add(f"^{node.name}")
        else:
            nodes.append(node)
    for node in nodes:
        inputs = [source for source in node.input if source not in dropped]
        del node.input[:]
        node.input.extend(inputs)
    kept = type(graph_def)(node=nodes)
    del graph_def.node[:]
    graph_def.node.extend(kept.node)


def _origin(op: Any) -> str:
    """Return the name of the operation that a handle comes from."""
    while op.type == "Identity":
        op = op.inputs[0].op
    return str(op.name)


def _label_encoder(op: Any, node: Any, handle: Any, placeholders: Placeholders) -> list[Any]:
    """Return the placeholder op between two Cast, for keys and values of other types."""
    in_type, out_type = (node.attr[key].type for key in ("Tin", "Tout"))
    with tf.init_scope():
        contents = tf.raw_ops.LookupTableExportV2(
            table_handle=handle, Tkeys=tf.as_dtype(in_type), Tvalues=tf.as_dtype(out_type)
        )
    default = tf.get_static_value(op.inputs[2])
    key_type, value_type, emit = lookups.label_encoder(node.name, contents, default)
    source, keys, values = node.input[1], f"{node.name}/keys", f"{node.name}/values"
    made = []
    if key_type.as_datatype_enum != in_type:
        made.append(_cast(keys, source, in_type, key_type.as_datatype_enum))
        source = keys
    is_same = value_type.as_datatype_enum == out_type
    made.append(
        placeholders.node(
            node.name if is_same else values,
            source,
            (key_type.as_datatype_enum, value_type.as_datatype_enum),
            op.outputs[0].shape,
            emit,
        )
    )
    if not is_same:
        made.append(_cast(node.name, values, value_type.as_datatype_enum, out_type))
    return made


def _cast(name: str, source: str, before: int, after: int) -> Any:
    made = tf.compat.v1.NodeDef(op="Cast", name=name, input=[source])
    made.attr["SrcT"].type, made.attr["DstT"].type = before, after
    return made
