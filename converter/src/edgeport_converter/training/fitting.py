"""The fit itself: epochs, best weights, early stopping, going on after a kill.

Keras trains one epoch at a time; what lies between the epochs is decided here, so that the state
of a training is a small record that a checkpoint can hold.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeport import OptionError
from edgeport.golden import Array
from edgeport_converter.errors import TrainingError
from edgeport_converter.loaded import shorten
from edgeport_converter.training import checkpoints
from edgeport_converter.training.augmenting import augmentation
from edgeport_converter.training.batches import Batches, as_feed, encode_targets
from edgeport_converter.training.interrupting import Interrupt
from edgeport_converter.training.networks import build_network, takes_one_hot
from edgeport_converter.training.progress import Watcher
from edgeport_converter.training.reading import ReadData, Samples
from edgeport_converter.training.recipes import EarlyStopping, Recipe, Schedule
from edgeport_converter.training.schedules import Rate

_EVALUATION_BATCH = 512
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
    recipe: Recipe,
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
    inputs = as_feed(validation)
    planned = epochs or recipe.training.epochs
    rate = Rate(
        float(model.optimizer.learning_rate),
        recipe.training.schedule or Schedule(),
        batches.steps,
        planned,
    )
    course = Course()
    if checkpoint is not None:
        checkpoints.restore(checkpoint, recipe, read, model, course, rate)
    resumed_after = len(course.history)
    step = _Step(model, rate, watcher, planned, interrupt)
    stopping = recipe.training.early_stopping
    mixes = recipe.augmentation is not None and recipe.augmentation.mixup > 0
    interrupted = False
    for epoch in range(resumed_after, planned):
        if _is_done(course, stopping) or (interrupted := _asked(interrupt)):
            break
        batches.set_epoch(epoch)
        step.begin(epoch)
        try:
            logs = _run_epoch(model, batches, epoch, step)
            measured = model.evaluate(
                inputs, wanted, batch_size=_EVALUATION_BATCH, verbose=0, return_dict=True
            )
        except _InterruptedError:
            interrupted = True
            break
        except Exception as cause:
            raise _explain(recipe, cause) from cause
        if mixes:  # of mixed samples there is no right class to be met
            logs = {"loss": logs["loss"]}
        figures = {**logs, **{f"val_{name}": value for name, value in measured.items()}}
        figures["learning_rate"] = rate.at((epoch + 1) * batches.steps - 1)
        _require_numbers(recipe, figures, epoch + 1, rate.base)
        course.history.append({name: float(value) for name, value in figures.items()})
        rate.see(figures["val_loss"])
        _note_best(recipe, course, model)
        if checkpoint is not None:
            checkpoints.save(checkpoint, recipe, read, model, course, rate)
        watcher.epoch(epoch + 1, planned, course.history[-1], step.seconds_left())
        if on_epoch is not None:
            on_epoch(epoch + 1, course.history[-1])
    kept = len(course.history)
    if (stopping or interrupted) and course.best_weights:
        model.set_weights(course.best_weights)
        kept = course.best_epoch
    return Fit(
        model,
        tuple(course.history),
        course.best_epoch,
        kept,
        not interrupted and len(course.history) < planned,
        interrupted,
        resumed_after,
        rate.base,
    )


def monitored(recipe: Recipe) -> tuple[str, bool]:
    """Return what tells the best epoch, and whether more of it is better."""
    stopping = recipe.training.early_stopping
    name = stopping.monitor if stopping else "val_loss"
    return name, not name.endswith(_LOWER_IS_BETTER)


class _InterruptedError(Exception):
    """The user asked to stop, between two batches."""


class _Step(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the rate before each batch, tells the watcher after it, and keeps the time."""

    def __init__(
        self, model: Any, rate: Rate, watcher: Watcher, planned: int, interrupt: Interrupt | None
    ) -> None:
        super().__init__()
        self._trained, self._rate, self._watcher = model, rate, watcher
        self._planned, self._interrupt = planned, interrupt
        self._epoch = 0
        self._done = 0
        self._started = time.monotonic()
        self._set = math.nan

    def begin(self, epoch: int) -> None:
        self._epoch = epoch

    def seconds_left(self) -> float:
        steps = self._rate.steps
        left = self._planned * steps - (self._epoch * steps + (self._done - 1) % steps + 1)
        return (time.monotonic() - self._started) / max(self._done, 1) * left

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        wanted = self._rate.at(self._epoch * self._rate.steps + batch)
        if self._rate.moves and wanted != self._set:
            self._trained.optimizer.learning_rate.assign(wanted)
            self._set = wanted

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._done += 1
        loss = float((logs or {}).get("loss", math.nan))
        self._watcher.batch(
            self._epoch + 1, self._planned, batch + 1, self._rate.steps, loss, self.seconds_left()
        )
        if _asked(self._interrupt):
            raise _InterruptedError


def _run_epoch(model: Any, batches: Batches, epoch: int, step: _Step) -> dict[str, float]:
    done = model.fit(
        batches.dataset,
        initial_epoch=epoch,
        epochs=epoch + 1,
        callbacks=[step],
        shuffle=False,  # the batches are
        verbose=0,
    )
    return {name: values[-1] for name, values in done.history.items()}


def _asked(interrupt: Interrupt | None) -> bool:
    return interrupt is not None and interrupt.asked


def _is_done(course: Course, stopping: EarlyStopping | None) -> bool:
    return stopping is not None and len(course.history) - course.best_epoch >= stopping.patience


def _note_best(recipe: Recipe, course: Course, model: Any) -> None:
    name, more = monitored(recipe)
    figures = course.history[-1]
    if name not in figures:
        known = [key for key in figures if key.startswith("val_")]
        raise recipe.origin.refuse_name(
            "training.early_stopping.monitor", name, known, "one of the figures of validation"
        )
    stopping = recipe.training.early_stopping
    margin = stopping.min_delta if stopping else 0.0
    gain = (figures[name] - course.best_value) * (1 if more else -1)
    if not course.best_epoch or gain > margin:
        course.best_epoch, course.best_value = len(course.history), figures[name]
        course.best_weights = [np.array(weight) for weight in model.get_weights()]


def _require_numbers(recipe: Recipe, figures: Mapping[str, float], epoch: int, rate: float) -> None:
    wrong = [name for name, value in figures.items() if not math.isfinite(value)]
    if wrong:
        raise TrainingError(
            f"{wrong[0]} became {figures[wrong[0]]} in epoch {epoch} at a learning rate of "
            f"{rate:g}, expected a number: lower training.learning_rate, or let [range_test] "
            "find one"
        )


def _explain(recipe: Recipe, cause: Exception) -> Exception:
    if isinstance(cause, (TrainingError, OptionError)):
        return cause
    return TrainingError(
        f"Keras cannot train '{recipe.name}' ({type(cause).__name__}: {shorten(cause)}), expected "
        "model, loss and metrics that fit the data: check [model] and [training]"
    )
