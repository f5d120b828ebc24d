"""The options of a conversion, each declared once: name, default, choices, help, and its check.

An option is a field of one of seven records. It is a keyword of ``convert`` under the same name,
and an option of `edgeport convert` with ``-`` for ``_``; the docstring of ``convert`` explains it.
A record checks itself when it is made, and raises OptionError; ``option_checks`` checks what
depends on the data, and ``paths`` what is read and written, before any work is done.

The records are named ``...Options`` since a card has a ``Quantization`` of its own, which says
what was done, not what is wanted.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any, TypedDict

from edgeport import OptionError
from edgeport.checks import truth
from edgeport_converter import targets
from edgeport_converter.option_texts import (
    read_features,
    read_frames,
    read_names,
    read_number,
    read_numbers,
    read_range,
    read_signal,
)
from edgeport_converter.paths import find_destination
from edgeport_converter.sensors.frame_inputs import Wanted, read_wanted
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.sensors.signals import Signal

RECIPES = ("auto", "static", "dynamic", "weights", "int16", "none")
OBJECTIVES = ("balanced", "latency", "size")
RANGE_METHODS = ("minmax", "mse")
"""How activation ranges are chosen, in the order that the search tries them in."""

ENGINES = ("local", "ray")
"""Where candidates are tried."""

DEFAULT_MAX_DROP = 0.005
"""Half a percentage point of accuracy: less than a test set of a thousand samples can tell."""


def _option(default: Any, purpose: str, **look: Any) -> Any:
    """Return a field of an option record, with how it looks on the command line.

    ``purpose`` is for the help, to which the default is added. ``metavar`` stands for the value,
    ``choices`` are the words that it takes, ``read`` makes it from the option's name and text, and
    with ``repeatable`` each of several values is one of a list.
    """
    return field(default=default, metadata={"purpose": purpose, **look})


@dataclass(frozen=True)
class BudgetOptions:
    """What quantization may lose, and by which measure."""

    max_drop: float = _option(
        DEFAULT_MAX_DROP,
        "how much of the metric may be lost; without labels, twice that share of the best "
        "classes may change, and 20 dB signal-to-noise must remain, less where more than 3 % of "
        "the classes may change",
        metavar="SHARE",
        read=read_number,
    )
    metric: Any = _option(
        None,
        "of outputs and labels, larger is better unless its name says loss or error "
        "(default: accuracy)",
        metavar="MODULE:FUNCTION",
    )
    expected_metric: float | None = _option(
        None,
        "what Keras reached on the evaluation data; data that gives another is refused",
        metavar="VALUE",
        read=read_number,
    )

    def __post_init__(self) -> None:
        if not _is_number(self.max_drop) or not 0 <= self.max_drop < 1:
            raise OptionError(
                f"max_drop is {self.max_drop!r}, expected a share from 0 to below 1: "
                "0.005 allows half a percentage point"
            )
        expected = self.expected_metric
        if expected is not None and not (_is_number(expected) and math.isfinite(expected)):
            raise OptionError(
                "expected_metric was given as no finite number, expected the number that Keras "
                "reaches on the evaluation data: pass it, or leave it out"
            )


@dataclass(frozen=True)
class QuantizationOptions:
    """Which graph is wanted, and where the search for it begins."""

    quantize: str = _option(
        "auto",
        "static: int8; int16: 16-bit activations; dynamic: int8, ranges measured at each run; "
        "weights: int8 weights, float arithmetic; none: float; auto tries them and chooses by "
        "measurement",
        choices=RECIPES,
    )
    ranges: str = _option(
        "minmax", "where the search for activation ranges begins", choices=RANGE_METHODS
    )
    keep_float: Sequence[str] = _option(
        (),
        "a Keras layer, or a pattern such as 'block_1*', that stays in float; repeatable",
        metavar="LAYER",
        repeatable=True,
    )
    objective: str = _option(
        "balanced", "what to weigh candidates by that keep the budget", choices=OBJECTIVES
    )
    layer_times: str | os.PathLike[str] | None = _option(
        None,
        "what 'edgeport bench --layers' measured on a board: each layer gets the format that is "
        "cheaper there",
        metavar="TIMES.json",
    )
    engine: str = _option(
        "local",
        "where candidates are tried: local: one after the other on this machine; ray: as tasks of "
        "a Ray cluster, with the same choice (needs edgeport-converter[ray])",
        choices=ENGINES,
    )
    also: Sequence[str] = _option(
        (),
        "further recipes to write beside the output, comma-separated, as OUT.RECIPE.onnx",
        metavar="RECIPES",
        read=read_names,
    )

    def __post_init__(self) -> None:
        for name in ("keep_float", "also"):
            object.__setattr__(self, name, _as_words(name, getattr(self, name)))
        _require_one_of("quantize", self.quantize, RECIPES)
        _require_one_of("objective", self.objective, OBJECTIVES)
        _require_one_of("ranges", self.ranges, RANGE_METHODS)
        _require_one_of("engine", self.engine, ENGINES)
        if self.engine == "ray" and importlib.util.find_spec("ray") is None:
            raise OptionError(
                "engine='ray' needs Ray, which is not installed here, expected the extra: "
                "pip install 'edgeport-converter[ray]', or leave engine= out"
            )
        self._check_layer_times()
        for recipe in self.also:
            _require_one_of("also", recipe, [name for name in RECIPES if name != "auto"])

    def _check_layer_times(self) -> None:
        """Refuse what the times of a board could not decide."""
        if self.layer_times is None:
            return
        if not isinstance(self.layer_times, (str, os.PathLike)):
            raise OptionError(
                f"layer_times is a {type(self.layer_times).__name__}, expected the path of a file "
                "that 'edgeport bench --layers' wrote: pass that"
            )
        if self.quantize not in ("auto", "static"):
            raise OptionError(
                f"layer_times was given with quantize={self.quantize!r}, expected 'auto' or "
                "'static', since the times are of static int8: leave one of them out"
            )
        if self.objective == "size":
            raise OptionError(
                "layer_times was given with objective='size', and times say nothing of bytes: "
                "leave one of them out"
            )

    @property
    def quantizes(self) -> bool:
        """Whether anything but the float graph is wanted."""
        return bool({self.quantize, *self.also} - {"none"})


@dataclass(frozen=True)
class TableOptions:
    """How the .csv files of the data are read."""

    label_column: str | None = _option(
        None,
        "the column of a .csv file that holds the labels (default: y or label)",
        metavar="NAME",
    )

    feature_names: Sequence[str] | Mapping[str, Sequence[str]] | None = _option(
        None,
        "the names of a table's columns in the order that the model takes them, comma-separated, "
        "or a file, one a line (default: the header of the calibration file)",
        metavar="NAMES",
        read=read_features,
    )

    def __post_init__(self) -> None:
        if self.feature_names is not None:
            object.__setattr__(self, "feature_names", _as_features(self.feature_names))
        name = self.label_column
        if name is not None and not (isinstance(name, str) and name.strip()):
            raise OptionError(
                f"label_column is {name!r}, expected the name of a column: take it from the header"
            )


@dataclass(frozen=True)
class PixelOptions:
    """How the pixels of images become the model's numbers.

    ``frames`` are of any size and in the order of the camera; ``input_uint8`` is for pixels that
    somebody else has brought to the model's size already.
    """

    frames: Any = _option(
        None,
        "the artifact takes uint8 frames of any size and does what the training code did, such as "
        "'keras', 'ImageOps.fit-lanczos scale=1/127.5 mean=127.5' or 'opencv-area order=bgr'; with "
        "several inputs NAME=keras, repeatable; none: not even where the model's file names one",
        metavar="TEXT",
        repeatable=True,
        read=read_frames,
    )
    input_uint8: bool = _option(
        False, "the artifact takes uint8 pixels; the data is of pixels then"
    )
    scale: float | Sequence[float] | None = _option(
        None,
        "with --input-uint8: the model sees (pixel - mean) * scale; one number, or one a "
        "channel, fractions too: 1/255 (default 1: the model scales by itself)",
        metavar="NUMBERS",
        read=read_numbers,
    )
    mean: float | Sequence[float] | None = _option(
        None, "see --scale (default 0)", metavar="NUMBERS", read=read_numbers
    )
    image_range: tuple[float, float] = _option(
        (0.0, 255.0),
        "the values that black and white pixels of image files become; with a minus: "
        "--image-range=-1,1",
        metavar="LOW,HIGH",
        read=read_range,
    )

    def __post_init__(self) -> None:
        truth(self.input_uint8, "input_uint8")
        object.__setattr__(self, "frames", read_wanted(self.frames))
        for name in ("scale", "mean"):
            if getattr(self, name) is not None and not self.input_uint8:
                raise OptionError(
                    f"{name} was given without input_uint8, expected it for uint8 pixels only, "
                    "since floats come scaled: pass input_uint8 too, or leave it out"
                )
        try:
            low, high = (float(value) for value in self.image_range)
        except (TypeError, ValueError):
            low = high = 0.0
        if not (math.isfinite(low) and math.isfinite(high)) or low == high:
            raise OptionError(
                f"image_range is {self.image_range!r}, expected two different numbers, black and "
                "white: pass (0, 1), for instance"
            )
        object.__setattr__(self, "image_range", (low, high))
        if isinstance(self.frames, (Frames, dict)):
            self._require_frames_alone()

    def _require_frames_alone(self) -> None:
        given = {
            "input_uint8": self.input_uint8,
            "scale": self.scale is not None,
            "mean": self.mean is not None,
            "image_range": self.image_range != (0.0, 255.0),
        }
        for name in (name for name, is_given in given.items() if is_given):
            raise OptionError(
                f"{name} was given with frames, which scale pixels themselves, expected one of "
                "them: write scale and mean into frames, or leave frames out"
            )


@dataclass(frozen=True)
class SensorOptions:
    """What the device's sensors give, and how that becomes samples."""

    signal: Signal | None = _option(
        None,
        "the artifact takes windows of recordings, such as 'rate=16000 window=16000 hop=8000' for "
        "int16 PCM; the data is of such recordings then; further words: channels=, mix_down=yes, "
        "pad=yes, scale=1/32768, dtype=float32, input=",
        metavar="WORDS",
        read=read_signal,
    )

    def __post_init__(self) -> None:
        if self.signal is not None and not isinstance(self.signal, Signal):
            raise OptionError(
                f"signal= was given a {type(self.signal).__name__}, expected a Signal: "
                "pass Signal(rate=16000, window=16000, hop=8000), for instance"
            )


