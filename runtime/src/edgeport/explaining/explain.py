"""explain(): which method fits an artifact, or in one sentence why none does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeport.artifact.card import ModelCard, TensorSpec, format_specs
from edgeport.artifact.golden import Array
from edgeport.checks import whole_number
from edgeport.errors import InputError, OptionError
from edgeport.explaining.answers import SATURATED, Answers, is_rounding
from edgeport.explaining.filling import fill
from edgeport.explaining.occlusion import (
    OcclusionMap,
    check_sizes,
    default_patch,
    heat_of,
    measure_drops,
    region_of,
)
from edgeport.explaining.permutation import REPEATS, PermutationImportance, permute
from edgeport.inputs.feeds import prepare
from edgeport.predictor import Predictor
from edgeport.signals import passing_signals

Sizes = int | Sequence[int] | None

_TABLE, _PICTURE, _SIGNAL = "a table", "a picture", "a signal"
_LARGEST_SIDE = 2**15


@passing_signals
def explain(
    predictor: Predictor,
    x: Any,
    *,
    labels: Sequence[object] | None = None,
    class_name: str | None = None,
    patch: Sizes = None,
    stride: Sizes = None,
    baseline: str | float | None = None,
    picture: tuple[int, int] | None = None,
    repeats: int | None = None,
    seed: int | None = None,
    names: Sequence[str] | None = None,
) -> OcclusionMap | PermutationImportance:
    """Return which parts of the input carried the answer.

    A picture or a signal is explained by occlusion: a patch slides over the one sample and the drop
    of the score is measured. A table is explained by permutation importance over many rows. Both
    run changed copies through the predictor, in batches. The same call gives the same record. An
    output (N, K) counts as the scores of K classes, named by the card's labels or by their number.

    Args:
        predictor: of one input, or of a table; it counts nothing of this in ``out_of_range``.
        x: one sample as ``predict`` takes it, a picture or a signal; of a table, many rows.
        labels: of each row of a table: class names, numbers of classes, or values. With them the
            loss of accuracy, or the growth of the mean absolute error, is measured, else how far
            the answers move.
        class_name: the class whose score is explained; by default the best one.
        patch: its size in pixels or samples, one number or one for each of H and W; by default an
            eighth of the shorter side.
        stride: from one patch to the next, at most the patch; by default half of it.
        baseline: what stands in a patch: "mean" of the sample, the default, "gray", the middle of
            the input's range, "blur", or a number.
        picture: (H, W) where the features of a sample (N, F) are a picture, row by row.
        repeats: how often each column is shuffled, by default 10.
        seed: of the shuffles, by default 0.
        names: of the columns, where the card has none.

    Returns:
        ``OcclusionMap`` for a picture or a signal, ``PermutationImportance`` for a table.

    Raises:
        InputError: the input disagrees with the card, or is not one sample.
        OptionError: there is no method for this model, or an option cannot be met.
        InferenceError: the engine failed, or an answer is no finite number.
    """
    card = predictor.card
    kind = _kind_of(card, is_picture=picture is not None)
    of_samples = {"patch": patch, "stride": stride, "baseline": baseline, "picture": picture}
    of_tables = {"labels": labels, "repeats": repeats, "seed": seed, "names": names}
    _refuse_others(kind, of_samples if kind == _TABLE else of_tables)
    answers = Answers(predictor)
    class_place = answers.place_of(class_name)
    if kind == _TABLE:
        count = whole_number(REPEATS if repeats is None else repeats, "repeats", lowest=2)
        start = whole_number(0 if seed is None else seed, "seed", lowest=0)
        arrays = _table_of(card, x)
        places = _column_places(card, arrays, names)
        return permute(answers, arrays, places, labels, class_place, count, start)
    return _explain_sample(answers, card, kind, x, class_place, patch, stride, baseline, picture)


def explains_tables(card: ModelCard, *, is_picture: bool = False) -> bool:
    """Whether a model's samples are rows of a table; raises OptionError as ``explain`` does."""
    return _kind_of(card, is_picture=is_picture) == _TABLE


