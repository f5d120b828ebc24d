"""The state of a training after an epoch, in one file that is replaced in one step.

Keras' ``BackupAndRestore`` does not serve (Keras 3.15): weights and epoch are two files written one
after the other, so a kill between them repeats an epoch; the random state of dropout is not saved;
nor are the best weights, the patience and the history of other callbacks.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport.atomic_files import replacing
from edgeport_converter.training.data.samples import TrainingData
from edgeport_converter.training.fitting.callbacks import BestWeights, Course
from edgeport_converter.training.recipe.recipe import TrainingRecipe

# Attributes of other callbacks that the next epoch depends on; best weights are kept apart.
_KEPT: dict[type, tuple[str, ...]] = {
    Course: ("history",),
    BestWeights: ("best", "best_epoch", "wait"),
    keras.callbacks.ReduceLROnPlateau: ("best", "wait", "cooldown_counter"),
}


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps model, optimizer and the callbacks before it, and brings them back.

    Attributes:
        epoch: how many epochs are done in the file; 0 without one.
        is_done: whether the training in the file has stopped early.

    Raises:
        OptionError: the checkpoint is of another recipe, data or Keras, or damaged.
    """

    def __init__(
        self, path: Path, recipe: TrainingRecipe, read: TrainingData, callbacks: Sequence[Any]
    ) -> None:
        super().__init__()
        self._path, self._callbacks = path, [item for item in callbacks if type(item) in _KEPT]
        self._same = {
            "recipe": recipe.sha256,
            "data": read.sha256,
            "version of Keras": keras.__version__,
        }
        self._facts, self._arrays = self._read()
        self.epoch = int(self._facts.get("epoch", 0))
        self.is_done = bool(self._facts.get("is_done"))

    def on_train_begin(self, logs: Any = None) -> None:
        """Bring everything back, after the callbacks before this one have reset themselves."""
        if not self._facts:
            return
        variables = _state(self.model)
        kept = [self._arrays.pop(f"variable_{i}", None) for i in range(len(variables))]
        for variable, value in zip(variables, kept, strict=True):
            if value is None or value.shape != tuple(variable.shape):
                raise self._refuse("is of another model")
            variable.assign(value)
        for callback, values in zip(self._callbacks, self._facts["callbacks"], strict=True):
            for name, value in values.items():
                setattr(callback, name, value)
            if isinstance(callback, BestWeights):
                weights = self.model.get_weights()
                callback.best_weights = [self._arrays.pop(f"best_{i}") for i in range(len(weights))]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the file.

        Raises:
            OptionError: it cannot be written; the former one stays.
        """
        facts = {
            "same": self._same,
            "epoch": epoch + 1,
            "is_done": self.model.stop_training,
            "callbacks": [
                {name: getattr(callback, name) for name in _KEPT[type(callback)]}
                for callback in self._callbacks
            ],
        }
        arrays = {f"variable_{i}": np.array(value) for i, value in enumerate(_state(self.model))}
        for callback in self._callbacks:
            if isinstance(callback, BestWeights):
                arrays |= {f"best_{i}": value for i, value in enumerate(callback.best_weights)}
        with replacing(str(self._path)) as file:
            text = np.array(json.dumps(facts, default=float))
            np.savez(file, allow_pickle=False, facts=text, **arrays)

    def _read(self) -> tuple[dict[str, Any], dict[str, Array]]:
        if not self._path.exists():
            return {}, {}
        try:
            # numpy leaves the file open where it finds no archive in it.
            with self._path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                arrays = {name: file[name] for name in file.files if name != "facts"}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as cause:
            raise self._refuse(f"cannot be read ({cause})") from cause
        for what, mine in self._same.items():
            if facts.get("same", {}).get(what) != mine:
                raise self._refuse(f"is of another {what}")
        return facts, arrays

    def _refuse(self, found: str) -> OptionError:
        return OptionError(
            f"the checkpoint '{self._path}' {found}, expected the state of this very training: "
            "choose another run folder, or begin again with restart=True, or --restart"
        )


def _state(model: Any) -> list[Any]:
    """Return the variables of model and optimizer, the seeds of dropout among them.

    Metrics are left out: they begin at zero in each epoch, and some exist only after the first.
    """
    model.optimizer.build(model.trainable_variables)
    others = {id(item) for item in (*model.metrics_variables, *model.optimizer.variables)}
    own = [variable for variable in model.variables if id(variable) not in others]
    return own + list(model.optimizer.variables)
