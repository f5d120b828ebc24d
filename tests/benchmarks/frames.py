"""How a photo reaches a model: classes that change on the way, and what the way costs.

    make frames SHARED=folder
    python tests/benchmarks/frames.py SHARED [--crops 400] [--output build/frames.json]

Two networks see crops of photos, of many sizes. For each resize that training code may have called,
the classes of that very call are compared with those of the customary device code, which is
OpenCV's INTER_LINEAR or Pillow's BILINEAR, and with those of the frames graph in front of the
network. Teachable Machine's own sample code and the artifact of its model get the same frames of
twelve megapixels, and have to agree in every class. Then the way from a frame to the answer is
timed, by turns, on one thread: the artifact's beside the best code by hand (OpenCV, numpy, plain
onnxruntime) for the two bilinear kinds, and for the antialiased ones the graph alone beside
Pillow's own resize.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import cv2
import onnx
import onnxruntime
from PIL import Image, ImageOps

from edgeport import FrameFormat, Predictor
from edgeport.artifact.card import card_json
from edgeport.artifact.seal import seal
from edgeport_converter import convert
from edgeport_converter.sensors.frame_graph import make_frames_model, prepend_frames
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.sensors.reference import read_frame

NETWORKS = {
    # name: file, height and width, scale, mean
    "MobileNetV1 0.25": ("mlperf_tiny/visual_wake_words/vww_96.h5", 96, 1 / 255, 0.0),
    "Teachable Machine": ("teachable_machine/keras_model.h5", 224, 1 / 127.5, 127.5),
}
TRAINED = (
    *("keras", "keras-bicubic", "keras-area", "keras-lanczos3", "keras-bilinear-antialias"),
    *("load_img", "pillow-bilinear", "pillow-bicubic", "ImageOps.fit-lanczos"),
    *("opencv-linear", "opencv-area", "opencv-cubic"),
)
BY_HAND = ("keras", "opencv-linear")
ANTIALIASED = ("keras-bilinear-antialias", "pillow-bilinear", "pillow-bicubic", "pillow-lanczos")
SIZES = ((480, 640), (1080, 1920))
SMALLEST_CROP = 100
TWELVE_MEGAPIXELS = (3000, 4000)
TIE = 1e-6
ROUNDS = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--crops", type=int, default=400)
    parser.add_argument("--sample-code", action="store_true", help="only Teachable Machine's")
    parser.add_argument("--output", type=Path, default=Path("build/frames.json"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    frames = crops(options.shared, options.crops)
    result = {"classes": [], "times": [], "sample code": sample_code(options.shared)}
    print(json.dumps(result["sample code"]), flush=True)
    if options.sample_code:
        return 0
    for name, (path, side, scale, mean) in NETWORKS.items():
        model = float_model(options.shared / "models" / path)
        classes = customary(model, Frames(scale=scale, mean=mean), frames, side)
        for trained in TRAINED:
            spec = Frames(trained, scale=scale, mean=mean)
            row = changed(model, spec, frames, side, classes)
            result["classes"].append({"network": name, **row})
            print(json.dumps(result["classes"][-1]), flush=True)
        for size in SIZES:
            for row in times(model, size, side, scale, mean):
                result["times"].append({"network": name, **row})
                print(json.dumps(result["times"][-1]), flush=True)
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("\n" + tables(result))
    return 0


def crops(shared: Path, count: int) -> list[np.ndarray]:
    """Return parts of the photos, of many sizes and aspects, uint8."""
    generator = np.random.default_rng(7)
    photos = [
        np.asarray(Image.open(path).convert("RGB"))
        for path in sorted((shared / "data" / "photos").iterdir())
    ]
    result = []
    for place in range(count):
        photo = photos[place % len(photos)]
        sides = [int(generator.integers(SMALLEST_CROP, side)) for side in photo.shape[:2]]
        top, left = (
            int(generator.integers(0, whole - side + 1))
            for whole, side in zip(photo.shape, sides, strict=False)
        )
        result.append(np.ascontiguousarray(photo[top : top + sides[0], left : left + sides[1]]))
    return result


def sample_code(shared: Path) -> dict:
    """Compare `classify` with the code that Teachable Machine exports, on frames of 12 megapixels.

    Source of the latter: keras_model.h5's "Keras" tab, `ImageOps.fit(image, (224, 224), LANCZOS)`
    and `(image.astype(np.float32) / 127.5) - 1`.
    """
    folder = shared / "models" / "teachable_machine"
    labels = (folder / "labels.txt").read_text(encoding="utf-8").split("\n")
    labels = [line.split(maxsplit=1)[1] for line in labels if line]
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "model.onnx"
        spec = Frames("ImageOps.fit-lanczos", mean=127.5, scale=1 / 127.5)
        convert(folder / "keras_model.h5", path, frames=spec, labels=labels)
        predictor = Predictor.load(path)
        convert(folder / "keras_model.h5", path.with_name("plain.onnx"))
        plain = session_of(onnx.load(path.with_name("plain.onnx")))
    name = plain.get_inputs()[0].name
    same, largest, photos = 0, 0.0, sorted((shared / "data" / "photos").iterdir())
    for photo in photos:
        image = Image.open(photo).convert("RGB").resize(TWELVE_MEGAPIXELS[::-1])
        small = ImageOps.fit(image, (224, 224), Image.Resampling.LANCZOS)
        data = (np.asarray(small).astype(np.float32) / 127.5) - 1
        expected = plain.run(None, {name: data[None]})[0][0]
        found = {each.name: each.score for each in predictor.classify(np.asarray(image), top_k=4)}
        gaps = [abs(found[label] - expected[at]) for at, label in enumerate(labels)]
        largest = max(largest, float(max(gaps)))
        same += next(iter(found)) == labels[int(expected.argmax())]
    return {"frames": len(photos), "same class": same, "largest difference": largest}


def float_model(path: Path) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        convert(path, Path(folder) / "model.onnx", quantize="none")
        return onnx.load(Path(folder) / "model.onnx")


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def predictor_of(
    model: onnx.ModelProto, name: str, spec: Frames, picture: tuple[int, int, int]
) -> Predictor:
    """Return the model with frames as an artifact whose card knows them, on one thread."""
    whole = prepend_frames(model, name, spec)
    del whole.metadata_props[:]
    with Predictor.load(whole.SerializeToString()) as plain:
        card = plain.card
    inputs = tuple(
        replace(port, axes=("N", "H", "W", "C")) if port.name == name else port
        for port in card.inputs
    )
    known = FrameFormat(spec.order, picture, spec.size, spec.most_pixels, spec.to_text())
    card = replace(card, inputs=inputs, frames={name: known})
    return Predictor.load(seal(whole.SerializeToString(), card_json(card, [])), threads=1)


def customary(model: onnx.ModelProto, spec: Frames, frames: list, side: int) -> dict:
    """Return the classes of each frame after the usual resizes of device code."""
    name = model.graph.input[0].name
    plain = session_of(model)
    return {
        way: [
            plain.run(None, {name: read_frame(frame, other, (side, side, 3))[None]})[0][0].argmax()
            for frame in frames
        ]
        for way, other in (
            ("opencv", replace(spec, resize="opencv-linear")),
            ("pillow", replace(spec, resize="pillow-bilinear")),
        )
    }


def changed(model: onnx.ModelProto, spec: Frames, frames: list, side: int, classes: dict) -> dict:
    """Return the shares of frames whose class is another one than in the training code."""
    name = model.graph.input[0].name
    plain, whole = session_of(model), session_of(prepend_frames(model, name, spec))
    counts = dict.fromkeys(("opencv", "pillow", "bgr", "graph"), 0)
    score, ties = 0.0, 0
    for place, frame in enumerate(frames):
        picture = read_frame(frame, spec, (side, side, 3))
        expected = plain.run(None, {name: picture[None]})[0][0]
        found = whole.run(None, {name: frame[None]})[0][0]
        mirrored = plain.run(None, {name: picture[None, ..., ::-1]})[0][0]
        score = max(score, float(np.abs(found - expected).max()))
        first, second = np.sort(expected)[-2:][::-1]
        if first - second < TIE:
            ties += 1
            continue
        answers = {way: each[place] for way, each in classes.items()}
        answers |= {"bgr": mirrored.argmax(), "graph": found.argmax()}
        for way, answer in answers.items():
            counts[way] += int(answer != expected.argmax())
    shares = {way: count / len(frames) for way, count in counts.items()}
    return {
        "trained": spec.to_text().split()[0],
        "fit": spec.fit,
        **shares,
        "graph_score": score,
        "ties": ties,
    }


def times(model: onnx.ModelProto, size: tuple, side: int, scale: float, mean: float):
    """Yield a row for each kind: medians of the fastest fifth, in milliseconds."""
    name, picture = model.graph.input[0].name, (side, side, 3)
    frame = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    plain = session_of(model)
    for kind in BY_HAND:

        def by_hand(kind=kind):
            source = frame.astype(np.float32) if kind == "keras" else frame
            small = cv2.resize(source, (side, side), interpolation=cv2.INTER_LINEAR)
            return plain.run(None, {name: ((small - np.float32(mean)) * np.float32(scale))[None]})

        ways = {"library": by_hand}
        for label, declared in (("free", None), ("fixed", size)):
            spec = Frames(kind, size=declared, scale=scale, mean=mean)
            whole = session_of(prepend_frames(model, name, spec))
            ways[label] = lambda whole=whole: whole.run(None, {name: frame[None]})
            predictor = predictor_of(model, name, spec, picture)
            ways[f"predict {label}"] = lambda predictor=predictor: predictor.predict(frame)
        yield {"kind": kind, "size": size, "to": side, "part": "frame to answer", **by_turns(ways)}
    image = Image.fromarray(frame)
    for kind in ANTIALIASED:
        spec = Frames(kind)
        resample = Image.Resampling[spec.kind.upper()]

        def by_pillow(resample=resample):
            return np.asarray(image.resize((side, side), resample), np.float32)

        ways = {"library": by_pillow}
        for label, declared in (("free", None), ("fixed", size)):
            graph = session_of(make_frames_model(Frames(kind, size=declared), picture))
            ways[label] = lambda graph=graph: graph.run(None, {"frames": frame[None]})
        yield {"kind": kind, "size": size, "to": side, "part": "frame to tensor", **by_turns(ways)}


def by_turns(ways: dict) -> dict:
    measured: dict = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            measured[way].append(time.perf_counter() - start)
    # The fastest fifth: other work on the machine only ever adds time.
    return {
        way: 1e3 * float(np.median(np.sort(each)[: ROUNDS // 5])) for way, each in measured.items()
    }


def tables(result: dict) -> str:
    lines = [
        "| network | trained with | by OpenCV linear | by Pillow bilinear | BGR for RGB | graph |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["classes"]:
        shares = " | ".join(f"{row[way]:.2%}" for way in ("opencv", "pillow", "bgr", "graph"))
        lines.append(f"| {row['network']} | {row['trained']} {row['fit']} | {shares} |")
    lines += ["", "| network | kind | frame | part | ms | × any size | × declared size | predict |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in result["times"]:
        ratios = " | ".join(
            " / ".join(f"{row[way] / row['library']:.2f}" for way in ways if way in row) or "—"
            for ways in (["free"], ["fixed"], ["predict free", "predict fixed"])
        )
        frame = f"{row['size'][0]} × {row['size'][1]} to {row['to']}"
        lines.append(
            f"| {row['network']} | {row['kind']} | {frame} | {row['part']} "
            f"| {row['library']:.2f} | {ratios} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
