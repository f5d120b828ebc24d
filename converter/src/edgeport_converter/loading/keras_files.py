"""Reading the files that Keras writes: config, version and weights, opened with Keras 3.

Keras itself opens ``.keras`` archives, in a copy where the config needs repair. HDF5 and JSON
models are built here from their config, and their weights are assigned by name.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras

from edgeport import ConversionError
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading import formats, stored_code
from edgeport_converter.loading.keras_models import float32_note
from edgeport_converter.loading.legacy import archive_weights, configs, hdf5_weights
from edgeport_converter.loading.model import shorten

_BACKENDS = ("tensorflow", "jax", "torch", "numpy", "openvino", "cntk", "plaidml")


@dataclass(frozen=True)
class SavedFile:
    """A model as it stands in a file: KERAS, HDF5 or JSON of ``formats``.

    ``config`` is ``{"class_name", "config", …}``; ``keras_version`` is None where the file does not
    say which Keras wrote it.
    """

    path: Path
    kind: str
    config: dict[str, Any]
    keras_version: str | None
    weights: Path

    @property
    def is_old(self) -> bool:
        """Whether Keras 1 or 2 wrote it."""
        return configs.is_old(self.keras_version, self.config)


def read_archive(path: Path) -> SavedFile:
    """Return what a ``.keras`` archive holds."""
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json")
        has_metadata = "metadata.json" in archive.namelist()
        metadata = archive.read("metadata.json") if has_metadata else b"{}"
    version = _parse(path, metadata).get("keras_version")
    return SavedFile(path, formats.KERAS, _parse_config(path, config), version, path)


def read_hdf5(path: Path) -> SavedFile:
    """Return what an HDF5 model file holds.

    Raises:
        ConversionError: its convolutions are stored for a backend that flips them.
    """
    with h5py.File(path, "r") as file:
        config = file.attrs["model_config"]
        version = _text(file.attrs.get("keras_version"))
        backend = _text(file.attrs.get("backend"))
        if "model_weights" not in file:
            raise ConversionError(
                f"'{path}' holds a model without weights, expected both: save it with "
                "model.save('model.keras')"
            )
    if backend is not None and backend not in _BACKENDS:
        raise ConversionError(
            f"'{path}' was saved by Keras on the '{backend}' backend, whose convolution kernels "
            "are mirrored, expected 'tensorflow': save it again from Keras on TensorFlow"
        )
    text = _text(config) or ""
    return SavedFile(path, formats.HDF5, _parse_config(path, text), version, path)


def read_json_model(path: Path, weights: Path) -> SavedFile:
    """Return what a file from ``model.to_json()`` holds."""
    config = _parse_config(path, path.read_bytes())
    version = config.get("keras_version")
    return SavedFile(path, formats.JSON, config, version, weights)


def refuse_or_name_code(
    saved: SavedFile, objects: Mapping[str, Any], *, allow_code: bool
) -> tuple[str, ...]:
    """Return a note for each piece of Python code in the file.

    Raises:
        UnsupportedModelError: there is some and it is not allowed to run, it uses names that
            nothing defines, or the file names functions that no model needs.
    """
    stored_code.refuse_commands(saved.path, saved.config)
    code = tuple(dict.fromkeys(stored_code.find_code(saved.config)))
    if code and not allow_code:
        more = "" if len(code) == 1 else f" and {len(code) - 1} more"
        raise UnsupportedModelError(
            f"'{saved.path}' carries Python code that loading would run ({code[0]}{more}), "
            "expected layers only: if you trust who made it, pass allow_code=True, or --allow-code"
        )
    stored_code.require_names(saved.path, code, objects)
    return tuple(f"ran code from the file, {piece}" for piece in code)


def open_with_keras_3(
    saved: SavedFile, objects: dict[str, Any], *, allow_code: bool
) -> tuple[Any, tuple[str, ...]]:
    """Return the model with all its weights, and what was repaired.

    Raises:
        Exception: whatever Keras raises; ``diagnostics`` makes a sentence of it.
    """
    config = stored_code.in_readable_form(saved.config)
    notes: tuple[str, ...] = ()
    if saved.is_old:
        config, notes = configs.repair(config, objects)
    elif "module" not in config:
        config = configs.in_new_form(config, objects)
    config, policy = configs.in_float32(config)
    if policy is not None:
        notes += (float32_note(policy),)
    objects = configs.OBJECTS | objects
    with stored_code.with_usual_names(objects):
        if saved.kind == formats.KERAS:
            return _open_archive(saved, config, objects, allow_code), notes
        model = _build(config, objects, allow_code)
        hdf5_weights.load_and_check(
            model, lambda: _load_weights(model, saved.weights, config), saved.weights.name
        )
    return model, notes


@contextmanager
def under_its_own_suffix(
    saved: SavedFile,
    config: dict[str, Any] | None = None,
    moves: Sequence[tuple[str, str]] = (),
) -> Iterator[Path]:
    """Yield the file under the suffix that Keras expects of its kind.

    Keras decides by the suffix, and many files have the other kind's.

    With ``config``, it is a copy that has this one in place of the archive's own, and groups of its
    weights renamed by ``moves``.
    """
    suffix = ".keras" if saved.kind == formats.KERAS else ".h5"
    if config is None and saved.path.suffix == suffix:
        yield saved.path
        return
    with tempfile.TemporaryDirectory(prefix="edgeport-") as folder:
        renamed = Path(folder) / f"model{suffix}"
        if config is not None:
            archive_weights.copy(saved.path, renamed, json.dumps(config), list(moves))
        else:
            try:
                renamed.symlink_to(saved.path.resolve())
            except OSError:
                shutil.copyfile(saved.path, renamed)
        yield renamed


def _open_archive(
    saved: SavedFile, config: dict[str, Any], objects: dict[str, Any], allow_code: bool
) -> Any:
    def load(config: dict[str, Any] | None, moves: list[tuple[str, str]]) -> Any:
        with under_its_own_suffix(saved, config, moves) as path:
            model = keras.saving.load_model(
                path, custom_objects=objects, compile=False, safe_mode=not allow_code
            )
            # Loading twice costs little, and only this finds a layer that Keras never visits.
            hdf5_weights.load_and_check(model, lambda: model.load_weights(path), saved.path.name)
        return model

    changed = config if config != saved.config else None
    if saved.is_old:  # Keras would load layers of another shape into each other, and fail
        built = _build(config, objects, allow_code)
        return load(changed, archive_weights.find_moves(config, built))
    model = load(changed, [])
    moves = archive_weights.find_moves(config, model)
    return load(config, moves) if moves else model


def _build(config: dict[str, Any], objects: dict[str, Any], allow_code: bool) -> Any:
    """Return the model of a config, old or new, without weights."""
    config = copy.deepcopy(config)  # Keras takes configs apart while it reads them
    config.pop("compile_config", None)
    return keras.saving.deserialize_keras_object(
        config, custom_objects=objects, safe_mode=not allow_code
    )


def _load_weights(model: Any, path: Path, config: dict[str, Any]) -> None:
    if not zipfile.is_zipfile(path):
        try:
            file = h5py.File(path, "r")
        except OSError as cause:
            raise ConversionError(
                f"the weights '{path}' are no HDF5 file ({shorten(cause)}), expected what "
                "model.save_weights wrote: save them again"
            ) from cause
        with file:
            group = file.get("model_weights", file)
            if "layer_names" in group.attrs or "layer_names0" in group.attrs:
                hdf5_weights.assign_by_name(model, group)
                return
    moves = archive_weights.find_moves(config, model)
    with tempfile.TemporaryDirectory(prefix="edgeport-") as folder:
        weights = archive_weights.copy_weights(path, Path(folder) / "model.weights.h5", moves)
        model.load_weights(weights)


def _parse_config(path: Path, text: str | bytes) -> dict[str, Any]:
    config = _parse(path, text)
    if not isinstance(config.get("class_name"), str) or "config" not in config:
        raise ConversionError(
            f"'{path}' has no Keras model in its config, expected class_name and config: save it "
            "with model.save('model.keras')"
        )
    return config


def _parse(path: Path, text: str | bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except ValueError as cause:
        raise ConversionError(
            f"the config in '{path}' is no JSON ({cause}), expected what Keras writes: "
            "copy or download it again"
        ) from cause
    if not isinstance(parsed, dict):
        raise ConversionError(
            f"the config in '{path}' is a {type(parsed).__name__}, expected a JSON object: "
            "save it with model.save('model.keras')"
        )
    return parsed


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
