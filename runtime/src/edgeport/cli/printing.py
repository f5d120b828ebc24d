"""What the command line prints for people: cards, answers, classes, a progress bar."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, TextIO

import numpy as np

from edgeport.addresses import hide_secrets
from edgeport.artifact.card import ModelCard, format_shape
from edgeport.artifact.golden import Array
from edgeport.cli.writing import as_json as json_of
from edgeport.labels import Label
from edgeport.signals import reraise_signal

# Two marks within words of Persian and Hindi and within emojis, and the spaces of other scripts.
_HARMLESS = frozenset("\u200c\u200d\u00a0\u202f\u3000")


def escaped(text: str) -> str:
    r"""Return the text as one line that shows what it holds and does nothing else.

    Names, labels and reasons come from files. Control characters, line ends, marks that turn the
    direction of writing and half characters become escapes such as ``\x1b``.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in _HARMLESS else ascii(sign)[1:-1] for sign in text
    )


def say(sentence: str) -> None:
    """Print a sentence on stderr; where that is closed, nowhere."""
    try:
        print(f"edgeport: {escaped(hide_secrets(sentence))}", file=sys.stderr, flush=True)
    except OSError as cause:  # the exit code is all that is left to say it with
        reraise_signal(cause)
        drop(sys.stderr)


