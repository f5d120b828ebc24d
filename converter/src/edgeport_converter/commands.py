"""The command `edgeport convert`, which the runtime's command finds by its entry point.

Its options are the fields of the records in ``options``. Progress goes to stderr, as bars on a
terminal; the result goes to stdout, as text or with ``--json``. After Ctrl-C in the search the best
candidate is written and the exit code is 130, as shells have it for SIGINT.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from edgeport import ArtifactError, EdgeportError, OptionError
from edgeport_converter.option_texts import read_lines
from edgeport_converter.options import RECORDS, Finetune, gather_options
from edgeport_converter.paths import DATA_FILES, find_destination
from edgeport_converter.pipeline import convert
from edgeport_converter.quiet import stdout_on_stderr

_EXAMPLES = """\
examples:
  edgeport convert model.keras
  edgeport convert model.keras -o model.onnx --calibration train.npz --evaluation test.npz
  edgeport convert model.keras -o model.onnx --frames keras --calibration photos/ \\
      --evaluation test/
  edgeport convert model.keras -o model.onnx --calibration rows.csv --label-column price

Arrays of a .npz file are named x and y, or as the model's inputs; a folder of photos has a folder
for each class. The README of edgeport-converter explains every option."""

_UNTOLD = (None, False, ())  # defaults that say nothing, or that the help says itself


def add_convert(commands: Any) -> None:
    """Add the command to the sub-parsers of `edgeport`."""
    parser = commands.add_parser(
        "convert",
        help="convert a Keras model to an artifact",
        description="Convert a Keras model to an ONNX artifact that has been proven against it.\n"
        "With --calibration it is in int8 where that is smaller or faster and loses no more than\n"
        "--max-drop, else in float.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
        help="the artifact; replaced only when every stage held (default: MODEL.onnx)",
    )
    add(
        "--calibration",
        metavar="DATA",
        help=f"data like the device's: {DATA_FILES}, with --signal also of "
        ".wav files; a .npz has one array for each input name (x for a single input) (default: "
        "data and labels of MODEL.run, which 'edgeport train' wrote)",
    )
    add(
        "--evaluation",
        metavar="DATA",
        help="data that the loss is measured on, in the same forms; with labels y, or in a folder "
        "for each class, the metric is measured",
    )
    add(
        "--labels",
        metavar="NAMES",
        help="class names, comma-separated, or a file, one a line (default: the folders of the "
        "evaluation data)",
    )
    add(
        "--report",
        metavar="FILE.html",
        help="write the evidence into one HTML file, too (needs edgeport-converter[report])",
    )
    for name, record in RECORDS.items():
        group = parser.add_argument_group(name)
        for option in fields(record):
            _add_option(group, option)
    group = parser.add_argument_group("finetune")
    for option in fields(Finetune):
        _add_option(group, option, f"finetune_{option.name}")
    add("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    # A plain kill unwinds like any error, so that no temporary file is left beside the output.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    from edgeport_converter.loading.formats import require_model
    from edgeport_converter.reporting.page import find_page
    from edgeport_converter.screen import Screen

    _require_files(options)
    output = _default_output(options.model) if options.output is None else options.output
    given = _given(options)
    with stdout_on_stderr(), _ways_out_in_options(), Screen(sys.stderr) as screen:
        gathered = gather_options(dict.fromkeys(RECORDS), given)
        require_model(options.model)
        # convert() knows the class names, not the file that they come from.
        also, names = gathered.quantization.also, _labels_file(options.labels)
        find_destination(output, (names,), also)
        if options.report is not None:
            find_page(options.report, (names,))
        report = convert(
            options.model,
            output,
            calibration=options.calibration,
            evaluation=options.evaluation,
            labels=None if options.labels is None else _read_labels(options.labels),
            report=options.report,
            progress=screen,
            finetune=_finetune(options),
            **given,
        )
        screen.finish()
    if options.json:
        text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    else:
        text = report.to_text()
    print(text, flush=True)
    if report.interrupted:
        raise KeyboardInterrupt("interrupted: the best candidate so far was written")


def _default_output(model: str) -> Path:
    """Return the model's name with ``.onnx``, beside it; a function's name, in this folder."""
    path = Path(model)
    if _is_function(model):
        return Path(f"{path.name.rpartition(':')[2]}.onnx")
    return path.with_name(f"{path.name}.onnx") if path.is_dir() else path.with_suffix(".onnx")


def _is_function(model: str) -> bool:
    return ":" in Path(model).name and not Path(model).exists()


def _require_files(options: argparse.Namespace) -> None:
    """Refuse missing files at once, since TensorFlow takes seconds to start."""
    paths = {
        "model": None if _is_function(options.model) else options.model,
        "calibration": options.calibration,
        "evaluation": options.evaluation,
        "finetune": getattr(options, "finetune_data", None),
        "weights": getattr(options, "weights", None),
    }
    for purpose, path in paths.items():
        if path is not None and not Path(path).exists():
            raise ArtifactError(f"there is no {purpose} file '{path}': check the path", path=path)


@contextlib.contextmanager
def _ways_out_in_options() -> Iterator[None]:
    """Write the options that an error's sentence names as on the command line."""
    try:
        yield
    except EdgeportError as error:
        error.args = (_as_on_the_command_line(str(error)), *error.args[1:])
        raise


