"""What edgeport is held to, and whether a run of ``make bench`` meets it.

A target is judged only where all its figures were measured; else it names those that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from peers.machine import has_vnni
from peers.round_statistics import geometric_mean, inverse

PEERS = (
    "keras",
    "raw",
    "naive",
    "litert_float",
    "litert_int8",
    "openvino_float",
    "openvino_qdq",
    "ort_percentile",
    "ort_entropy",
    "litert_dynamic",
    "litert_int16",
    "litert_selective",
    "nncf",
    "nncf_accuracy",
)
# A file keeps the bound with this signal-to-noise ratio to Keras on held-out samples, or with
# edgeport's own where that is less. Two sets of samples tell ratios that differ by half a decibel
# (ResNet-8, LiteRT: 17.7 and 17.1), so that this much below edgeport's is as near.
KEPT_DB = 20.0
AS_NEAR_DB = 0.5
CONVOLUTION_NETS, ALL_MODELS = 8, 10

Row = Mapping[str, Any]


def best_peer(
    row: Row, threads: str = "1", *, kept: bool = False
) -> tuple[str, dict[str, float]] | None:
    """Return the peer that takes the least time, and edgeport auto's time divided by its.

    With ``kept`` only those that keep the bound count; without, even those with wrong answers.
    None where no peer, or the bound, was measured.
    """
    if kept and not is_judged(row):
        return None
    found = {
        column: row["columns"][column]["one_sample_us"][threads]["median"]
        for column in PEERS
        if ratio_to_auto(row, column, threads) is not None
        and (not kept or keeps_bound(row, column))
    }
    if not found:
        return None
    best = min(found, key=lambda column: found[column])
    return best, inverse(row["columns"][best]["one_sample_us"][threads]["ratio"])


def keeps_bound(row: Row, column: str) -> bool:
    """Return whether held-out answers are within 20 dB of Keras', or as near as edgeport auto's.

    Raises:
        KeyError: the column holds no decibels, as those that were not measured do.
    """
    if column == "keras":
        return True
    cells = row["columns"]
    as_near = cells["edgeport_auto"]["decibels"] - AS_NEAR_DB
    return bool(cells[column]["decibels"] >= min(KEPT_DB, as_near))


def is_judged(row: Row) -> bool:
    """Return whether this run judged its files on held-out samples; older ones did not."""
    return bool(row.get("held_out")) and "decibels" in row["columns"].get("edgeport_auto", {})


def ratio_to_auto(row: Row, column: str, threads: str = "1") -> dict[str, float] | None:
    """Return a column's time divided by edgeport auto's, None where one was not measured."""
    timed = row["columns"].get(column, {}).get("one_sample_us", {}).get(threads, {})
    return timed.get("ratio")


def judge(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return name, found, limit and verdict of every target; the verdict of an unmeasured is None.

    ``bound`` says whether the limit is the most or the least.
    """
    rows = {row["name"]: row for row in result["models"]}
    convolutional = [row for row in rows.values() if row["is_convolutional"]]
    against_kept, against_all = (
        _all(
            (
                best[1]["median"] if (best := best_peer(row, kept=kept)) else None
                for row in convolutional
            ),
            CONVOLUTION_NETS,
        )
        for kept in (True, False)
    )
    has_kernels = has_vnni(result["machine"]["instructions"])
    against_raw = {name: _auto_to_raw(row) for name, row in rows.items()}
    threads = _all(map(_default_to_one, rows.values()), ALL_MODELS)
    overhead = result.get("overhead") or {}
    per_call = [overhead.get(name) for name in ("per_call_ratio", "per_call_batch_of_one_ratio")]
    kept = result.get("kept_graph") or {}
    nets = f"over the {CONVOLUTION_NETS} convolution nets"
    return [
        _target(
            f"edgeport auto / fastest peer that keeps the bound, geometric mean {nets}",
            _apply(geometric_mean, against_kept),
            0.85,
        ),
        _target(
            f"edgeport auto / fastest peer that keeps the bound, largest {nets}",
            _apply(max, against_kept),
            1.2,
        ),
        _target(
            f"edgeport auto / fastest peer of all, geometric mean {nets}",
            _apply(geometric_mean, against_all),
            1.15 if has_kernels else 1.0,
        ),
        _target(
            "autoencoder: edgeport auto / onnxruntime float", against_raw.get("autoencoder"), 0.5
        ),
        _target(
            "the article's network: edgeport auto / onnxruntime float",
            against_raw.get("article"),
            1.0,
        ),
        _target(
            "edgeport auto / onnxruntime float, geometric mean over all ten",
            _apply(geometric_mean, _all(against_raw.values(), ALL_MODELS)),
            0.5,
        ),
        _target(
            "edgeport's own choice of threads / one thread, largest of all ten",
            _apply(max, threads),
            1.0,
        ),
        _target(
            "demo artifact: predict / InferenceSession.run, one sample with and without "
            "its batch axis, the larger",
            _apply(max, _all(per_call, 2)),
            1.0,
        ),
        _target(
            "demo artifact: throughput of 10,000 samples / that of InferenceSession.run",
            overhead.get("batch_throughput_ratio"),
            0.97,
            bound="least",
        ),
        _target(
            "demo artifact: cold start / that of a bare script",
            overhead.get("cold_start_ratio"),
            1.05,
        ),
        _target(
            "MobileNetV2, edgeport auto: load without / with the graph kept in cache_dir",
            kept.get("load_ratio", {}).get("median_ms"),
            3.0,
            bound="least",
        ),
    ]


def _auto_to_raw(row: Row) -> float | None:
    ratio = ratio_to_auto(row, "raw")
    return None if ratio is None else 1 / ratio["median"]


def _default_to_one(row: Row) -> float | None:
    """Return 1 where the choice is one thread: what was measured is then the same thing twice."""
    chosen = row.get("default_threads")
    if chosen is None:
        return None
    return 1.0 if chosen["threads"] == 1 else chosen["ratio"]["median"]


def _all(values: Iterable[float | None], count: int) -> list[float] | None:
    """Return the values if there are as many as the target speaks of, and none is missing."""
    found = [value for value in values if value is not None]
    return found if len(found) == count else None


def _apply(function: Callable[[list[float]], float], values: list[float] | None) -> float | None:
    return None if values is None else function(values)


def _target(name: str, found: float | None, limit: float, *, bound: str = "most") -> dict[str, Any]:
    met = None if found is None else (found <= limit if bound == "most" else found >= limit)
    return {"name": name, "found": found, "bound": bound, "limit": limit, "met": met}
