"""What happens between batches and between epochs, as Keras callbacks.

``fit`` gives them to Keras in this order: ``Course`` first, since it sets the order of the samples
and the learning rate, and refuses figures that are not finite before others take note of them;
Keras' own callbacks; ``checkpoint.Checkpoint``; and ``Telling`` last, so that an epoch that was
told is one that a killed training resumes after.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import keras
import numpy as np

from edgeport.artifact.golden import Array
from edgeport_converter.errors import TrainingError
from edgeport_converter.progress import Progress
from edgeport_converter.training.data.batches import Batches
from edgeport_converter.training.recipe.recipe import TrainingRecipe
from edgeport_converter.training.recipe.tables import ScheduleTable

_LOWER_IS_BETTER = (
    *("loss", "error", "mae", "mse", "mape", "msle", "crossentropy", "hinge"),
    *("divergence", "cosh", "poisson"),
)


class InterruptedFitError(Exception):
    """The user has asked to stop, and the training stands between two batches."""


@dataclass
class Interrupt:
    """Whether the user has asked to stop."""

    asked: bool = False


@contextmanager
def listening() -> Iterator[Interrupt]:
    """Note the first SIGINT, for ``Course`` to end the training; a second one interrupts as usual.

    Only the main thread may set handlers; in another one nothing changes.
    """
    interrupt = Interrupt()
    former = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or former is signal.SIG_IGN or former is None:  # ignored: as under nohup
        yield interrupt
        return

    def ask(number: int, frame: FrameType | None) -> None:
        interrupt.asked = True
        signal.signal(signal.SIGINT, former)

    signal.signal(signal.SIGINT, ask)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, former)


def monitored(recipe: TrainingRecipe) -> tuple[str, bool]:
    """Return the figure that tells the best epoch, and whether more of it is better."""
    stopping = recipe.training.early_stopping
    name = stopping.monitor if stopping else "val_loss"
    return name, not name.endswith(_LOWER_IS_BETTER)


def epoch_rates(plan: ScheduleTable, base: float, steps: int, epochs: int, epoch: int) -> Array:
    """Return the learning rates of an epoch's steps, by Keras' schedules.

    Without a formula ("constant", and "plateau", where Keras' callback moves the rate), only the
    steps of the warm-up have one. The rates are set step by step, since a schedule inside the
    optimizer would have to be one that every Keras can load, and none of those has a warm-up.

    ``steps`` are the batches of an epoch; epochs count from 0.
    """
    step = np.arange(epoch * steps, (epoch + 1) * steps, dtype=np.float32)
    warm = plan.warmup * steps
    # The first step already moves, and the last one of the warm-up has the whole rate.
    ramp = base * np.minimum(1.0, (step + 1) / warm) if warm else np.zeros(0)
    schedules = keras.optimizers.schedules
    if plan.kind == "cosine":
        decay_steps = max(epochs * steps - warm, 1)
        moved = schedules.CosineDecay(base, decay_steps, plan.final)(np.maximum(step - warm, 0))
    elif plan.kind in ("step", "exponential"):
        every = plan.every if plan.kind == "step" else 1
        schedule = schedules.ExponentialDecay(
            base, every * steps, plan.factor, staircase=plan.kind == "step"
        )
        moved = schedule(step)
    else:
        return ramp[step < warm] if warm else ramp
    return np.where(step < warm, ramp, moved) if warm else np.asarray(moved)


class Course(keras.callbacks.Callback):  # type: ignore[misc]
    """The course of a training: order of the samples, rate, history, and what ends it."""

    def __init__(
        self, recipe: TrainingRecipe, batches: Batches, epochs: int, interrupt: Interrupt | None
    ) -> None:
        super().__init__()
        self._recipe, self._batches, self._epochs = recipe, batches, epochs
        self._interrupt = interrupt or Interrupt()
        self._mixes = recipe.augmentation is not None and recipe.augmentation.mixup > 0
        self._base = math.nan
        self._epoch = 0
        self._rates: Array = np.zeros(0)
        self.history: list[dict[str, float]] = []

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._base = float(model.optimizer.learning_rate)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._stop_if_asked()
        self._epoch = epoch
        self._batches.set_epoch(epoch)
        plan = self._recipe.training.schedule
        if plan is not None:
            steps = self._batches.steps
            self._rates = epoch_rates(plan, self._base, steps, self._epochs, epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch < len(self._rates):
            self.model.optimizer.learning_rate.assign(self._rates[batch])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._require_numbers({"loss": logs["loss"]})
        self._stop_if_asked()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        if self._mixes:  # a mixed sample has no right class
            figures = {
                name: value
                for name, value in figures.items()
                if name == "loss" or name.startswith("val_")
            }
        self._require_numbers(figures)
        name, _ = monitored(self._recipe)
        if name not in figures:
            known = [key for key in figures if key.startswith("val_")]
            raise self._recipe.refuse_name(
                "training.early_stopping.monitor", name, known, "one of the figures of validation"
            )
        figures["learning_rate"] = float(self.model.optimizer.learning_rate)
        self.history.append(figures)

    def _stop_if_asked(self) -> None:
        if self._interrupt.asked:
            # Not `stop_training`: Keras would end the epoch as if it were whole.
            raise InterruptedFitError

    def _require_numbers(self, figures: Mapping[str, float]) -> None:
        """Refuse what is not finite; Keras' TerminateOnNaN sees no figures of validation."""
        wrong = [name for name, value in figures.items() if not math.isfinite(value)]
        if wrong:
            raise TrainingError(
                f"{wrong[0]} became {float(figures[wrong[0]])} in epoch {self._epoch + 1} at a "
                f"learning rate of {self._base:g}, expected a number: lower "
                "training.learning_rate, or let [range_test] find one"
            )


class BestWeights(keras.callbacks.EarlyStopping):  # type: ignore[misc]
    """Keras' EarlyStopping that also notes the best weights where a recipe never stops early.

    Attributes:
        restores: whether the model gets the best weights at the end, else it keeps the last.
    """

    def __init__(self, recipe: TrainingRecipe, epochs: int) -> None:
        stopping = recipe.training.early_stopping
        name, more = monitored(recipe)
        super().__init__(
            name,
            min_delta=stopping.min_delta if stopping else 0,
            patience=stopping.patience if stopping else epochs,
            mode="max" if more else "min",
            restore_best_weights=True,
        )
        self.restores = stopping is not None

    def on_train_end(self, logs: Any = None) -> None:
        if self.restores:
            super().on_train_end(logs)


class Telling(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells a progress of batches and epochs."""

    def __init__(self, progress: Progress, course: Course, steps: int, epochs: int) -> None:
        super().__init__()
        self._progress, self._course = progress, course
        self._steps, self._epochs, self._epoch = steps, epochs, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = float(logs["loss"])
        self._progress.batch(self._epoch, self._epochs, batch + 1, self._steps, loss)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        epochs = epoch + 1 if self.model.stop_training else self._epochs
        self._progress.epoch(epoch + 1, epochs, self._course.history[-1])


def plateau(plan: ScheduleTable | None) -> list[Any]:
    """Return Keras' callback for the schedule "plateau", where it is asked for."""
    if plan is None or plan.kind != "plateau" or plan.factor == 1:
        return []
    return [
        keras.callbacks.ReduceLROnPlateau(
            "val_loss", factor=plan.factor, patience=plan.patience, mode="min", min_delta=0
        )
    ]
