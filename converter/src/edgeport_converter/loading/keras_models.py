"""From a Keras 3 model in memory to the function that the export traces.

Models from files come here too, once ``keras_files`` has opened them. A model without declared
inputs and outputs gets them from the shapes that its first call recorded; a model in another
precision is rebuilt in float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading import kept_outputs, purity
from edgeport_converter.loading.legacy import configs
from edgeport_converter.loading.model import LoadedModel, all_layers, refuse_nan, shorten
from edgeport_converter.loading.structures import make_call

# Packages whose layers compute from their inputs alone.
_KERAS_PACKAGES = ("keras", "keras_cv", "keras_hub", "keras_nlp", "tf_keras")

_PREPROCESSING = (
    *("Rescaling", "Normalization", "Resizing", "CenterCrop"),
    *("StringLookup", "IntegerLookup", "Discretization", "CategoryEncoding", "HashedCrossing"),
    *("MelSpectrogram", "STFTSpectrogram"),
)


def describe(
    model: Any,
    source: dict[str, str],
    notes: tuple[str, ...] = (),
    kept: Sequence[str] = (),
) -> LoadedModel:
    """Return a Keras 3 model as a function over named tensors.

    Neither the model nor its weights are changed. ``kept`` names the outputs and layers to keep, ()
    is for the outputs as declared.

    Raises:
        OptionError: there is no output or layer of such a name.
        UnsupportedModelError: it has no fixed inputs and outputs, or its code makes its answers
            depend on more than its inputs.
    """
    graph, rebuilt = _as_graph(model)
    notes += rebuilt
    policies = {
        layer.dtype_policy.name
        for layer in all_layers(graph)
        if not isinstance(layer, keras.layers.InputLayer)
    }
    if not policies.isdisjoint(configs.OTHER_POLICIES):
        graph, policy = _rebuild_in_float32(graph)
        notes += (float32_note(policy),)
    if isinstance(graph, keras.Sequential):  # keeps no structure
        structures = graph.inputs[0], graph.outputs[0] if len(graph.outputs) == 1 else graph.outputs
    else:
        structures = graph.input, graph.output
    if kept:
        part = kept_outputs.cut(graph, *structures, kept)
        graph, structures = part.model, (part.inputs, part.outputs)
        notes += part.notes
    _refuse_stateful(graph)
    refuse_nan(model.name, graph.weights)
    notes += tuple(_training_notes(graph))
    inputs, outputs, call = make_call(graph, *structures)
    fixed = [info.shape[0] for info in inputs if info.shape and info.shape[0] is not None]
    if fixed:
        notes += (
            f"the batch of '{model.name}' is fixed to {fixed[0]} samples, by its Input or, in a "
            "Sequential model without one, by its first call",
        )
    loaded = LoadedModel(
        model.name, call, inputs, outputs, source, notes, graph, tuple(_preprocessing(graph))
    )
    custom = [layer for layer in all_layers(graph) if is_custom(layer)]
    if custom:
        owner = f"the {type(custom[0]).__name__} '{custom[0].name}'"
        purity.require_pure(loaded, owner if len(custom) == 1 else f"the model '{model.name}'")
    return loaded


def float32_note(policy: str) -> str:
    """Return the sentence about a model that was made for another precision."""
    weights = "its weights rounded" if policy == "float64" else "the same weights"
    return (
        f"the model computes in {policy}: it was rebuilt in float32 with {weights}, and "
        "that is what the artifact is compared with"
    )


def has_graph(model: Any) -> bool:
    """Whether the model knows its inputs and outputs."""
    try:
        return bool(model.inputs) and bool(model.outputs)
    except (AttributeError, ValueError):
        return False


def _as_graph(model: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a model with known inputs and outputs, and notes if they had to be found."""
    if has_graph(model):
        return model, ()
    recorded = None if isinstance(model, keras.Sequential) else model.get_build_config()
    if not recorded:
        raise UnsupportedModelError(
            f"the model '{model.name}' ({type(model).__name__}) has no inputs and outputs yet, "
            "expected a Sequential or functional model, or one that was called: give it a "
            "keras.Input, or call it on a sample once"
        )
    arguments = list(inspect.signature(model.call).parameters)
    if "shapes_dict" in recorded:
        shapes = {name.removesuffix("_shape"): s for name, s in recorded["shapes_dict"].items()}
    else:
        shapes = {arguments[0]: recorded["input_shape"]}
    dtype = "float32" if model.input_dtype in configs.HALF_DTYPES else model.input_dtype
    tensors = {name: _symbolic(name, shape, dtype) for name, shape in shapes.items()}
    try:
        if len(tensors) == 1:
            inputs = next(iter(tensors.values()))
            outputs = model(inputs, training=False)
        else:
            inputs = tensors
            outputs = model(**tensors, training=False)
        graph = keras.Model(inputs, outputs, name=f"{model.name}_graph")
    except Exception as cause:
        raise UnsupportedModelError(
            f"the call of the model '{model.name}' ({type(model).__name__}) does not work on "
            f"symbolic inputs of the recorded shapes {_write_shapes(shapes)} ({shorten(cause)}), "
            "expected Keras operations only: take conversions to numpy and Python numbers out of it"
        ) from cause
    notes = [
        f"the inputs of '{model.name}' are those it was built for, {_write_shapes(shapes)} in "
        f"{dtype}, with any number of samples"
    ]
    others = [
        name
        for name, parameter in inspect.signature(model.call).parameters.items()
        if name not in (*shapes, "training", "mask") and parameter.default is not parameter.empty
    ]
    if others:
        notes.append(
            f"the call of '{model.name}' takes {', '.join(others)}, too: kept at the defaults"
        )
    return graph, tuple(notes)


