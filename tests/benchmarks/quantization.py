"""int8 artifacts beside naive `quantize_static` and LiteRT: `make quantization SHARED=folder`.

    python tests/benchmarks/quantization.py SHARED [--output build/quantization.json]
        [--only TEXT] [--large]

SHARED is a folder with the models and data that README.md there describes; nothing of it is part of
the repository. Every model is converted twice, as `auto` and as `static`, calibrated on one set of
samples and compared with its float graph on another. Beside them stand

- naive: `onnxruntime.quantization.quantize_static` of the same float graph and calibration samples,
  QDQ, weights per channel, everything else as it comes;
- LiteRT: the int8 .tflite file beside the model, on the same samples, compared with the float
  .tflite beside it. It runs in an environment of its own below the output's folder.

Agreement is the share of samples with the same best class, and the signal-to-noise ratio that the
converter reports. Latencies are medians of interleaved rounds, one sample on one thread, all
through the same Predictor but LiteRT's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

CALIBRATION_SAMPLES = 256
EVALUATION_SAMPLES = 1000
LARGE_SAMPLES = 32
BATCH = 1000
# The best class of random crops stands on a border more often than that of the data that a network
# was trained for; LiteRT's files change up to a tenth.
MAX_DROP_WITHOUT_LABELS = 0.05
MAX_DROP = 0.001


@dataclass(frozen=True)
class Case:
    """A model, its data's name in ``quantization_data.SAMPLES``, and what lies beside it.

    Attributes:
        model: path below SHARED/models, or a name in ``made_models.MADE``.
        int8, float32: .tflite files beside it.
        litert_bytes: the size of LiteRT's int8 file, for models without one in SHARED.
        is_large: whether it is left out without --large.
    """

    name: str
    model: str
    int8: str = ""
    float32: str = ""
    litert_bytes: int | None = None
    is_large: bool = False


TINY = "mlperf_tiny/"
CASES = (
    Case("article", "article_network", litert_bytes=61_632),
    Case("mnist", "mnist_mlp/Digit_Recognition_MLP.keras"),
    Case("resnet8", TINY + "image_classification/pretrainedResnet.h5",
         "pretrainedResnet_quant.tflite", "pretrainedResnet.tflite", 95_840),
    Case("mobilenet", TINY + "visual_wake_words/vww_96.h5",
         "vww_96_int8.tflite", "vww_96_float.tflite"),
    Case("keywords", TINY + "keyword_spotting/kws_ref_model",
         "kws_ref_model.tflite", "kws_ref_model_float32.tflite", 48_552),
    Case("autoencoder", TINY + "anomaly_detection/ad01.h5", "ad01_int8.tflite", "ad01_fp32.tflite"),
    Case("xception", "face_classification/fer2013_mini_XCEPTION.102-0.66.hdf5"),
    Case("teachable", "teachable_machine/keras_model.h5"),
    Case("gru", "sleepecg/ws-gru-mesa/classifier.keras"),
    Case("mobilenet_v2", "mobilenet_v2", litert_bytes=4_014_120, is_large=True),
    Case("resnet50", "resnet50", is_large=True),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--output", type=Path, default=Path("build/quantization.json"))
    parser.add_argument("--only", default="", help="a pattern that the names must contain")
    parser.add_argument("--large", action="store_true", help="MobileNetV2 and ResNet50 as well")
    options = parser.parse_args()
    folder = options.output.resolve().parent / "quantization"
    folder.mkdir(parents=True, exist_ok=True)
    cases = [
        case
        for case in CASES
        if re.search(options.only, case.name) and (options.large or not case.is_large)
    ]
    rows = []
    for case in cases:
        started = time.monotonic()
        row = measure(case, options.shared, folder) | {
            "seconds": round(time.monotonic() - started, 1)
        }
        rows.append(row)
        show(row)
        result = {"cpu": cpu_name(), "python": platform.python_version(), "rows": rows}
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(case: Case, shared: Path, folder: Path) -> dict:
    """Return the figures of one model by column."""
    import onnx
    from made_models import MADE
    from quantization_data import SAMPLES

    from edgeport_converter import convert
    from edgeport_converter.quantization.evaluation.timing import median_latencies_us

    count = LARGE_SAMPLES if case.is_large else EVALUATION_SAMPLES
    samples = SAMPLES[case.name]
    calibration = samples(shared, min(count, CALIBRATION_SAMPLES), 0)
    evaluation = samples(shared, 10_000 if case.name in ("article", "mnist") else count, 1)
    has_labels = isinstance(evaluation, tuple)
    x, x0 = (data[0] if has_labels else data for data in (evaluation, calibration))
    source = shared / "models" / case.model
    model = source if source.exists() else MADE[case.model](shared)
    reports = {}
    for recipe in ("auto", "static"):
        reports[recipe] = convert(
            model,
            folder / f"{case.name}.{recipe}.onnx",
            calibration=x0,
            evaluation=evaluation,
            quantize=recipe,
            also=("none",) if recipe == "static" else (),
            max_drop=MAX_DROP if has_labels else MAX_DROP_WITHOUT_LABELS,
        )
    report = reports["static"]
    float_path = report.variants["none"]
    plain_path, naive_path = (folder / f"{case.name}.{kind}.onnx" for kind in ("plain", "naive"))
    onnx.save(load_graph(float_path), plain_path)
    quantize_naively(plain_path, naive_path, x0)
    graphs = [
        load_graph(path) for path in (float_path, reports["auto"].output, report.output, naive_path)
    ]
    is_classifier = report.agreement.top_1 is not None
    row = {
        "model": case.name,
        "samples": len(x),
        "float": {"bytes": float_path.stat().st_size},
        "naive": {"bytes": naive_path.stat().st_size}
        | agreement(onnx_answers(naive_path, x), onnx_answers(float_path, x), is_classifier),
    }
    for recipe, each in reports.items():
        seen = asdict(each.agreement)
        row[recipe] = {
            "recipe": each.recipe,
            "bytes": each.file_bytes,
            "top_1": seen["top_1"],
            "signal_to_noise_db": seen["signal_to_noise_db"],
            "accuracy_drop": each.accuracy and each.accuracy.float32 - each.accuracy.artifact,
        }
    columns = ("float", "auto", "static", "naive")
    for batch in (1, BATCH) if case.name == "article" else (1,):
        feed = {report.card.inputs[0].name: x[:batch]}
        times = median_latencies_us(graphs, report.card, feed)
        for column, microseconds in zip(columns, times, strict=True):
            row[column]["latency_us" if batch == 1 else f"batch_{batch}_us"] = microseconds
    row["litert"] = litert(case, source.parent, folder, x, is_classifier)
    return row


def load_graph(path: Path) -> object:
    """Return the graph without card and seal."""
    import onnx

    graph = onnx.load(path)
    del graph.metadata_props[:]
    return graph


def quantize_naively(source: Path, target: Path, x: np.ndarray) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    name = open_session(source).get_inputs()[0].name

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter(x)

        def get_next(self) -> dict | None:
            row = next(self.rows, None)
            return None if row is None else {name: row[None]}

    quantize_static(
        str(source), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True
    )


def litert(case: Case, folder: Path, work: Path, x: np.ndarray, is_classifier: bool) -> dict | None:
    """Return LiteRT's column: its int8 file against its own float file."""
    from peers.environment import make_environment

    if not case.int8:
        return None if case.litert_bytes is None else {"bytes": case.litert_bytes}
    python = make_environment(work.parent / "litert", ["ai-edge-litert"])
    samples = work / "samples.npz"
    np.savez(samples, x=x)
    found = {}
    for kind, name in (("int8", case.int8), ("float32", case.float32)):
        answers = work / f"answers_{kind}.npz"
        script = Path(__file__).parent / "peers" / "litert_answers.py"
        subprocess.run(
            [python, script, folder / name, samples, answers], check=True, capture_output=True
        )
        with np.load(answers) as data:
            found[kind] = {"y": data["y"]}, float(data["latency_us"])
    return {
        "bytes": (folder / case.int8).stat().st_size,
        **agreement(found["int8"][0], found["float32"][0], is_classifier),
        "latency_us": found["int8"][1],
        "float_latency_us": found["float32"][1],
    }