@dataclass(frozen=True)
class DeviceOptions:
    """What the artifact will run on, and how samples come there."""

    target: str = _option(
        "any",
        "the devices' CPU family; any is right on all of them",
        choices=tuple(targets.TARGETS),
    )
    onnxruntime: str = _option(
        targets.ONNXRUNTIME_FLOOR, "the oldest onnxruntime on the devices", metavar="VERSION"
    )
    one_by_one: bool = _option(
        False, "answer each sample of a batch as the Keras model answers it alone"
    )

    def __post_init__(self) -> None:
        truth(self.one_by_one, "one_by_one")
        targets.find_target(self.target)
        targets.find_engine(self.onnxruntime)

    @property
    def cpu(self) -> targets.Target:
        """The profile of the target."""
        return targets.find_target(self.target)

    @property
    def engine(self) -> targets.Engine:
        """What that onnxruntime reads."""
        return targets.find_engine(self.onnxruntime)


@dataclass(frozen=True)
class LoadingOptions:
    """What a model's file needs besides itself."""

    custom_objects: Any = _option(
        None,
        "Python code that defines the layers and functions that the model's file names",
        metavar="FILE_OR_MODULE",
    )
    allow_code: bool = _option(
        False, "run Python code stored in the model's file, as Lambda layers have it"
    )
    weights: str | os.PathLike[str] | None = _option(
        None, "the weights of a .json model", metavar="FILE"
    )
    outputs: Sequence[str] | None = _option(
        None,
        "outputs or layers to keep, comma-separated, such as backbone/block3; what they do not "
        "need is left out (default: all outputs)",
        metavar="NAMES",
        read=read_names,
    )

    def __post_init__(self) -> None:
        truth(self.allow_code, "allow_code")
        if self.outputs is not None:
            names = _as_words("outputs", self.outputs)
            if not all(names) or not names:
                raise OptionError(
                    f"outputs is {self.outputs!r}, expected names of outputs or layers to keep: "
                    "name one at least, or leave the option out for all outputs"
                )
            object.__setattr__(self, "outputs", names)


