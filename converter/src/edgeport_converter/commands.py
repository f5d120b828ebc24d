"""`edgeport convert`, registered with the runtime's command by entry point.

Progress goes to stderr, a line a stage; the result goes to stdout, as text or with ``--json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

from edgeport import OptionError
from edgeport_converter.options import OBJECTIVES, RANGES, RECIPES
from edgeport_converter.pipeline import convert
from edgeport_converter.quantization.evaluation.budget import DEFAULT_MAX_DROP
from edgeport_converter.targets import ONNXRUNTIME_FLOOR, TARGETS

_DATA_FORMS = ".npz with one array for each input name (x for a single input), .npy, .csv, or a \
folder of images"


def add_convert(commands: Any) -> None:
    """Add the command to the sub-parsers of `edgeport`."""
    parser = commands.add_parser(
        "convert",
        help="convert a Keras model to an artifact",
        description="Convert a Keras model to an ONNX artifact that has been proven against it.",
    )
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="a .keras, .h5 or .json file, a SavedModel folder, or package.module:function",
    )
    add(
        "-o",
        "--output",
        metavar="OUT.onnx",
        required=True,
        help="the artifact; replaced only when every stage held",
    )
    add("--calibration", metavar="DATA", help=f"data like the device's: {_DATA_FORMS}")
    add(
        "--evaluation",
        metavar="DATA",
        help="data that the loss is measured on, in the same forms; with labels y, or in a folder "
        "for each class, the metric is measured",
    )
    add(
        "--quantize",
        choices=RECIPES,
        default="auto",
        help="static: int8; int16: 16-bit activations; dynamic: int8, ranges measured at each run; "
        "weights: int8 weights, float arithmetic; none: float; auto tries them and chooses by "
        "measurement (default)",
    )
    add(
        "--max-drop",
        type=float,
        default=DEFAULT_MAX_DROP,
        metavar="SHARE",
        help="how much of the metric may be lost (default %(default)s); without labels, twice "
        "that share of the best classes may change, or 20 dB signal-to-noise must remain",
    )
    add(
        "--metric",
        metavar="MODULE:FUNCTION",
        help="of outputs and labels, larger is better (default: accuracy)",
    )
    add(
        "--expected-metric",
        type=float,
        metavar="VALUE",
        help="what Keras reached on the evaluation data; data that gives another is refused",
    )
    add(
        "--objective",
        choices=OBJECTIVES,
        default="balanced",
        help="what to weigh candidates by that keep the budget (default %(default)s)",
    )
    add(
        "--ranges",
        choices=RANGES,
        default="minmax",
        help="where the search for activation ranges begins (default %(default)s)",
    )
    add(
        "--keep-float",
        action="append",
        default=[],
        metavar="LAYER",
        help="a Keras layer, or a pattern such as 'block_1*', that stays in float; repeatable",
    )
    add(
        "--also",
        metavar="RECIPES",
        default="",
        help="further recipes to write beside the output, comma-separated, as OUT.RECIPE.onnx",
    )
    add(
        "--image-range",
        metavar="LOW,HIGH",
        default="0,255",
        help="the values that black and white pixels of image files become (default %(default)s)",
    )
    add(
        "--input-uint8",
        action="store_true",
        help="the artifact takes uint8 pixels; the data is of pixels then",
    )
    add(
        "--scale",
        metavar="NUMBERS",
        help="with --input-uint8: the model sees (pixel - mean) * scale; one number, or one a "
        "channel, fractions too: 1/255 (default 1: the model scales by itself)",
    )
    add("--mean", metavar="NUMBERS", help="see --scale (default 0)")
    add(
        "--target",
        choices=tuple(TARGETS),
        default="any",
        help="the devices' CPU family (default any: right on all of them)",
    )
    add(
        "--onnxruntime",
        default=ONNXRUNTIME_FLOOR,
        metavar="VERSION",
        help="the oldest onnxruntime on the devices (default %(default)s)",
    )
    add("--labels", metavar="NAMES", help="class names, comma-separated, or a file, one a line")
    add(
        "--custom-objects",
        metavar="FILE_OR_MODULE",
        help="Python code that defines the layers and functions that the model's file names",
    )
    add(
        "--allow-code",
        action="store_true",
        help="run Python code stored in the model's file, as Lambda layers have it",
    )
    add("--weights", metavar="FILE", help="the weights of a .json model")
    add("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    # A plain kill unwinds like any error, so that no temporary file is left beside the output.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    from edgeport_converter.progress import Screen

    screen = Screen(sys.stderr)
    # What the user's own layers print must not get into the result on stdout.
    with contextlib.redirect_stdout(sys.stderr):
        report = convert(
            options.model,
            options.output,
            calibration=options.calibration,
            evaluation=options.evaluation,
            quantize=options.quantize,
            max_drop=options.max_drop,
            metric=options.metric,
            expected_metric=options.expected_metric,
            target=options.target,
            ranges=options.ranges,
            keep_float=options.keep_float,
            objective=options.objective,
            also=[name for name in options.also.split(",") if name],
            image_range=_read_range(options.image_range),
            input_uint8=options.input_uint8,
            scale=_read_numbers("--scale", options.scale),
            mean=_read_numbers("--mean", options.mean),
            labels=None if options.labels is None else _read_labels(options.labels),
            onnxruntime=options.onnxruntime,
            custom_objects=options.custom_objects,
            allow_code=options.allow_code,
            weights=options.weights,
            on_stage=screen.stage,
        )
    screen.stage("done")
    if options.json:
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(report.to_text())


def _read_range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            f"--image-range is {text!r}, expected two numbers such as 0,1: black, then white"
        ) from None
    return low, high


def _read_numbers(option: str, text: str | None) -> float | list[float] | None:
    if text is None:
        return None
    try:
        numbers = [float(Fraction(part.strip())) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        raise OptionError(
            f"{option} is {text!r}, expected numbers such as 1/255 or 123.7,116.3,103.5: one, or "
            "one for each channel"
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers


def _read_labels(text: str) -> list[str]:
    path = Path(text)
    if path.is_file():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise OptionError(
                f"the labels file '{path}' is no UTF-8 text: save it as UTF-8, one name a line"
            ) from None
        return [line.strip() for line in lines if line.strip()]
    return [name.strip() for name in text.split(",")]
