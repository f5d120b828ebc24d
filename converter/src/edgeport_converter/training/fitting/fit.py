"""The fit itself: Keras runs it, and callbacks decide what happens between the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeport import EdgeportError
from edgeport_converter.errors import TrainingError
from edgeport_converter.loading.model import shorten
from edgeport_converter.progress import Progress
from edgeport_converter.training.data.augmentation import augmentation
from edgeport_converter.training.data.batches import Batches, encode_targets, in_order
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples
from edgeport_converter.training.fitting.callbacks import (
    BestWeights,
    Course,
    Interrupt,
    InterruptedFitError,
    Telling,
    plateau,
)
from edgeport_converter.training.fitting.checkpoint import Checkpoint
from edgeport_converter.training.fitting.networks import build_network, takes_one_hot
from edgeport_converter.training.recipe.recipe import TrainingRecipe


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A fitted model and how it came about; ``TrainingReport`` explains the figures.

    It has the best weights after early stopping or an interrupt, else the last ones.
    """

    model: Any
    history: tuple[dict[str, float], ...]
    best_epoch: int
    kept_epoch: int
    stopped_early: bool
    interrupted: bool
    resumed_after: int
    learning_rate: float


def fit(
    recipe: TrainingRecipe,
    read: TrainingData,
    train: TrainingSamples,
    validation: TrainingSamples,
    *,
    progress: Progress,
    epochs: int | None = None,
    checkpoint: Path | None = None,
    callbacks: Sequence[Any] = (),
    interrupt: Interrupt | None = None,
) -> FittedModel:
    """Fit the recipe's model.

    The state is kept in the file ``checkpoint`` after each epoch, and read from there first. Once
    ``interrupt`` is asked for, the training ends with the best weights.

    Raises:
        TrainingError: a figure is not finite any more, or Keras cannot train this.
        OptionError: the recipe does not fit the data, or the checkpoint not the recipe.
    """
    model = build_network(recipe, read, train)
    rate = float(model.optimizer.learning_rate)
    one_hot = takes_one_hot(recipe, read)
    targets = encode_targets(train.targets, len(read.classes), one_hot=one_hot)
    wanted = encode_targets(validation.targets, len(read.classes), one_hot=one_hot)
    augment = augmentation(recipe, read, train)
    batches = Batches(train, targets, recipe.training.batch_size, recipe.seed, augment)
    epochs = epochs or recipe.training.epochs
    course, best = Course(recipe, batches, epochs, interrupt), BestWeights(recipe, epochs)
    steering = [course, best, *plateau(recipe.training.schedule)]
    saved = [] if checkpoint is None else [Checkpoint(checkpoint, recipe, read, steering)]
    telling = Telling(progress, course, batches.steps, epochs)
    resumed_after = sum(item.epoch for item in saved)
    interrupted = False
    try:
        model.fit(
            batches.dataset,
            # With all epochs done, Keras brings the state back and trains nothing.
            initial_epoch=epochs if any(item.is_done for item in saved) else resumed_after,
            epochs=epochs,
            validation_data=in_order(validation, wanted),
            callbacks=[*steering, *saved, telling, *callbacks],
            shuffle=False,  # the batches are
            verbose=0,
        )
    except InterruptedFitError:
        interrupted = best.restores = True
        best.on_train_end()
    except EdgeportError:
        raise
    except Exception as cause:
        raise TrainingError(
            f"Keras cannot train '{recipe.name}' ({type(cause).__name__}: {shorten(cause)}), "
            "expected model, loss and metrics that fit the data: check [model] and [training]"
        ) from cause
    done = len(course.history)
    best_epoch = best.best_epoch + 1 if done else 0
    return FittedModel(
        model,
        tuple(course.history),
        best_epoch,
        best_epoch if best.restores else done,
        not interrupted and done < epochs,
        interrupted,
        resumed_after,
        rate,
    )
