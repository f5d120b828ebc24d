"""Weights of a ``.keras`` archive, moved to where Keras 3 looks for them.

An archive does not name layers: it numbers those of one class in the order of the saved model,
``layers/dense``, ``layers/dense_1``, and Keras numbers the loaded model's in its own order. Keras 2
ordered branches differently, so two layers of one shape can silently change places (Keras 3.15
with files of Keras 2.21). The saved order stands in the archive's config. Keras 3 can reorder its
own archives too, so ``keras_files`` asks for every archive.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras

_WEIGHTS = "model.weights.h5"
_MODELS = ("Functional", "Sequential", "Model")


def find_moves(config: dict[str, Any], model: Any) -> list[tuple[str, str]]:
    """Return (stored path, path where Keras looks) of each layer where these differ.

    Args:
        config: of the saved model, with its layers in the saved order.
        model: the model that Keras 3 built from it.
    """
    return [move for move in _pairs(config, model, "") if move[0] != move[1]]


def copy(source: Path, target: Path, config: str, moves: list[tuple[str, str]]) -> None:
    """Copy an archive with another config, and with its weights where Keras looks for them.

    Args:
        source: the archive; it is not changed.
        target: the copy; a temporary file for the weights stands beside it.
        config: the new one, in JSON.
        moves: from ``find_moves``.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            if member.filename == "config.json":
                new.writestr(member.filename, config)
            elif member.filename == _WEIGHTS and moves:
                weights = Path(old.extract(member, target.parent))
                move(weights, moves)
                new.write(weights, _WEIGHTS)
            else:
                with (
                    old.open(member) as reader,
                    new.open(member.filename, "w", force_zip64=True) as writer,
                ):
                    shutil.copyfileobj(reader, writer, 1 << 20)


def copy_weights(source: Path, target: Path, moves: list[tuple[str, str]]) -> Path:
    """Copy the weights of an archive or of an HDF5 file with the moves done; return the copy."""
    if zipfile.is_zipfile(source):
        with (
            zipfile.ZipFile(source) as archive,
            archive.open(_WEIGHTS) as reader,
            target.open("wb") as writer,
        ):
            shutil.copyfileobj(reader, writer, 1 << 20)
    else:
        shutil.copyfile(source, target)
    move(target, moves)
    return target


def move(weights: Path, moves: list[tuple[str, str]]) -> None:
    """Rename groups in an HDF5 file, outer ones first; they may swap names."""
    by_depth: dict[int, list[tuple[str, str]]] = {}
    for pair in moves:
        by_depth.setdefault(pair[1].count("/"), []).append(pair)
    with h5py.File(weights, "r+") as file:
        for _, level in sorted(by_depth.items()):
            kept = [(old, new) for old, new in level if old in file]
            for number, (old, _) in enumerate(kept):
                file.move(old, f"moving/{number}")
            for number, (_, new) in enumerate(kept):
                if new in file:
                    del file[new]  # of a layer that the loaded model does not have
                file.move(f"moving/{number}", new)


def _pairs(config: dict[str, Any], model: Any, folder: str) -> Iterator[tuple[str, str]]:
    """Yield pairs of all layers; those in nested models begin with the outer model's new path."""
    entries = config.get("config")
    saved = entries.get("layers") if isinstance(entries, dict) else None
    if not isinstance(saved, list):
        return
    layers = {layer.name: layer for layer in model.layers}
    kept = {entry["config"]["name"]: entry for entry in saved if _name(entry) in layers}
    old = _places(folder, ((name, entry["class_name"]) for name, entry in kept.items()))
    new = _places(folder, ((layer.name, type(layer).__name__) for layer in model.layers))
    for name, entry in kept.items():
        yield old[name], new[name]
        inner, inner_entry, place = layers[name], entry, f"{new[name]}/"
        if isinstance(inner, keras.layers.Wrapper):
            inner, inner_entry = inner.layer, entry["config"].get("layer", {})
            place += "layer/"
        if isinstance(inner, keras.Model) and inner_entry.get("class_name") in _MODELS:
            yield from _pairs(inner_entry, inner, place)


def _name(entry: dict[str, Any]) -> Any:
    return entry["config"].get("name") if isinstance(entry.get("config"), dict) else None


def _places(folder: str, layers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the path of each layer, from the names and classes of all in their order."""
    seen: Counter[str] = Counter()
    places = {}
    for name, class_name in layers:
        word = _snake_case(class_name.rpartition(">")[2])
        places[name] = f"{folder}layers/{word}" + (f"_{seen[word]}" if seen[word] else "")
        seen[word] += 1
    return places


def _snake_case(name: str) -> str:
    """Return the word that Keras makes of a class' name: MaxPooling2D gives max_pooling2d."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
