"""What is measured on this machine: golden samples, the time of one sample, and its CPU."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgeport import EdgeportError, ModelCard, Predictor, SelfTestError
from edgeport.artifact.card import format_shape
from edgeport.artifact.golden import Array
from edgeport.inputs.examples import example
from edgeport_converter.quantization.evaluation.timing import median_latencies_us
from edgeport_converter.reporting.records import GoldenRow, Latency, Missing, SelfTest
from edgeport_converter.verification.runners import Run, as_run, run_as_defined


def describe_machine() -> str:
    """Return the CPU, the number of CPUs that may be used, and the engine, in words."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    engine = f"onnxruntime {onnxruntime.__version__}"
    return (
        f"{_cpu_name()}, {cpus} usable CPU{'s' if cpus > 1 else ''}, {engine}, {platform.system()}"
    )


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "unknown CPU"


def measure_latency(
    artifact: onnx.ModelProto, card: ModelCard, sample: Mapping[str, Array] | None
) -> Latency | Missing:
    """Return the median time of one sample on one thread.

    Args:
        artifact: the graph.
        card: its inputs and outputs.
        sample: one sample with the batch axis; one is made up where there is none.
    """
    try:
        feed = example(card, 1) if sample is None else dict(sample)
        (us,) = median_latencies_us([artifact], card, feed)
    except (EdgeportError, MemoryError) as cause:
        return Missing(f"no time was measured: {cause}.")
    return Latency(us, None, describe_machine(), describe_shapes(feed))


def describe_shapes(sample: Mapping[str, Array]) -> str:
    """Return the shapes of one sample, with the batch axis."""
    return ", ".join(f"{name} {format_shape(array.shape)}" for name, array in sample.items())


def run_self_test(path: Path, artifact: onnx.ModelProto, card: ModelCard) -> SelfTest | Missing:
    """Run all golden samples as a device does.

    Where this machine refuses the file, the samples are run as ONNX defines the graph, so that the
    report tells a damaged file from one that is for another CPU.
    """
    if not card.golden_samples:
        has_text = any(spec.dtype.kind == "O" for spec in (*card.inputs, *card.outputs))
        reason = "The file holds no golden samples"
        if has_text:
            return Missing(
                f"{reason}, since a card stores arrays as numbers and this model takes or gives "
                "text: no device can tell by itself whether it answers right.",
                "Compare a few answers on the device with those of this machine.",
            )
        return Missing(
            f"{reason}, so that no device can tell whether it answers right.",
            "Convert the model with edgeport-converter: every artifact without text has some.",
        )
    try:
        with Predictor.load(path, tuning=False) as predictor:
            rows = _rows(as_run(predictor), card)
    except SelfTestError as refusal:
        rows = _rows(run_as_defined(artifact), card)
        remark = (
            "As ONNX defines the graph all of them hold, so that the file is whole and is for "
            "another CPU than this one"
            if all(row.holds for row in rows)
            else "They do not hold as ONNX defines the graph, either: the file is wrong"
        )
        return SelfTest(False, f"This machine refuses the file: {refusal}. {remark}.", rows)
    holds = all(row.holds for row in rows)
    count = len(card.golden_samples)
    outputs = "all outputs" if len(card.outputs) > 1 else "the output"
    sentence = f"{count} golden samples were run here, and {outputs} came out as recorded."
    return SelfTest(holds, sentence if holds else "A golden sample came out otherwise.", rows)


def _rows(run: Run, card: ModelCard) -> tuple[GoldenRow, ...]:
    rows = []
    for number, sample in enumerate(card.golden_samples, start=1):
        answers = run(dict(sample.inputs))
        for spec in card.outputs:
            allowed = float(card.tolerance.get(spec.name, 0.0))
            found = np.asarray(answers[spec.name])
            largest = sample.outputs[spec.name].difference(found)
            rows.append(GoldenRow(number, spec.name, largest, allowed, largest <= allowed))
    return tuple(rows)
