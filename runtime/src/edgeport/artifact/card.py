"""The model card: everything a device has to know about an artifact, as plain data.

The converter writes a card, the runtime reads it; this module is the contract between them
and holds the format's version. It does no input or output of its own.

Axis letters used in every card, message and docstring:

    N batch    T time or sequence    D depth    H height    W width
    C channels, or classes on an output    F features

A shape mixes ints and axis names: ``("N", 28, 28, 1)`` is any number of 28 x 28 images with
one channel. A name that occurs twice among the inputs is the same size in both.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeport.artifact.golden import GoldenSample, check_size, decode_array, decode_output
from edgeport.artifact.records import Record, record
from edgeport.errors import ArtifactError, UnsupportedFormatError

if TYPE_CHECKING:
    from edgeport.artifact.column import Column
    from edgeport.artifact.frame_format import FrameFormat
    from edgeport.artifact.signal_format import SignalFormat

FORMAT_VERSION = 2
"""Raised when an older runtime could misread a newer card; additions alone do not raise it.

2 has ``samples_interact``. A card is written in the oldest format that can say what it says, so
that all others are of format 1.
"""

MOST_BYTES = 2**25
"""The largest card, as JSON text. A million long labels fit; more would fill a device's memory."""

BATCH_AXIS = "N"

Shape = tuple["int | str", ...]

ANY_SHAPE: Shape = ("...",)
"""Any rank and any sizes: some graphs without a card say no more about a tensor."""


