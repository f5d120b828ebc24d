"""The data of the examples that no package ships: made here, where a user has recordings.

Each function says what a device would give in its place.
"""

import inspect
import re
from pathlib import Path

import numpy as np

rng = np.random.default_rng(1)

WORDS = ("nothing", "up", "down", "trill")
SOUND_RATE = 8000


def speak(word):
    """Return half a second of int16 PCM: a whistle that rises, falls or trills, in noise."""
    time = np.arange(SOUND_RATE // 2) / SOUND_RATE
    bend = (0, 700 * time**2, -400 * time**2, 3 * np.sin(2 * np.pi * 20 * time))[word]
    tone = np.sin(2 * np.pi * (rng.uniform(500, 1500) * time + bend)) * (word > 0)
    return np.int16(3000 * rng.uniform(0.1, 1) * tone + rng.normal(0, 600, len(time)))


def vibrate(seconds, rate, wear=0.0):
    """Return (T, 3) float32 in g: a shaft and its harmonics; worn bearings add short knocks."""
    time = np.arange(int(seconds * rate)) / rate
    turns = 2 * np.pi * rng.uniform(24, 26) * time
    shaft = sum(np.sin(k * turns + rng.uniform(0, 6)) / k for k in (1, 2, 3, 5))
    knocks = np.sin(2 * np.pi * 540 * time) * np.exp(-200 * (time % (1 / 87)))
    axes = np.outer(shaft, [1, 0.6, 0.3]) + wear * np.outer(knocks, [0.2, 1, 0.5])
    return np.float32(axes + rng.normal(0, 0.2, axes.shape))


def save_photos(folder):
    """Write FOLDER/train/CLASS/N.png and FOLDER/test/CLASS/N.png: parts of three real pictures.

    scikit-learn and matplotlib ship the pictures. Of eight upright stripes of each, two give the
    tests.
    """
    import matplotlib.pyplot as plt
    from matplotlib.cbook import get_sample_data
    from PIL import Image
    from sklearn.datasets import load_sample_image

    pictures = {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    pictures["portrait"] = plt.imread(get_sample_data("grace_hopper.jpg"))
    for name, picture in pictures.items():
        high, wide = picture.shape[:2]
        stripe = wide // 8
        for number in range(200):
            is_test = number < 50
            size = rng.integers(40, 64)
            left = stripe * rng.choice([2, 5] if is_test else [0, 1, 3, 4, 6, 7])
            left += rng.integers(stripe - size + 1)
            top = rng.integers(high - size)
            place = Path(folder, "test" if is_test else "train", name)
            place.mkdir(parents=True, exist_ok=True)
            part = picture[top : top + size, left : left + size]
            Image.fromarray(part).save(place / f"{number}.png")


def photograph_meter(bar):
    """Return a gray frame (96, 128, 1) uint8 of a dial from 0 to 10 bar, in changing light."""
    rows, columns = np.mgrid[:96, :128]
    angle = np.radians(225 - 27 * bar)
    right, up = columns - 64 - rng.uniform(-4, 4), 48 + rng.uniform(-4, 4) - rows
    along = right * np.cos(angle) + up * np.sin(angle)
    across = right * np.sin(angle) - up * np.cos(angle)
    is_needle = (abs(across) < 2) & (along > -6) & (along < 32)
    is_rim = abs(np.hypot(right, up) - 40) < 2
    levels = np.where(is_needle | is_rim, 40, 200) * rng.uniform(0.5, 1.1)
    return np.uint8(np.clip(levels + rng.normal(0, 8, levels.shape), 0, 255))[..., None]


def photograph_scratch():
    """Return a gray frame (64, 64, 1) uint8 with a scratch and a spot of dirt, and its mask.

    The mask (64, 64) is 1 where the scratch is.
    """
    rows, columns = np.mgrid[:64, :64]
    (top, left, dirt_top, dirt_left), angle = rng.uniform(10, 54, 4), rng.uniform(0, np.pi)
    down, right = rows - top, columns - left
    along = down * np.sin(angle) + right * np.cos(angle)
    mask = (abs(down * np.cos(angle) - right * np.sin(angle)) < 1.5) & (abs(along) < 14)
    dirt = np.hypot(rows - dirt_top, columns - dirt_left) < 5
    levels = 170 - 50 * (mask | dirt) + rng.normal(0, 14, mask.shape)
    return np.uint8(np.clip(levels, 0, 255))[..., None], mask.astype("uint8")


def measure_load(weeks):
    """Return (weeks, 168, 1) float32: the load of a building, hour by hour."""
    hour = np.arange(weeks * 168)
    is_weekday = hour // 24 % 7 < 5
    load = 2 + np.sin(hour * np.pi / 12) + 0.5 * is_weekday + rng.normal(0, 0.1, len(hour))
    return load.astype("float32").reshape(weeks, 168, 1)


def read_docstrings(modules):
    """Return real sentences from the docstrings of modules, shuffled, and the module of each."""
    found = {}
    for number, module in enumerate(modules):
        for _, member in inspect.getmembers(module, callable):
            for text in re.split(r"\.\s|\n\n", inspect.getdoc(member) or ""):
                if 60 < len(text) < 300 and text[0].isalpha():
                    found.setdefault(text, number)
    order = rng.permutation(len(found))
    return np.array(list(found))[order], np.array(list(found.values()))[order]