def _is_shape(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(
        size is None or isinstance(size, int) for size in value
    )


def _symbolic(name: str, shape: Any, dtype: str) -> Any:
    """Return inputs in the structure of the recorded shapes, with a free batch axis."""
    if _is_shape(shape):
        return keras.Input(batch_shape=(None, *shape[1:]), dtype=dtype, name=name)
    if isinstance(shape, Mapping):
        return {key: _symbolic(str(key), value, dtype) for key, value in shape.items()}
    return [_symbolic(f"{name}_{n}", value, dtype) for n, value in enumerate(shape)]


def _write_shapes(shapes: Any) -> str:
    """Return recorded shapes for a sentence, such as "(N, 28, 28, free)"."""
    if _is_shape(shapes):
        return "(" + ", ".join(["N", *(str(size or "free") for size in shapes[1:])]) + ")"
    if isinstance(shapes, Mapping):
        return ", ".join(f"{name} {_write_shapes(value)}" for name, value in shapes.items())
    return ", ".join(_write_shapes(value) for value in shapes)


def _rebuild_in_float32(model: Any) -> tuple[Any, str]:
    """Return a copy that computes in float32, and the policy that the model had."""
    own = {type(layer).__name__: type(layer) for layer in all_layers(model) if is_custom(layer)}
    try:
        config = keras.saving.serialize_keras_object(model)
        config.pop("compile_config", None)
        config, policy = configs.in_float32(config)
        # The code in it is already in this process.
        copy = keras.saving.deserialize_keras_object(config, custom_objects=own, safe_mode=False)
        copy.set_weights(model.get_weights())
    except Exception as cause:
        raise UnsupportedModelError(
            f"the model '{model.name}' is not in float32 and cannot be rebuilt in it "
            f"({shorten(cause)}), expected layers with get_config: build it with "
            "keras.config.set_dtype_policy('float32') and load its weights into it"
        ) from cause
    return copy, policy or "another precision"


def _refuse_stateful(graph: Any) -> None:
    for layer in all_layers(graph):
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            raise UnsupportedModelError(
                f"{type(layer).__name__} '{layer.name}' has stateful=True, so an answer depends on "
                "the calls before it, expected answers that depend on the inputs alone: set "
                "stateful=False, and pass states as inputs and outputs (return_state=True)"
            )


def _training_notes(graph: Any) -> Iterator[str]:
    """Yield a note for each layer that was called with ``training=True`` and then does otherwise.

    Keras' own ``predict`` passes ``training=False`` down and overrules these, and so do we.
    """
    for layer in all_layers(graph):
        if layer is graph or not _is_called_in_training(layer):
            continue
        kind = type(layer).__name__
        called = f"{kind} '{layer.name}' was called with training=True"
        if isinstance(layer, keras.layers.BatchNormalization):
            yield (
                f"{called}: the artifact uses its moving statistics, as predict does, not the "
                "batch's; check its accuracy"
            )
        elif isinstance(layer, _LEFT_OUT):
            yield f"{called}: it is left out, as by predict"
        elif is_custom(layer) or getattr(layer, "dropout", None) or hasattr(layer, "layers"):
            yield f"{called}: the artifact computes it with training=False, as predict does"


# Keras' layers that pass their inputs on where ``training`` is False.
_LEFT_OUT = (
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)


def _is_called_in_training(layer: Any) -> bool:
    """Whether a call of the layer says ``training=True``, beyond what its own default says.

    Keras fills the default in, which is True for all layers of images, Resizing among them.
    """
    parameter = inspect.signature(layer.call).parameters.get("training")
    if parameter is None or parameter.default is True:
        return False
    return any(  # the only place where call arguments are kept
        node.arguments is not None and node.arguments.kwargs.get("training") is True
        for node in layer._inbound_nodes
    )


def _preprocessing(graph: Any) -> Iterator[str]:
    """Yield, in words, what Keras' layers do to the inputs before the first layer with weights."""
    for layer in _layers_before_weights(graph):
        if not _is_preprocessing(layer):
            continue
        kind = type(layer).__name__
        config = layer.get_config()
        numbers = [
            f"{key} {config[key]}"
            for key in ("scale", "offset", "height", "width", "interpolation")
            if isinstance(config.get(key), (int, float, str))
        ]
        yield f"{kind} '{layer.name}'" + (f": {', '.join(numbers)}" if numbers else "")


def _layers_before_weights(model: Any) -> Iterator[Any]:
    """Yield the layers that no layer with weights comes before, those of nested models, too.

    In what order the call of a subclassed model or of a layer of layers uses these is not known:
    they are left out if one of them has weights.
    """
    late: set[int] = set()
    for node in kept_outputs.calls_in_order(kept_outputs.graph_of(model)):
        operation = node.operation
        if node.is_input or not isinstance(operation, keras.Layer):
            is_late = False
        else:
            inner = kept_outputs.graph_of(operation)
            own = {id(weight) for weight in operation.weights}
            for layer in all_layers(operation):
                own -= {id(weight) for weight in layer.weights if _is_preprocessing(layer)}
            is_late = bool(own)
            if late.isdisjoint(map(id, node.input_tensors)):
                if inner is not None:
                    yield from _layers_before_weights(operation)
                elif not is_late:
                    yield from all_layers(operation)
        if is_late or not late.isdisjoint(map(id, node.input_tensors)):
            late.update(map(id, node.outputs))


def _is_preprocessing(layer: Any) -> bool:
    kind = type(layer)
    return kind.__name__ in _PREPROCESSING and kind.__module__.partition(".")[0] == "keras"


def is_custom(layer: Any) -> bool:
    """Whether Python code of the user runs in the layer's call."""
    return type(layer).__module__.partition(".")[0] not in _KERAS_PACKAGES or isinstance(
        layer, keras.layers.Lambda
    )
