"""A model that takes windows of a recording, int16 PCM or floats, scaled inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import tensorflow as tf

from edgeport import OptionError
from edgeport_converter.loading.model import LoadedModel, TensorInfo
from edgeport_converter.sensors.signals import Signal


def find_signal_input(loaded: LoadedModel, signal: Signal) -> TensorInfo:
    """Return the input that takes windows: the only one, or the one that the signal names.

    Raises:
        OptionError: there is no such input, or it has another shape than the windows.
    """
    listed = ", ".join(f"'{info.name}' {info.dtype} {info.shape}" for info in loaded.inputs)
    named = [info for info in loaded.inputs if signal.input in (None, info.name)]
    if len(named) != 1:
        wanted = "named" if signal.input is None else f"called '{signal.input}'"
        raise OptionError(
            f"the signal is for one input, found {listed}, expected one {wanted}: pass "
            "Signal(input=) with the name of the input that takes windows"
        )
    info = named[0]
    if not info.dtype.startswith("float"):
        raise OptionError(
            f"the signal is for the input '{info.name}' {info.dtype} {info.shape}, expected one of "
            "floats: leave out input_uint8, or choose another input"
        )
    sizes = (signal.window, signal.channels)
    fits = (
        len(info.shape) == 2 and signal.channels == 1 and info.shape[1] in (None, sizes[0])
    ) or (
        len(info.shape) == 3
        and all(have in (None, want) for have, want in zip(info.shape[1:], sizes, strict=True))
    )
    if not fits:
        flat = f"(N, {signal.window}) or " if signal.channels == 1 else ""
        raise OptionError(
            f"the signal has windows of {signal.window} samples and {signal.channels} channel(s), "
            f"found the input '{info.name}' {info.dtype} {info.shape}, expected floats of shape "
            f"{flat}(N, {signal.window}, {signal.channels}): pass the window and the channels of "
            "the training, or put a Reshape layer into the model"
        )
    return info


def take_signal(loaded: LoadedModel, signal: Signal) -> LoadedModel:
    """Return the model with int16 windows as its input, multiplied by the scale first.

    A model of float32 recordings computes as before. In both, a free time axis gets the size of the
    window, so that the proof is of what the device will run.

    Raises:
        OptionError: as for ``find_signal_input``.
    """
    info = find_signal_input(loaded, signal)
    scale = signal.scale
    shape = (info.shape[0], signal.window, signal.channels)[: len(info.shape)]
    taken = replace(info, shape=shape, dtype=info.dtype if scale is None else "int16")
    inputs = tuple(taken if each is info else each for each in loaded.inputs)
    if scale is None:
        return replace(loaded, inputs=inputs)

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        # float16 does not hold every int16.
        wide = "float32" if info.dtype == "float16" else info.dtype
        levels = tf.cast(tensors[info.name], wide)
        if scale != 1:
            levels *= tf.constant(scale, wide)
        return loaded.call({**tensors, info.name: tf.cast(levels, info.dtype)})

    inputs = tuple(replace(each, dtype="int16") if each is info else each for each in loaded.inputs)
    shown = f"1/{1 / scale:.6g}" if scale < 1 else f"{scale:.6g}"
    words = f"'{info.name}': int16 PCM * {shown}"
    return replace(loaded, call=call, inputs=inputs, preprocessing=(words, *loaded.preprocessing))
