"""The table of layers: cases by name, and the judge that runs them through the real stages."""

from layer_cases import activations, applications, convolutions, ordinary, preprocessing, recurrent, whole
from layer_cases.case import Case
from layer_cases.judge import Verdict, judge

SMALL: tuple[Case, ...] = (
    *activations.CASES,
    *convolutions.CASES,
    *ordinary.CASES,
    *recurrent.CASES,
    *preprocessing.CASES,
    *whole.CASES,
)
"""Each well below a second; `make test` runs them."""

APPLICATIONS: tuple[Case, ...] = tuple(applications.CASES)
"""Tens of seconds each; only `make layers` runs them."""

__all__ = ["APPLICATIONS", "SMALL", "Case", "Verdict", "judge"]
