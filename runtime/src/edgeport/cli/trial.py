"""The input that bench, tune and warm run a model on: the user's data, or made-up values."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeport.artifact.card import ModelCard
from edgeport.artifact.golden import Array
from edgeport.cli.reading import READABLE, read_samples
from edgeport.errors import InferenceError, InputError, OptionError
from edgeport.inputs.examples import example, free_axes, repeated
from edgeport.inputs.feeds import prepare
from edgeport.predictor import Predictor

_LONGEST_RUN_S = 60.0  # Ctrl-C is heard only after a run, and a made-up value may loop for ever


@dataclass(frozen=True, slots=True)
class Trial:
    """What the user said of the input.

    Attributes:
        data: a file whose first sample is taken, None for made-up values.
        sizes: sizes of free axes by name, for made-up values.
    """

    data: str | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    def feed(self, card: ModelCard, samples: int = 1) -> dict[str, Array]:
        """Return arrays by input name, each with its batch axis.

        Raises:
            OptionError: no free axis has this name.
            InputError: the file cannot be read, is empty, or does not fit the model.
        """
        if self.data is None:
            known = [sample.inputs for sample in card.golden_samples]
            # A golden frame may be far smaller than a camera's.
            if known and samples == 1 and not self.sizes and not card.frames:
                return repeated(card.inputs, known[0], 1)
            return example(card, samples, self.sizes)
        sample = next(read_samples([self.data], card).items, None)
        if sample is None:
            raise InputError(f"'{self.data}' holds no sample, expected one: name another file")
        values = sample if isinstance(sample, tuple) else (sample,)
        if card.columns:
            from edgeport.inputs.columns import Columns

            values = Columns(card).arrange(values)
        return repeated(card.inputs, prepare(card.inputs, values, card.frames).arrays, samples)

    def check(self, predictor: Predictor) -> None:
        """Run the model once on it; raises InferenceError if it does not run on what is made up."""
        feed = self.feed(predictor.card)
        try:
            predictor.predict(feed, timeout=_LONGEST_RUN_S)
        except InferenceError as error:
            if self.data is not None:
                raise
            shapes = ", ".join(f"'{name}' {array.shape}" for name, array in feed.items())
            names = free_axes(predictor.card.inputs)
            sizes = f" or sizes with --size {names[0]}=..." if names else ""
            raise InferenceError(
                f"the model does not run on the made-up input {shapes} ({error}): give it a sample "
                f"with --data FILE{sizes}"
            ) from error


def add_options(add: Any) -> None:
    """Add --data and --size to a command."""
    add("--data", metavar="DATA", help=f"run on its first sample ({', '.join(READABLE)})")
    add("--size", metavar="T=512,H=48", help="sizes of free axes of the input that is made up")


def of(options: argparse.Namespace) -> Trial:
    """Return what the command line said; raises OptionError for what cannot be."""
    if options.data is not None and options.size is not None:
        raise OptionError("--data brings its own sizes, expected no --size beside it: choose one")
    sizes = {}
    for part in (options.size or "").split(",") if options.size is not None else ():
        name, _, number = part.partition("=")
        is_size = number.strip().isdecimal() and len(number) < 10 and int(number) > 0
        if not (name.strip() and is_size):
            raise OptionError(f"--size has '{part}', expected NAME=NUMBER: pass T=512,H=48 or so")
        if name.strip() in sizes:
            raise OptionError(
                f"--size names '{name.strip()}' twice, expected one size for each axis: leave one "
                "out"
            )
        sizes[name.strip()] = int(number)
    return Trial(options.data, sizes)


def one_value(feed: Mapping[str, Array]) -> Any:
    """Return the only array, which is what most callers pass and has a fast path; else the dict."""
    return next(iter(feed.values())) if len(feed) == 1 else dict(feed)