def agreement(found: dict, expected: dict, is_classifier: bool) -> dict:
    from edgeport_converter.quantization.evaluation.agreement import measure_agreement

    seen = measure_agreement(
        lambda _: found, lambda _: expected, [expected], classifier=is_classifier
    )
    return {"top_1": seen.top_1, "signal_to_noise_db": seen.signal_to_noise_db}


def open_session(path: Path) -> object:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def onnx_answers(path: Path, x: np.ndarray) -> dict:
    session = open_session(path)
    name, outputs = session.get_inputs()[0].name, [node.name for node in session.get_outputs()]
    parts = [session.run(outputs, {name: x[i : i + 64]}) for i in range(0, len(x), 64)]
    return {
        output: np.concatenate([part[place] for part in parts])
        for place, output in enumerate(outputs)
    }


def show(row: dict) -> None:
    print(f"{row['model']}: {row['samples']:,} samples, {row['seconds']} s", flush=True)
    for column in ("float", "auto", "static", "naive", "litert"):
        seen = row[column]
        if not seen:
            continue
        parts = [f"{seen['bytes']:>11,} bytes"]
        top_1, decibel = seen.get("top_1"), seen.get("signal_to_noise_db")
        parts.append("" if top_1 is None else f"{top_1:.2%} same")
        parts.append("" if decibel is None else f"{decibel:.1f} dB")
        drop = seen.get("accuracy_drop")
        parts.append("" if drop is None else f"{100 * drop:+.2f} points lost")
        for name in ("latency_us", f"batch_{BATCH}_us"):
            parts.append(f"{seen[name]:,.1f} µs" if name in seen else "")
        parts.append(seen.get("recipe", ""))
        print(f"  {column:7}{'  '.join(filter(None, parts))}", flush=True)


def cpu_name() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    name = re.search(r"model name\s*: (.*)", text)
    kind = "with VNNI" if "avx512_vnni" in text or "avx_vnni" in text else "without VNNI"
    return f"{name[1] if name else platform.processor()}, {kind}"


if __name__ == "__main__":
    main()
