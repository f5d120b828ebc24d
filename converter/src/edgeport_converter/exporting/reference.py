"""The Keras model itself as a function over numpy arrays: what an exported graph has to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from edgeport.artifact.golden import Array
from edgeport_converter.exporting import unsupported
from edgeport_converter.loading.model import Call, LoadedModel, TensorInfo
from edgeport_converter.loading.purity import keeping_variables


def reference_of(
    loaded: LoadedModel, *, loops: bool = False
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Return the Keras model as a function of arrays by input name, each with the batch axis N.

    A model that loops over time (``loops``) runs as one function, as Keras' own ``predict`` does
    it: op by op, a hundred steps take seconds a batch. The model's variables stay as they are.

    Raises:
        UnsupportedModelError: by the returned function, where Keras cannot run the model.
    """
    call = _as_one_function(loaded) if loops else loaded.call

    def reference(arrays: Mapping[str, Array]) -> dict[str, Array]:
        with tf.device("/cpu:0"), keeping_variables(loaded.model):
            tensors = as_tensors(arrays, loaded.inputs)
            try:
                results = call(tensors)
            except tf.errors.OpError as cause:
                raise unsupported.trace_refusal(loaded.model, cause, "run") from cause
        return as_arrays(results)

    return reference


def _as_one_function(loaded: LoadedModel) -> Call:
    """Return the model's call, traced once for all batch sizes and for each set of other sizes.

    A trace for free sizes would be one for all, but Keras' own is wrong for some layers, such as
    TimeDistributed over a free number of steps (Keras 3.15).
    """

    def listed(*tensors: Any) -> list[Any]:
        named = zip(loaded.inputs, tensors, strict=True)
        results = loaded.call({info.name: tensor for info, tensor in named})
        return [results[info.name] for info in loaded.outputs]

    @cache
    def traced(*sizes: tuple[int, ...]) -> Any:
        signature = [
            tf.TensorSpec([*info.shape[:1], *size], tf.as_dtype(info.dtype))
            for info, size in zip(loaded.inputs, sizes, strict=True)
        ]
        return tf.function(listed, autograph=False).get_concrete_function(*signature)

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        given = [tensors[info.name] for info in loaded.inputs]
        answers = traced(*[tuple(tensor.shape[1:]) for tensor in given])(*given)
        return {info.name: answer for info, answer in zip(loaded.outputs, answers, strict=True)}

    return call


def as_tensors(arrays: Mapping[str, Array], inputs: Sequence[TensorInfo]) -> dict[str, Any]:
    """Return the model's inputs as TensorFlow tensors, in the declared order."""
    tensors = {}
    for info in inputs:
        array = arrays[info.name]
        # numpy's text arrays hold Python objects, which TensorFlow takes as lists only.
        given = array.tolist() if array.dtype.kind == "O" else array
        tensors[info.name] = tf.constant(given, dtype=info.dtype)
    return tensors


def as_arrays(tensors: Mapping[str, Any]) -> dict[str, Array]:
    """Return TensorFlow tensors as arrays; text as Python strings."""
    return {name: _as_array(tensor) for name, tensor in tensors.items()}


def _as_array(tensor: Any) -> Array:
    array = np.asarray(tensor)
    if array.dtype.kind in "OS":
        array = np.vectorize(lambda text: text.decode("utf-8"), otypes=[object])(array)
    return array
