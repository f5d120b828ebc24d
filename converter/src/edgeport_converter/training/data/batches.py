"""Batches in an order that depends on seed and epoch alone.

So a training that resumes after a kill sees the same batches as one that was never interrupted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgeport.artifact.golden import Array
from edgeport_converter.training.data.augmentation import Augment
from edgeport_converter.training.data.samples import TrainingSamples

_BATCH = 512


class Batches:
    """The training samples as a ``tf.data.Dataset`` that is set to an epoch before each pass.

    Attributes:
        dataset: (inputs, targets) batch by batch; the last one may be shorter.
        steps: batches in an epoch.
    """

    def __init__(
        self,
        samples: TrainingSamples,
        targets: Array,
        size: int,
        seed: int,
        augment: Augment | None,
    ) -> None:
        self._count, self._seed = len(samples), seed
        size = min(size, self._count)
        self.steps = -(-self._count // size)
        self._order = tf.Variable(np.arange(self._count), trainable=False)
        self._epoch_seed = tf.Variable(0, dtype=tf.int32, trainable=False)
        arrays = {name: as_tensor(x) for name, x in samples.inputs.items()}
        wanted = tf.constant(targets)

        def batch(number: Any) -> tuple[Any, Any]:
            chosen = self._order[number * size : (number + 1) * size]
            inputs = {name: tf.gather(x, chosen) for name, x in arrays.items()}
            answers = tf.gather(wanted, chosen)
            if augment is not None:
                start = tf.stack([self._epoch_seed, tf.cast(number, tf.int32) * 64])
                inputs, answers = augment(inputs, answers, start)
            return feed(inputs), answers

        self.dataset = (
            tf.data.Dataset.range(self.steps)
            .map(batch, num_parallel_calls=2, deterministic=True)
            .prefetch(2)
        )

    def set_epoch(self, epoch: int) -> None:
        """Shuffle for the epoch with this number, counted from 0."""
        chance = np.random.default_rng([self._seed, epoch])
        self._order.assign(chance.permutation(self._count))
        self._epoch_seed.assign(int(chance.integers(2**31)))


def in_order(samples: TrainingSamples, targets: Array) -> Any:
    """Return samples as a ``tf.data.Dataset`` in their own order, for validation."""
    inputs = feed({name: as_tensor(x) for name, x in samples.inputs.items()})
    return tf.data.Dataset.from_tensor_slices((inputs, tf.constant(targets))).batch(_BATCH)


def as_tensor(x: Array) -> Any:
    """Return a constant; text becomes bytes, as TensorFlow has it."""
    return tf.constant(x.tolist() if x.dtype == object else x)


def feed(inputs: dict[str, Any]) -> Any:
    """Return what a model takes: the one input itself, or all by name."""
    return next(iter(inputs.values())) if len(inputs) == 1 else inputs


def as_feed(samples: TrainingSamples) -> Any:
    """Return all inputs of the samples as a model takes them."""
    return feed(
        {name: as_tensor(x) if x.dtype == object else x for name, x in samples.inputs.items()}
    )


def encode_targets(targets: Array, classes: int, *, one_hot: bool) -> Array:
    """Return targets as the loss takes them: float32, in rows for a single output."""
    if one_hot:
        return np.eye(classes, dtype=np.float32)[targets]
    if classes > 2:
        return targets
    return targets.astype(np.float32)[:, None]
