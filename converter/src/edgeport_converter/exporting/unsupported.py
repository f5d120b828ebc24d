"""What ONNX cannot express, by Keras layer, and the messages that say so.

``refuse_layers`` looks at the layers before anything is traced, where a layer and its option can
be named best. The rest is found later, by operation; then the layer is found by the name of the
operation in the graph.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from edgeport import ConversionError
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.model import NEEDS_FIXED_AXIS, needs_fixed_axis

_ON_HOST = "do this step on the device before predict, and give the model its result"


@dataclass(frozen=True, slots=True)
class _Rule:
    """One kind of layer that is refused, by the names of its class or of one that it inherits from.

    ``option`` returns what the layer asks for, None where it may pass.
    """

    classes: tuple[str, ...]
    option: Callable[[Any], str | None]
    reason: str
    way_out: str


def _always(layer: Any) -> str | None:
    return ""


def _has(option: str, *values: Any) -> Callable[[Any], str | None]:
    def find(layer: Any) -> str | None:
        value = getattr(layer, option, None)
        return f"{option}={value!r}" if value in values else None

    return find


def _several_oov(layer: Any) -> str | None:
    count = getattr(layer, "num_oov_indices", 1)
    hashes = count > 1 and (
        getattr(layer, "oov_method", "farmhash") != "floormod"
        or str(getattr(layer, "vocabulary_dtype", "string")) == "string"
    )
    return f"num_oov_indices={count}" if hashes else None


def _rows_and_columns_differ(layer: Any) -> str | None:
    strides = tuple(getattr(layer, "strides", ()) or ())
    return f"strides={strides}" if len(set(strides)) > 1 else None


def _is_dilated(layer: Any) -> str | None:
    rate = getattr(layer, "dilation_rate", 1)
    rates = tuple(rate) if isinstance(rate, (tuple, list)) else (rate,)
    return f"dilation_rate={rate}" if max(rates) > 1 else None


_NO_CPU = "which TensorFlow computes on no CPU, so that its conversion could not be checked"

_RULES = (
    _Rule(
        ("Hashing", "HashedCrossing"),
        _always,
        "needs a hash function (farmhash or SipHash) that ONNX does not have",
        _ON_HOST,
    ),
    _Rule(
        ("TextVectorization",),
        _always,
        "cuts and cleans text, for which ONNX has no operators",
        _ON_HOST,
    ),
    _Rule(
        ("StringLookup", "IntegerLookup"),
        _several_oov,
        "needs a hash function that ONNX does not have to spread unknown values",
        "use num_oov_indices=1",
    ),
    _Rule(
        ("StringLookup", "IntegerLookup"),
        _has("num_oov_indices", 0),
        "raises an error for an unknown value, which ONNX cannot do",
        "use num_oov_indices=1, or look the values up on the device before predict",
    ),
    _Rule(
        ("RNN", "LSTM", "GRU", "SimpleRNN", "ConvLSTM"),
        _has("stateful", True),
        "keeps its state from one call to the next, and an ONNX graph has no memory",
        "rebuild it with stateful=False, return_state=True and the state as an input",
    ),
    _Rule(
        ("BaseConv", "BaseConvTranspose", "BaseDepthwiseConv", "BaseSeparableConv"),
        _has("data_format", "channels_first"),
        _NO_CPU,
        "rebuild the model with data_format='channels_last' and the same weights",
    ),
    _Rule(
        ("BaseDepthwiseConv", "BaseSeparableConv"),
        _rows_and_columns_differ,
        _NO_CPU,
        "use equal strides",
    ),
    _Rule(("Conv2DTranspose", "Conv3DTranspose"), _is_dilated, _NO_CPU, "use dilation_rate=1"),
    _Rule(
        ("Layer",),
        _has("quantization_mode", "float8"),
        "computes in float8, for which onnxruntime has no kernels",
        "quantize the Keras model to int8, or leave it in float and let edgeport quantize it",
    ),
    _Rule(
        ("JaxLayer", "FlaxLayer", "TorchModuleWrapper"),
        _always,
        "computes in another framework",
        "rebuild it from Keras layers",
    ),
)


def refuse_layers(model: Any) -> None:
    """Refuse a layer that is known to have no ONNX form, by an UnsupportedModelError."""
    for layer in layers_of(model):
        names = {cls.__name__ for cls in type(layer).__mro__}
        for rule in _RULES:
            option = rule.option(layer) if names.intersection(rule.classes) else None
            if option is None:
                continue
            asked = f" with {option}" if option else ""
            if rule.reason is _NO_CPU:
                asked = f" has {option},"
            raise UnsupportedModelError(
                f"the layer '{layer.name}' ({type(layer).__name__}){asked} {rule.reason}: "
                f"{rule.way_out}"
            )


def layers_of(model: Any) -> Iterator[Any]:
    """Yield the model's layers, nested ones after those that hold them."""
    flatten = getattr(model, "_flatten_layers", None)
    return iter(flatten() if callable(flatten) else ())


