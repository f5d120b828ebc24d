"""The `edgeport` command: its arguments, its errors and exit codes, and commands by entry point.

A command is a function that takes the sub-parsers and adds its own, with ``run`` set to a
function from the parsed arguments to nothing. The converter registers `convert` so, under the
entry point group ``edgeport.commands``; without it this module says what to install.

Results go to stdout, as text or with ``--json``; an error is one sentence on stderr, and the
exit code is the error class' own.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import edgeport
from edgeport.cli import actions, printing, reading, trial, tune, writing
from edgeport.errors import EdgeportError, InferenceError, OptionError
from edgeport.options import TUNING_SUFFIX
from edgeport.signals import reraise_signal

COMMAND_GROUP = "edgeport.commands"

_CONVERTER_COMMANDS = {
    "train": "train a model from a recipe",
    "convert": "convert a Keras model to an artifact",
    "report": "write what is known of an artifact into one HTML file",
    "page": "write a web page that runs an artifact in the browser",
    "bundle": "write an archive for a device without a network",
}

_FIRST_STEPS = """\
on the workstation:
  edgeport train --example photos > photos.toml
  edgeport train photos.toml -o photos.keras
  edgeport convert photos.keras
on the device:
  edgeport verify photos.onnx
  edgeport predict photos.onnx new/ --top-k 1

'edgeport COMMAND --help' lists the options of a command."""

Run = Callable[[argparse.Namespace], None]

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without this letter shows another
            stream.reconfigure(errors="replace")
    code = 0
    try:
        try:
            code = _run(arguments)
        finally:  # for --help, too, which leaves by SystemExit
            sys.stdout.flush()
    except BrokenPipeError as cause:  # `edgeport ... | head`: the reader left, which is no failure
        reraise_signal(cause)
        printing.drop(sys.stdout)
    except OSError as cause:  # files that fail are named where they are read and written
        reraise_signal(cause)
        reason = cause.strerror or cause
        printing.say(f"the results cannot be printed ({reason}): give stdout a place to go")
        printing.drop(sys.stdout)
        code = code or OptionError.exit_code
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        options = _parser(arguments[0] if arguments else "").parse_args(arguments)
        options.run(options)
    except EdgeportError as error:
        reraise_signal(error)
        printing.say(str(error))
        return error.exit_code
    except MemoryError as cause:  # of what a command makes or reads itself
        reraise_signal(cause)
        printing.say(f"there is not enough memory ({cause}): free some, or ask for less at a time")
        return InferenceError.exit_code
    except KeyboardInterrupt as stop:
        printing.say(str(stop) or "interrupted")
        return _INTERRUPTED
    return 0


def _open_missing_streams() -> None:
    """Occupy what the shell closed; else the next file that is opened takes the place of stdout.

    Results for a closed stdout fail, as on a full disk; errors for a closed stderr are lost.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError as cause:
            reraise_signal(cause)
            os.open(os.devnull, flags)  # takes the lowest number that is free: this one
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints cannot steer the terminal: a shell's ``*`` gives any file name."""

    def error(self, message: str) -> NoReturn:
        super().error(printing.escaped(message))


