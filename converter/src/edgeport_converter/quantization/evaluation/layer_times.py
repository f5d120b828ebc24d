"""The file of layer times that `edgeport bench --layers` writes on a board, read and checked.

The times are the board's own, of each layer in float and in int8, and of the conversions between
the two formats. ``search.composition`` composes a graph from them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import onnxruntime

from edgeport import OptionError

KIND, FORMAT = "edgeport layer times", 1
BLOCKS, SWISH = "blocks", "swish"
"""Forms of a layer in int8: over blocks of pixels, and a swish that is one node in float; see
``qdq.pixel_blocks`` and ``qdq.swish``. The plain form is ``""``."""

_LARGEST_BYTES = 2**26  # a network of a thousand layers takes half a megabyte
_LONGEST_S = 3600.0  # of one layer
_MOST_ELEMENTS = 2**48  # of one tensor

_REMEDY = "measure them again with 'edgeport bench --layers' on the board"


@dataclass(frozen=True)
class Conversions:
    """What it takes to bring a tensor into the other format, in seconds.

    Attributes:
        quantize, dequantize: from float to codes, and back.
        channels_last, channels_first: of codes, a change of layout.
        to_blocks, from_blocks: of floats, a change of layout.
    """

    quantize: float
    dequantize: float
    channels_last: float = 0.0
    channels_first: float = 0.0
    to_blocks: float = 0.0
    from_blocks: float = 0.0


@dataclass(frozen=True)
class LayerTime:
    """One node on the board.

    Attributes:
        in_float, in_int8: seconds; None for int8 where the int8 artifact computes it in float.
        is_blocked: whether the engine keeps its float channels in blocks.
        shape: of its output; () where unknown.
        conversions: of its output; None where they were not measured.
        form: that has the time in int8.
    """

    in_float: float
    in_int8: float | None
    is_blocked: bool = False
    shape: tuple[int, ...] = ()
    conversions: Conversions | None = None
    form: str = ""


@dataclass(frozen=True)
class LayerTimes:
    """The times of one model on one board.

    Attributes:
        board: its CPU, in words.
        onnxruntime: its version there.
        threads: that a run had.
        source_sha256: digest of the Keras file that the artifacts were made of.
        layers: by node name.
        inputs: conversions of the model's inputs, by name.
        digests: of the float and the int8 artifacts.
    """

    board: str
    onnxruntime: str
    threads: int
    source_sha256: str
    layers: Mapping[str, LayerTime]
    inputs: Mapping[str, Conversions] = field(default_factory=dict)
    digests: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return which board it was, in words."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.board}, onnxruntime {self.onnxruntime}, {threads}"

    def form_of(self, name: str) -> str:
        """Return the form that has a node's time in int8."""
        return self.layers[name].form if name in self.layers else ""

    def notes(self) -> tuple[str, ...]:
        """Return what has to be said of them: that another onnxruntime may have other kernels."""
        here = onnxruntime.__version__
        if self.onnxruntime == here:
            return ()
        return (
            f"the layer times are of onnxruntime {self.onnxruntime}, and onnxruntime {here} judged "
            "the budget here: on a device with another version than the board's they may differ",
        )

    def require_model(self, source: Mapping[str, str], weighted: Collection[str]) -> None:
        """Refuse the times of another model.

        Args:
            source: where the model came from, as the card says it.
            weighted: the names of its nodes with weights.

        Raises:
            OptionError: they were measured with artifacts of another model, or lack layers.
        """
        known = source.get("source_sha256", "")
        if known != self.source_sha256:
            raise OptionError(
                "the layer times are of a model with the source digest "
                f"{self.source_sha256[:12] or 'of none'}, expected {known[:12] or 'none'}, that of "
                f"this model: {_REMEDY}, with artifacts of this model"
            )
        missing = [name for name in weighted if name not in self.layers]
        if missing:
            raise OptionError(
                f"the layer times lack {len(missing)} of {len(weighted)} layers, '{missing[0]}' "
                "first, expected a time of each: convert with the same options as the measured "
                f"artifacts, or {_REMEDY}"
            )


def read(path: str | os.PathLike[str]) -> LayerTimes:
    """Return what the file holds.

    Raises:
        OptionError: it cannot be read, is of another kind or format, or has a time that is none.
    """
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LARGEST_BYTES + 1)
    except OSError as cause:
        raise OptionError(
            f"the layer times in '{name}' cannot be read ({cause.strerror}): check the path"
        ) from cause
    try:
        if len(text) > _LARGEST_BYTES:
            raise ValueError("it is a very large file")
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("kind") != KIND:
            raise ValueError("it is another kind of file")
        if content.get("format") != FORMAT:
            raise ValueError(f"it has format {content.get('format')!r}, this reads {FORMAT}")
        return _layer_times(content)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as cause:
        reason = f"it lacks {cause}" if isinstance(cause, KeyError) else str(cause)
        raise OptionError(
            f"'{name}' holds no layer times ({reason:.200}), expected a file that 'edgeport bench "
            f"--layers' wrote: {_REMEDY}"
        ) from cause


def _layer_times(content: Mapping[str, Any]) -> LayerTimes:
    machine, artifacts = content["machine"], content["artifacts"]
    layers = {str(row["node"]): _layer_time(row) for row in content["layers"]}
    if not layers:
        raise ValueError("it has no layers")
    if len(layers) < len(content["layers"]):
        raise ValueError("it names a layer twice")
    threads = content["threads"]
    if type(threads) is not int or threads < 1:
        raise ValueError(f"it has {threads!r} threads")
    return LayerTimes(
        board=_name(machine["cpu"]),
        onnxruntime=_name(machine["onnxruntime"]),
        threads=threads,
        source_sha256=str(content["model"]["source_sha256"]),
        layers=layers,
        inputs={
            str(name): _conversions(each["conversions"], name)
            for name, each in content["inputs"].items()
            if each["conversions"] is not None
        },
        digests=tuple(str(artifact["sha256"]) for artifact in artifacts.values()),
    )


def _layer_time(row: Mapping[str, Any]) -> LayerTime:
    name, given = row["node"], row["conversions"]
    in_int8, form = row["int8"], row.get("form", "")
    if form not in ("", BLOCKS, SWISH):
        raise ValueError(f"'{name}' has the form {form!r}, which this does not know")
    return LayerTime(
        _seconds(row["float"]["seconds"], name),
        None if in_int8 is None else _seconds(in_int8["seconds"], name),
        bool(row["blocked"]),
        _shape(row["shape"], name),
        None if given is None else _conversions(given, name),
        form,
    )


def _conversions(given: Mapping[str, Any], name: str) -> Conversions:
    return Conversions(
        **{each.name: _seconds(given[each.name], name) for each in fields(Conversions)}
    )


def _shape(value: Any, name: str) -> tuple[int, ...]:
    if (
        not isinstance(value, list)
        or not all(type(size) is int and size >= 0 for size in value)
        or math.prod(value) > _MOST_ELEMENTS
    ):
        raise ValueError(f"'{name}' has the shape {value!r:.60}")
    return tuple(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{value!r:.60} is no name")
    return value


def _seconds(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"'{name}' has the time {value!r}")
    if not 0 <= value <= _LONGEST_S:
        raise ValueError(
            f"'{name}' has the time {value!r:.60}, expected a number of seconds from 0 to "
            f"{_LONGEST_S:.0f}"
        )
    return float(value)
