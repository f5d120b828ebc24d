"""From a SavedModel folder to the function that the export traces, by its serving signature.

TensorFlow alone reads the folder. So it does not matter which Keras wrote it, or whether it holds
optimizers and custom layers: the signature is the model at inference, as its author saved it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_from_session_graph,
)

from edgeport import ConversionError
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.kept_outputs import choose_outputs
from edgeport_converter.loading.model import Call, LoadedModel, TensorInfo, refuse_large, shorten
from edgeport_converter.loading.purity import refuse_operations, running_nodes

_TAG = "serve"
_SIGNATURE = "serving_default"
_INITIALIZERS = ("__saved_model_init_op", "__saved_model_train_op")


def load_saved_model(path: Path, source: dict[str, str], kept: Sequence[str] = ()) -> LoadedModel:
    """Return the serving signature of a SavedModel.

    Args:
        path: the folder.
        source: where it came from, for the card.
        kept: names of the outputs to keep; () for all.

    Raises:
        OptionError: there is no output of such a name.
        ConversionError: the folder is damaged, or no TensorFlow model.
        UnsupportedModelError: it has no signature to serve, or one that no file can hold.
    """
    meta_graph = _read_meta_graph(path)
    key = _choose_signature(path, meta_graph)
    signature = meta_graph.signature_def[key]
    declared = _declared_order(meta_graph, set(signature.inputs))
    input_names = declared or sorted(signature.inputs, key=_with_numbers)
    output_names = choose_outputs(
        kept, sorted(signature.outputs, key=_with_numbers), f"the SavedModel '{path}'"
    )
    inputs = tuple(_info(path, name, signature.inputs[name]) for name in input_names)
    outputs = tuple(_info(path, name, signature.outputs[name]) for name in output_names)
    notes = [f"read by its signature '{key}', which is the model as it was saved for serving"]
    unordered = ["inputs"] if len(inputs) > 1 and not declared else []
    unordered += ["outputs"] if len(outputs) > 1 and not kept else []
    if unordered:
        notes.append(f"a signature keeps no order: {' and '.join(unordered)} are sorted by name")
    try:
        call, graph_def, tensors = _load_function(path, key, output_names)
    except Exception as first:
        # TensorFlow asks tf_keras for the optimizers of Keras 2, and fails with add_slot where that
        # is not installed; its reader of version 1 skips all objects.
        try:
            call, graph_def, tensors = _load_frozen(path, signature, output_names)
        except UnsupportedModelError:
            raise
        except Exception as cause:
            raise ConversionError(
                f"TensorFlow {tf.__version__} cannot load the SavedModel '{path}' "
                f"({shorten(first)}; without its objects: {shorten(cause)}), expected a whole "
                "folder with its variables: copy it again, or save the model as .keras"
            ) from cause
        notes.append("read without its Python objects, as a graph of TensorFlow 1")
    refuse_operations(graph_def, f"the SavedModel '{path}'", tensors)
    free = any(None in info.shape[1:] for info in inputs)
    if free and any("/loop_body/" in node.name for node in running_nodes(graph_def)):
        notes.append(
            "it maps a function over an axis of free size, which Keras writes wrongly for "
            "TimeDistributed: the SavedModel itself may answer otherwise than the Keras model, "
            "so convert the .keras file instead, or save with a fixed number of steps"
        )
    return LoadedModel(path.resolve().name, call, inputs, outputs, source, tuple(notes))


def _read_meta_graph(path: Path) -> Any:
    parsed = SavedModel()
    try:
        parsed.ParseFromString((path / "saved_model.pb").read_bytes())
    except (DecodeError, OSError) as cause:
        raise ConversionError(
            f"'{path / 'saved_model.pb'}' cannot be read ({shorten(cause)}), expected a "
            "TensorFlow SavedModel: copy the folder again"
        ) from cause
    graphs = [graph for graph in parsed.meta_graphs if _TAG in graph.meta_info_def.tags]
    if not graphs:
        tags = sorted({tag for graph in parsed.meta_graphs for tag in graph.meta_info_def.tags})
        found = f"has the tags {', '.join(tags)}" if tags else "has no TensorFlow graph"
        raise ConversionError(
            f"the SavedModel '{path}' {found}, expected one tagged '{_TAG}', as Keras and "
            "TensorFlow write it: save the Keras model with model.export or as .keras"
        )
    return graphs[0]


def _choose_signature(path: Path, meta_graph: Any) -> str:
    names: list[str] = sorted(
        name for name in meta_graph.signature_def if name not in _INITIALIZERS
    )
    usable: list[str] = [name for name in names if meta_graph.signature_def[name].outputs]
    if _SIGNATURE in usable:
        return _SIGNATURE
    if len(usable) == 1:
        return usable[0]
    found = f"the signatures {', '.join(usable)}" if usable else "no signature"
    raise UnsupportedModelError(
        f"the SavedModel '{path}' has {found}, expected '{_SIGNATURE}': save the Keras model with "
        "model.export or as .keras"
    )


def _declared_order(meta_graph: Any, names: set[str]) -> list[str] | None:
    """Return the inputs' names as the model's own function lists them, None where none does.

    The signature is a dict without an order. Keras also saves the model's function, whose arguments
    have the inputs' names and the model's order.
    """
    for function in meta_graph.object_graph_def.concrete_functions.values():
        found = list(_positional_names(function.canonicalized_input_signature))
        if len(found) == len(names) and set(found) == names:
            return found
    return None


def _positional_names(structure: Any) -> Iterator[str]:
    kind = structure.WhichOneof("kind")
    if kind == "tensor_spec_value":
        yield structure.tensor_spec_value.name
    elif kind in ("list_value", "tuple_value"):
        for value in getattr(structure, kind).values:
            yield from _positional_names(value)


def _with_numbers(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts output_2 before output_10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]


def _info(path: Path, name: str, tensor: Any) -> TensorInfo:
    if tensor.tensor_shape.unknown_rank or not tensor.name:
        raise UnsupportedModelError(
            f"the tensor '{name}' of the SavedModel '{path}' has no known number of axes, expected "
            "a dense tensor of known rank: save it with an input signature, model.export"
        )
    sizes = tuple(axis.size if axis.size >= 0 else None for axis in tensor.tensor_shape.dim)
    return TensorInfo(name, sizes, tf.as_dtype(tensor.dtype).name)


def _load_function(
    path: Path, key: str, outputs: Sequence[str]
) -> tuple[Call, Any, dict[str, str]]:
    """Return the function, its graph, and the tensors of the outputs in that graph, by name."""
    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures[key]

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        results = function(**dict(tensors))
        return {name: results[name] for name in outputs}

    call.keeps_variables_alive = loaded  # type: ignore[attr-defined]
    names = sorted(function.structured_outputs)  # a concrete function lists a dict's values so
    tensors = dict(zip(names, function.outputs, strict=True))
    return call, function.graph.as_graph_def(), {name: tensors[name].name for name in outputs}


def _load_frozen(
    path: Path, signature: Any, outputs: Sequence[str]
) -> tuple[Call, Any, dict[str, str]]:
    """Return the function of a SavedModel read as TensorFlow 1 did, with its variables frozen."""
    feeds = {name: signature.inputs[name].name for name in sorted(signature.inputs)}
    fetches = {name: signature.outputs[name].name for name in outputs}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.saved_model.load(session, [_TAG], str(path))
        variables = tf.compat.v1.global_variables()
        refuse_large(path.name, sum(v.shape.num_elements() * v.dtype.size for v in variables))
        frozen = convert_variables_to_constants_from_session_graph(
            session,
            session.graph.as_graph_def(add_shapes=True),
            [name.partition(":")[0] for name in fetches.values()],
        )
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(frozen, name=""), [])
    pruned = wrapped.prune(
        [wrapped.graph.get_tensor_by_name(name) for name in feeds.values()],
        {name: wrapped.graph.get_tensor_by_name(tensor) for name, tensor in fetches.items()},
    )

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        results = pruned(*(tensors[name] for name in feeds))
        return {name: results[name] for name in fetches}

    tensors = dict(zip(sorted(fetches), pruned.outputs, strict=True))
    return call, pruned.graph.as_graph_def(), {name: tensors[name].name for name in outputs}
