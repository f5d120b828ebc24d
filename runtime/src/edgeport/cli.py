"""The `edgeport` command: info, verify, predict; further commands come by entry point.

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

import numpy as np

import edgeport
from edgeport import host
from edgeport._session import engine_version
from edgeport.card import ModelCard, format_shape
from edgeport.errors import EdgeportError, InputError, OptionError
from edgeport.predictor import Label, Predictor

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
    for add in (_add_info, _add_verify, _add_predict, *_installed_commands()):
        add(commands)
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
    return [entry.load() for entry in sorted(found, key=lambda entry: entry.name)]


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
    parser.set_defaults(run=_verify)


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser("predict", help="run an artifact on a .npy or .npz file")
    _add_artifact(parser)
    parser.add_argument(
        "data", metavar="DATA", help=".npy for one input; .npz with one array for each input name"
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT.npz", help="write the outputs there instead of printing them"
    )
    parser.add_argument(
        "--top-k", type=int, metavar="K", help="print the K best classes of each sample"
    )
    parser.set_defaults(run=_predict)


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
    _print_card(card, facts)
    print(
        f"device       onnxruntime {device['onnxruntime']}, {device['usable_cpus']} usable CPUs, "
        f"{device['threads']} thread(s) for this model"
    )


def _print_card(card: ModelCard, facts: dict[str, Any]) -> None:
    print(f"name         {card.name}")
    print(f"file         {facts['file_bytes']:,} bytes")
    print(f"sha256       {card.sha256 or 'no card: nothing vouches for this file'}")
    for title, specs in (("input", card.inputs), ("output", card.outputs)):
        for spec in specs:
            values = spec.value_range
            limits = f", values {values[0]:g} to {values[1]:g}" if values else ""
            print(f"{title:<12} {spec.name}: {spec.dtype} {format_shape(spec.shape)}{limits}")
    if card.labels:
        print(f"labels       {', '.join(card.labels)}")
    if card.quantization:
        parts = card.quantization
        print(
            f"quantization {parts.recipe} for target {parts.target}: "
            f"weights {parts.weights}, activations {parts.activations}"
        )
        for layer, reason in parts.float_layers.items():
            print(f"in float     {layer}: {reason}")
    if card.accuracy:
        seen = card.accuracy
        print(
            f"{seen.metric:<12} {seen.artifact:.4f} (Keras {seen.keras:.4f}, float ONNX "
            f"{seen.float32:.4f}) on {seen.samples:,} samples"
        )
    if card.requires:
        print(
            f"requires     onnxruntime {card.requires.onnxruntime} or newer "
            f"(opset {card.requires.opset}, IR {card.requires.ir_version})"
        )
    for key, value in card.provenance.items():
        print(f"{key:<12} {value}")


def _verify(options: argparse.Namespace) -> None:
    with Predictor.load(options.artifact) as predictor:
        card = predictor.card
    checks = {
        "file": options.artifact,
        "seal": "matches" if card.is_vouched_for else "absent: nothing vouches for this file",
        "sha256": card.sha256,
        "engine": f"onnxruntime {engine_version()} loads it",
        "golden_samples": len(card.golden_samples),
    }
    if options.json:
        print(json.dumps(checks, indent=2, ensure_ascii=False))
        return
    print(f"seal            {checks['seal']}")
    print(f"engine          {checks['engine']}")
    print(f"golden samples  {len(card.golden_samples)} within tolerance")


def _predict(options: argparse.Namespace) -> None:
    with Predictor.load(options.artifact) as predictor:
        data = _read_data(options.data)
        if options.top_k is not None:
            if options.output:
                raise OptionError("--top-k prints classes and --output writes arrays: choose one")
            _print_labels(predictor.classify(data, top_k=options.top_k), as_json=options.json)
            return
        answer = predictor.predict(data)
        names = [spec.name for spec in predictor.card.outputs]
    outputs = answer if isinstance(answer, dict) else {names[0]: answer}
    if options.output:
        _write_outputs(options.output, outputs)
    elif options.json:
        print(json.dumps({name: array.tolist() for name, array in outputs.items()}))
    else:
        for name, array in outputs.items():
            print(f"{name} {array.dtype} {format_shape(array.shape)}")
            print(np.array2string(array, threshold=200, precision=6, suppress_small=True))


def _read_data(path: str) -> Any:
    """Return the array of a .npy file, or the arrays of a .npz file by name."""
    try:
        data = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"there is no file '{path}': pass a .npy or .npz file") from None
    except Exception as cause:
        raise InputError(
            f"'{path}' cannot be read as .npy or .npz ({cause}): save it with numpy.save"
        ) from cause
    if isinstance(data, np.ndarray):
        return data
    with data:
        arrays = {name: data[name] for name in data.files}
    # A file with one array needs no name: numpy itself calls it arr_0.
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _write_outputs(path: str, outputs: dict[str, Any]) -> None:
    if not path.endswith(".npz"):
        raise OptionError(f"the output is '{path}', expected a name that ends in .npz: rename it")
    try:
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **outputs)
    except OSError as cause:
        raise OptionError(
            f"'{path}' cannot be written ({cause.strerror}): choose another place"
        ) from cause


def _print_labels(labels: list[Label] | list[list[Label]], *, as_json: bool) -> None:
    rows: list[Any] = [labels] if labels and isinstance(labels[0], Label) else list(labels)
    for row in rows:
        if as_json:
            print(json.dumps([label._asdict() for label in row], ensure_ascii=False))
        else:
            print("  ".join(f"{label.name} {label.score:.4f}" for label in row))


if __name__ == "__main__":
    sys.exit(main())
