"""The fit itself: epochs, best weights, early stopping, going on after a kill.

Keras runs the batches; what happens between the epochs is decided here, so that the state of a
training is a small record that a checkpoint can hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeport.artifact.golden import Array
from edgeport_converter.errors import TrainingError
from edgeport_converter.loading.model import shorten
from edgeport_converter.progress import Watcher
from edgeport_converter.training.data.augmentation import augmentation
from edgeport_converter.training.data.batches import Batches, encode_targets, in_order
from edgeport_converter.training.data.samples import ReadData, Samples
from edgeport_converter.training.fitting import checkpoints
from edgeport_converter.training.fitting.interrupts import Interrupt
from edgeport_converter.training.fitting.networks import build_network, takes_one_hot
from edgeport_converter.training.fitting.schedules import Rate
from edgeport_converter.training.recipe.recipe import TrainingRecipe
from edgeport_converter.training.recipe.tables import ScheduleTable

_LOWER_IS_BETTER = ("loss", "error", "mae", "mse", "mape", "msle", "crossentropy", "hinge",
                    "divergence", "cosh", "poisson")  # fmt: skip

OnEpoch = Callable[[int, Mapping[str, float]], None]


@dataclass
class Course:
    """Where a training stands after some epochs.

    Attributes:
        history: an entry an epoch: loss, metrics, the same with "val_", learning_rate.
        best_epoch: the number of the best epoch, from 1; 0 before the first.
        best_value: what it reached.
        best_weights: the model's weights then.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = math.nan
    best_weights: list[Array] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model and how it came about.

    Attributes:
        model: with the best weights after early stopping or an interrupt, else with the last.
        history: as in ``Course``.
        best_epoch: the epoch with the best validation value, from 1.
        kept_epoch: the epoch whose weights the model has; 0: untrained.
        stopped_early: whether it ended before the planned epochs.
        interrupted: whether the user ended it.
        resumed_after: the epoch it went on after, 0 where it began anew.
        learning_rate: before any schedule.
    """

    model: Any
    history: tuple[dict[str, float], ...]
    best_epoch: int
    kept_epoch: int
    stopped_early: bool
    interrupted: bool
    resumed_after: int
    learning_rate: float

    @property
    def best(self) -> dict[str, float]:
        """The history's entry of the best epoch; empty where none was finished."""
        return self.history[self.best_epoch - 1] if self.best_epoch else {}


def fit(
    recipe: TrainingRecipe,
    read: ReadData,
    train: Samples,
    validation: Samples,
    *,
    epochs: int | None = None,
    watcher: Watcher,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch | None = None,
    interrupt: Interrupt | None = None,
) -> Fit:
    """Fit the recipe's model.

    Args:
        recipe: the recipe.
        read: says what is learned.
        train: what the weights are fitted to.
        validation: what best epoch and rate are chosen by.
        epochs: other than the recipe's.
        watcher: is told of batches and epochs.
        checkpoint: a file that the state is kept in after each epoch, and read from first.
        on_epoch: is told each epoch's number and figures; what it raises ends the training.
        interrupt: once it is asked for, the training ends with the best weights.

    Raises:
        TrainingError: the loss is no number any more, or Keras cannot train this.
        OptionError: the recipe does not fit the data, or the checkpoint not the recipe.
    """
    model = build_network(recipe, read, train)
    one_hot = takes_one_hot(recipe, read)
    targets = encode_targets(train.targets, len(read.classes), one_hot=one_hot)
    augment = augmentation(recipe, read, train)
    batches = Batches(train, targets, recipe.training.batch_size, recipe.seed, augment)
    wanted = encode_targets(validation.targets, len(read.classes), one_hot=one_hot)
    rate = Rate(
        float(model.optimizer.learning_rate),
        recipe.training.schedule or ScheduleTable(),
        batches.steps,
        epochs or recipe.training.epochs,
    )
    course = Course()
    if checkpoint is not None:
        checkpoints.restore(checkpoint, recipe, read, model, course, rate)
    resumed_after = len(course.history)
    conductor = _Conductor(recipe, model, batches, rate, course, watcher, interrupt)

    def after_epoch() -> None:
        if checkpoint is not None:
            checkpoints.save(checkpoint, recipe, read, model, course, rate)
        conductor.tell()
        if on_epoch is not None:
            on_epoch(len(course.history), course.history[-1])

    conductor.after_epoch = after_epoch
    interrupted = False
    try:
        if not conductor.is_done():
            model.fit(
                batches.dataset,
                initial_epoch=resumed_after,
                epochs=rate.epochs,
                validation_data=in_order(validation, wanted),
                callbacks=[conductor],
                shuffle=False,  # the batches are
                verbose=0,
            )
    except _InterruptedError:
        interrupted = True
    except _OutsideError as outside:
        raise outside.cause from outside.cause.__cause__
    except Exception as cause:
        raise _explain(recipe, cause) from cause
    kept = len(course.history)
    keeps_best = recipe.training.early_stopping is not None or interrupted
    if keeps_best and course.best_weights:
        model.set_weights(course.best_weights)
        kept = course.best_epoch
    return Fit(
        model,
        tuple(course.history),
        course.best_epoch,
        kept,
        not interrupted and len(course.history) < rate.epochs,
        interrupted,
        resumed_after,
        rate.base,
    )


