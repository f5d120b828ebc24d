"""From a recording in pieces to windows, each a sample of the model. Keeps one window at most.

``Predictor.windows`` and `edgeport predict` on recordings call it, and the converter for sound
files as data, so that all of them cut alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from edgeport.artifact.card import ModelCard, TensorSpec
from edgeport.artifact.golden import Array
from edgeport.artifact.signal_format import SignalFormat
from edgeport.errors import InputError, OptionError
from edgeport.inputs.casting import as_exact_array, read_array
from edgeport.inputs.wav import WavFile

# A piece of more channels is likely one of (C, T). Microphone arrays on boards have up to 8.
_MOST_MIXED = 8
_PIECE = 2**16  # samples of an array that are looked at together


class Cutter:
    """Cuts one recording, handed over piece by piece, at the same places as if it were whole.

    Window i has the samples from ``i * hop`` up to ``i * hop + window``. What remains at the end is
    no window and is dropped.

    Args:
        spec: the input that takes the windows.
        signal: how the card says to cut them.
    """

    def __init__(self, spec: TensorSpec, signal: SignalFormat) -> None:
        self._spec, self._signal = spec, signal
        self._kept = np.empty((signal.window, signal.channels), spec.dtype)
        self._filled = 0  # samples of the present window that are there
        self._gap = 0  # samples to leave out before it begins
        self._bytes = b""  # of a sample that the last piece broke off in
        self._pieces = 0
        self._mixed = 0  # channels of the pieces before, where the card mixes

    def cut(self, piece: Any) -> Iterator[Array]:
        """Yield the windows that the piece completes, in arrays of their own.

        Args:
            piece: the next samples, any number of them: an array (T,) or (T, C) of the input's
                kind of numbers, int16 or floats; or bytes of int16, little-endian, the channels
                one after the other. Where the card mixes, no bytes, which do not say of how many
                channels they are.

        Yields:
            (T,) or (T, C), as the input has it.

        Raises:
            InputError: the piece has another dtype, rank or number of channels.
        """
        rows = self._rows(piece)
        self._pieces += 1
        window, hop = self._signal.window, self._signal.hop
        while len(rows):
            if self._gap:
                skipped = min(self._gap, len(rows))
                self._gap -= skipped
                rows = rows[skipped:]
                continue
            taken = min(window - self._filled, len(rows))
            self._kept[self._filled : self._filled + taken] = rows[:taken]
            self._filled += taken
            rows = rows[taken:]
            if self._filled == window:
                one = self._kept.copy()
                self._filled, self._gap = max(window - hop, 0), max(hop - window, 0)
                self._kept[: self._filled] = one[window - self._filled :]
                yield one if len(self._spec.sample_shape) == 2 else one[:, 0]

    def _rows(self, piece: Any) -> Array:
        """Return the samples (T, C) in the input's dtype."""
        spec, channels = self._spec, self._signal.channels
        if isinstance(piece, memoryview) and piece.format not in ("B", "b", "c"):
            piece = np.asarray(piece)  # it says what its bytes are
        if isinstance(piece, (bytes, bytearray, memoryview)) and spec.dtype == np.int16:
            if self._signal.mix_down:
                raise self._refusal(
                    f"is a {type(piece).__name__}, which may hold any number of channels to mix",
                    "np.frombuffer(piece, '<i2').reshape(-1, channels)",
                )
            data = self._bytes + bytes(piece)
            whole = len(data) - len(data) % (2 * channels)
            self._bytes = data[whole:]
            rows: Array = np.frombuffer(data[:whole], "<i2").astype(np.int16, copy=False)
            return rows.reshape(-1, channels)
        if self._bytes:
            raise self._refusal(
                f"begins within a sample, of which the bytes before it hold {len(self._bytes)}",
                "pass bytes to the end, or arrays from the beginning",
            )
        if isinstance(piece, (str, bytes, bytearray, memoryview)) or not hasattr(piece, "dtype"):
            raise self._refusal(
                f"is a {type(piece).__name__}",
                f"make it an array, np.asarray(piece, np.{spec.dtype})",
            )
        given = read_array(spec, piece)
        if spec.dtype == np.int16 and given.dtype.newbyteorder("=") != np.int16:
            remedy = "record in int16"
            if given.dtype.kind == "f":
                remedy += ", or convert it by the scale that the values have, which is usually "
                remedy += "np.clip(np.rint(piece * 32768), -32768, 32767).astype(np.int16)"
            raise self._refusal(f"holds {given.dtype}", remedy)
        if spec.dtype.kind == "f" and given.dtype.kind != "f":
            raise self._refusal(f"holds {given.dtype}", "convert it to the unit of the training")
        if given.ndim and not len(given):
            return np.empty((0, channels), spec.dtype)
        if given.ndim == 1 and channels == 1:
            given = given[:, np.newaxis]
        if self._signal.mix_down and given.ndim == 2:
            given = self._mix(given)
        if given.ndim != 2 or given.shape[1] != channels:
            raise self._refusal(f"has shape {given.shape}", self._shape_remedy(given))
        return as_exact_array(spec, given)

    def _mix(self, given: Array) -> Array:
        """Return the mean of the channels, (T, 1); for int16 the nearest level, ties to even."""
        count = given.shape[1]
        self._mixed = self._mixed or count
        if count not in range(1, _MOST_MIXED + 1) or count != self._mixed:
            raise self._refusal(
                f"has shape {given.shape}",
                f"for mixing, pass (T, C) of up to {_MOST_MIXED} channels, as many each time; "
                "if the axes are swapped, piece.T",
            )
        if count == 1:
            return given
        mixed: Array = given.mean(axis=1, dtype=np.float64, keepdims=True)
        return np.rint(mixed) if self._spec.dtype == np.int16 else mixed

    def _shape_remedy(self, given: Array) -> str:
        channels = self._signal.channels
        if given.ndim == 1:
            return f"if the channels alternate in it, piece.reshape(-1, {channels})"
        if given.ndim == 2 and given.shape[0] == channels:
            return "the axes look swapped, piece.T"
        return "choose the channels of the training"

    def _refusal(self, actual: str, remedy: str) -> InputError:
        channels = self._signal.channels
        shape = "(T,) or (T, 1)" if channels == 1 else f"(T, {channels})"
        subject = f"piece {self._pieces} of the signal for input '{self._spec.name}'"
        return InputError.of(subject, actual, f"{self._spec.dtype} of shape {shape}", remedy)


