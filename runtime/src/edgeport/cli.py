"""The `edgeport` command: info, verify, predict, bench, sign; others come by entry point.

A command is a function that takes the sub-parsers and adds its own, with ``run`` set to a
function from the parsed arguments to nothing. The converter registers `convert` so, under the
entry point group ``edgeport.commands``; without it this module says what to install.

Results go to stdout, as text or with ``--json``; an error is one sentence on stderr, and the
exit code is the error class' own.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import edgeport
from edgeport import datafiles, host
from edgeport._session import engine_version
from edgeport.errors import EdgeportError, OptionError
from edgeport.predictor import Predictor
from edgeport.showing import print_answer, print_card, print_labels, with_progress
from edgeport.signing import sign

COMMAND_GROUP = "edgeport.commands"

_CONVERTER_COMMANDS = {"convert": "convert a Keras model to an artifact"}

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="edgeport", description="Run converted Keras models on a device."
    )
    parser.add_argument("--version", action="version", version=f"edgeport {edgeport.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_info, _add_verify, _add_predict, _add_bench, _add_sign):
        add(commands)
    for add_installed in _installed_commands():
        add_installed(commands)
    for name in _CONVERTER_COMMANDS.keys() - commands.choices.keys():
        _add_missing(commands, name)
    try:
        options = parser.parse_args(arguments)
        options.run(options)
        sys.stdout.flush()
    except EdgeportError as error:
        print(f"edgeport: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # `edgeport ... | head`: the reader left, which is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("edgeport: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _installed_commands() -> list[Callable[[Any], None]]:
    found = importlib.metadata.entry_points(group=COMMAND_GROUP)
    return [_load_command(entry) for entry in sorted(found, key=lambda entry: entry.name)]


def _load_command(entry: importlib.metadata.EntryPoint) -> Callable[[Any], None]:
    """Return what adds the command; where it does not load, one that says so when it is called."""
    try:
        add: Callable[[Any], None] = entry.load()
    except Exception as cause:  # another package's mistake must not take `verify` along
        reason = f"{type(cause).__name__}: {cause}".splitlines()[0]

        def add(commands: Any) -> None:
            def run(options: argparse.Namespace) -> None:
                raise OptionError(
                    f"'edgeport {entry.name}' does not load ({reason}): install the package that "
                    "brings it again"
                )

            parser = commands.add_parser(entry.name, help="does not load", add_help=False)
            parser.add_argument("rest", nargs=argparse.REMAINDER)
            parser.set_defaults(run=run)

    return add


def _add_missing(commands: Any, name: str) -> None:
    parser = commands.add_parser(
        name, help=f"{_CONVERTER_COMMANDS[name]} (needs edgeport-converter)", add_help=False
    )

    def run(options: argparse.Namespace) -> None:
        raise OptionError(
            f"'edgeport {name}' belongs to the converter, which is not installed here: "
            "pip install edgeport-converter, on a workstation rather than on the device"
        )

    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


def _add_artifact(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", metavar="FILE", help="the .onnx artifact")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_info(commands: Any) -> None:
    parser = commands.add_parser("info", help="show what an artifact says of itself")
    _add_artifact(parser)
    parser.set_defaults(run=_info)


def _add_verify(commands: Any) -> None:
    parser = commands.add_parser(
        "verify", help="check an artifact on this device: bytes, seal, engine, golden samples"
    )
    _add_artifact(parser)
    parser.add_argument("--public-key", metavar="KEY.pem", help="who must have signed it")
    parser.add_argument(
        "--minimum-version", type=int, metavar="V", help="the lowest signed version to accept"
    )
    parser.set_defaults(run=_verify)


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser("predict", help="run an artifact on data files")
    _add_artifact(parser)
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        help=f"{', '.join(datafiles.READABLE)}; several inputs by name in .npz or .jsonl",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help=f"write the outputs there ({', '.join(datafiles.WRITABLE)}) instead of printing them",
    )
    parser.add_argument(
        "--top-k", type=int, metavar="K", help="print the K best classes of each sample"
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="samples a run")
    parser.add_argument("--threads", type=int, metavar="T", help="threads a run may use")
    parser.add_argument(
        "--finite", action="store_true", help="refuse NaN and infinity in inputs and outputs"
    )
    parser.set_defaults(run=_predict)


def _add_bench(commands: Any) -> None:
    parser = commands.add_parser("bench", help="measure an artifact on this device")
    _add_artifact(parser)
    parser.add_argument("--threads", type=int, metavar="T", help="threads a run may use")
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", default=[1, 8, 64], metavar="N", help="1 8 64"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, metavar="S", help="how long for each size"
    )
    parser.set_defaults(run=_bench)


def _add_sign(commands: Any) -> None:
    parser = commands.add_parser("sign", help="sign an artifact, so that devices know its maker")
    _add_artifact(parser)
    parser.add_argument(
        "--key", required=True, metavar="KEY.pem", help="a private key of Ed25519, in PEM form"
    )
    parser.add_argument(
        "--version",
        type=int,
        required=True,
        metavar="V",
        help="a number that grows with each release; devices can refuse older ones",
    )
    parser.set_defaults(run=_sign)


def _info(options: argparse.Namespace) -> None:
    with Predictor.load(options.artifact) as predictor:
        card = predictor.card
        device = {
            "onnxruntime": engine_version(),
            "usable_cpus": host.usable_cpus(),
            "threads": predictor.threads,
        }
    facts = {
        "file": options.artifact,
        "file_bytes": Path(options.artifact).stat().st_size,
        "sha256": card.sha256,
        "vouched_for": card.is_vouched_for,
        **card.to_dict(),
        "device": device,
    }
    if options.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    print_card(card, facts)
    print(
        f"device       onnxruntime {device['onnxruntime']}, {device['usable_cpus']} usable CPUs, "
        f"{device['threads']} thread(s) for this model"
    )


def _verify(options: argparse.Namespace) -> None:
    with Predictor.load(
        options.artifact,
        public_key=options.public_key,
        minimum_version=options.minimum_version,
    ) as predictor:
        card = predictor.card
        version = predictor.version
    checks = {
        "file": options.artifact,
        "seal": "matches" if card.is_vouched_for else "absent: nothing vouches for this file",
        "sha256": card.sha256,
        "signature": "not asked for" if version is None else f"version {version}",
        "engine": f"onnxruntime {engine_version()} loads it",
        "golden_samples": len(card.golden_samples),
    }
    if options.json:
        print(json.dumps(checks, indent=2, ensure_ascii=False))
        return
    print(f"seal            {checks['seal']}")
    print(f"signature       {checks['signature']}")
    print(f"engine          {checks['engine']}")
    print(f"golden samples  {len(card.golden_samples)} within tolerance")


def _predict(options: argparse.Namespace) -> None:
    if options.top_k is not None and options.output:
        raise OptionError("--top-k prints classes and --output writes arrays: choose one")
    with Predictor.load(
        options.artifact, threads=options.threads, finite=options.finite
    ) as predictor:
        names = [spec.name for spec in predictor.card.outputs]
        samples = datafiles.read_samples(options.data, predictor.card)
        items = with_progress(samples.items, samples.total)
        if options.top_k is not None:
            for item in items:
                values = item if isinstance(item, tuple) else (item,)
                print_labels(predictor.classify(*values, top_k=options.top_k), options.json)
        else:
            answers = (
                answer if isinstance(answer, dict) else {names[0]: answer}
                for answer in predictor.stream(items, batch_size=options.batch_size)
            )
            if options.output:
                datafiles.write_outputs(options.output, answers, names)
            else:
                for answer in answers:
                    print_answer(answer, options.json)
        outside = {name: count for name, count in predictor.out_of_range.items() if count}
    for name, count in outside.items():
        print(
            f"edgeport: warning: {count} values of input '{name}' lie outside the range that the "
            "model was calibrated for: check their scale",
            file=sys.stderr,
        )


def _bench(options: argparse.Namespace) -> None:
    from edgeport.benching import bench  # it alone needs subprocess

    wrong = [size for size in options.batch_sizes if size < 1]
    if wrong or not options.seconds > 0:
        raise OptionError(
            f"--batch-sizes {wrong or options.batch_sizes} and --seconds {options.seconds}, "
            "expected sizes of at least 1 and a time above 0: pass others"
        )
    figures = bench(
        options.artifact,
        threads=options.threads,
        batch_sizes=options.batch_sizes,
        seconds=options.seconds,
    )
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"threads      {figures['threads']} of {figures['usable_cpus']} usable CPUs")
    print(f"cold start   {figures['cold_start_ms']:.0f} ms, a fresh process to its first answer")
    print(f"load         {figures['load_ms']:.1f} ms")
    print(
        f"one sample   p50 {figures['p50_ms'] * 1e3:.1f} us, p95 {figures['p95_ms'] * 1e3:.1f} us, "
        f"p99 {figures['p99_ms'] * 1e3:.1f} us"
    )
    for size, rate in figures["samples_per_second"].items():
        print(f"batch {size:<6} {rate:,.0f} samples a second")
    if figures["memory_bytes"] is not None:
        print(f"memory       {figures['memory_bytes'] / 2**20:.1f} MiB")


def _sign(options: argparse.Namespace) -> None:
    digest = sign(options.artifact, options.key, options.version)
    if options.json:
        print(json.dumps({"file": options.artifact, "version": options.version, "sha256": digest}))
    else:
        print(f"signed version {options.version}, sha256 {digest}")


if __name__ == "__main__":
    sys.exit(main())