@record
class TensorSpec(Record):
    """One input or output.

    Attributes:
        name: the tensor's name in the graph, which is the Keras name.
        dtype: numpy dtype of its elements.
        shape: an int for a fixed axis, the axis' name for a free one.
        axes: one letter an axis, see the module's docstring; empty where unknown.
        value_range: (lowest, highest) value that the model was calibrated for, or that an
            output's activation can give; None where unknown.
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    axes: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None

    @property
    def has_batch_axis(self) -> bool:
        """Whether axis 0 counts samples."""
        first = self.axes[:1] or self.shape[:1]
        return first == (BATCH_AXIS,)

    @property
    def sample_shape(self) -> Shape:
        """The shape of one sample, without the batch axis."""
        return self.shape[1:] if self.has_batch_axis else self.shape

    @property
    def accepted_shape(self) -> Shape:
        """The shape that callers may pass: a batch fixed by the model takes any number."""
        return (BATCH_AXIS, *self.shape[1:]) if self.has_batch_axis else self.shape


@record
class Quantization(Record):
    """How the weights and activations are stored, what was left in float and why.

    Attributes:
        recipe: ``static``, ``dynamic``, ``weights`` or ``int16``.
        weights, activations: their number formats.
        target: the CPU family that it was quantized for.
        float_layers: why each of the Keras layers that stayed in float did, by its name.
        evidence: how closely it answers like the float graph and on which samples that was
            measured, in words; "" where the file does not say.
    """

    recipe: str
    weights: str
    activations: str
    target: str
    float_layers: Mapping[str, str] = field(default_factory=dict)
    evidence: str = ""


@record
class Accuracy(Record):
    """The user's metric, measured on the evaluation data with each form of the model.

    Attributes:
        metric: its name.
        samples: how many it was measured on.
        keras, float32, artifact: its value with Keras, with the float graph, and of this file.
    """

    metric: str
    samples: int
    keras: float
    float32: float
    artifact: float


@record
class Calibration(Record):
    """The data that the ranges of the activations were taken from.

    Attributes:
        samples: those that the ranges were taken from; others of the data may have been held out.
        sha256: over all of the data.
    """

    samples: int
    sha256: str


@record
class Requirements(Record):
    """What the engine has to offer.

    Attributes:
        ir_version: the ONNX IR version of the file.
        opset: the operator set of its graph.
        onnxruntime: the oldest onnxruntime that has both.
    """

    ir_version: int
    opset: int
    onnxruntime: str


@record
class ModelCard(Record):
    """The contract between a model and its users.

    Attributes:
        name: the model's name.
        inputs, outputs: in the model's declared order.
        labels: class names in the order of the scores, or None.
        preprocessing: what the graph itself does to its inputs, in order, in words.
        quantization, accuracy, calibration: None where that stage did not run.
        requires: None where the file has no card.
        multiply_accumulates: per sample, or None where unknown.
        samples_interact: whether a sample's answer depends on the other samples of the batch, so
            that only the whole batch may be run.
        frames: by the name of each input that takes frames as a camera gives them.
        signal: how recordings are cut into samples, None where samples are no windows.
        columns: of a table, which fill the inputs in this order; () where samples are no rows.
        tolerance: largest absolute difference from a golden output, by output name.
        provenance: versions of the tools that made the file, and the source's digest.
        unproven: what the converter's checks and the golden samples cannot tell, a sentence each.
        golden_samples: what the self-test runs.
        sha256: the sealed digest of the file; None means that **nothing vouches for it**:
            the file has no card, and all of the above comes from its graph.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...] | None = None
    preprocessing: tuple[str, ...] = ()
    quantization: Quantization | None = None
    accuracy: Accuracy | None = None
    calibration: Calibration | None = None
    requires: Requirements | None = None
    multiply_accumulates: int | None = None
    samples_interact: bool = False
    frames: "Mapping[str, FrameFormat]" = field(default_factory=dict)
    signal: "SignalFormat | None" = None
    columns: "tuple[Column, ...]" = ()
    tolerance: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    unproven: tuple[str, ...] = ()
    golden_samples: tuple[GoldenSample, ...] = ()
    sha256: str | None = None

    @property
    def is_vouched_for(self) -> bool:
        """Whether a card came with the file and its digest matched the file's bytes."""
        return self.sha256 is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON-ready data, without golden samples and digest.

        The golden samples are written by the converter, which picks their compact form; the
        digest lies outside the card, since the card is among the bytes that it covers.
        """
        plain: dict[str, Any] = _plain(replace(self, golden_samples=()))
        del plain["golden_samples"], plain["sha256"]
        if not self.samples_interact:
            del plain["samples_interact"]
        if not self.frames:
            del plain["frames"]
        if self.signal is None:
            del plain["signal"]
        del plain["columns"]
        if self.columns:
            plain["columns"] = [column.to_dict() for column in self.columns]
        return {"format_version": FORMAT_VERSION if self.samples_interact else 1, **plain}

    @classmethod
    def from_json(cls, text: str | bytes, *, sha256: str | None = None) -> "ModelCard":
        """Read a card's JSON; unknown keys are ignored, they come from newer converters.

        Raises:
            UnsupportedFormatError: the card's format is newer than this runtime.
            ArtifactError: the text is no card, or larger than any real one.
        """
        if len(text) > MOST_BYTES:
            raise ArtifactError(
                f"the artifact has a card of {len(text):,} bytes, expected at most "
                f"{MOST_BYTES:,}: convert the model again with a released edgeport-converter"
            )
        try:
            data = json.loads(text)
            version = data["format_version"]
            if type(version) is not int or version < 1:
                raise ValueError(f"format_version {version!r}")
            if version <= FORMAT_VERSION:
                return _card_from_dict(data, sha256)
        except MemoryError:  # says nothing about the card
            raise
        # zlib.error, like every other sign of a malformed card, says the same to the caller.
        except Exception as cause:
            raise ArtifactError(
                f"the artifact has a card that cannot be read ({type(cause).__name__}: {cause}): "
                "convert the model again with a released edgeport-converter"
            ) from cause
        raise UnsupportedFormatError(
            f"the artifact has card format {version}, this edgeport reads formats up to "
            f"{FORMAT_VERSION}: update edgeport on the device",
            found=str(version),
            supported=str(FORMAT_VERSION),
        )


def format_shape(shape: Shape | tuple[int, ...]) -> str:
    """Return ``(N, 28, 28, 1)``: numpy's notation, axis names without quotes."""
    inner = ", ".join(str(size) for size in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def format_specs(specs: tuple[TensorSpec, ...]) -> str:
    """Return ``image float32 (N, 28, 28, 1), …``."""
    return ", ".join(f"{spec.name} {spec.dtype} {format_shape(spec.shape)}" for spec in specs)


def _plain(value: Any) -> Any:
    """Return records, tuples and mappings as dicts and lists, and a dtype by its name."""
    if isinstance(value, np.dtype):
        return "str" if value.kind in "OU" else value.name
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _card_from_dict(data: Mapping[str, Any], sha256: str | None) -> ModelCard:
    inputs, outputs = (tuple(map(_spec_from_dict, data[key])) for key in ("inputs", "outputs"))
    if not outputs or any(len({s.name for s in specs}) < len(specs) for specs in (inputs, outputs)):
        raise ValueError("no outputs, or two tensors of one name")
    labels = data.get("labels")
    if isinstance(labels, str):
        raise ValueError("labels in one text")
    macs = data.get("multiply_accumulates")
    samples_interact = data.get("samples_interact", False)
    if not isinstance(samples_interact, bool):
        raise ValueError(f"samples_interact {samples_interact!r}")
    samples = data.get("golden_samples", ())
    check_size(samples)
    return ModelCard(
        name=str(data["name"]),
        inputs=inputs,
        outputs=outputs,
        labels=None if labels is None else tuple(map(str, labels)),
        preprocessing=tuple(map(str, data.get("preprocessing", ()))),
        quantization=_record_from_dict(Quantization, data.get("quantization")),
        accuracy=_record_from_dict(Accuracy, data.get("accuracy")),
        calibration=_record_from_dict(Calibration, data.get("calibration")),
        requires=_record_from_dict(Requirements, data.get("requires")),
        multiply_accumulates=None if macs is None else int(macs),
        samples_interact=samples_interact,
        frames=_frames_from_dict(data.get("frames", {}), inputs),
        signal=_signal_from_dict(data["signal"], inputs) if data.get("signal") else None,
        columns=_columns_from_list(data["columns"], inputs) if data.get("columns") else (),
        tolerance={str(name): _finite(value) for name, value in data.get("tolerance", {}).items()},
        provenance=_texts(data.get("provenance", {})),
        unproven=tuple(map(str, data.get("unproven", ()))),
        golden_samples=tuple(map(_sample_from_dict, samples)),
        sha256=sha256,
    )


def _spec_from_dict(data: Mapping[str, Any]) -> TensorSpec:
    value_range = data.get("value_range")
    shape = tuple(size if isinstance(size, str) else _size(size) for size in data["shape"])
    axes = tuple(map(str, data.get("axes", ())))
    if axes and len(axes) != len(shape):
        raise ValueError(f"{len(axes)} axes for a shape of {len(shape)}")
    return TensorSpec(
        name=str(data["name"]),
        dtype=np.dtype(object if data["dtype"] == "str" else data["dtype"]),
        shape=shape,
        axes=axes,
        value_range=None
        if value_range is None
        else (_finite(value_range[0]), _finite(value_range[1])),
    )


def _frames_from_dict(data: Any, inputs: tuple[TensorSpec, ...]) -> "dict[str, FrameFormat]":
    if not data:
        return {}
    from edgeport.artifact.frame_format import read_frames  # few cards have any

    return read_frames(data, {spec.name: (spec.dtype, spec.shape, spec.axes) for spec in inputs})


def _signal_from_dict(data: Mapping[str, Any], inputs: tuple[TensorSpec, ...]) -> "SignalFormat":
    from edgeport.artifact.signal_format import read_signal  # few cards have one

    named = {spec.name: spec for spec in inputs}[str(data["input"])]
    return read_signal(data, named.dtype, named.sample_shape)


def _columns_from_list(data: Any, inputs: tuple[TensorSpec, ...]) -> "tuple[Column, ...]":
    from edgeport.artifact.column import read_columns  # few cards have them

    shapes = {spec.name: spec.sample_shape for spec in inputs}
    return read_columns(data, shapes, {spec.name for spec in inputs if spec.dtype.kind == "O"})


def _size(value: Any) -> int:
    if not 1 <= int(value) < 2**63:
        raise ValueError(f"an axis of size {value}")
    return int(value)


def _finite(value: Any) -> float:
    """Return the number; NaN or infinity as a limit would allow everything, or nothing."""
    if not math.isfinite(value):
        raise ValueError(f"a limit of {value}")
    return float(value)


def _texts(data: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in data.items()}


def _record_from_dict(kind: Any, data: Mapping[str, Any] | None) -> Any:
    if data is None:
        return None
    readers = {
        key: _texts if hint == Mapping[str, str] else hint
        for key, hint in kind.__annotations__.items()
    }
    return kind(**{key: read(data[key]) for key, read in readers.items() if key in data})


def _sample_from_dict(data: Mapping[str, Any]) -> GoldenSample:
    return GoldenSample(
        inputs={name: decode_array(array) for name, array in data["inputs"].items()},
        outputs={name: decode_output(output) for name, output in data["outputs"].items()},
    )


def card_json(card: ModelCard, golden_samples: Sequence[Mapping[str, Any]]) -> str:
    """Return the card's JSON text as the file holds it; the same card gives the same text."""
    data = card.to_dict() | {"golden_samples": list(golden_samples)}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