def monitored(recipe: TrainingRecipe) -> tuple[str, bool]:
    """Return what tells the best epoch, and whether more of it is better."""
    stopping = recipe.training.early_stopping
    name = stopping.monitor if stopping else "val_loss"
    return name, not name.endswith(_LOWER_IS_BETTER)


class _InterruptedError(Exception):
    """The user asked to stop, between two batches."""


class _OutsideError(Exception):
    """Carries what a caller's function raised past the translation of Keras' own errors."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class _Conductor(keras.callbacks.Callback):  # type: ignore[misc]
    """What happens between batches and between epochs: order, rate, best weights, the end."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        model: Any,
        batches: Batches,
        rate: Rate,
        course: Course,
        watcher: Watcher,
        interrupt: Interrupt | None,
    ) -> None:
        super().__init__()
        self._recipe, self._trained, self._batches = recipe, model, batches
        self._rate, self._course = rate, course
        self._watcher, self._interrupt = watcher, interrupt
        self._mixes = recipe.augmentation is not None and recipe.augmentation.mixup > 0
        self._epoch = len(course.history)
        self._set = math.nan
        self.after_epoch: Callable[[], None] = lambda: None

    def is_done(self) -> bool:
        course, stopping = self._course, self._recipe.training.early_stopping
        waited = len(course.history) - course.best_epoch
        return len(course.history) >= self._rate.epochs or (
            stopping is not None and waited >= stopping.patience
        )

    def tell(self) -> None:
        epochs = len(self._course.history) if self.is_done() else self._rate.epochs
        self._watcher.epoch(len(self._course.history), epochs, self._course.history[-1])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        if self._interrupt is not None and self._interrupt.asked:
            raise _InterruptedError
        self._batches.set_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        wanted = self._rate.at(self._epoch * self._rate.steps + batch)
        if self._rate.moves and wanted != self._set:
            self._trained.optimizer.learning_rate.assign(wanted)
            self._set = wanted

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = float((logs or {}).get("loss", math.nan))
        self._watcher.batch(
            self._epoch + 1,
            self._rate.epochs,
            batch + 1,
            self._rate.steps,
            loss,
        )
        if self._interrupt is not None and self._interrupt.asked:
            raise _InterruptedError

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        try:
            self._take_note(epoch, {name: float(value) for name, value in (logs or {}).items()})
            self.after_epoch()
        except Exception as cause:
            raise _OutsideError(cause) from cause
        self._trained.stop_training = self.is_done()

    def _take_note(self, epoch: int, figures: dict[str, float]) -> None:
        if self._mixes:  # of mixed samples there is no right class to be met
            figures = {
                name: value
                for name, value in figures.items()
                if name == "loss" or name.startswith("val_")
            }
        figures["learning_rate"] = self._rate.at((epoch + 1) * self._rate.steps - 1)
        _require_numbers(figures, epoch + 1, self._rate.base)
        self._course.history.append(figures)
        self._rate.see(figures["val_loss"])
        _note_best(self._recipe, self._course, self._trained)


def _note_best(recipe: TrainingRecipe, course: Course, model: Any) -> None:
    name, more = monitored(recipe)
    figures = course.history[-1]
    if name not in figures:
        known = [key for key in figures if key.startswith("val_")]
        raise recipe.refuse_name(
            "training.early_stopping.monitor", name, known, "one of the figures of validation"
        )
    stopping = recipe.training.early_stopping
    margin = stopping.min_delta if stopping else 0.0
    gain = (figures[name] - course.best_value) * (1 if more else -1)
    if not course.best_epoch or gain > margin:
        course.best_epoch, course.best_value = len(course.history), figures[name]
        course.best_weights = [np.array(weight) for weight in model.get_weights()]


def _require_numbers(figures: Mapping[str, float], epoch: int, rate: float) -> None:
    wrong = [name for name, value in figures.items() if not math.isfinite(value)]
    if wrong:
        raise TrainingError(
            f"{wrong[0]} became {figures[wrong[0]]} in epoch {epoch} at a learning rate of "
            f"{rate:g}, expected a number: lower training.learning_rate, or let [range_test] "
            "find one"
        )


def _explain(recipe: TrainingRecipe, cause: Exception) -> TrainingError:
    return TrainingError(
        f"Keras cannot train '{recipe.name}' ({type(cause).__name__}: {shorten(cause)}), expected "
        "model, loss and metrics that fit the data: check [model] and [training]"
    )
