"""Measures on the device which settings, and which variant of an artifact, answer soonest.

The commands `edgeport tune` and `edgeport warm` are here. A candidate is a file with settings. In
each round every candidate is loaded, with all checks, measured and closed again: so only one is in
memory, and no idle thread of another disturbs it. One candidate counts as faster than another only
if it is faster by ``MARGIN`` in the median and ahead in all rounds but one; those with fewer
threads come first. The chosen settings go to the tuning file (``device/tuning_file``), which
loading reads. The fastest variant is only named: loading never takes another file, so the user
copies it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import stat
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeport.artifact.card import ModelCard, format_specs
from edgeport.artifact.golden import Array
from edgeport.atomic_files import check_target, replacing
from edgeport.checks import absolute
from edgeport.cli.printing import print_json, print_line
from edgeport.cli.trial import Trial, of, one_value
from edgeport.device import cpus, tuning_file
from edgeport.device.tuning_file import Tuning
from edgeport.errors import EdgeportError, OptionError
from edgeport.inputs.batching import CHUNK_BYTES
from edgeport.loading import load_model
from edgeport.model import Model, shares_batches
from edgeport.options import TUNING_SUFFIX, Options
from edgeport.predictor import Predictor
from edgeport.signals import reraise_signal

ROUNDS = 7
# By chance alone, one of two equals is ahead in six or seven of seven rounds once in 16 times, and
# then hardly ever by this much.
MARGIN = 0.03
_FEWEST_CALLS = 5
_WARM_UP_CALLS = 3

UNTUNED = Options(None, False, None, None, None, CHUNK_BYTES, tuning=False)
"""The default options of a load, but without a tuning file."""


@dataclass(slots=True)
class Timing:
    """One candidate: a file with settings.

    Attributes:
        tuning: its settings.
        path: the file.
        times_ms: the median of a call, by round.
        cpu_ms: the CPU time of a call and the pause before it, by round.
        refused: why it is no candidate, None where it is one.
    """

    tuning: Tuning
    path: str
    times_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    refused: str | None = None


def tune(
    path: str,
    variants: Sequence[str],
    *,
    seconds: float,
    frame_gap_ms: float,
    allow_spinning: bool,
    trial: Trial,
) -> dict[str, Any]:
    """Return the content of the tuning file.

    ``variants`` are artifacts of the same model by other recipes; the fastest file is named. Each
    candidate is measured for ``seconds`` after it is loaded, with a pause of ``frame_gap_ms``
    before each call, as in the device's own work. ``allow_spinning`` lets threads wait busily,
    which takes CPU time in every pause.

    Raises:
        EdgeportError: as ``Predictor.load`` and ``predict`` do of the artifact itself.
        OptionError: one of ``variants`` is an artifact of another model.
    """
    model = load_model(path, UNTUNED)
    trial.check(Predictor(model))
    value = one_value(trial.feed(model.card))
    # EDGEPORT_THREADS may ask for more threads than CPUs; a tuning file may not.
    default = Tuning(min(model.threads, cpus.usable_cpus()))
    files = {model.digest: path}
    for variant in variants:
        files.setdefault(_digest_of_variant(variant, path, model.card), variant)
    settings = _settings(default, allow_spinning, shares_batches(model.card, UNTUNED))
    candidates = [Timing(tuning, file) for file in files.values() for tuning in settings]
    digest = model.digest
    del model
    for number in range(ROUNDS):
        for candidate in candidates[:: 1 if number % 2 else -1]:
            if candidate.refused is None:
                _measure(candidate, value, seconds / ROUNDS, frame_gap_ms / 1e3, path)
    chosen = choose(candidates[: len(settings)])
    fastest = choose([chosen, *candidates[len(settings) :]])
    return {
        **tuning_file.circumstances(digest),
        "choice": chosen.tuning.to_dict(),
        "fastest_file": fastest.path,
        "frame_gap_ms": frame_gap_ms,
        "rounds": ROUNDS,
        "measured": [_as_row(candidate, candidate is chosen) for candidate in candidates],
    }


def choose(candidates: Sequence[Timing]) -> Timing:
    """Return the fastest candidate beyond noise; of equals, the first of those that cost least."""
    best = candidates[0]
    usable = [candidate for candidate in candidates[1:] if candidate.refused is None]
    for candidate in sorted(usable, key=lambda one: (one.tuning.spinning, one.tuning.threads)):
        pairs = zip(candidate.times_ms, best.times_ms, strict=True)
        ratios = [time_ms / other_ms for time_ms, other_ms in pairs]
        ahead = sum(ratio < 1 for ratio in ratios)
        if statistics.median(ratios) <= 1 - MARGIN and ahead >= len(ratios) - 1:
            best = candidate
    return best


def _settings(start: Tuning, allow_spinning: bool, shares: bool) -> list[Tuning]:
    """Return the settings worth trying, the given ones first.

    Where batches are shared (``model.shares_batches``), one sample takes one thread of any number
    that does not spin, so that numbers are not told apart.
    """
    usable = cpus.usable_cpus()
    powers = (2**power for power in range(usable.bit_length()))
    counts = sorted({start.threads, usable, *(count for count in powers if count <= usable)})
    pairs = [(count, False) for count in counts if count == start.threads or not shares]
    if allow_spinning:
        pairs += [(count, True) for count in counts if count > 1]
    found = (Tuning(*pair, level) for pair in pairs for level in tuning_file.LEVELS)
    return list(dict.fromkeys((start, *found)))


def _digest_of_variant(variant: str, path: str, card: ModelCard) -> str:
    other = load_model(variant, UNTUNED)
    found = difference(card, other.card)
    if found:
        raise OptionError(
            f"'{variant}' is no variant of '{path}', it has {found}: pass files that one "
            "conversion wrote with --also"
        )
    return other.digest


def difference(one: ModelCard, other: ModelCard) -> str | None:
    """Return what shows that two artifacts are not variants of one model; None if they are.

    Variants come from one conversion with `--also`: their source and tools are the same. A caller
    notices no difference other than speed, and accuracy within the budget.
    """
    if not (one.is_vouched_for and other.is_vouched_for):
        return "no card"
    for kind in ("inputs", "outputs"):
        was, now = getattr(one, kind), getattr(other, kind)
        if format_specs(was) != format_specs(now) or [s.axes for s in was] != [s.axes for s in now]:
            return f"the {kind} {format_specs(now)}"
    for kind in ("name", "labels", "preprocessing", "provenance"):
        if getattr(one, kind) != getattr(other, kind):
            return f"another {kind}"
    return None


def _measure(candidate: Timing, value: Any, seconds: float, gap_s: float, artifact: str) -> None:
    """Add one more round to the candidate, or why it is none."""
    options = UNTUNED._replace(threads=candidate.tuning.threads)
    try:
        model = load_model(candidate.path, options, tuning=candidate.tuning)
        time_ms, cpu_ms = _one_round(model, value, seconds, gap_s)
    except EdgeportError as error:
        reraise_signal(error)
        if candidate.path == artifact and candidate.tuning.optimization == "all":
            raise
        candidate.refused = str(error)
        return
    candidate.times_ms.append(time_ms)
    candidate.cpu_ms.append(cpu_ms)


def _one_round(model: Model, value: Any, seconds: float, gap_s: float) -> tuple[float, float]:
    """Return the median of a call in milliseconds, and the CPU time of a call with its pause."""
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


def _as_row(candidate: Timing, is_chosen: bool) -> dict[str, Any]:
    times = candidate.times_ms
    row = {"file": candidate.path, **candidate.tuning.to_dict(), "is_chosen": is_chosen}
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


def digest_of(path: str, card: ModelCard) -> str:
    """Return the digest of an artifact, from its bytes where it has no card."""
    return card.sha256 or hashlib.sha256(Path(path).read_bytes()).hexdigest()


class _Complaints(logging.Handler):
    """What the library logs, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def run_warm(options: argparse.Namespace) -> None:
    """Keep the optimized graph, and say what that saves; raises OptionError if nothing is kept."""
    from edgeport.device import graph_cache

    path, folder = options.artifact, absolute(options.cache_dir, "--cache-dir")
    trial = of(options)
    with Predictor.load(path, tuning=False) as predictor:
        trial.check(predictor)
        feed = trial.feed(predictor.card)
    complaints, logger = _Complaints(), logging.getLogger("edgeport")
    logger.addHandler(complaints)
    try:
        wanted = UNTUNED._replace(cache_dir=folder, tuning=True)
        with Predictor(load_model(path, wanted, trial=feed)) as predictor:
            tuning, digest = predictor.tuning, digest_of(path, predictor.card)
        level = tuning.optimization if tuning else "all"
        kept = graph_cache.path_of(folder, graph_cache.key(digest, level))
        without = _times(path, None, feed)
        complaints.lines, earlier = [], complaints.lines
        with_kept = _times(path, folder, feed)
    finally:
        logger.removeHandler(complaints)
    before, now = (
        [line for line in lines if f"'{folder}'" in line or f"'{kept}'" in line]
        for lines in (earlier, complaints.lines)
    )
    if now or not os.path.isfile(kept):  # noqa: PTH113 - pathlib fails in what others own
        reason = (before + now or ["nothing was written"])[-1]
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
        print_json(facts)
    else:
        print_line(f"kept         {kept}, {facts['kept_bytes']:,} bytes")
        for what, kept_ms, ms in zip(("load", "answer"), with_kept, without, strict=True):
            print(f"{what:<12} {kept_ms:.1f} ms, without {ms:.1f} ms")


