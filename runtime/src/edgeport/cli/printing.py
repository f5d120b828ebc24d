"""What the command line prints for people: cards, answers, classes, a progress bar."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from edgeport.artifact.card import ModelCard, format_shape
from edgeport.artifact.golden import Array
from edgeport.cli.writing import as_json as json_of
from edgeport.labels import Label


def print_card(card: ModelCard, facts: dict[str, Any]) -> None:
    """Print what an artifact says of itself, a line each."""
    print(f"name         {card.name}")
    print(f"file         {facts['file_bytes']:,} bytes")
    print(f"sha256       {card.sha256 or 'no card: nothing vouches for this file'}")
    for title, specs in (("input", card.inputs), ("output", card.outputs)):
        for spec in specs:
            values = spec.value_range
            limits = f", values {values[0]:g} to {values[1]:g}" if values else ""
            print(f"{title:<12} {spec.name}: {spec.dtype} {format_shape(spec.shape)}{limits}")
    for step in card.preprocessing:
        print(f"inside       {step}")
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
    device = facts["device"]
    print(
        f"device       onnxruntime {device['onnxruntime']}, {device['usable_cpus']} usable CPUs, "
        f"{device['threads']} thread(s) for this model"
    )
    if device["tuning"]:
        tuned = device["tuning"]
        spins = "on" if tuned["spinning"] else "off"
        other = f", {tuned['variant']} in place of this file" if tuned["variant"] else ""
        print(
            f"tuned        {tuned['threads']} thread(s), spinning {spins}, graph optimization "
            f"'{tuned['optimization']}'{other}"
        )


def print_bench(figures: dict[str, Any]) -> None:
    """Print what was measured, a line each."""
    print(f"threads      {figures['threads']} of {figures['usable_cpus']} usable CPUs")
    print(f"cold start   {figures['cold_start_ms']:.0f} ms, a fresh process to its first answer")
    print(f"load         {figures['load_ms']:.1f} ms")
    times = ", ".join(f"{p} {figures[f'{p}_ms'] * 1e3:.1f} us" for p in ("p50", "p95", "p99"))
    print(f"one sample   {times}")
    for size, rate in figures["samples_per_second"].items():
        print(f"batch {size:<6} {rate:,.0f} samples a second")
    if figures["memory_bytes"] is not None:
        print(f"memory       {figures['memory_bytes'] / 2**20:.1f} MiB")


def print_answer(answer: Mapping[str, Array], as_json: bool) -> None:
    """Print the outputs for one sample."""
    if as_json:
        print(json_of(answer))
        return
    for name, array in answer.items():
        # Digits that count, not decimals: a small number must not look like zero.
        formats: Any = {"float_kind": "{:.6g}".format}
        values = np.array2string(array, threshold=200, formatter=formats)
        print(f"{name} {' '.join(values.split())}")


def print_labels(labels: list[Label] | list[list[Label]], as_json: bool) -> None:
    """Print the classes of each sample, a line each."""
    rows: list[Any] = [labels] if labels and isinstance(labels[0], Label) else list(labels)
    for row in rows:
        if as_json:
            print(json.dumps([asdict(label) for label in row]))
        else:
            print("  ".join(f"{label.name} {label.score:.4g}" for label in row))


def with_progress(items: Iterator[Any], total: int | None, *, is_printing: bool) -> Iterator[Any]:
    """Pass the items on; on a terminal, show how far the reading is, at most ten times a second.

    Args:
        items: what is read.
        total: how many they are, None where nobody knows.
        is_printing: answers go to stdout; on a terminal they show the progress themselves.
    """
    if not sys.stderr.isatty() or (is_printing and sys.stdout.isatty()):
        yield from items
        return
    started = shown = time.monotonic()
    try:
        for number, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if now - shown > 0.1 and now - started > 1:  # a short input needs no bar
                shown = now
                share = f" {number / total:4.0%}" if total else ""
                print(f"\r{number:,} samples{share}", end="", file=sys.stderr, flush=True)
    finally:
        if shown != started:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
