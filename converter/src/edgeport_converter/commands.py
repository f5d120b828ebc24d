"""`edgeport convert`, registered with the runtime's command by entry point.

Progress goes to stderr, a line a stage; the result goes to stdout, as text or with ``--json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeport import OptionError
from edgeport_converter.budget import DEFAULT_MAX_DROP
from edgeport_converter.pipeline import RECIPES, ConversionReport, convert
from edgeport_converter.targets import ONNXRUNTIME_FLOOR, TARGETS


def add_convert(commands: Any) -> None:
    """Add the command to the sub-parsers of `edgeport`."""
    parser = commands.add_parser(
        "convert",
        help="convert a Keras model to an artifact",
        description="Convert a Keras model to an ONNX artifact that has been proven against it.",
    )
    parser.add_argument("model", metavar="MODEL", help="a .keras or .h5 file")
    parser.add_argument(
        "-o", "--output", metavar="OUT.onnx", required=True,
        help="the artifact; replaced only when every stage held",
    )  # fmt: skip
    parser.add_argument(
        "--calibration", metavar="DATA",
        help="data like the device's, for int8: .npy, or .npz with one array for each input name "
        "(x for a single input)",
    )  # fmt: skip
    parser.add_argument(
        "--evaluation", metavar="DATA", help=".npz with inputs as above and labels y"
    )
    parser.add_argument(
        "--quantize", choices=RECIPES, default="auto",
        help="static: int8 weights and activations; none: float; auto chooses (default)",
    )  # fmt: skip
    parser.add_argument(
        "--max-drop", type=float, default=DEFAULT_MAX_DROP, metavar="SHARE",
        help="accuracy that int8 may lose on the evaluation data (default %(default)s); without "
        "labels, 1 %% of the best classes may change, or 20 dB signal-to-noise must remain",
    )  # fmt: skip
    parser.add_argument(
        "--target", choices=tuple(TARGETS), default="any",
        help="the devices' CPU family (default any: right on all of them)",
    )  # fmt: skip
    parser.add_argument(
        "--onnxruntime", default=ONNXRUNTIME_FLOOR, metavar="VERSION",
        help="the oldest onnxruntime on the devices (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--labels", metavar="NAMES", help="class names, comma-separated, or a file, one a line"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    started = time.monotonic()

    def say(stage: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {stage}", file=sys.stderr, flush=True)

    report = convert(
        options.model,
        options.output,
        calibration=options.calibration,
        evaluation=options.evaluation,
        quantize=options.quantize,
        max_drop=options.max_drop,
        target=options.target,
        onnxruntime=options.onnxruntime,
        labels=None if options.labels is None else _read_labels(options.labels),
        on_stage=say,
    )
    say("done")
    if options.json:
        print(json.dumps(as_json(report), indent=2, ensure_ascii=False))
    else:
        _print_report(report)


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


def as_json(report: ConversionReport) -> dict[str, Any]:
    """Return the report as JSON-ready data."""
    return {
        "output": str(report.output),
        "file_bytes": report.file_bytes,
        "float_bytes": report.float_bytes,
        "recipe": report.recipe,
        "parity": asdict(report.parity),
        "agreement": None if report.agreement is None else asdict(report.agreement),
        "accuracy": None if report.accuracy is None else asdict(report.accuracy),
        "stages": list(report.stages),
        "card": report.card.to_dict() | {"sha256": report.card.sha256},
    }


def _print_report(report: ConversionReport) -> None:
    print(f"artifact   {report.output}: {report.file_bytes:,} bytes, recipe {report.recipe}")
    print(f"float      {report.float_bytes:,} bytes")
    parity = report.parity
    print(
        f"parity     {parity.samples} samples, largest difference from Keras "
        f"{parity.largest_difference:.2g} in '{parity.output}'"
    )
    agreement = report.agreement
    if agreement:
        top_1 = "" if agreement.top_1 is None else f"best class equal for {agreement.top_1:.2%}, "
        print(
            f"agreement  {top_1}{agreement.signal_to_noise_db:.1f} dB with float "
            f"on {agreement.samples:,} samples"
        )
    accuracy = report.accuracy
    if accuracy:
        print(
            f"accuracy   {accuracy.artifact:.4f} (Keras {accuracy.keras:.4f}, float ONNX "
            f"{accuracy.float32:.4f}) on {accuracy.samples:,} samples"
        )