def _kind_of(card: ModelCard, *, is_picture: bool) -> str:
    """Return what the input is; raises OptionError where no method fits it."""
    if card.columns:
        return _TABLE
    spec, axes = card.inputs[0], card.inputs[0].axes[1:]
    if len(card.inputs) > 1:
        reason = f"the model takes {len(card.inputs)} inputs, {format_specs(card.inputs)}"
    elif spec.dtype.kind == "O":
        reason = f"input '{spec.name}' is text"
    elif not card.is_vouched_for or not spec.has_batch_axis or not axes:
        reason = f"nothing says what the axes of input '{spec.name}' mean"
    elif spec.name in card.frames or {"H", "W"} <= set(axes) <= {"H", "W", "C"}:
        return _PICTURE
    elif axes == ("F",) and spec.dtype.kind == "f":
        return _PICTURE if is_picture else _TABLE
    elif axes in (("T",), ("T", "C"), ("T", "F")) and (card.signal or spec.dtype.kind == "f"):
        return _SIGNAL
    elif axes[0] == "T" and spec.dtype.kind in "iu":
        reason = f"input '{spec.name}' is a sequence of whole numbers, such as tokens"
    else:
        reason = f"input '{spec.name}' has the axes {', '.join(spec.axes)}"
    raise OptionError(
        f"{reason}, expected one picture, one signal of numbers or a table with columns: explain "
        "has no method for it that would not mislead"
    )


def _refuse_others(kind: str, given: dict[str, Any]) -> None:
    """Refuse options that belong to another kind of input."""
    for name, value in given.items():
        if value is not None:
            wanted = "a picture or a signal" if kind == _TABLE else "a table"
            raise OptionError(
                f"{name} was given for {kind}, expected it for {wanted} alone: leave it out"
            )


def _table_of(card: ModelCard, x: Any) -> dict[str, Array]:
    """Return arrays (N, F) or (N,) by input name, every value checked as ``predict`` does."""
    values: tuple[Any, ...] = (x,)
    if card.columns:
        from edgeport.inputs.columns import Columns

        columns = Columns(card)
        values = columns.arrange(values)
        feed = prepare(card.inputs, values)
        columns.check(feed.arrays)
    else:
        feed = prepare(card.inputs, values)
    return feed.arrays


def _column_places(
    card: ModelCard, arrays: dict[str, Array], names: Sequence[str] | None
) -> list[tuple[str, str, int | None]]:
    """Return the name of each column, its input, and its place along F."""
    if not card.columns:
        spec = card.inputs[0]
        count = arrays[spec.name].shape[1]
        if names is not None and len(names) != count:
            raise OptionError(
                f"there are {len(names)} names, expected {count}, one a column: pass as many"
            )
        listed = names or [f"{spec.name}[{place}]" for place in range(count)]
        return [(str(name), spec.name, place) for place, name in enumerate(listed)]
    if names is not None:
        raise OptionError("names were given, expected none, since the card has them: leave out")
    found: list[tuple[str, str, int | None]] = []
    seen: dict[str, int] = {}
    for column in card.columns:
        place = seen.get(column.input, 0)
        seen[column.input] = place + 1
        has_axis = arrays[column.input].ndim > 1
        found.append((column.name, column.input, place if has_axis else None))
    return found


