"""Samples and targets in memory, the form of all training data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgeport.artifact.column import Column
from edgeport.artifact.golden import Array
from edgeport_converter.sensors.frames import Frames


@dataclass(frozen=True, eq=False)
class TrainingSamples:
    """Inputs by name, each (N, …), and their targets (N,): class numbers int64, or float64."""

    inputs: dict[str, Array]
    targets: Array

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: Array) -> TrainingSamples:
        """Return some of the samples, in the order of ``indices``."""
        return TrainingSamples(
            {name: x[indices] for name, x in self.inputs.items()}, self.targets[indices]
        )

    @property
    def sha256(self) -> str:
        """The digest over names, dtypes, shapes and values."""
        digest = hashlib.sha256()
        for name, array in [*sorted(self.inputs.items()), ("target", self.targets)]:
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            if array.dtype.kind in "OU":
                digest.update("\n".join(map(str, array.flat)).encode())
            else:
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What the source holds.

    Attributes:
        samples: all of them, or those for training where the source has a test set.
        test: the source's own test set, or None.
        is_images: whether the one input is (N, H, W, C).
        classes: the names of the classes in the order of their numbers; () for a regression.
        columns: the names of a table's numeric columns, in order; () elsewhere.
        frames: what was done to a folder's images, which the artifact does, too; None elsewhere.
        notes: on files of the folder that were left out.
        table: all columns of a table, those of an input in its order; without ranges.
        missing: what a missing number counts as, by column: "mean", "median" or a number.
    """

    samples: TrainingSamples
    test: TrainingSamples | None
    is_images: bool
    classes: tuple[str, ...]
    columns: tuple[str, ...] = ()
    table: tuple[Column, ...] = ()
    missing: Mapping[str, str | float] = field(default_factory=dict)
    frames: Frames | None = None
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """The digest of all samples."""
        parts = [self.samples.sha256] + ([self.test.sha256] if self.test else [])
        return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()

    @property
    def is_regression(self) -> bool:
        """Whether a number is learned instead of a class."""
        return not self.classes