_CUTS_TEXT = "cuts and cleans text, as TextVectorization does, for which ONNX has no operators"
_BEFORE_IT = (
    "do this step on the device before predict, and convert the model from the numbers on: save "
    "the part that comes after it as a model of its own"
)
# What an operation without an ONNX form does, and how to do without.
_PYTHON = ("calls Python code", "write it with Keras operations, keras.ops")
_RANDOM = (
    "draws random numbers",
    "leave the layer out at inference, or keep an output or a layer that does not need it, "
    "outputs=['NAME']",
)
_RESIZE = ("resizes images of a free size by a filter", "give the image a fixed size")
_OPERATIONS = {
    "StringToHashBucket": ("hashes text", _ON_HOST),
    "SparseCross": ("crosses features by hashing", _ON_HOST),
    "StringLength": ("edits text", _ON_HOST),
    "Regex": (_CUTS_TEXT, _BEFORE_IT),
    "StaticRegex": (_CUTS_TEXT, _BEFORE_IT),
    "StringSplit": (_CUTS_TEXT, _BEFORE_IT),
    "StringLower": (_CUTS_TEXT, _BEFORE_IT),
    "String": ("edits text", _ON_HOST),
    "Decode": ("decodes a file", _ON_HOST),
    "ScaleAndTranslate": _RESIZE,
    "ResizeBicubic": _RESIZE,
    "ResizeArea": _RESIZE,
    "PyFunc": _PYTHON,
    "EagerPyFunc": _PYTHON,
    "Random": _RANDOM,
    "Stateless": _RANDOM,
    "Assign": (
        "changes a weight while it runs, and an ONNX graph has no memory",
        "make it depend on its inputs only",
    ),
    "Unique": ("sorts out repeated values", _ON_HOST),
}
_DEFAULT = (
    "needs a TensorFlow operation that ONNX does not have",
    "replace the layer by one that the converter's table of layers names as exact",
)


def operation_refusal(
    model: Any, operations: Iterable[tuple[str, str]], detail: str = ""
) -> UnsupportedModelError:
    """Return the refusal of a graph with operations that have no ONNX form.

    ``operations`` are (name in the graph, type); ``detail`` is what the translation said.
    """
    found = list(operations)
    name, kind = found[0]
    what, way_out = next(
        (text for start, text in _OPERATIONS.items() if kind.startswith(start)), _DEFAULT
    )
    kinds = ", ".join(dict.fromkeys(kind for _, kind in found))
    said = "; ".join(text for text in (kinds, detail) if text)
    return UnsupportedModelError(f"{describe_place(model, name)} {what} ({said}): {way_out}")