def signal_of(card: ModelCard) -> tuple[TensorSpec, SignalFormat]:
    """Return the input that takes windows, and how they are cut.

    Raises:
        OptionError: the card has no signal, other inputs beside it, or samples that interact.
    """
    if card.signal is None:
        raise OptionError(
            f"windows were asked of '{card.name}', whose card says nothing of a signal, expected "
            "its rate, window and hop there: convert the model with signal=, or cut the windows "
            "and pass them to predict"
        )
    if len(card.inputs) != 1:
        names = ", ".join(f"'{spec.name}'" for spec in card.inputs)
        raise OptionError(
            f"windows were asked of a model with the inputs {names}, expected the signal alone: "
            "cut the windows and pass them to predict with the other inputs"
        )
    if card.samples_interact:
        raise OptionError(
            "windows were asked of a model whose answers depend on the whole batch, expected one "
            "that answers each window by itself: convert it with one_by_one"
        )
    return card.inputs[0], card.signal


def file_windows(path: str, spec: TensorSpec, signal: SignalFormat) -> Iterator[Array]:
    """Yield the windows of a WAV file, which is read as they are asked for.

    Raises:
        InputError: it is no such file, of another rate or number of channels, shorter than a
            window where the card does not pad, or its values would change.
    """
    with WavFile(path) as file:
        if file.rate != signal.rate:
            raise InputError.of(
                f"'{path}' has",
                f"{file.rate} samples a second",
                f"{signal.rate:g}",
                "record at this rate, or resample the file with the tool of the training",
            )
        most = _MOST_MIXED if signal.mix_down else signal.channels
        if not signal.channels <= file.channels <= most:
            remedy = "choose or mix the channels as in training"
            raise InputError.of(
                f"'{path}' has",
                f"{file.channels} channels",
                f"1 to {most}" if signal.mix_down else f"{most}",
                remedy if signal.mix_down else f"{remedy}, or convert the model with mix_down",
            )
        pieces: Iterable[Array] = file.pieces(spec.dtype)
        yield from _cut(path, file.samples, file.channels, pieces, spec, signal)


def array_windows(
    path: str, array: Array, spec: TensorSpec, signal: SignalFormat
) -> Iterator[Array]:
    """Yield the windows of a recording (T,) or (T, C) that a file holds as an array.

    Raises:
        InputError: as for ``Cutter.cut``, or it is shorter than a window where the card does not
            pad.
    """
    pieces = (array[at : at + _PIECE] for at in range(0, len(array), _PIECE))
    channels = array.shape[1] if array.ndim == 2 else 1
    yield from _cut(path, len(array), channels, pieces, spec, signal)


def _cut(
    path: str,
    samples: int,
    channels: int,
    pieces: Iterable[Array],
    spec: TensorSpec,
    signal: SignalFormat,
) -> Iterator[Array]:
    """Yield the windows of a file's samples; zeros follow a short one where the card pads."""
    missing = signal.window - samples
    if missing > 0 and not (signal.pad and samples):
        raise InputError.of(
            f"'{path}' has",
            f"{samples} samples",
            f"at least one window of {signal.window}",
            "record longer, or convert the model with pad if short recordings were padded "
            "with zeros in training",
        )
    cutter = Cutter(spec, signal)
    for piece in pieces:
        yield from cutter.cut(piece)
    if missing > 0:
        yield from cutter.cut(np.zeros((missing, channels), spec.dtype))
