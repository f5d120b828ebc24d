"""The commands that fit an artifact to the device it lies on: warm and tune."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from edgeport.errors import EdgeportError, OptionError
from edgeport.options import TUNING_SUFFIX, absolute
from edgeport.predictor import Predictor
from edgeport.probing import example

SECONDS = (0.001, 3600.0)
"""How long a measurement of one thing may take, at least and at most."""


def within(value: float, name: str, lowest: float, highest: float) -> None:
    """Refuse a number beyond its limits, or none at all, by an OptionError."""
    if not lowest <= value <= highest:
        raise OptionError(f"{name} is {value}, expected {lowest:g} to {highest:g}: pass another")


def add_warm(commands: Any) -> None:
    """Add the command that keeps the optimized graph."""
    add = _add(commands, "warm", "keep the optimized graph for faster loads", _warm)
    place = "the folder to keep it in, this user's own; Predictor.load(cache_dir=DIR) uses it"
    add("--cache-dir", required=True, metavar="DIR", help=place)


def add_tune(commands: Any) -> None:
    """Add the command that finds the fastest settings."""
    add = _add(commands, "tune", "find the fastest settings on this device", _tune)
    siblings = "further forms of it to try, as 'edgeport convert --also' writes them"
    add("siblings", metavar="SIBLING", nargs="*", help=siblings)
    add("-o", "--output", metavar="OUT", help=f"instead of FILE{TUNING_SUFFIX}")
    gap = "pause so long before each call, as the device's own work does"
    add("--frame-gap", type=float, default=0.0, metavar="MS", help=gap)
    spin = "let threads wait busily: sooner answers, at the cost of CPU time in every pause"
    add("--allow-spinning", action="store_true", help=spin)
    add("--seconds", type=float, default=1.0, metavar="S", help="how long for each setting")


def _add(commands: Any, name: str, purpose: str, run: Any) -> Any:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=purpose, description=purpose)
    parser.add_argument("artifact", metavar="FILE", help="the .onnx artifact")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser.add_argument


class _Complaints(logging.Handler):
    """What the library logs, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _warm(options: argparse.Namespace) -> None:
    from edgeport import caching

    path, folder = options.artifact, absolute(options.cache_dir, "--cache-dir")
    complaints, logger = _Complaints(), logging.getLogger("edgeport")
    logger.addHandler(complaints)
    try:
        with Predictor.load(path, cache_dir=folder) as predictor:
            choice, digest = predictor.tuning, predictor.card.sha256
        level = choice.optimization if choice else "all"
        digest = digest or hashlib.sha256(Path(path).read_bytes()).hexdigest()
        kept = caching.path_of(folder, caching.key(digest, level))
        without = _times(path, None)
        complaints.lines, earlier = [], complaints.lines
        with_kept = _times(path, folder)
    finally:
        logger.removeHandler(complaints)
    before, now = (
        [line for line in lines if f"'{folder}'" in line or f"'{kept}'" in line]
        for lines in (earlier, complaints.lines)
    )
    if now or not os.path.isfile(kept):  # noqa: PTH113 - pathlib fails in what others own
        reason = (before + now or ["models with weights in other files have none"])[-1]
        raise OptionError(
            f"nothing is kept for '{path}', since {reason}: load it without cache_dir, or choose "
            "another folder"
        )
    facts = {
        "file": path,
        "kept": kept,
        "kept_bytes": Path(kept).stat().st_size,
        "load_ms": without[0],
        "load_kept_ms": with_kept[0],
        "first_answer_ms": without[1],
        "first_answer_kept_ms": with_kept[1],
    }
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        print(f"kept         {kept}, {facts['kept_bytes']:,} bytes")
        for what, kept_ms, ms in zip(("load", "answer"), with_kept, without, strict=True):
            print(f"{what:<12} {kept_ms:.1f} ms, without {ms:.1f} ms")


def _times(path: str, folder: str | None) -> tuple[float, float]:
    """Return the milliseconds until the model is loaded, and until its first answer."""
    loads, answers = [], []
    for _ in range(5):
        started = time.perf_counter()
        with Predictor.load(path, cache_dir=folder) as predictor:
            loads.append((time.perf_counter() - started) * 1e3)
            card = predictor.card
            known = [sample.inputs for sample in card.golden_samples]
            with contextlib.suppress(EdgeportError):  # it need not take what is made up
                predictor.predict((known or [example(card.inputs, 1)])[0])
            answers.append((time.perf_counter() - started) * 1e3)
    return min(loads), min(answers)


def _tune(options: argparse.Namespace) -> None:
    from edgeport.files import replacing
    from edgeport.tuner import tune

    within(options.frame_gap, "--frame-gap", 0, 60_000)
    within(options.seconds, "--seconds", *SECONDS)
    output = options.output or options.artifact + TUNING_SUFFIX
    for path in (options.artifact, *options.siblings):
        if Path(path).resolve() == Path(output).resolve():
            raise OptionError(f"--output is '{output}', which is also what is read: name another")
    folder = Path(output).resolve().parent
    # Rather now than after the measurements.
    if not os.access(folder, os.W_OK) or Path(output).is_dir():
        raise OptionError(f"'{output}' cannot be written: choose another place with --output")
    content = tune(
        options.artifact,
        options.siblings,
        seconds=options.seconds,
        frame_gap_ms=options.frame_gap,
        allow_spinning=options.allow_spinning,
    )
    text = json.dumps(content, indent=2)
    with replacing(output) as file:
        file.write(text.encode() + b"\n")
    if options.json:
        print(text)
    else:
        _print_table(content, output)


def _print_table(content: dict[str, Any], output: str) -> None:
    rows = content["measured"]
    width = max(len(row["file"]) for row in rows)
    print(
        f"{'':1} {'file':<{width}} threads spins graph     median ms    lowest   highest   CPU ms"
    )
    for row in rows:
        mark, spins = "*" if row["is_chosen"] else "", "yes" if row["spinning"] else "no"
        start = f"{mark:1} {row['file']:<{width}} {row['threads']:>7} {spins:<5} "
        start += f"{row['optimization']:<9}"
        if "refused" in row:
            print(f"{start} refused: {row['refused']}")
        else:
            names = ("median_ms", "lowest_ms", "highest_ms", "cpu_ms")
            print(start, *(f"{row[name]:9.4g}" for name in names))
    print(f"chosen (*) and written to {output}")