# What an internal error of tf2onnx means, by its text.
_INTERNAL = {
    "While loop couldn't find scan output index": (
        "runs a loop that does not write its list one element a step from the first on, as a loop "
        "of ONNX has to",
        "give tf.scan an initializer, or start the loop with an empty list",
    ),
    "input channel must be positive": (
        "convolves each channel with a filter whose number of channels is not known where the "
        "model is traced, as tf.image.ssim does",
        "make what it compares the outputs, and compute this on the device after predict, or "
        "write the filter with fixed sizes, keras.ops.depthwise_conv",
    ),
}


def known_failure(
    model: Any, operations: Iterable[tuple[str, str]], cause: Exception
) -> UnsupportedModelError | None:
    """Return the refusal that an internal error of tf2onnx stands for, None if it is another.

    ``operations`` are those that were being translated.
    """
    found = next((told for text, told in _INTERNAL.items() if text in str(cause)), None)
    if found is None:
        return None
    what, way_out = found
    name = next(iter(operations), ("", ""))[0]
    return UnsupportedModelError(f"{describe_place(model, name)} {what}: {way_out}")


def translation_failure(
    model: Any, operations: Iterable[tuple[str, str]], cause: Exception
) -> ConversionError:
    """Return the error for an operation that has an ONNX form, but was not translated into it.

    ``operations`` are those that were being translated, if any. The text of ``cause`` is about the
    converter's own data.
    """
    name, kind = next(iter(operations), ("", ""))
    at = f" at the operation {kind}" if kind else ""
    return ConversionError(
        f"{describe_place(model, name)} could not be translated to ONNX: the translation stopped "
        f"with an internal error ({type(cause).__name__}){at} that says nothing about the model: "
        "report this model, or write this part of it with other Keras layers"
    )


def unknown_rank_refusal(model: Any, operation: str) -> UnsupportedModelError:
    """Return the refusal of a convolution whose input has a number of axes that nobody knows."""
    return UnsupportedModelError(
        f"{describe_place(model, operation)} convolves or pools a tensor whose number of axes "
        "TensorFlow does not know where it traces the model, expected a known one: give the Inputs "
        "fixed sizes, or reshape the tensor to a known shape before it, keras.ops.reshape"
    )


def describe_place(model: Any, operation: str) -> str:
    """Return "the layer 'x' (Class)" for the name of an operation in the graph."""
    parts = operation.split("/")
    by_name = {layer.name: layer for layer in layers_of(model)}
    for part in reversed(parts[:-1] or parts):
        for candidate in (part, re.sub(r"_\d+$", "", part)):
            layer = by_name.get(candidate)
            if layer is not None and layer is not model:
                return f"the layer '{layer.name}' ({type(layer).__name__})"
    scopes = [part for part in parts[:-1] if not part.endswith("PartitionedCall")]
    if not by_name and scopes:  # the layers of a SavedModel are the scopes of its operations
        return f"the part '{'/'.join(scopes[:2])}' of the SavedModel"
    return f"the operation '{operation}'" if operation else "the model"


def trace_refusal(model: Any, cause: Exception, action: str) -> UnsupportedModelError:
    """Return the refusal of a model that Keras itself cannot run or trace."""
    text = str(cause)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(cause).__name__]
    match = re.match(r"Exception encountered when calling (\w+)\.call\(\)", lines[0])
    place = "the model"
    if match:
        lines = lines[1:] or lines
        fitting = [layer for layer in layers_of(model) if type(layer).__name__ == match[1]]
        place = f"a layer of the kind {match[1]}"
        if len(fitting) == 1:
            place = f"the layer '{fitting[0].name}' ({match[1]})"
    if action == "trace" and needs_fixed_axis(cause):
        return UnsupportedModelError(f"{place} {NEEDS_FIXED_AXIS}")
    reason = re.sub(r"\x1b\[[0-9;]*m", "", lines[0])[:200]
    means = "in a graph" if action == "trace" else "on this machine's CPU"
    return UnsupportedModelError(
        f"{place} cannot be run by Keras itself {means} ({reason}), so there is nothing to convert "
        "or to compare with: change its options until the Keras model answers"
    )
