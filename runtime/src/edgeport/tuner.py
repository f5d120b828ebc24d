"""Measures on the device itself which settings answer soonest: `edgeport tune`.

Every candidate is loaded, with all its checks, and closed again in each round, so that no idle
thread of another disturbs it and memory stays that of one. Rounds take the candidates by turns;
one is faster than another only if it is so by a margin in nearly every round, and the one that
costs the device less is asked first. ``tuning`` says what is done with the result.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgeport import host, tuning
from edgeport.batching import CHUNK_BYTES
from edgeport.card import ModelCard
from edgeport.errors import EdgeportError, OptionError
from edgeport.loading import load_model
from edgeport.model import Model
from edgeport.options import Options
from edgeport.predictor import Predictor
from edgeport.probing import example
from edgeport.tuning import Choice

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
    default = Choice(min(model.session.threads, host.usable_cpus()))
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
        **tuning.circumstances(digest),
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
    cpus = host.usable_cpus()
    threads = {start.threads, cpus, *(2**power for power in range(cpus.bit_length()))}
    found = [start]
    for count in sorted(number for number in threads if number <= cpus):
        for spinning in (False, True) if allow_spinning and count > 1 else (False,):
            for level in tuning.LEVELS:
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
    difference = tuning.difference(card, other.card)
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
