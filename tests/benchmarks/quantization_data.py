"""Data for the quantization benchmark: as near to what each model was made for as can be made here.

Nothing is downloaded. Images are random crops of four photos and the MNIST digits; sounds are
synthesized, and go through the feature pipeline that the model was trained with. Calibration and
evaluation samples come from different generators, and those of MNIST from its two halves. A third
generator makes held-out samples, which no conversion sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
SMALLEST_CROP = 60
RATE_HZ = 16_000

# (F1, F2, F3) in Hz of sounds with a voice, after Peterson and Barney, "Control methods used in a
# study of the vowels" (1952), men; for hisses the band of the noise.
VOICED = {
    "a": (730, 1090, 2440), "e": (530, 1840, 2480), "i": (270, 2290, 3010), "o": (570, 840, 2410),
    "u": (300, 870, 2240), "A": (640, 1190, 2390), "n": (280, 1700, 2600), "l": (360, 1300, 2700),
    "r": (310, 1060, 1380), "y": (280, 2200, 2900), "d": (250, 1700, 2600), "g": (250, 2100, 2400),
}  # fmt: skip
HISSES = {"s": (4000, 7500), "f": (1500, 7000), "t": (3000, 6500), "p": (500, 2500)}
# The keywords in the order of the model's classes; then silence and words that are none of them.
KEYWORDS = ("daun", "gou", "left", "nou", "of", "on", "rait", "stop", "Ap", "yes")


def crops(shared: Path, count: int, seed: int, size: int, low: float, high: float) -> np.ndarray:
    """Return (N, size, size, 3) random square crops of the photos, half of them mirrored."""
    generator = np.random.default_rng(seed)
    photos = [Image.open(shared / "data" / "photos" / name).convert("RGB") for name in PHOTOS]
    result = np.empty((count, size, size, 3), dtype=np.float32)
    for place in range(count):
        photo = photos[place % len(photos)]
        side = int(generator.integers(SMALLEST_CROP, min(photo.size)))
        left, top = (int(generator.integers(0, extent - side)) for extent in photo.size)
        crop = photo.crop((left, top, left + side, top + side)).resize((size, size))
        pixels = np.asarray(crop, dtype=np.float32)
        result[place] = pixels[:, ::-1] if generator.random() < 0.5 else pixels
    return low + result * np.float32((high - low) / 255)


def gray_crops(shared: Path, count: int, seed: int, size: int) -> np.ndarray:
    """Return (N, size, size, 1) in [-1, 1], as the face network wants them."""
    return crops(shared, count, seed, size, -1, 1).mean(axis=3, keepdims=True)


def digits(shared: Path, count: int, seed: int, *, flat: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return MNIST images in [0, 1] and their digits.

    Seed 0 takes the first of the training half, 1 the first of the test half and 2 the last of the
    training half. A ``count`` of the test half beyond its size gives all of it.
    """
    half = "test" if seed == 1 else "train"
    chosen = slice(-count, None) if seed == 2 else slice(count)
    with np.load(shared / "data" / "mnist" / "mnist_full.npz") as data:
        images, labels = data[f"x_{half}"][chosen], data[f"y_{half}"][chosen]
    images = images.astype(np.float32) / np.float32(255)
    return (images.reshape(len(images), -1) if flat else images), labels.astype(np.int64)


def bgr_crops(shared: Path, count: int, seed: int, size: int) -> np.ndarray:
    """Return crops as ResNet50 of keras.applications wants them: BGR, ImageNet's mean taken off."""
    pixels = crops(shared, count, seed, size, 0, 255)[..., ::-1]
    return pixels - np.float32([103.939, 116.779, 123.68])


def keyword_features(shared: Path, count: int, seed: int) -> np.ndarray:
    """Return (N, 49, 10, 1) MFCCs of synthesized words, silence and other words.

    Source:
        MLPerf Tiny, ``keyword_spotting/get_dataset.py``: one second at 16 kHz divided by its
        maximum, frames of 30 ms each 20 ms, Hann window, 40 mel bands of 20 to 4,000 Hz,
        log(x + 1e-6), the first ten cosine coefficients.
    """
    generator = np.random.default_rng(seed)
    sounds = []
    for place in range(count):
        word = place % (len(KEYWORDS) + 2)
        if word == len(KEYWORDS):
            sounds.append(_noise(generator, (20, 7000)) * generator.uniform(0.1, 1))
        else:
            phones = (
                KEYWORDS[word]
                if word < len(KEYWORDS)
                else "".join(generator.choice([*VOICED, *HISSES], size=4))
            )
            sounds.append(_say(generator, phones))
    return mfccs(sounds)


def mfccs(sounds: Sequence[np.ndarray]) -> np.ndarray:
    """Return (N, 49, 10, 1) of sounds of one second, as ``keyword_features`` says."""
    frames = np.stack([_frames(sound / sound.max(), 480, 320) for sound in sounds])
    spectrum = np.abs(np.fft.rfft(frames * _hann(480), n=512))
    log_mel = np.log(spectrum @ _mel_matrix(40, 257, 20, 4000) + 1e-6)
    angles = np.pi / 40 * (np.arange(40)[:, None] + 0.5) * np.arange(10)
    return (log_mel @ np.cos(angles) * np.sqrt(2 / 40))[..., None].astype(np.float32)