@dataclass(frozen=True)
class Finetune:
    """Training under quantization, where int8 alone misses the budget.

    Attributes:
        data: samples to train on, in the forms of calibration data, with labels if there are any;
            None for the calibration data.
        epochs: passes over them.
        learning_rate: how far a weight moves at a step, in steps of its int8 scale.
        batch_size: samples a step.
        seed: of the order of samples and of the split.
        model: the path to write the fine-tuned Keras model to, None for nowhere.
    """

    data: Any = _option(
        None,
        "train on this data where int8 misses the budget, with its labels if it has any",
        metavar="DATA",
        flag="--finetune",
    )
    epochs: int = _option(
        2, "passes over the data of --finetune", metavar="NUMBER", read=read_number
    )
    learning_rate: float = _option(
        0.05,
        "of --finetune: how far a weight moves at a step, in steps of its int8 scale",
        metavar="NUMBER",
        read=read_number,
    )
    batch_size: int = _option(
        32, "of --finetune: samples a step", metavar="NUMBER", read=read_number
    )
    seed: int = _option(0, "of --finetune", metavar="NUMBER", read=read_number)
    model: str | os.PathLike[str] | None = _option(
        None,
        "write the fine-tuned Keras model there; yours is not changed",
        metavar="OUT.keras",
        flag="--finetuned-model",
    )

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if not _is_number(value) or value != int(value) or value < least:
                raise OptionError(
                    f"{name} of finetune is {value!r}, expected a whole number from {least} on: "
                    "pass one"
                )
            object.__setattr__(self, name, int(value))
        rate = self.learning_rate
        if not _is_number(rate) or not 0 < rate < 1:
            raise OptionError(
                f"learning_rate of finetune is {rate!r}, expected a number between 0 and 1, in "
                "steps of a weight's int8 scale: 0.05 is usual"
            )
        if self.model is not None:
            path = find_destination(self.model, (self.data,), is_artifact=False)
            if path.suffix.lower() != ".keras":
                raise OptionError(
                    f"the fine-tuned model is to be written to '{self.model}', expected a name "
                    f"that ends in .keras: choose '{path.with_suffix('.keras')}', for instance"
                )


