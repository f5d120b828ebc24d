"""Times many files of one model by turns, in one process; runs in the environment of the peers.

    python -m peers.timing JOB.json RESULT.json

The job lists the files with their engines and thread counts, and names the samples. Rounds go
through all of them, forwards and backwards by turns, so that what else the machine does hits each
alike and figures of one round may be divided by each other. Between two files the threads of the
last one get time to go to sleep, and the next one's caches are warmed by a call that does not
count. After a few rounds all files are opened again: where the memory of one happens to lie makes a
small network up to a third faster or slower, for as long as it stays open.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peers.engines import ENGINES, Array, Call, openvino_precision

ROUND_SECONDS = 0.03
MOST_CALLS = 2000
SLOW_SECONDS = 0.2
# A slow file that takes as many times edgeport auto's wins no race, and is judged but not timed:
# LiteRT runs most layers with int16 activations by its reference kernels.
LOST = 20
FEWEST_ROUNDS = 3
ROUNDS_OF_A_SITTING = 3
# onnxruntime's second thread burns about 55 ms of CPU time after its last call, as it comes; the
# next engine must not share the CPUs with it. Those of LiteRT, OpenVINO and edgeport sleep within
# 1.5 ms.
REST_SECONDS = 0.1
FLOOR = "floor"
# Random weights may make a network whose answer is one and the same, whatever it is fed.
VARIES = 1e-4

File = dict[str, Any]


def main(job_path: str, result_path: str) -> None:
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    with np.load(job["samples"]) as data:
        x, y = data["x"], data["y"]
    with np.load(job["judges"]) as data:
        judged, errors = judge(job["files"], data["x"], data["y"], classifies=job["classifies"])
    errors |= lost(judged)
    files = [file for file in job["files"] if file["column"] not in errors]
    result = {
        "answers_vary": bool(np.ptp(y, axis=0).max() > VARIES * np.abs(y).max()),
        "judged": judged,
        "errors": errors,
        "facts": facts(files, x[:1].shape),
        "one_sample_us": {
            str(threads): time_files(
                [*files, *beside(files, job["floor"], threads)], threads, x[:1], job["rounds"]
            )
            for threads in job["threads"]
        },
        "batch": len(x),
        "batch_us": {
            str(threads): time_files(
                [file for file in files if file["in_batches"]],
                threads,
                x,
                max(FEWEST_ROUNDS, job["rounds"] // 3),
            )
            for threads in job["threads"]
        },
    }
    Path(result_path).write_text(json.dumps(result), encoding="utf-8")


def beside(files: Sequence[File], floor: str | None, threads: int) -> list[File]:
    """Return what is timed beside the columns: the floor, and edgeport with its own threads."""
    extra = [{"column": FLOOR, "engine": "floor", "path": floor}] if floor else []
    if threads == 1:
        extra += [
            {**file, "column": "edgeport_default", "threads": None}
            for file in files
            if file["column"] == "edgeport_auto"
        ]
    return extra


def time_files(
    files: Sequence[File], threads: int, x: Array, rounds: int
) -> dict[str, list[float]]:
    rest_s = 0 if threads == 1 else REST_SECONDS
    times: dict[str, list[float]] = {file["column"]: [] for file in files}
    for start in range(0, rounds, ROUNDS_OF_A_SITTING):
        count = min(ROUNDS_OF_A_SITTING, rounds - start)
        sitting = by_turns(open_all(files, threads, x.shape), x, count, rest_s=rest_s)
        for column, seen in sitting.items():
            times[column] += seen
    return times


def open_all(files: Sequence[File], threads: int, shape: tuple[int, ...]) -> dict[str, Call]:
    """Return the calls by column; a file's own ``threads`` stand before the common ones."""
    return {
        file["column"]: ENGINES[file["engine"]](file["path"], file.get("threads", threads), shape)
        for file in files
    }


def by_turns(
    calls: dict[str, Call], x: Array, rounds: int, *, rest_s: float = 0
) -> dict[str, list[float]]:
    """Return the microseconds of one call, a mean for each round, by column."""
    counts, given = {}, {}
    for column, call in calls.items():
        given[column] = np.ones((1, 1), np.float32) if column == FLOOR else x
        once = mean_us(call, given[column], 1) / 1e6
        if once < SLOW_SECONDS:  # the first call is no measure where it is short
            once = mean_us(call, given[column], 3) / 1e6
        counts[column] = max(1, min(MOST_CALLS, int(ROUND_SECONDS / once)))
    times: dict[str, list[float]] = {column: [] for column in calls}
    for number in range(rounds):
        for column in list(calls)[:: 1 if number % 2 else -1]:
            time.sleep(rest_s)
            if counts[column] > 1:  # a long call hardly notices how it finds the caches
                calls[column](given[column])
            times[column].append(mean_us(calls[column], given[column], counts[column]))
    return times


def mean_us(call: Callable[[Array], Any], x: Array, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call(x)
    return (time.perf_counter() - started) / count * 1e6


def judge(
    files: Sequence[File], x: Array, y: Array, *, classifies: bool
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Return by column how far its answers are from Keras', and why a file cannot run.

    ``call_seconds`` says roughly how long a call takes.

    Args:
        files: which ones; each runs on one thread.
        x: samples, (N, ...), one in a call.
        y: Keras' answers, (N, ...).
        classifies: whether the share of equal best classes, ``same_class``, is told as well.
    """
    found: dict[str, dict[str, float]] = {}
    errors = {}
    for file in files:
        column = file["column"]
        try:
            (call,) = open_all([file], 1, x[:1].shape).values()
            started = time.perf_counter()
            answers = np.concatenate([np.array(call(x[i : i + 1])) for i in range(len(x))])
            found[column] = {
                "decibels": signal_to_noise_db(y, answers),
                "call_seconds": (time.perf_counter() - started) / len(x),
            }
            if classifies:
                same = answers.reshape(y.shape).argmax(axis=-1) == y.argmax(axis=-1)
                found[column]["same_class"] = float(same.mean())
        except Exception as cause:  # any engine's; the others are still to be measured
            errors[column] = f"{type(cause).__name__}: {str(cause).strip()[:200]}"
    return found, errors


def lost(judged: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Return by column why files that are far too slow are not timed."""
    ours = judged.get("edgeport_auto", {}).get("call_seconds")
    return {
        column: f"not timed, since a call takes about {seen['call_seconds']:.1f} s"
        for column, seen in judged.items()
        if ours and seen["call_seconds"] > max(SLOW_SECONDS, LOST * ours)
    }


def signal_to_noise_db(expected: Array, found: Array) -> float:
    """Return 10 log10 of the power of the expected values by that of the differences; 300 at most.

    Raises:
        ValueError: an answer is not finite.
    """
    if not np.isfinite(found).all():
        raise ValueError("its answers hold NaN or infinities")
    power = np.sum(expected.astype(np.float64) ** 2)
    noise = np.sum((expected.astype(np.float64) - found.reshape(expected.shape)) ** 2)
    return 300.0 if noise <= power * 1e-30 else float(10 * np.log10(power / noise))


def facts(files: Sequence[File], shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what engines chose by themselves: edgeport its threads, OpenVINO its arithmetic."""
    chosen: dict[str, Any] = {}
    for file in files:
        if file["column"] == "edgeport_auto":
            from edgeport import Predictor

            with Predictor.load(file["path"]) as predictor:
                chosen["default_threads"] = predictor.threads
        elif file["column"] == "openvino_float":
            chosen["openvino_precision"] = openvino_precision(file["path"], shape)
    return chosen


if __name__ == "__main__":
    main(*sys.argv[1:])
