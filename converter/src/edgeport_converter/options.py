"""The options of a conversion, each declared once: name, default, choices, help, and its check.

An option is a field of one of seven records. It is a keyword of ``convert`` under the same name,
and an option of `edgeport convert` with ``-`` for ``_``; the docstring of ``convert`` explains it.
A record checks itself when it is made, and raises OptionError; what depends on the data or the
output is checked by the functions below, before any work is done.

The records are named ``...Options`` since a card has a ``Quantization`` of its own, which says
what was done, not what is wanted.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from pathlib import Path
from typing import Any, TypedDict

from edgeport import OptionError
from edgeport.atomic_files import check_target
from edgeport.checks import truth
from edgeport_converter import targets
from edgeport_converter.sensors.frame_inputs import Wanted, read_wanted
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.sensors.signals import Signal

RECIPES = ("auto", "static", "dynamic", "weights", "int16", "none")
OBJECTIVES = ("balanced", "latency", "size")
RANGE_METHODS = ("minmax", "mse")
"""How activation ranges are chosen, in the order that the search tries them in."""

DEFAULT_MAX_DROP = 0.005
"""Half a percentage point of accuracy: less than a test set of a thousand samples can tell."""

_FRAME_WORDS = tuple(each.name for each in fields(Frames))

DATA_FILES = "a .npy, .npz or .csv file, or a folder of images"
"""What data may be read from, for sentences."""


def _option(default: Any, purpose: str, **look: Any) -> Any:
    """Return a field of an option record, with how it looks on the command line.

    ``purpose`` is for the help, to which the default is added. ``metavar`` stands for the value,
    ``choices`` are the words that it takes, ``read`` makes it from the option's name and text, and
    with ``repeatable`` each of several values is one of a list.
    """
    return field(default=default, metadata={"purpose": purpose, **look})


def _read_number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"{option} is {text!r}, expected a number: write one") from None


def _read_numbers(option: str, text: str) -> float | list[float]:
    try:
        parts = [part.partition("/") for part in text.split(",")]
        numbers = [float(top) / (float(bottom) if slash else 1) for top, slash, bottom in parts]
    except (ValueError, ZeroDivisionError):
        raise OptionError(
            f"{option} is {text!r}, expected numbers such as 1/255 or 123.7,116.3,103.5: one, or "
            "one for each channel"
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers


def _read_range(option: str, text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            f"{option} is {text!r}, expected two numbers such as 0,1: black, then white"
        ) from None
    return low, high


def _read_frames(option: str, texts: Sequence[str]) -> str | dict[str, str]:
    """Return one text, or texts by input name where these are ``NAME=keras fit=crop``."""
    named = {}
    for text in texts:
        first, equals, rest = text.partition("=")
        if equals and " " not in first.strip() and first.strip() not in _FRAME_WORDS:
            named[first.strip()] = rest.strip()
        elif len(texts) == 1:
            return text
        else:
            raise OptionError(
                f"{option} was given {len(texts)} times, once as {text!r}, expected an input's "
                "name in each: write NAME=keras"
            )
    if len(named) < len(texts):
        raise OptionError(f"{option} names an input twice, expected it once: leave one out")
    return named


def _read_signal(option: str, text: str) -> Signal:
    return Signal.from_text(text)


def _read_names(option: str, text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _read_features(option: str, text: str) -> list[str]:
    path = Path(text)
    if "," not in text and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise OptionError(
                f"{option} is the file '{text}', which is no UTF-8 text: save it as UTF-8, one "
                "name a line"
            ) from None
        return [line.strip() for line in lines if line.strip()]
    return _read_names(option, text)


@dataclass(frozen=True)
class BudgetOptions:
    """What quantization may lose, and by which measure."""

    max_drop: float = _option(
        DEFAULT_MAX_DROP,
        "how much of the metric may be lost; without labels, twice that share of the best "
        "classes may change, and 20 dB signal-to-noise must remain, less where more than 3 % of "
        "the classes may change",
        metavar="SHARE",
        read=_read_number,
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
        read=_read_number,
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
    also: Sequence[str] = _option(
        (),
        "further recipes to write beside the output, comma-separated, as OUT.RECIPE.onnx",
        metavar="RECIPES",
        read=_read_names,
    )

    def __post_init__(self) -> None:
        for name in ("keep_float", "also"):
            object.__setattr__(self, name, _as_words(name, getattr(self, name)))
        _require_one_of("quantize", self.quantize, RECIPES)
        _require_one_of("objective", self.objective, OBJECTIVES)
        _require_one_of("ranges", self.ranges, RANGE_METHODS)
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
        read=_read_features,
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
        read=_read_frames,
    )
    input_uint8: bool = _option(
        False, "the artifact takes uint8 pixels; the data is of pixels then"
    )
    scale: float | Sequence[float] | None = _option(
        None,
        "with --input-uint8: the model sees (pixel - mean) * scale; one number, or one a "
        "channel, fractions too: 1/255 (default 1: the model scales by itself)",
        metavar="NUMBERS",
        read=_read_numbers,
    )
    mean: float | Sequence[float] | None = _option(
        None, "see --scale (default 0)", metavar="NUMBERS", read=_read_numbers
    )
    image_range: tuple[float, float] = _option(
        (0.0, 255.0),
        "the values that black and white pixels of image files become; with a minus: "
        "--image-range=-1,1",
        metavar="LOW,HIGH",
        read=_read_range,
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
        read=_read_signal,
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
        read=_read_names,
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
        2, "passes over the data of --finetune", metavar="NUMBER", read=_read_number
    )
    learning_rate: float = _option(
        0.05,
        "of --finetune: how far a weight moves at a step, in steps of its int8 scale",
        metavar="NUMBER",
        read=_read_number,
    )
    batch_size: int = _option(
        32, "of --finetune: samples a step", metavar="NUMBER", read=_read_number
    )
    seed: int = _option(0, "of --finetune", metavar="NUMBER", read=_read_number)
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


def fit_to_data(options: ConversionOptions, calibration: Any, evaluation: Any) -> ConversionOptions:
    """Return the options that hold for the data: ``auto`` without calibration data means float.

    Raises:
        OptionError: a named recipe has no calibration data, the expected metric no evaluation data,
            or a file is missing.
    """
    for purpose, data in (("calibration", calibration), ("evaluation", evaluation)):
        if isinstance(data, (str, os.PathLike)):
            if not os.fspath(data):  # pathlib takes it for the working folder
                raise OptionError(
                    f"the {purpose} data is an empty path, expected that of a file or a folder: "
                    "check the variable that it came from"
                )
            require_data_file(Path(data), purpose)
    has_table = _is_table(calibration) or _is_table(evaluation)
    if options.tables.label_column is not None and not has_table:
        raise OptionError(
            "label_column was given and no data is a .csv file, expected the name of a column in "
            "one: leave it out"
        )
    if options.budget.expected_metric is not None and evaluation is None:
        raise OptionError(
            "expected_metric was given without evaluation data, expected the number that Keras "
            "reaches on the evaluation data: pass both, or leave it out"
        )
    wanted = options.quantization
    if options.finetune is not None:
        _require_finetuning(options.finetune, wanted, calibration)
    if calibration is not None or not wanted.quantizes:
        return options
    if wanted.layer_times is not None or wanted.quantize != "auto" or set(wanted.also) - {"none"}:
        raise OptionError(
            "quantization needs calibration data and none was given, expected a few hundred "
            "samples like the device's, since ranges and losses on made-up data would say "
            "nothing of real answers: pass calibration=, or quantize='none' for a float "
            "artifact"
        )
    note = (
        "the artifact is a float one, since there is no calibration data: with a few hundred "
        "samples like the device's it can be quantized, which makes most files a quarter as large"
    )
    return replace(options, quantization=replace(wanted, quantize="none"), notes=(note,))


def _require_finetuning(finetune: Finetune, wanted: QuantizationOptions, calibration: Any) -> None:
    """Refuse to fine-tune what is not int8, or without calibration data; by an OptionError."""
    if not isinstance(finetune, Finetune):
        raise OptionError(
            f"finetune is a {type(finetune).__name__}, expected Finetune: pass Finetune(data)"
        )
    if isinstance(finetune.data, (str, os.PathLike)):
        require_data_file(Path(finetune.data), "fine-tuning")
    if calibration is None:
        raise OptionError(
            "finetune was given without calibration data, expected a few hundred samples like the "
            "device's, which ranges start from: pass calibration="
        )
    if wanted.quantize not in ("auto", "static") or wanted.layer_times is not None:
        found = "layer_times" if wanted.layer_times is not None else f"quantize={wanted.quantize!r}"
        raise OptionError(
            f"finetune was given with {found}, expected quantize='auto' or 'static' alone, since "
            "weights are trained for int8 activations: leave one of them out"
        )


def require_no_measure(options: ConversionOptions, place: str) -> str:
    """Return the note on a model whose answers depend on the whole batch.

    Args:
        options: those of the conversion.
        place: where in the model, in words.

    Raises:
        OptionError: a recipe or a metric was asked for, which no measurement could judge.
    """
    wanted = options.quantization
    asked = {
        "quantize": wanted.quantize not in ("auto", "none"),
        "also": bool(set(wanted.also) - {"none"}),
        "expected_metric": options.budget.expected_metric is not None,
    }
    for name in (name for name, is_asked in asked.items() if is_asked):
        raise OptionError(
            f"{name} was given and the answers of this model depend on the whole batch from "
            f"{place} on, so that what is measured would change with the batches, expected a model "
            f"that answers each sample by itself: leave {name} out, or pass one_by_one to have "
            "each sample answered alone"
        )
    return (
        f"the answers depend on the whole batch from {place} on: the artifact is a float one that "
        "runs each batch in one piece, as the Keras model does, and refuses streams, and no "
        "accuracy was measured, which would change with the batches; with one_by_one each sample "
        "is answered alone, and can be quantized, measured and streamed"
    )


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


def _is_table(data: Any) -> bool:
    if isinstance(data, tuple):
        data = data[0] if data else None
    if hasattr(data, "columns"):  # a table of pandas and the like
        return True
    return isinstance(data, (str, os.PathLike)) and os.fspath(data).lower().endswith(".csv")


def require_data_file(path: Path, purpose: str) -> None:
    """Refuse a path that does not exist, by an OptionError."""
    if not path.exists():
        raise OptionError(f"there is no {purpose} file '{path}': pass {DATA_FILES}")


def find_destination(
    output: Any, sources: Sequence[Any], also: Sequence[str] = (), *, is_artifact: bool = True
) -> Path:
    """Return the path to write, links followed; refuse what would fail only after all the work.

    Args:
        output: as the user gave it.
        sources: all that is read, as the user gave it; no file among them may be overwritten, nor
            any file in a folder among them. What is no path is ignored.
        also: the recipes of the variants, which are written beside the output.
        is_artifact: whether an artifact is written, which is named .onnx, and not a Keras model.

    Raises:
        OptionError: the output is no path, a folder, no regular file, lies in no folder, is named
            like another kind of file, or the output or a variant is one of the sources, also under
            another name or inside a folder.
    """
    if not isinstance(output, (str, os.PathLike)):
        raise OptionError(
            f"the output is a {type(output).__name__}, expected a path: pass the name of a file"
        )
    path, suffix = Path(output).resolve(), Path(output).suffix
    if path.is_dir():
        raise OptionError(f"the output '{output}' is a folder, expected a file: add a file name")
    if not path.parent.is_dir():
        raise OptionError(
            f"there is no folder '{path.parent}' for the output: make it first, or choose another"
        )
    if path.exists() and not path.is_file():
        raise OptionError(
            f"the output '{output}' is a device or a pipe, expected a regular file: choose another"
        )
    reads = [one for one in sources if isinstance(one, (str, os.PathLike))]
    for target in (path, *(variant_path(path, recipe) for recipe in also)):
        check_target(target, reads=reads)
    if is_artifact and suffix.lower() not in ("", ".onnx"):
        raise OptionError(
            f"the output '{output}' ends in '{suffix}', expected a name that ends in .onnx, since "
            f"an artifact is an ONNX file: choose '{Path(output).with_suffix('.onnx')}', for "
            "instance"
        )
    return path


def variant_path(output: Path, recipe: str) -> Path:
    """Return where the artifact of a recipe of ``also`` is written: OUT.RECIPE.onnx."""
    return output.with_suffix(f".{recipe}{output.suffix}")


def list_class_names(labels: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the class names in order.

    Raises:
        OptionError: they are one text, which would be taken letter by letter, no list, or have no
            order that could be that of the scores, as a set.
    """
    if isinstance(labels, str):
        raise OptionError(
            f"labels are the text {labels!r}, expected a list of names: put it into a list"
        )
    unordered = isinstance(labels, (Set, Mapping))
    if labels is not None and (unordered or not isinstance(labels, Iterable)):
        raise OptionError(
            f"labels are a {type(labels).__name__}, expected a list of names in the order of the "
            "scores: write one"
        )
    return None if labels is None else tuple(labels)


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