def drop(stream: TextIO) -> None:
    """Let what the stream still holds go nowhere; else the interpreter fails on it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_json(facts: Mapping[str, Any]) -> None:
    """Print data for programs."""
    print(json.dumps(facts, indent=2))


def print_line(text: str) -> None:
    """Print one line; it stays one, whatever names it contains."""
    print(escaped(text))


def print_checks(checks: Mapping[str, Any]) -> None:
    """Print what ``edgeport verify`` found, a line each."""
    for name in ("seal", "signature", "engine"):
        print_line(f"{name:<15} {checks[name]}")
    count = checks["golden_samples"]
    found = f"{count} within tolerance" if count else "none: nothing tells whether it answers right"
    print_line(f"golden samples  {found}")
    for doubt in checks["unproven"]:
        print_line(f"unproven        {doubt}")


_MOST_COLUMNS = 20


def say_outside(card: ModelCard, name: str, count: int) -> str:
    """Return the warning about values of an input, or a column, outside of the known range."""
    values = f"{count} value{'s' if count != 1 else ''}"
    column = next((one for one in card.columns if one.name == name), None)
    if column is None:
        return (
            f"warning: {values} of input '{name}' lie outside the range that the model "
            "was calibrated for: check their scale"
        )
    if column.categories:
        return (
            f"warning: {values} of column '{name}' are none of the training's categories, "
            f"{column.seen}: check their spelling"
        )
    return (
        f"warning: {values} of column '{name}' lie far outside of the training's {column.seen}: "
        "check the column's unit"
    )


def _print_columns(card: ModelCard) -> None:
    for column in card.columns[:_MOST_COLUMNS]:
        print_line(f"column       {column.in_words}")
    if len(card.columns) > _MOST_COLUMNS:
        print_line(f"columns      {len(card.columns) - _MOST_COLUMNS} more; --json has all")


def print_card(card: ModelCard, facts: dict[str, Any]) -> None:
    """Print what an artifact says of itself, a line each."""
    print_line(f"name         {card.name}")
    print_line(f"file         {facts['file_bytes']:,} bytes")
    print_line(f"sha256       {card.sha256 or 'no card: nothing vouches for this file'}")
    _print_tensors(card)
    if card.signal:
        print_line(f"signal       {card.signal.in_words}")
    _print_columns(card)
    if card.samples_interact:
        print_line("batch        run whole, since each answer depends on all of its samples")
    for step in card.preprocessing:
        print_line(f"inside       {step}")
    if card.labels:
        print_line(f"labels       {', '.join(card.labels)}")
    if card.quantization:
        parts = card.quantization
        print_line(
            f"quantization {parts.recipe} for target {parts.target}: "
            f"weights {parts.weights}, activations {parts.activations}"
        )
        if parts.evidence:
            print_line(f"agreement    {parts.evidence}")
        for layer, reason in parts.float_layers.items():
            print_line(f"in float     {layer}: {reason}")
    if card.accuracy:
        seen = card.accuracy
        print_line(
            f"{seen.metric:<12} {seen.artifact:.4f} (Keras {seen.keras:.4f}, float ONNX "
            f"{seen.float32:.4f}) on {seen.samples:,} samples"
        )
    if card.requires:
        print_line(
            f"requires     onnxruntime {card.requires.onnxruntime} or newer "
            f"(opset {card.requires.opset}, IR {card.requires.ir_version})"
        )
    for doubt in card.unproven:
        print_line(f"unproven     {doubt}")
    for key, value in card.provenance.items():
        print_line(f"{key:<12} {value}")
    device = facts["device"]
    print_line(
        f"device       onnxruntime {device['onnxruntime']}, {device['usable_cpus']} usable CPUs, "
        f"{device['threads']} thread(s) for this model"
    )
    if device["tuning"]:
        tuned = device["tuning"]
        spins = "on" if tuned["spinning"] else "off"
        print_line(
            f"tuned        {tuned['threads']} thread(s), spinning {spins}, graph optimization "
            f"'{tuned['optimization']}'"
        )


def _print_tensors(card: ModelCard) -> None:
    for title, specs in (("input", card.inputs), ("output", card.outputs)):
        for spec in specs:
            words = f"{spec.dtype} {format_shape(spec.shape)}"
            if spec.value_range:
                words += ", values {:g} to {:g}".format(*spec.value_range)
            if title == "input" and spec.name in card.frames:
                words = card.frames[spec.name].in_words
            print_line(f"{title:<12} {spec.name}: {words}")


def print_bench(figures: dict[str, Any]) -> None:
    """Print what was measured, a line each."""
    print_line(f"threads      {figures['threads']} of {figures['usable_cpus']} usable CPUs")
    print_line(
        f"cold start   {figures['cold_start_ms']:.0f} ms, a fresh process to its first answer"
    )
    print_line(f"load         {figures['load_ms']:.1f} ms")
    if figures["free_axes"]:  # whose sizes decide the time
        shapes = ", ".join(f"{name} {tuple(shape)}" for name, shape in figures["inputs"].items())
        print_line(f"measured on  {shapes}; --size or --data takes others")
    times = ", ".join(f"{p} {figures[f'{p}_ms'] * 1e3:.1f} us" for p in ("p50", "p95", "p99"))
    print_line(f"one sample   {times}")
    if figures["samples_interact"]:
        print_line("batches      run whole, since each answer depends on all of its samples")
    for size, rate in figures["samples_per_second"].items():
        print_line(f"batch {size:<6} {rate:,.0f} samples a second")
    if figures["memory_bytes"] is not None:
        own, whole = (figures[key] / 2**20 for key in ("memory_bytes", "process_bytes"))
        print_line(
            f"memory       {own:.1f} MiB for the artifact, {whole:.1f} MiB the whole process"
        )


def print_layers(found: Mapping[str, Any]) -> None:
    """Print the times of layers in both formats, a line a layer, and which format is faster."""
    rows: dict[str, list[Any]] = {}
    for row in found["layers"]:
        scope = row["node"].rpartition("/")[0] or row["node"]
        rows.setdefault(scope, []).append(row)
    scopes = [scope.split("/")[:-1] for scope in rows]
    pairs = zip(min(scopes), max(scopes), strict=False)  # what these two share, all do
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)
    shared = "".join(f"{part}/" for part, _ in same)
    width = max(len("(between layers)"), *(len(scope) - len(shared) for scope in rows))
    print_line(f"{'layer':<{width}}  {'float us':>10}  {'int8 us':>10}  better")
    for scope, parts in rows.items():
        in_float = sum(part["float"]["seconds"] for part in parts)
        is_kept = all(part["int8"] is None for part in parts)
        # What stays in float in the int8 file is as fast there.
        in_int8 = sum((part["int8"] or part["float"])["seconds"] for part in parts)
        if in_float or in_int8:  # else a neighbour's kernel does it
            _print_layer(scope[len(shared) :], width, in_float, in_int8, is_kept)
    between, runs = found["between"], found["artifacts"]
    in_float, in_int8 = (sum(between[form].values()) for form in ("float", "int8"))
    _print_layer("(between layers)", width, in_float, in_int8, False)
    in_float, in_int8 = (runs[form]["run"]["seconds"] for form in ("float", "int8"))
    _print_layer("one run", width, in_float, in_int8, False)
    machine = found["machine"]
    print_line(
        f"{machine['cpu']}, onnxruntime {machine['onnxruntime']}, {found['threads']} thread(s)"
    )


def _print_layer(name: str, width: int, in_float: float, in_int8: float, is_kept: bool) -> None:
    told = "-" if is_kept else f"{in_int8 * 1e6:.1f}"
    if is_kept or in_float == in_int8:
        better = ""
    else:
        better = "int8" if in_int8 < in_float else "float"
        if min(in_int8, in_float):
            better += f" {min(in_int8, in_float) / max(in_int8, in_float):.2f}"
    print_line(f"{name:<{width}}  {in_float * 1e6:>10.1f}  {told:>10}  {better}".rstrip())


def _in_words(place: Mapping[str, Any]) -> str:
    """Return the file and the time that an answer belongs to, for the begin of its line."""
    file = f"{place['file']}  " if "file" in place else ""
    return f"{file}{place['seconds']:.3f} s  " if "seconds" in place else file


def print_answer(answer: Mapping[str, Array], as_json: bool, **place: Any) -> None:
    """Print the outputs for one sample; ``place`` is its file, and its time in a recording."""
    if as_json:
        text = json_of(answer)
        print_line(f'{json.dumps(place)[:-1]}, "outputs": {text}}}' if place else text)
        return
    for name, array in answer.items():
        # Digits that count, not decimals: a small number must not look like zero.
        formats: Any = {"float_kind": "{:.6g}".format}
        values = np.array2string(array, threshold=200, formatter=formats)
        print_line(f"{_in_words(place)}{name} {' '.join(values.split())}")


def print_labels(labels: list[Label] | list[list[Label]], as_json: bool, **place: Any) -> None:
    """Print the classes of each sample, a line each; ``place`` as for ``print_answer``."""
    rows: list[Any] = [labels] if labels and isinstance(labels[0], Label) else list(labels)
    for row in rows:
        if as_json:
            best = [asdict(label) for label in row]
            print_line(json.dumps({**place, "labels": best} if place else best))
        else:
            best_words = "  ".join(f"{label.name} {label.score:.4g}" for label in row)
            print_line(f"{_in_words(place)}{best_words}")


def with_progress(items: Iterator[Any], total: int | None, *, is_printing: bool) -> Iterator[Any]:
    """Pass the items on; on a terminal, show how far the reading is, at most ten times a second.

    Where answers go to a terminal (``is_printing``), they show the progress themselves.
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