class OptionKeywords(TypedDict, total=False):
    """All fields of the records, for those who check types: ``convert`` takes each by name."""

    max_drop: float
    metric: Any
    expected_metric: float | None
    quantize: str
    ranges: str
    keep_float: Sequence[str]
    objective: str
    layer_times: str | os.PathLike[str] | None
    engine: str
    also: Sequence[str]
    label_column: str | None
    feature_names: Sequence[str] | Mapping[str, Sequence[str]] | None
    frames: Wanted | str | Mapping[str, str] | None
    input_uint8: bool
    scale: float | Sequence[float] | None
    mean: float | Sequence[float] | None
    image_range: tuple[float, float]
    signal: Signal | None
    target: str
    onnxruntime: str
    one_by_one: bool
    custom_objects: Any
    allow_code: bool
    weights: str | os.PathLike[str] | None
    outputs: Sequence[str] | None


@dataclass(frozen=True)
class ConversionOptions:
    """All options of one conversion, and notes on those that could not be met as they were."""

    budget: BudgetOptions
    quantization: QuantizationOptions
    tables: TableOptions
    pixels: PixelOptions
    sensors: SensorOptions
    device: DeviceOptions
    loading: LoadingOptions
    notes: tuple[str, ...] = ()
    finetune: Finetune | None = None


RECORDS: dict[str, type[Any]] = {
    "budget": BudgetOptions,
    "quantization": QuantizationOptions,
    "tables": TableOptions,
    "pixels": PixelOptions,
    "sensors": SensorOptions,
    "device": DeviceOptions,
    "loading": LoadingOptions,
}
"""The records by their keyword of ``convert``."""


def gather_options(records: Mapping[str, Any], keywords: Mapping[str, Any]) -> ConversionOptions:
    """Return the options of a conversion from records, and from keywords for what has no record.

    Raises:
        OptionError: a record of another kind, a record beside one of its own keywords, or what the
            record itself refuses.
        TypeError: a keyword of another name.
    """
    left = dict(keywords)
    found: dict[str, Any] = {}
    for name, kind in RECORDS.items():
        own = {each.name: left.pop(each.name) for each in fields(kind) if each.name in left}
        record = records[name]
        if record is not None and own:
            raise OptionError(
                f"{name} and its option {next(iter(own))} were both given, expected one of them: "
                f"set {next(iter(own))} in {kind.__name__}, or leave the record out"
            )
        if record is not None and not isinstance(record, kind):
            raise OptionError(
                f"{name} is a {type(record).__name__}, expected {kind.__name__}: pass one, or its "
                "options as keywords"
            )
        found[name] = kind(**own) if record is None else record
    if left:
        known = [each.name for kind in RECORDS.values() for each in fields(kind)]
        near = difflib.get_close_matches(next(iter(left)), known, n=1)
        hint = f": did you mean '{near[0]}'?" if near else ""
        raise TypeError(f"convert() got an unexpected keyword argument '{next(iter(left))}'{hint}")
    return ConversionOptions(**found)


def _as_features(names: Any) -> Any:
    """Return the names of the features as tuples; raises OptionError where they are no names."""
    if isinstance(names, Mapping):
        return {str(key): _as_features(part) for key, part in names.items()}
    found = None
    if isinstance(names, Iterable) and not isinstance(names, (str, bytes, Set)):
        found = tuple(names)  # an Index of pandas as well
    if not found or not all(isinstance(name, str) and name.strip() for name in found):
        raise OptionError(
            f"feature_names is {names!r:.80}, expected a list of names in the order that the model "
            "takes the features: write one, or leave it out"
        )
    return found


def _as_words(name: str, value: Any) -> tuple[str, ...]:
    """Return the words of a list; one word is a list of one, not of its letters."""
    if value is None or isinstance(value, str):
        return (value,) if value else ()
    if not isinstance(value, Iterable):
        raise OptionError(f"{name} is {value!r}, expected a list of words: put it into a list")
    words = tuple(value)
    for word in words:
        if not isinstance(word, str):
            raise OptionError(f"{name} holds {word!r}, expected words: pass text")
    return words


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _require_one_of(name: str, value: Any, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise OptionError(
            f"{name} is {value!r}, expected one of {', '.join(choices)}: choose one of these"
        )
