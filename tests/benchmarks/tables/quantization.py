"""What int8 keeps: the tables of a stored run of `make quantization`."""

from __future__ import annotations

from typing import Any

from tables.sections import table

_TITLES = {
    "article": "the article's network",
    "mnist": "MNIST network",
    "resnet8": "ResNet-8",
    "mobilenet": "MobileNetV1 0.25",
    "keywords": "DS-CNN",
    "autoencoder": "autoencoder",
    "xception": "mini XCEPTION",
    "teachable": "Teachable Machine",
    "gru": "GRU",
    "mobilenet_v2": "MobileNetV2",
    "resnet50": "ResNet50",
}
_HEAD = ("", "recipe of auto", "auto", "static", "naive", "LiteRT int8")


def render(run: dict[str, Any]) -> str:
    """Return the tables of one stored run in Markdown."""
    rows = run["rows"]
    columns = ("auto", "static", "naive", "litert")
    parts = [
        "What is left of the float network's answers, on samples that were not calibrated with: "
        "the share\nof samples with the same best class, and the signal-to-noise ratio of the "
        "worst output's channels\ntogether. Each int8 file is held to its own float file.",
        table(
            _HEAD,
            [
                (_title(row), row["auto"]["recipe"], *(_agreement(row[name]) for name in columns))
                for row in rows
            ],
        ),
        "Bytes of the files, ours with card and golden samples inside:",
        table(
            ("", "float", *_HEAD[2:]),
            [(_title(row), *(_bytes(row[name]) for name in ("float", *columns))) for row in rows],
        ),
        "Time of one sample on one thread over that of edgeport's float file, all by the same "
        "runtime:",
        table(
            ("", "auto", "static", "naive"),
            [
                (_title(row), *(_ratio(row, name, "latency_us") for name in columns[:3]))
                for row in rows
            ],
        ),
        f"On {run['cpu']}; in batches of 1,000, the article's network takes "
        f"{_ratio(rows[0], 'static', 'batch_1000_us')} of float's time.",
        "The accuracy on 10,000 test digits changes by "
        + " and ".join(
            f"{_points(row['auto']['accuracy_drop'])} points ({_title(row)})"
            for row in rows
            if row["auto"]["accuracy_drop"] is not None
        )
        + ".",
    ]
    return "\n\n".join(parts)


def _title(row: dict[str, Any]) -> str:
    return _TITLES[row["model"]]


def _agreement(seen: dict[str, Any] | None) -> str:
    if not seen or seen.get("signal_to_noise_db") is None:
        return ""
    decibel = f"{seen['signal_to_noise_db']:.1f} dB"
    return decibel if seen["top_1"] is None else f"{seen['top_1']:.2%}, {decibel}"


def _bytes(seen: dict[str, Any] | None) -> str:
    return f"{seen['bytes']:,}" if seen else ""


def _ratio(row: dict[str, Any], column: str, time: str) -> str:
    return f"{row[column][time] / row['float'][time]:.2f}"


def _points(drop: float) -> str:
    return f"{-100 * drop + 0.0:+.2f}"
