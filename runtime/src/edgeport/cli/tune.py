"""Measures on the device itself which settings answer soonest: `edgeport tune`.

Every candidate is loaded, with all its checks, and closed again in each round, so that no idle
thread of another disturbs it and memory stays that of one. Rounds take the candidates by turns;
one is faster than another only if it is so by a margin in nearly every round, and the one that
costs the device less is asked first. ``tuning`` says what is done with the result.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgeport.artifact.card import ModelCard
from edgeport.checks import absolute
from edgeport.cli.printing import print_line
from edgeport.device import cpus, tuning_file
from edgeport.device.tuning_file import Choice
from edgeport.errors import EdgeportError, OptionError
from edgeport.inputs.batching import CHUNK_BYTES
from edgeport.inputs.examples import example
from edgeport.loading import load_model
from edgeport.model import Model
from edgeport.options import TUNING_SUFFIX, Options
from edgeport.predictor import Predictor

ROUNDS = 7
# By chance alone, one of two equals is ahead in six or seven of seven rounds once in 16 times, and
# then hardly ever by this much.
MARGIN = 0.03
_FEWEST_CALLS = 5
_WARM_UP_CALLS = 3

_OPTIONS = Options(None, False, None, None, None, CHUNK_BYTES, tuning=False)


class Measured(NamedTuple):
    """One candidate.

    Attributes:
        choice: its settings.
        path: the file that they were measured with.
        times_ms: the median of a call, by round.
        cpu_ms: the CPU time of a call and the pause before it, by round.
        refused: why it is no candidate, None where it is one.
    """

    choice: Choice
    path: str
    times_ms: list[float]
    cpu_ms: list[float]
    refused: str | None = None


def tune(
    path: str,
    siblings: Sequence[str],
    *,
    seconds: float,
    frame_gap_ms: float,
    allow_spinning: bool,
) -> dict[str, Any]:
    """Return the content of the tuning file.

    Args:
        path: the artifact.
        siblings: further forms of it in the same folder.
        seconds: how long to measure each candidate, its loading aside.
        frame_gap_ms: the pause before each call, as in the device's own work.
        allow_spinning: whether threads may wait busily, which takes CPU time in every pause.

    Raises:
        EdgeportError: as ``Predictor.load`` and ``predict`` do of the artifact itself.
        OptionError: a sibling is none.
    """
    model = load_model(path, _OPTIONS)
    # EDGEPORT_THREADS may ask for more threads than CPUs; a tuning file may not.
    default = Choice(min(model.session.threads, cpus.usable_cpus()))
    files = {model.digest: (path, default)}
    for sibling in siblings:
        digest = _digest_of_sibling(sibling, path, model.card)
        choice = default._replace(variant=Path(sibling).name, variant_sha256=digest)
        files.setdefault(digest, (sibling, choice))
    candidates = [
        Measured(choice, file, [], [])
        for file, start in files.values()
        for choice in _settings(start, allow_spinning)
    ]
    digest = model.digest
    del model
    for number in range(ROUNDS):
        for place in range(len(candidates))[:: 1 if number % 2 else -1]:
            candidate = candidates[place]
            if candidate.refused is None:
                candidates[place] = _measure(candidate, seconds / ROUNDS, frame_gap_ms / 1e3)
    chosen = choose(candidates)
    return {
        **tuning_file.circumstances(digest),
        "choice": chosen.choice._asdict(),
        "frame_gap_ms": frame_gap_ms,
        "rounds": ROUNDS,
        "measured": [_as_row(candidate, candidate is chosen) for candidate in candidates],
    }


def choose(candidates: Sequence[Measured]) -> Measured:
    """Return the fastest candidate beyond noise; of equals, the first of those that cost least."""
    best = candidates[0]
    usable = [candidate for candidate in candidates[1:] if candidate.refused is None]
    for candidate in sorted(usable, key=lambda one: (one.choice.spinning, one.choice.threads)):
        pairs = zip(candidate.times_ms, best.times_ms, strict=True)
        ratios = [time_ms / other_ms for time_ms, other_ms in pairs]
        ahead = sum(ratio < 1 for ratio in ratios)
        if statistics.median(ratios) <= 1 - MARGIN and ahead >= len(ratios) - 1:
            best = candidate
    return best


def _settings(start: Choice, allow_spinning: bool) -> list[Choice]:
    """Return the settings worth trying for one file, the given ones first."""
    usable = cpus.usable_cpus()
    threads = {start.threads, usable, *(2**power for power in range(usable.bit_length()))}
    found = [start]
    for count in sorted(number for number in threads if number <= usable):
        for spinning in (False, True) if allow_spinning and count > 1 else (False,):
            for level in tuning_file.LEVELS:
                choice = start._replace(threads=count, spinning=spinning, optimization=level)
                if choice not in found:
                    found.append(choice)
    return found


def _digest_of_sibling(sibling: str, path: str, card: ModelCard) -> str:
    if Path(sibling).parent.resolve() != Path(path).parent.resolve():
        raise OptionError(
            f"'{sibling}' lies in another folder than '{path}', expected the same: put them side "
            "by side, as on the device that loads them"
        )
    other = load_model(sibling, _OPTIONS)
    difference = tuning_file.difference(card, other.card)
    if difference:
        raise OptionError(
            f"'{sibling}' is no sibling of '{path}', it has {difference}: pass files that one "
            "conversion wrote with --also"
        )
    return other.digest


def _measure(candidate: Measured, seconds: float, gap_s: float) -> Measured:
    """Return the candidate with one more round."""
    settings = candidate.choice._replace(variant=None, variant_sha256=None)
    options = _OPTIONS._replace(threads=settings.threads)
    try:
        time_ms, cpu_ms = _one_round(
            load_model(candidate.path, options, choice=settings), seconds, gap_s
        )
    except EdgeportError as error:
        if candidate.choice.variant is None and candidate.choice.optimization == "all":
            raise
        return candidate._replace(refused=str(error))
    candidate.times_ms.append(time_ms)
    candidate.cpu_ms.append(cpu_ms)
    return candidate


def _one_round(model: Model, seconds: float, gap_s: float) -> tuple[float, float]:
    """Return the median of a call in milliseconds, and the CPU time of a call with its pause."""
    samples = [sample.inputs for sample in model.card.golden_samples]
    feed = samples[0] if samples else example(model.card.inputs, 1)
    # One array is what most callers pass, and it has a shorter way than a dict.
    value: Any = next(iter(feed.values())) if len(feed) == 1 else feed
    times: list[float] = []
    with Predictor(model) as predictor:
        for _ in range(_WARM_UP_CALLS):
            predictor.predict(value)
        cpu = time.process_time()
        end = time.perf_counter() + seconds
        while len(times) < _FEWEST_CALLS or time.perf_counter() < end:
            if gap_s:
                time.sleep(gap_s)
            started = time.perf_counter()
            predictor.predict(value)
            times.append((time.perf_counter() - started) * 1e3)
        cpu = time.process_time() - cpu
    return statistics.median(times), cpu * 1e3 / len(times)


def _as_row(candidate: Measured, is_chosen: bool) -> dict[str, Any]:
    choice, times = candidate.choice, candidate.times_ms
    row = {
        "file": Path(candidate.path).name,
        "threads": choice.threads,
        "spinning": choice.spinning,
        "optimization": choice.optimization,
        "is_chosen": is_chosen,
    }
    if candidate.refused is not None:
        return {**row, "refused": candidate.refused}
    return {
        **row,
        "median_ms": statistics.median(times),
        "lowest_ms": min(times),
        "highest_ms": max(times),
        "cpu_ms": statistics.median(candidate.cpu_ms),
    }


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
    from edgeport.device import graph_cache

    path, folder = options.artifact, absolute(options.cache_dir, "--cache-dir")
    complaints, logger = _Complaints(), logging.getLogger("edgeport")
    logger.addHandler(complaints)
    try:
        with Predictor.load(path, cache_dir=folder) as predictor:
            choice, digest = predictor.tuning, predictor.card.sha256
        level = choice.optimization if choice else "all"
        digest = digest or hashlib.sha256(Path(path).read_bytes()).hexdigest()
        kept = graph_cache.path_of(folder, graph_cache.key(digest, level))
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
        print_line(f"kept         {kept}, {facts['kept_bytes']:,} bytes")
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
    from edgeport.atomic_files import check_target, replacing
    from edgeport.cli.tune import tune

    within(options.frame_gap, "--frame-gap", 0, 60_000)
    within(options.seconds, "--seconds", *SECONDS)
    output = options.output or options.artifact + TUNING_SUFFIX
    # Rather now than after the measurements.
    check_target(output, reads=(options.artifact, *options.siblings))
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
            print_line(f"{start} refused: {row['refused']}")
        else:
            names = ("median_ms", "lowest_ms", "highest_ms", "cpu_ms")
            print_line(" ".join([start, *(f"{row[name]:9.4g}" for name in names)]))
    print_line(f"chosen (*) and written to {output}")