def _parser(wanted: str) -> argparse.ArgumentParser:
    """Return the parser, with other packages' commands only where none of ours is wanted."""
    parser = _Parser(
        prog="edgeport",
        description="Run converted Keras models on a device, and, with edgeport-converter, train\n"
        "and convert them on a workstation.",
        epilog=_FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgeport {edgeport.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        *(_add_info, _add_verify, _add_predict, _add_score, _add_explain),
        *(_add_bench, _add_tune, _add_warm, _add_sign),
    ):
        add(commands)
    # Looking for packages takes longer than a small run, and importlib.metadata loses what a
    # signal's handler raises meanwhile.
    if wanted in commands.choices:
        return parser
    for add_installed in _installed_commands():
        add_installed(commands)
    for name, purpose in _CONVERTER_COMMANDS.items():
        if name not in commands.choices:
            _add_refused(
                commands,
                name,
                f"{purpose} (needs edgeport-converter)",
                f"'edgeport {name}' belongs to the converter, which is not installed here: "
                "pip install edgeport-converter, on a workstation rather than on the device",
            )
    return parser


def _installed_commands() -> list[Callable[[Any], None]]:
    found = importlib.metadata.entry_points(group=COMMAND_GROUP)
    return [_load_command(entry) for entry in sorted(found, key=lambda entry: entry.name)]


def _load_command(entry: importlib.metadata.EntryPoint) -> Callable[[Any], None]:
    """Return what adds the command; where it does not load, one that says so when it is called."""
    try:
        add: Callable[[Any], None] = entry.load()
    except Exception as cause:  # another package's mistake must not take `verify` along
        reraise_signal(cause)
        reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
        sentence = (
            f"'edgeport {entry.name}' does not load ({reason}): install the package that brings "
            "it again"
        )
        return lambda commands: _add_refused(commands, entry.name, "does not load", sentence)
    return add


def _add_refused(commands: Any, name: str, purpose: str, sentence: str) -> None:
    """Add a command that says one thing, whatever follows its name, ``--help`` included."""

    def run(options: argparse.Namespace) -> None:
        raise OptionError(sentence)

    # No argument starts with NUL, so that none is taken for an option.
    parser = commands.add_parser(name, help=purpose, add_help=False, prefix_chars="\0")
    parser.add_argument("rest", nargs="*")
    parser.set_defaults(run=run)


def _add(commands: Any, name: str, purpose: str, run: Run) -> Callable[..., Any]:
    """Add a command on an artifact; return what adds its further arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=purpose, description=purpose)
    parser.add_argument("artifact", metavar="FILE", help="the .onnx artifact")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser.add_argument


def _add_info(commands: Any) -> None:
    add = _add(commands, "info", "show what an artifact says of itself", actions.info)
    checks = "run the checks of 'edgeport verify' too; without it, nothing is run"
    add("--verify", action="store_true", help=checks)
    _add_trust(add)


def _add_verify(commands: Any) -> None:
    purpose = "check an artifact on this device: bytes, seal, engine, golden samples"
    _add_trust(_add(commands, "verify", purpose, actions.verify))


def _add_trust(add: Callable[..., Any]) -> None:
    """Add what decides whether a file is trusted."""
    add("--public-key", metavar="KEY.pem", help="who must have signed it")
    add("--minimum-version", type=int, metavar="V", help="the lowest signed version to accept")
    unsealed = "accept a file without seal and card, for which nothing vouches"
    add("--allow-unsealed", action="store_true", help=unsealed)


def _add_predict(commands: Any) -> None:
    add = _add(
        commands, "predict", "run an artifact on files, or on a folder of photos", actions.predict
    )
    readable, writable = ", ".join(reading.READABLE), ", ".join(writing.WRITABLE)
    inputs = f"{readable}, or folders of images or recordings; several inputs in .npz or .jsonl"
    add("data", metavar="DATA", nargs="+", help=inputs)
    output = f"write the outputs there ({writable}) instead of printing them"
    add("-o", "--output", metavar="OUT", help=output)
    best = "print the names and scores of the K best classes of each sample"
    add("--top-k", type=int, metavar="K", help=best)
    add("--batch-size", type=int, metavar="N", help="how many samples a run takes (default 32)")
    add("--threads", type=int, metavar="T", help="how many threads a run may use")
    add("--finite", action="store_true", help="refuse NaN and infinity in inputs and outputs")


def _add_bench(commands: Any) -> None:
    add = _add(commands, "bench", "measure an artifact on this device", actions.bench)
    siblings = "its int8 siblings, with --layers, as 'edgeport convert --also' writes them"
    add("siblings", metavar="INT8", nargs="*", help=siblings)
    layers = (
        "how long each layer takes in FILE, in float, and in INT8, in the fastest of several, for "
        "'edgeport convert --layer-times'"
    )
    add("--layers", action="store_true", help=layers)
    add("-o", "--output", metavar="OUT", help="with --layers: the .json file to write")
    add("--threads", type=int, metavar="T", help="how many threads a run may use")
    add("--batch-sizes", type=int, nargs="+", metavar="N", help="samples a run (default: 1 8 64)")
    seconds = "how long to measure each size (default 1)"
    add("--seconds", type=float, default=1.0, metavar="S", help=seconds)
    trial.add_options(add)


def _add_sign(commands: Any) -> None:
    purpose = "sign an artifact, so that devices know its maker"
    add = _add(commands, "sign", purpose, actions.sign)
    add("--key", required=True, metavar="KEY.pem", help="a private key of Ed25519, in PEM form")
    growing = "a number that grows with each release; devices can refuse older ones"
    add("--version", type=int, required=True, metavar="V", help=growing)


def _add_warm(commands: Any) -> None:
    purpose = "keep the optimized graph in a folder, for faster loads"
    add = _add(commands, "warm", purpose, tune.run_warm)
    place = "the folder to keep it in, this user's own; Predictor.load(cache_dir=DIR) uses it"
    add("--cache-dir", required=True, metavar="DIR", help=place)
    trial.add_options(add)


def _add_tune(commands: Any) -> None:
    purpose = "find the fastest settings and file on this device"
    add = _add(commands, "tune", purpose, tune.run_tune)
    variants = "variants of it to measure, too, as 'edgeport convert --also' writes them"
    add("variants", metavar="VARIANT", nargs="*", help=variants)
    add("-o", "--output", metavar="OUT", help=f"instead of FILE{TUNING_SUFFIX}")
    gap = "pause for so many milliseconds before each call, as a camera does"
    add("--frame-gap", type=float, default=0.0, metavar="MS", help=gap)
    spin = "let threads wait busily: sooner answers, at the cost of CPU time in every pause"
    add("--allow-spinning", action="store_true", help=spin)
    seconds = "how long to measure each setting (default 1)"
    add("--seconds", type=float, default=1.0, metavar="S", help=seconds)
    trial.add_options(add)


def _add_explain(commands: Any) -> None:
    purpose = "show which parts of an input carried the answer"
    add = _add(commands, "explain", purpose, actions.explain)
    add("data", metavar="DATA", help="a picture, a recording, an array, or the rows of a table")
    output = "write the heat there: .png drawn over the data, .npy the numbers; may be repeated"
    add("-o", "--output", metavar="OUT", action="append", help=output)
    add("--class", metavar="NAME", dest="class_name", help="explain its score, not the best one's")
    add("--sample", type=int, metavar="I", help="which sample or window of the data, from 0")
    add("--patch", metavar="P", help="size of what is hidden, such as 16 or 8x12, in pixels or T")
    add("--stride", metavar="S", help="from one patch to the next (default: half a patch)")
    baseline = "what stands in a patch: mean (default), gray, blur or a number"
    add("--baseline", metavar="B", help=baseline)
    add("--picture", metavar="HxW", help="the features of a sample are a picture of this size")
    labels = "the table's column of labels (default: y or label)"
    add("--label-column", metavar="NAME", help=labels)
    add("--repeats", type=int, metavar="R", help="how often each column is shuffled (default 10)")
    add("--seed", type=int, metavar="S", help="of the shuffles (default 0)")
    add("--threads", type=int, metavar="T", help="how many threads a run may use")


def _add_score(commands: Any) -> None:
    purpose = "score millions of rows into Parquet files, each row once"
    parser = commands.add_parser("score", help=purpose, description=purpose)
    add = parser.add_argument
    kinds = "Parquet, csv, jsonl, npy, npz, images: files, folders, patterns, s3://... addresses"
    add("inputs", metavar="INPUT", nargs="+", help=kinds)
    add("--model", required=True, metavar="FILE", help="the .onnx artifact")
    out = "the folder for scores, rejected rows and the manifest; run again, it goes on"
    add("-o", "--output", required=True, metavar="OUT", help=out)
    engine = "local: all CPUs of this machine; ray: a Ray cluster that shares OUT and INPUT"
    add("--engine", choices=("local", "ray"), default="local", help=engine)
    columns = (
        "the columns that fill the model's input, in its order; by default those of its names, "
        "and of csv all, by their place, unless the artifact names its columns"
    )
    add("--columns", nargs="+", default=(), metavar="NAME", help=columns)
    keys = "columns to copy to the output, beside file and row"
    add("--keys", nargs="+", default=(), metavar="NAME", help=keys)
    add("--top-k", type=int, default=1, metavar="K", help="labels of each row, by default 1")
    add("--batch-size", type=int, metavar="N", help="rows of a call, by default the model's")
    add("--part-size", default="64M", metavar="BYTES", help="input of a part, by default 64M")
    add("--workers", type=int, metavar="W", help="processes, by default one for each CPU")
    add("--max-rejected", type=int, metavar="N", help="stop when more rows are rejected")
    verify = "read everything again and prove that each row is there once"
    add("--verify", action="store_true", help=verify)
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=actions.score)
