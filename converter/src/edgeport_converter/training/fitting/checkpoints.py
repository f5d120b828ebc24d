"""The state of a training after an epoch, in one file that is replaced in one step."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from edgeport import OptionError
from edgeport_converter.training.data.samples import ReadData
from edgeport_converter.training.fitting.schedules import Rate
from edgeport_converter.training.recipe.recipe import TrainingRecipe

if TYPE_CHECKING:
    from edgeport_converter.training.fitting.fit import Course


def save(
    path: Path, recipe: TrainingRecipe, read: ReadData, model: Any, course: Course, rate: Rate
) -> None:
    """Write everything that the next epoch depends on."""
    facts = {
        "recipe_sha256": recipe.sha256,
        "data_sha256": read.sha256,
        "keras": keras.__version__,
        "history": course.history,
        "best_epoch": course.best_epoch,
        "best_value": course.best_value,
        "rate": {"reduction": rate.reduction, "best": rate.best, "waited": rate.waited},
    }
    arrays = {f"variable_{i}": np.array(variable) for i, variable in enumerate(_state(model))}
    arrays |= {f"best_{i}": weight for i, weight in enumerate(course.best_weights)}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, facts=np.array(json.dumps(facts)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def restore(
    path: Path, recipe: TrainingRecipe, read: ReadData, model: Any, course: Course, rate: Rate
) -> None:
    """Bring model, course and rate to where the checkpoint stands; nothing without one.

    Raises:
        OptionError: the checkpoint is of another recipe, data or Keras, or damaged.
    """
    if not path.exists():
        return
    try:
        # numpy leaves the file open where it finds no archive in it.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            arrays = {name: file[name] for name in file.files if name != "facts"}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as cause:
        raise _refuse(path, f"cannot be read ({cause})") from cause
    for name, mine, what in (
        ("recipe_sha256", recipe.sha256, "recipe"),
        ("data_sha256", read.sha256, "data"),
        ("keras", keras.__version__, "version of Keras"),
    ):
        if facts.get(name) != mine:
            raise _refuse(path, f"is of another {what}")
    variables = _state(model)
    if any(
        arrays.get(f"variable_{i}", np.zeros(0)).shape != tuple(variable.shape)
        for i, variable in enumerate(variables)
    ):
        raise _refuse(path, "is of another model")
    for i, variable in enumerate(variables):
        variable.assign(arrays[f"variable_{i}"])
    course.history[:] = facts["history"]
    course.best_epoch, course.best_value = facts["best_epoch"], facts["best_value"]
    course.best_weights = [arrays[f"best_{i}"] for i in range(len(model.get_weights()))]
    for name, value in facts["rate"].items():
        setattr(rate, name, value)


def _state(model: Any) -> list[Any]:
    """Return the variables of model and optimizer, the seeds of dropout among them.

    Metrics are left out: they begin at zero in each epoch, and some exist only after the first.
    """
    model.optimizer.build(model.trainable_variables)
    of_metrics = {id(variable) for variable in model.metrics_variables}
    own = [variable for variable in model.variables if id(variable) not in of_metrics]
    of_optimizer = {id(variable) for variable in model.optimizer.variables}
    own = [variable for variable in own if id(variable) not in of_optimizer]
    return own + list(model.optimizer.variables)


def _refuse(path: Path, found: str) -> OptionError:
    return OptionError(
        f"the checkpoint '{path}' {found}, expected the state of this very training: choose "
        "another run folder, or start anew with restart=True, or --restart"
    )