def _as_on_the_command_line(sentence: str) -> str:
    """Return the sentence with ``name=value`` as ``--name value``, and ``two_words`` as options."""
    for record in RECORDS.values():
        for option in fields(record):
            if "frames" not in sentence or option.name not in ("scale", "mean"):  # theirs, too
                sentence = _say_option(sentence, option.name)
    for name in ("calibration", "evaluation", "labels"):
        sentence = _say_option(sentence, name, only_assigned=True)
    return sentence


def _say_option(sentence: str, name: str, *, only_assigned: bool = False) -> str:
    flag = "--" + name.replace("_", "-")
    value = r"=(?:'(?P<word>[^']*)'|\([^)]*\)|\[(?P<words>[^\]]*)\]|\{[^}]*\}|True)?"

    def as_option(found: re.Match[str]) -> str:
        words = (found["word"] or found["words"] or "").replace("'", "").replace(", ", ",")
        return f"{flag} {words}" if words.strip(".…") else flag

    sentence = re.sub(rf"(?<![\w-]){name}{value}", as_option, sentence)
    if "_" in name and not only_assigned:
        sentence = re.sub(rf"(?<![\w-]){name}(?!\w)", flag, sentence)
    return sentence.replace(f"{flag}, or {flag}", flag)  # a sentence that named both


def _add_option(group: Any, option: Field[Any], name: str | None = None) -> None:
    """Add a field of an option record, as its metadata says; unless given, it is not set."""
    look = option.metadata
    default = f" (default {_in_words(option.default)})" if option.default not in _UNTOLD else ""
    purpose = (look["purpose"] + default).replace("%", "%%")  # which argparse would format
    shown: dict[str, Any] = {
        "help": purpose,
        "default": argparse.SUPPRESS,
        "dest": name or option.name,
    }
    if option.default is False:
        shown["action"] = "store_true"
    else:
        shown |= {"metavar": look.get("metavar"), "choices": look.get("choices")}
        shown["action"] = "append" if look.get("repeatable") else "store"
    group.add_argument(_flag(option), **shown)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given, by the names of the records' fields."""
    values = {}
    for option in (option for record in RECORDS.values() for option in fields(record)):
        if hasattr(options, option.name):
            value, read = getattr(options, option.name), option.metadata.get("read")
            values[option.name] = read(_flag(option), value) if read else value
    return values


def _finetune(options: argparse.Namespace) -> Finetune | None:
    """Return the record of `--finetune` and the options beside it, None without any."""
    values = {}
    for option in fields(Finetune):
        name = f"finetune_{option.name}"
        if hasattr(options, name):
            value, read = getattr(options, name), option.metadata.get("read")
            values[option.name] = read(_flag(option), value) if read else value
    if values and "data" not in values:
        first = next(option for option in fields(Finetune) if option.name in values)
        raise OptionError(
            f"{_flag(first)} was given without --finetune, expected the data to train on: pass "
            f"--finetune, or leave {_flag(first)} out"
        )
    return Finetune(**values) if values else None


def _flag(option: Field[Any]) -> str:
    flag: str = option.metadata.get("flag", "--" + option.name.replace("_", "-"))
    return flag


def _in_words(default: Any) -> str:
    return ",".join(f"{value:g}" for value in default) if isinstance(default, tuple) else default


def _labels_file(text: str | None) -> Path | None:
    """Return the path if there is a file of that name; None for a list of names, or no text."""
    try:
        return Path(text) if text is not None and Path(text).is_file() else None
    except (OSError, ValueError):  # a list may be longer than any file name
        return None


def _read_labels(text: str) -> list[str]:
    """Return class names from a comma-separated list, or from a file with one a line."""
    path = _labels_file(text)
    if path is not None:
        return read_lines(path, f"the labels file '{path}'")
    path = Path(text)
    if "," not in text and (path.suffix or path.name != text):
        raise ArtifactError(f"there is no labels file '{text}': check the path", path=text)
    return [name.strip() for name in text.split(",")]
