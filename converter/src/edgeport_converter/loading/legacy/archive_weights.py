"""Weights of a ``.keras`` archive, moved to where Keras 3 looks for them.

An archive stores weights by class and number instead of by the layer's name: ``layers/dense`` and
``layers/dense_1`` are the first two Dense layers in the saved model's order. Keras 3 numbers the
layers in the order of the model that it has built. Keras 2 ordered branches differently, so two
layers of one shape could silently get each other's weights (seen with Keras 3.15 and files of
tf_keras 2.21). The archive's config has the saved order. Archives of Keras 3 can be affected as
well, so ``keras_files`` calls ``find_moves`` for every archive.
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
    """Return (stored path, path where Keras looks) of each layer whose two paths differ.

    ``config`` has the layers in the saved order.
    """
    return [move for move in _pairs(config, model, "") if move[0] != move[1]]


def copy(source: Path, target: Path, config: str, moves: list[tuple[str, str]]) -> None:
    """Copy an archive with another config, and with its weights where Keras looks for them.

    A temporary file with the weights is left in the target's folder.
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
    """Copy an archive's weights, or an HDF5 file, to ``target``; apply the moves; return it."""
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
    """Rename groups in an HDF5 file, in place: outer ones first. Two groups may swap names."""
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
                    del file[new]  # it belongs to a layer that the loaded model does not have
                file.move(f"moving/{number}", new)


def _pairs(config: dict[str, Any], model: Any, folder: str) -> Iterator[tuple[str, str]]:
    """Yield (stored path, new path) of every layer, nested ones after the model that holds them.

    Both paths of a nested layer start with the new path of the outer model, since ``move`` renames
    outer groups first.
    """
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
    """Return the name of a layer in a config, None if it has none."""
    return entry["config"].get("name") if isinstance(entry.get("config"), dict) else None


def _places(folder: str, layers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the path of each layer by its name, from (name, class) of all layers in order."""
    seen: Counter[str] = Counter()
    places = {}
    for name, class_name in layers:
        word = _snake_case(class_name.rpartition(">")[2])
        places[name] = f"{folder}layers/{word}" + (f"_{seen[word]}" if seen[word] else "")
        seen[word] += 1
    return places


def _snake_case(name: str) -> str:
    """Return a class's name as Keras writes it in paths: MaxPooling2D gives max_pooling2d."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
