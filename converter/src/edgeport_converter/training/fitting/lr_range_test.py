"""The learning-rate range test: train under a growing rate and see where the loss falls fastest.

Source: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras

from edgeport_converter.errors import TrainingError
from edgeport_converter.progress import Task, begin
from edgeport_converter.training.data.augmentation import augmentation
from edgeport_converter.training.data.batches import Batches, encode_targets
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples
from edgeport_converter.training.fitting.networks import build_network, takes_one_hot
from edgeport_converter.training.recipe.recipe import TrainingRecipe
from edgeport_converter.training.recipe.tables import RangeTestTable

_SMOOTHING = 0.9
_DIVERGED = 4.0  # times the lowest loss, as in fast.ai's finder
_FEWEST = 10


@dataclass(frozen=True)
class RangeTestResult:
    """Smoothed losses under growing rates, and the rate under which the loss fell fastest."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float


def run_range_test(
    recipe: TrainingRecipe, read: TrainingData, train: TrainingSamples, plan: RangeTestTable
) -> RangeTestResult:
    """Train a throw-away model for some batches, the rate growing evenly in its logarithm.

    Raises:
        TrainingError: the loss was never a number.
    """
    model = build_network(recipe, read, train)
    targets = encode_targets(train.targets, len(read.classes), one_hot=takes_one_hot(recipe, read))
    batches = Batches(
        train, targets, recipe.training.batch_size, recipe.seed, augmentation(recipe, read, train)
    )
    epoch = 0
    with begin("range test", plan.steps) as task:
        recorder = _Recorder(model, plan, task)
        while not recorder.is_done:
            batches.set_epoch(epoch)
            model.fit(
                batches.dataset,
                initial_epoch=epoch,
                epochs=epoch + 1,
                callbacks=[recorder],
                shuffle=False,
                verbose=0,
            )
            epoch += 1
    return suggest(recorder.rates, recorder.losses)


def suggest(rates: list[float], losses: list[float]) -> RangeTestResult:
    """Return the smoothed losses and the rate at their steepest fall.

    Rates are in even steps of their logarithm; losses are of single batches.
    """
    smoothed: list[float] = []
    average = 0.0
    for count, loss in enumerate(losses, start=1):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        smoothed.append(average / (1 - _SMOOTHING**count))
    if len(smoothed) < _FEWEST:
        raise TrainingError(
            f"the range test's loss diverged after {len(smoothed)} batches, at a learning rate of "
            f"{rates[min(len(smoothed), len(rates) - 1)]:g}, expected it to fall first: lower "
            "range_test.low"
        )
    # Over a few steps, since single ones are noise; never beyond the lowest loss.
    reach = max(2, len(smoothed) // 20)
    end = max(min(range(len(smoothed)), key=smoothed.__getitem__), reach)
    falls = {
        middle: smoothed[max(middle - reach, 0)] - smoothed[min(middle + reach, len(smoothed) - 1)]
        for middle in range(end)
    }
    steepest = max(falls, key=falls.__getitem__)
    return RangeTestResult(tuple(rates[: len(smoothed)]), tuple(smoothed), rates[steepest])


class _Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Raises the rate batch by batch, and stops where the loss has left the range."""

    def __init__(self, model: Any, plan: RangeTestTable, task: Task) -> None:
        super().__init__()
        self._task = task
        self._trained, self._plan = model, plan
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.is_done = False
        self._sum = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._sum = 0.0  # Keras reports the mean over the epoch so far

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        plan = self._plan
        share = len(self.rates) / (plan.steps - 1)
        rate = plan.low * (plan.high / plan.low) ** min(share, 1.0)
        self.rates.append(rate)
        self._trained.optimizer.learning_rate.assign(rate)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._task.advance()
        mean = float((logs or {})["loss"])
        loss = mean * (batch + 1) - self._sum
        self._sum = mean * (batch + 1)
        diverged = not math.isfinite(loss) or (
            len(self.losses) >= _FEWEST and loss > _DIVERGED * min(self.losses) + 1e-9
        )
        if not diverged:
            self.losses.append(loss)
        self.is_done = diverged or len(self.losses) >= self._plan.steps
        if self.is_done:
            self._trained.stop_training = True