def _explain_sample(
    answers: Answers,
    card: ModelCard,
    kind: str,
    x: Any,
    class_place: int | None,
    patch: Sizes,
    stride: Sizes,
    baseline: str | float | None,
    picture: tuple[int, int] | None,
) -> OcclusionMap:
    """Return the map of one sample.

    1. Slide the patch, measure the drops, and spread them over the places that they cover.
    2. Find the region, and say what makes the map uncertain.
    """
    spec = card.inputs[0]
    feed = prepare(card.inputs, (x,), card.frames)
    if feed.samples != 1:
        raise InputError.of(
            f"input '{spec.name}' is", f"a batch of {feed.samples}", "one sample", "choose one"
        )
    sample = feed.arrays[spec.name][0]
    flat = sample.shape
    letters = spec.axes[1:]
    if picture is not None:
        sample, letters = _as_picture(spec, sample, letters, picture), ("H", "W")
    axes = tuple(letters.index(letter) for letter in ("HW" if kind == _PICTURE else "T"))
    sizes = tuple(sample.shape[axis] for axis in axes)
    extent = _sizes(patch, "patch", len(axes)) or default_patch(sizes)
    step = _sizes(stride, "stride", len(axes)) or tuple(max(1, size // 2) for size in extent)
    starts = check_sizes(sizes, extent, step)
    chosen = "mean" if baseline is None else baseline
    filled = fill(card, spec, sample, axes, chosen, extent)
    scores = answers.scores(feed.arrays)[0]
    outside = answers.outside()
    place = int(scores.argmax()) if class_place is None else class_place

    def score(batch: Array) -> Array:
        return answers.scores({spec.name: batch.reshape(len(batch), *flat)})[:, place]

    whole, drops = measure_drops(score, sample, filled, axes, extent, starts)
    rate = card.signal.rate if card.signal else None
    notes = list(answers.doubt(scores) if class_place is None else ())
    region = None
    if is_rounding(drops, np.array([whole, float(np.abs(drops).max())])):
        notes.append(_why_nothing(answers, sample, filled, whole))
    else:
        region = region_of(drops, sizes, extent, step, starts, rate)
        if region is None:
            notes.append("no occlusion lowers the score: every part of the sample spoke against it")
    if outside or answers.outside():
        whose = "the sample itself has" if outside else "occluded copies have"
        notes.append(
            f"{whose} values outside of what the model was calibrated for, which saturate: the "
            "map is not to be trusted"
        )
    return OcclusionMap(
        answer=answers.in_words(place),
        score=whole,
        heat=heat_of(drops, sizes, extent, starts),
        drops=drops,
        starts=starts,
        patch=extent,
        stride=step,
        baseline=str(chosen),
        rate=rate,
        region=region,
        notes=tuple(notes),
    )


def _why_nothing(answers: Answers, sample: Array, filled: Array, score: float) -> str:
    if np.array_equal(sample, filled):
        return (
            "the baseline is equal to the sample everywhere, so that nothing was occluded: choose "
            "another baseline"
        )
    if answers.is_probability and score > SATURATED:
        return (
            f"no occlusion changes the answer, a probability of {score:.6f} that is saturated: "
            "try a larger patch"
        )
    return (
        "no occlusion changes the answer: it may be constant, or hang on more than one patch "
        "hides: try a larger patch, or another sample"
    )


def _as_picture(
    spec: TensorSpec, sample: Array, letters: tuple[str, ...], picture: tuple[int, int]
) -> Array:
    height, width = (whole_number(size, "picture", highest=_LARGEST_SIDE) for size in picture)
    if letters != ("F",) or height * width != sample.size:
        raise OptionError(
            f"picture is {height} x {width}, expected the sizes of one row of {sample.size} "
            f"features, input '{spec.name}' has the shape {sample.shape}: correct it, or leave it "
            "out"
        )
    return sample.reshape(height, width)


def _sizes(value: Sizes, name: str, count: int) -> tuple[int, ...]:
    """Return one size for each axis; () for None."""
    if value is None:
        return ()
    listed = tuple(value) if isinstance(value, (tuple, list)) else (value,) * count
    if len(listed) != count:
        raise OptionError(
            f"{name} has {len(listed)} sizes, expected {count}, or one for all: correct it"
        )
    return tuple(whole_number(size, name) for size in listed)
