"""What the parity check without data notices of weights that are off, on real and random networks.

Each network is exported once. Its float graph is spoiled in several ways, and the check runs on
each copy as in a conversion. It has to refuse the copy, or the doubts that it writes into the card
have to say that it could not tell. Networks of ``keras.applications`` have random weights, with the
statistics of photos and a last layer that is as sure of itself as a trained one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from made_models import random_application
from onnx import numpy_helper

from edgeport import ModelCard
from edgeport_converter import AgreementError, exporting, optimizing
from edgeport_converter.loading.load import load_model, start_tensorflow
from edgeport_converter.verification.parity import check_parity
from edgeport_converter.verification.runners import in_fixed_batches
from edgeport_converter.verification.spoiling import spoil, with_noise
from edgeport_converter.verification.trial_inputs import prepare_batches

FILES = (
    "mlperf_tiny/image_classification/pretrainedResnet.h5",
    "mlperf_tiny/visual_wake_words/vww_96.h5",
    "mlperf_tiny/anomaly_detection/ad01.h5",
    "mlperf_tiny/keyword_spotting/kws_ref_model",
    "teachable_machine/keras_model.h5",
    "face_classification/fer2013_mini_XCEPTION.102-0.66.hdf5",
    "face_classification/tiny_XCEPTION_KDEF.hdf5",
    "sleepecg/ws-gru-mesa/classifier.keras",
    "mnist_mlp/Digit_Recognition_MLP.keras",
)
APPLICATIONS = (
    *("MobileNet", "MobileNetV2", "EfficientNetB0", "EfficientNetV2B0", "NASNetMobile"),
    *("DenseNet121", "DenseNet169", "ResNet50", "ResNet50V2", "ConvNeXtTiny"),
)
LOGITS = 15.0  # the spread of a trained network's logits, made up
PICKED = 3  # layers and channels of each network


def spoiled(graph: onnx.ModelProto) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield what was spoiled, and the spoiled copy."""
    yield "all 5%", spoil(graph, 0.05, seed=101)
    yield "all 30%", spoil(graph, 0.3, seed=102)
    generator = np.random.default_rng(103)
    layers = [
        place
        for place, tensor in enumerate(graph.graph.initializer)
        if len(tensor.dims) > 1 and tensor.data_type == onnx.TensorProto.FLOAT
    ]
    picked = generator.choice(layers, min(PICKED, len(layers)), replace=False)
    for share in (0.05, 0.3):
        for place in picked:
            yield (
                f"layer {share:.0%}",
                _changed(graph, place, lambda a, s=share: with_noise(a, s, 104)),
            )
    for place in picked:

        def one_channel(array: Any) -> Any:
            axis = 0 if array.ndim == 4 else array.ndim - 1
            where = (slice(None),) * axis + (generator.integers(array.shape[axis]),)
            array = array.copy()
            array[where] = with_noise(array[where], 0.3, 105)
            return array

        yield "channel 30%", _changed(graph, place, one_channel)


def _changed(graph: onnx.ModelProto, place: int, change: Callable[[Any], Any]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    tensor = copy.graph.initializer[place]
    array = change(numpy_helper.to_array(tensor))
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return copy


def sure_application(name: str, shared: Path) -> Any:
    """Return a network of keras.applications that is sure of its answers on photos."""
    from quantization_data import SAMPLES

    scales_bytes = name.startswith(("EfficientNet", "ConvNeXt", "ResNet50"))
    samples = SAMPLES["efficientnet_b0" if scales_bytes else "mobilenet_v2"]
    model = random_application(name, samples(shared, 32, 0))
    last = model.layers[-1]
    if last.get_weights():
        activation, last.activation = last.activation, None
        spread = np.std(np.asarray(model(samples(shared, 8, 0))))
        last.activation = activation
        kernel, *rest = last.get_weights()
        last.set_weights([kernel * LOGITS / spread, *rest])
    return model


def remembered(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return Keras' answers, which are the same for each copy of the graph, computed once."""
    known: dict[str, Any] = {}

    def answer(arrays: Any) -> Any:
        key = hashlib.sha256(b"".join(a.tobytes() for a in arrays.values())).hexdigest()
        if key not in known:
            known[key] = run(arrays)
        return known[key]

    return answer


def measure(model: Any) -> dict[str, Any]:
    """Return what the check notices, its doubts, and the time that it takes."""
    loaded = load_model(model)
    started = time.perf_counter()
    exported = exporting.export(loaded, opset=17, ir_version=8)
    graph = optimizing.compact(optimizing.optimize(exported.graph))
    export_seconds = time.perf_counter() - started
    card = ModelCard("model", exported.inputs, exported.outputs)
    runs = [in_fixed_batches(run, card.inputs) for run in (exported.reference, exported.logits)]
    started = time.perf_counter()
    parity, _ = check_parity(graph, card, prepare_batches(graph, card, *runs, None), runs[1])
    check_seconds = time.perf_counter() - started
    runs = [remembered(run) for run in runs]
    noticed: dict[str, list[bool]] = {}
    for what, copy in spoiled(graph):
        try:
            check_parity(copy, card, prepare_batches(copy, card, *runs, None), runs[1])
        except AgreementError:
            noticed.setdefault(what, []).append(True)
        else:
            noticed.setdefault(what, []).append(False)
    return {
        "noticed": {what: [sum(found), len(found)] for what, found in noticed.items()},
        "logits": parity.logits,
        "trials": [[t.what, t.noise, t.noticed, t.tried] for t in parity.trials],
        "doubts": parity.doubts(),
        "export_seconds": round(export_seconds, 1),
        "check_seconds": round(check_seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, help="the folder with the models and the photos")
    parser.add_argument("--only", nargs="+", default=(), help="parts of names")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    start_tensorflow()
    results = {}
    for name in (*FILES, *APPLICATIONS):
        if options.only and not any(part in name for part in options.only):
            continue
        model = options.shared / "models" / name
        if name in APPLICATIONS:
            model = sure_application(name, options.shared)
        results[name] = found = measure(model)
        title = Path(name).parts[-1]
        shares = "  ".join(f"{what} {a}/{b}" for what, (a, b) in found["noticed"].items())
        print(f"{title:<42} {shares}  ({found['check_seconds']} s)")
        print(" " * 42, "; ".join(found["doubts"]) or "no doubts", flush=True)
        missed = any(a < b for a, b in found["noticed"].values())
        if missed and not found["doubts"]:
            print(" " * 42, "MISSED WITHOUT A WORD", flush=True)
    if options.output:
        options.output.write_text(json.dumps(results, indent=1))
    silent = [
        name
        for name, found in results.items()
        if not found["doubts"] and any(a < b for a, b in found["noticed"].values())
    ]
    sys.exit(f"missed without a word: {', '.join(silent)}" if silent else 0)


if __name__ == "__main__":
    main()
