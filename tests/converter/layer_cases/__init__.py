"""The table of layers: cases by name, and the judge that runs them through the real stages."""

import random
import re

from layer_cases import (
    activations,
    applications,
    convolutions,
    operations,
    ordinary,
    pairs,
    precisions,
    preprocessing,
    recurrent,
    signals,
    structures,
    tensorflow_operations,
    whole,
)
from layer_cases.case import Case
from layer_cases.judge import Verdict, judge

SMALL: tuple[Case, ...] = (
    *activations.CASES,
    *convolutions.CASES,
    *ordinary.CASES,
    *recurrent.CASES,
    *preprocessing.CASES,
    *whole.CASES,
    *structures.CASES,
    *precisions.CASES,
    *operations.CASES,
    *signals.CASES,
    *tensorflow_operations.CASES,
)
"""Each well below a second."""

# What `make test` leaves to `make layers`: more ranks and kinds of what it tries once.
_LONG = re.compile(
    r"3D|^(Max|Average)Pooling1D|SimpleRNN (?!masked sequences)|Bidirectional (GRU|Simple)"
    r"|GRU (?!masked sequences|reset|stack)|Random(?!Crop|Flip)|free same even"
    r"|of large values"
)

QUICK: tuple[Case, ...] = tuple(case for case in SMALL if not _LONG.search(case.name))
"""What `make test` runs."""

# Shuffled, since every n-th of the table would always have the same layers in second place.
PAIRS: tuple[Case, ...] = tuple(random.Random(1).sample(pairs.CASES, len(pairs.CASES)))  # noqa: S311
"""Each kind of layer after each other one, some thousands; a sample of them is run."""

# A loop reads what a normalization gives it: tf2onnx once lost that tensor.
_SENSITIVE = re.compile(r"(BatchNormalization|Rescaling), (LSTM in a|GRU in a|ConvLSTM2D)")
QUICK_PAIRS: tuple[Case, ...] = (
    *PAIRS[::150],
    *(case for case in PAIRS if _SENSITIVE.search(case.name)),
)

APPLICATIONS: tuple[Case, ...] = tuple(applications.CASES)
"""Tens of seconds each; only `make layers` runs them."""

__all__ = ["APPLICATIONS", "PAIRS", "QUICK", "QUICK_PAIRS", "SMALL", "Case", "Verdict", "judge"]
