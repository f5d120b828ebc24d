"""What `edgeport train` left beside a model: data and class names for a conversion without its own.

`edgeport train` writes MODEL.run beside MODEL.keras, with a copy of the model, calibration samples,
the test set and the labels. ``pipeline`` calls this before the model is loaded.
"""

from __future__ import annotations

import filecmp
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeport_converter.option_texts import read_lines


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """The folder of a training, whose copy of the model equals the model's file.

    Attributes:
        folder: MODEL.run.
        calibration: some hundred of the training's samples.
        evaluation: the test set, which was not trained on.
        labels: the classes' names in the order of the scores; None for a regression.
    """

    folder: Path
    calibration: Path
    evaluation: Path
    labels: tuple[str, ...] | None

    @property
    def note(self) -> str:
        """A sentence on where the data comes from."""
        return (
            f"no data was given: it is that of the training, in '{self.folder}', the test set for "
            "the evaluation"
        )


def find_run(model: Any) -> TrainingRun | None:
    """Return the run of the training that wrote this file; None where none is beside it.

    Raises:
        OptionError: its labels are no UTF-8.
    """
    if not isinstance(model, (str, os.PathLike)) or Path(model).suffix != ".keras":
        return None
    path = Path(model)
    folder = path.with_suffix(".run")
    kept, calibration, evaluation, labels = (
        folder / name for name in ("model.keras", "calibration.npz", "test.npz", "labels.txt")
    )
    if not (path.is_file() and all(map(Path.is_file, (kept, calibration, evaluation)))):
        return None
    if not filecmp.cmp(path, kept, shallow=False):  # the folder is of another training
        return None
    names = read_lines(labels, f"the labels file '{labels}'") if labels.is_file() else None
    return TrainingRun(folder, calibration, evaluation, tuple(names) if names else None)
