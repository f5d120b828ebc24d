"""Permutation importance of the columns of a table, by Predictor alone.

Source: Breiman, Random Forests, 2001, section 10; Fisher, Rudin and Dominici, All Models are Wrong,
but Many are Useful, 2019. A column's values are shuffled among the rows, which keeps its
distribution and breaks its bond with everything else, and the loss is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from edgeport.artifact.golden import Array
from edgeport.errors import InputError, OptionError
from edgeport.explaining.answers import Answers, is_rounding

REPEATS = 10
_FEW_ROWS = 30
_ALIKE = 0.9  # correlation from which two columns can stand in for each other
_MOST_COMPARED = 200  # columns; more would take longer to compare than to explain
# One column in 700 is above 0 by more than this if it carries nothing.
_ERRORS_OF_MEAN = 3.0
_MOST_NAMED = 6


@dataclass(frozen=True, slots=True, eq=False)
class PermutationImportance:
    """How much the answers hang on each column of a table.

    Attributes:
        measure: what was measured, in words: the drop of a metric, or the change of the answers.
        columns: their names, in the model's order.
        importances: (F,) float64: mean over the repeats, in the unit of the measure.
        spreads: (F,) float64: standard deviation over the repeats.
        errors: (F,) float64: standard error of the importances, as other rows would change them.
        repeated: (F, repeats) float64: each measurement.
        score: the metric of the table as it is, None without labels.
        rows: how many there are.
        notes: what makes figures uncertain or meaningless, a sentence each.
    """

    measure: str
    columns: tuple[str, ...]
    importances: Array
    spreads: Array
    errors: Array
    repeated: Array
    score: float | None
    rows: int
    notes: tuple[str, ...] = ()

    def stands_out(self) -> tuple[bool, ...]:
        """Return for each column whether it is above 0 by three standard errors.

        The shuffles alone would not do: they are compared with one score of these rows, which
        chance has made too good or too bad for all of them.
        """
        return tuple((self.importances > _ERRORS_OF_MEAN * self.errors).tolist())

    def summary(self) -> str:
        """Return the result in one line."""
        clear = self.stands_out()
        best = int(np.where(clear, self.importances, -np.inf).argmax())
        if not clear[best]:
            return f"no column carried the answers ({self.measure}, {self.rows:,} rows)"
        return (
            f"column '{self.columns[best]}' carried most of the answers: shuffled, "
            f"{self.importances[best]:.4g} ± {self.spreads[best]:.2g} {self.measure}"
        )


def permute(
    answers: Answers,
    arrays: Mapping[str, Array],
    places: Sequence[tuple[str, str, int | None]],
    labels: Sequence[object] | None,
    class_place: int | None,
    repeats: int,
    seed: int,
) -> PermutationImportance:
    """Return the importance of each column.

    1. Answer all rows as they are.
    2. Shuffle one column among the rows, answer all rows, and take the loss; ``repeats`` times.
    3. Do so for each column. Its shuffles depend on the seed and its place alone.

    Args:
        answers: of the model.
        arrays: (N, F) or (N,) by input name.
        places: of each column: its name, its input, its place along F, None where there is none.
        labels: of each row: class names or numbers of classes; numbers for a regression.
        class_place: the class whose score is watched without labels; None for each row's own.
        repeats: how often each column is shuffled, 2 or more.
        seed: of the shuffles.

    Raises:
        InputError: there are less than two rows, or the labels do not fit them.
    """
    rows = len(next(iter(arrays.values())))
    if rows < 2:
        raise InputError.of(
            "the table has",
            f"{rows} row" if rows == 1 else "no row",
            "at least 2, better some hundred, since the values of each column are shuffled among "
            "the rows",
            "pass a data set; of a picture in one row, its sizes (picture=)",
        )
    before = answers.scores(arrays)
    measure, score, loss = _measure(answers, before, labels, class_place)
    repeated = np.empty((len(places), repeats))
    errors = np.zeros(len(places))
    constant = []
    for number, (name, owner, at) in enumerate(places):
        values = arrays[owner] if at is None else arrays[owner][:, at]
        if _is_constant(values):
            repeated[number] = 0.0
            constant.append(name)
            continue
        generator = np.random.default_rng([seed, number])
        losses = np.zeros(rows)
        for repeat in range(repeats):
            shuffled = arrays[owner].copy()
            order = generator.permutation(rows)
            shuffled[(slice(None),) if at is None else (slice(None), at)] = values[order]
            of_rows = loss(answers.scores({**arrays, owner: shuffled}))
            repeated[number, repeat] = of_rows.mean()
            losses += of_rows / repeats
        errors[number] = losses.std(ddof=1) / np.sqrt(rows)
    notes = _doubts(answers, arrays, places, before, repeated)
    if constant:
        listed = ", ".join(f"'{name}'" for name in constant[:_MOST_NAMED])
        more = f" and {len(constant) - _MOST_NAMED} more" if len(constant) > _MOST_NAMED else ""
        verb, them = ("has", "it") if len(constant) == 1 else ("have", "them")
        notes.append(f"{listed}{more} {verb} one value in all rows: nothing is known about {them}")
    return PermutationImportance(
        measure=measure,
        columns=tuple(name for name, _, _ in places),
        importances=repeated.mean(axis=1),
        spreads=repeated.std(axis=1, ddof=1),
        errors=errors,
        repeated=repeated,
        score=score,
        rows=rows,
        notes=tuple(notes),
    )


def _is_constant(values: Array) -> bool:
    if values.dtype.kind == "f" and np.isnan(values).all():
        return True
    return bool((values == values[0]).all())


def _measure(
    answers: Answers, before: Array, labels: Sequence[object] | None, class_place: int | None
) -> tuple[str, float | None, Callable[[Array], Array]]:
    """Return the measure in words, the metric as it is, and what each row (N,) loses by others.

    The last one is a function of other answers (N, K).
    """
    rows = np.arange(len(before))
    if labels is not None:
        if class_place is not None:
            raise OptionError(
                "a class was given beside labels, expected one of them, since accuracy is that of "
                "all classes: leave one out"
            )
        if len(labels) != len(before):
            raise InputError.of(
                "the labels are", f"{len(labels)}", f"{len(before)}, one a row", "pass as many"
            )
        if answers.classes is None:
            wanted = _numbers(labels)
            apart = np.abs(before[:, 0] - wanted)
            return (
                "more mean absolute error",
                float(apart.mean()),
                lambda found: np.abs(found[:, 0] - wanted) - apart,
            )
        right = _class_places(labels, answers.classes)
        is_right = (before.argmax(axis=1) == right).astype(np.float64)
        return (
            "less accuracy",
            float(is_right.mean()),
            lambda found: is_right - (found.argmax(axis=1) == right),
        )
    if answers.classes is None:
        place, measure = np.zeros(len(before), int), "mean absolute change of the value"
    elif class_place is None:
        place, measure = before.argmax(axis=1), "mean absolute change of the best class' score"
    else:
        place = np.full(len(before), class_place)
        measure = f"mean absolute change of the score of class '{answers.classes[class_place]}'"
    return (
        measure,
        None,
        lambda found: np.abs(found[rows, place] - before[rows, place]),
    )


def _numbers(labels: Sequence[object]) -> Array:
    try:
        found = np.array([float(label) for label in labels])  # type: ignore[arg-type]
    except (TypeError, ValueError) as cause:
        raise InputError.of(
            "the labels have", f"what is no number ({cause})", "numbers", "correct them"
        ) from cause
    if not np.isfinite(found).all():
        raise InputError.of("the labels have", "NaN or an infinity", "numbers", "leave it out")
    return found


def _class_places(labels: Sequence[object], classes: tuple[str, ...]) -> Array:
    """Return the class of each row: by name, or by its number from 0."""
    known = {name: place for place, name in enumerate(classes)}
    numbers = {str(place): place for place in range(len(classes))}
    texts = [label if isinstance(label, str) else None for label in labels]
    by_name = any(text in known for text in texts if text is not None)
    found = []
    for row, label in enumerate(labels):
        text = texts[row] if texts[row] is not None else str(label).removesuffix(".0")
        place = (known if by_name else numbers).get(text or "")
        if place is None:
            listed = ", ".join(classes[:12])
            raise InputError.of(
                f"the label of row {row} is",
                f"{label!r:.60}",
                f"a class, {listed}, or its number from 0",
                "correct it",
            )
        found.append(place)
    return np.array(found)


def _doubts(
    answers: Answers,
    arrays: Mapping[str, Array],
    places: Sequence[tuple[str, str, int | None]],
    before: Array,
    repeated: Array,
) -> list[str]:
    """Return what makes the figures uncertain or meaningless."""
    found = []
    if is_rounding(np.ptp(before, axis=0), before):
        found.append("all rows get the same answer, so that no column can change it on this data")
    elif is_rounding(repeated, before):
        found.append("no shuffle changes anything: the model may not read these columns")
    if len(before) < _FEW_ROWS:
        found.append(f"{len(before)} rows are few: pass some hundred for figures that hold")
    numbers = [
        (name, arrays[owner] if at is None else arrays[owner][:, at])
        for name, owner, at in places
        if arrays[owner].dtype.kind in "fiu"
    ]
    if 1 < len(numbers) <= _MOST_COMPARED:
        with np.errstate(all="ignore"):
            alike = np.abs(np.corrcoef(np.array([x for _, x in numbers], np.float64)))
        pairs = [
            (alike[first, second], numbers[first][0], numbers[second][0])
            for first, second in combinations(range(len(numbers)), 2)
            if alike[first, second] >= _ALIKE
        ]
        for value, first_name, second_name in sorted(pairs, reverse=True)[:_MOST_NAMED]:
            found.append(
                f"columns '{first_name}' and '{second_name}' are correlated ({value:.2f}): their "
                "shuffles make rows that never occur, and the two share their importance"
            )
        if len(pairs) > _MOST_NAMED:
            found.append(f"{len(pairs) - _MOST_NAMED} more pairs of columns are correlated so")
    if answers.outside():
        found.append(
            f"{answers.outside():,} values lay outside of what the model knows: its answers to "
            "these rows are not to be trusted"
        )
    return found