def _times(path: str, folder: str | None, feed: Mapping[str, Array]) -> tuple[float, float]:
    """Return the milliseconds until the model is loaded, and until its first answer."""
    loads, answers = [], []
    for _ in range(5):
        started = time.perf_counter()
        with Predictor.load(path, cache_dir=folder) as predictor:
            loads.append((time.perf_counter() - started) * 1e3)
            predictor.predict(feed)
            answers.append((time.perf_counter() - started) * 1e3)
    return min(loads), min(answers)


def run_tune(options: argparse.Namespace) -> None:
    """Measure, and write the tuning file; raises as ``tune`` and ``check_target`` do."""
    within(options.frame_gap, "--frame-gap", 0, 60_000)
    within(options.seconds, "--seconds", *SECONDS)
    output = options.output or options.artifact + TUNING_SUFFIX
    # Rather now than after the measurements.
    data = [options.data] if options.data is not None else []
    check_target(output, reads=(options.artifact, *options.variants, *data))
    content = tune(
        options.artifact,
        options.variants,
        seconds=options.seconds,
        frame_gap_ms=options.frame_gap,
        allow_spinning=options.allow_spinning,
        trial=of(options),
    )
    text = json.dumps(content, indent=2)
    with replacing(output) as file:
        file.write(text.encode() + b"\n")
        about = os.fstat(file.fileno())
        if hasattr(os, "fchmod") and stat.S_ISREG(about.st_mode):  # whatever this user's umask is
            os.fchmod(file.fileno(), stat.S_IMODE(about.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
    if options.json:
        print(text)
    else:
        _print_table(content, output)


def _print_table(content: dict[str, Any], output: str) -> None:
    rows = content["measured"]
    width = max(len(Path(row["file"]).name) for row in rows)
    print(
        f"{'':1} {'file':<{width}} threads spins graph     median ms    lowest   highest   CPU ms"
    )
    for row in rows:
        mark, spins = "*" if row["is_chosen"] else "", "yes" if row["spinning"] else "no"
        start = f"{mark:1} {Path(row['file']).name:<{width}} {row['threads']:>7} {spins:<5} "
        start += f"{row['optimization']:<9}"
        if "refused" in row:
            print_line(f"{start} refused: {row['refused']}")
        else:
            names = ("median_ms", "lowest_ms", "highest_ms", "cpu_ms")
            print_line(" ".join([start, *(f"{row[name]:9.4g}" for name in names)]))
    print_line(f"chosen (*) and written to {output}")
    if content["fastest_file"] != content["measured"][0]["file"]:
        print_line(f"fastest file {content['fastest_file']}: copy it to where the other is loaded")