def machine_features(shared: Path, count: int, seed: int) -> np.ndarray:
    """Return (N, 640): five frames of 128 mel bands in dB, of synthesized humming machines.

    Source:
        MLPerf Tiny, ``anomaly_detection/common.py``: 16 kHz, frames of 1,024 each 512, power
        spectrum, 128 mel bands, 20 / 2 log10(x + eps), five frames in a row.
    """
    generator = np.random.default_rng(seed)
    length = 1024 + 4 * 512
    time_s = np.arange(length) / RATE_HZ
    rows = []
    for _ in range(count):
        base = generator.uniform(40, 200)
        hum = sum(
            generator.uniform(0, 1) / (k + 1) * np.sin(2 * np.pi * base * (k + 1) * time_s + k)
            for k in range(25)
        )
        hum *= 1 + 0.5 * np.sin(2 * np.pi * generator.uniform(2, 20) * time_s)
        rattle = _noise(generator, tuple(sorted(generator.uniform(100, 7900, 2))))[:length]
        rumble = _noise(generator, (20, 7900))[:length]
        sound = 0.05 * hum + generator.uniform(0, 0.05) * rattle + 0.005 * rumble
        frames = _frames(sound * 10 ** generator.uniform(-1.5, 0), 1024, 512)
        power = np.abs(np.fft.rfft(frames * _hann(1024))) ** 2
        decibel = 10 * np.log10(power @ _mel_matrix(128, 513, 0, 8000) + np.finfo(float).eps)
        rows.append(decibel.reshape(-1))
    return np.stack(rows).astype(np.float32)


def sleep_features(shared: Path, count: int, seed: int) -> np.ndarray:
    """Return (N, 60, 36): standardized features of half a night that wander as a heart does."""
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(12, 36)) / np.sqrt(12)
    steps = generator.normal(size=(count, 60, 12))
    state = np.zeros((count, 12))
    rows = []
    for step in range(60):
        state = 0.9 * state + np.sqrt(1 - 0.9**2) * steps[:, step]
        rows.append(state @ mixing)
    own = 0.3 * generator.normal(size=(count, 60, 36))
    return (np.stack(rows, axis=1) + own).astype(np.float32)


def _say(generator: np.random.Generator, phones: str) -> np.ndarray:
    """Return a second of sound: harmonics under three formants, and bands of noise."""
    voice, size = generator.uniform(90, 240), generator.uniform(0.95, 1.2)
    sound = _noise(generator, (20, 7000)) * 10 ** generator.uniform(-4, -2)
    start = int(generator.uniform(0.1, 0.25) * RATE_HZ)
    for phone in phones:
        length = int(generator.uniform(0.07, 0.16) * RATE_HZ)
        time_s = (start + np.arange(length)) / RATE_HZ
        if phone in HISSES:
            part = _noise(generator, HISSES[phone])[:length] * generator.uniform(0.1, 0.3)
        else:
            harmonics = voice * np.arange(1, int(7000 / voice))
            gains = sum(
                weight / (1 + ((harmonics - size * formant) / width) ** 2)
                for formant, width, weight in zip(
                    VOICED[phone], (90, 120, 180), (1, 0.5, 0.25), strict=True
                )
            )
            part = np.sin(2 * np.pi * time_s[:, None] * harmonics) @ gains
        window = np.minimum(1, np.minimum(np.arange(length), length - np.arange(length)) / 240)
        end = min(start + length, RATE_HZ)
        sound[start:end] += (part * window)[: end - start]
        start = end
    return sound


def _noise(generator: np.random.Generator, band: tuple[float, float]) -> np.ndarray:
    """Return a second of noise of width one between two frequencies in Hz."""
    spectrum = np.fft.rfft(generator.normal(size=RATE_HZ))
    frequencies = np.fft.rfftfreq(RATE_HZ, 1 / RATE_HZ)
    spectrum[(frequencies < band[0]) | (frequencies > band[1])] = 0
    sound = np.fft.irfft(spectrum)
    return sound / max(sound.std(), 1e-9)


def _frames(sound: np.ndarray, length: int, step: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(sound, length)[::step]


def _hann(length: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def _mel_matrix(bands: int, bins: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Return (bins, bands) triangles that are even on the mel scale of HTK."""

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 1127 * np.log1p(np.asarray(hertz) / 700)

    edges = np.linspace(mel(low_hz), mel(high_hz), bands + 2)
    places = mel(np.linspace(0, RATE_HZ / 2, bins))[:, None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


SAMPLES = {
    "article": partial(digits, flat=True),
    "mnist": partial(digits, flat=False),
    "resnet8": partial(crops, size=32, low=0, high=255),
    "mobilenet": partial(crops, size=96, low=0, high=1),
    "keywords": keyword_features,
    "autoencoder": machine_features,
    "xception": partial(gray_crops, size=64),
    "teachable": partial(crops, size=224, low=-1, high=1),
    "gru": sleep_features,
    "mobilenet_v2": partial(crops, size=224, low=-1, high=1),
    "mobilenet_v3_small": partial(crops, size=224, low=0, high=255),  # it scales by itself
    "efficientnet_b0": partial(crops, size=224, low=0, high=255),  # so does it
    "resnet50": partial(bgr_crops, size=224),
}
"""By model: (shared folder, number of samples, 0 for calibration, 1 for evaluation or 2 for samples
that no conversion sees) to x, or to (x, y) where there are labels."""
