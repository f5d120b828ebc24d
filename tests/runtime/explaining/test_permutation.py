"""Permutation importance finds the column that is read, by as much as the formula says."""

from __future__ import annotations

import column_models
import numpy as np
import pytest
from examples import Array, identity
from explained_models import one_column

from edgeport import InputError, OptionError, Predictor, explain
from edgeport.explaining.permutation import PermutationImportance

RNG = np.random.default_rng(6)
ROWS = RNG.normal(size=(200, 3)).astype("f4")
NAMES = ("age", "income", "noise")


def importance(artifact: bytes, x: object, **options: object) -> PermutationImportance:
    with Predictor.load(artifact) as predictor:
        found = explain(predictor, x, **options)  # type: ignore[arg-type]
    assert isinstance(found, PermutationImportance)
    return found


def test_without_labels_the_change_is_the_mean_distance_of_two_rows() -> None:
    found = importance(one_column().artifact(), ROWS, repeats=40)
    income = ROWS[:, 1].astype(float)
    # A shuffle pairs each row with every row equally often, and the weight is 2.
    expected = 2 * np.abs(income[:, None] - income).mean()
    assert found.importances[1] == pytest.approx(expected, rel=0.05)
    assert found.importances[[0, 2]].tolist() == [0, 0]
    assert found.stands_out() == (False, True, False)
    assert found.columns == NAMES
    assert found.spreads[1] == pytest.approx(found.repeated[1].std(ddof=1))
    assert "column 'income' carried most" in found.summary()


def test_with_labels_the_loss_of_accuracy_is_a_half() -> None:
    labels = np.where(ROWS[:, 1] > 0, "rich", "poor")
    right = (ROWS[:, 1] > 0).mean()
    found = importance(one_column(True).artifact(), ROWS, labels=labels.tolist(), repeats=40)
    assert (found.measure, found.score) == ("less accuracy", 1.0)
    # A shuffled row is right where its own label and that of the other row are equal.
    assert found.importances[1] == pytest.approx(2 * right * (1 - right), abs=0.02)
    assert found.importances[[0, 2]].tolist() == [0, 0]


def test_labels_by_chance_make_no_column_stand_out() -> None:
    with Predictor.load(one_column(True).artifact()) as predictor:
        for seed in range(20):
            generator = np.random.default_rng(seed)
            x = generator.normal(size=(60, 3)).astype("f4")
            labels = generator.integers(0, 2, 60)  # whatever the model answers
            found = explain(predictor, x, labels=labels.tolist())
            assert isinstance(found, PermutationImportance)
            assert not any(found.stands_out()), (seed, found.importances)


def test_the_error_of_an_importance_is_that_of_other_rows() -> None:
    labels = np.random.default_rng(3).integers(0, 2, len(ROWS))
    found = importance(one_column(True).artifact(), ROWS, labels=labels.tolist(), repeats=400)
    # Of a row whose label is as the model says, a shuffle loses the share of rows that say
    # otherwise; of any other row it gains the share of rows that say so.
    rich = ROWS[:, 1] > 0
    share = np.where(rich, 1 - rich.mean(), rich.mean())
    losses = np.where(rich == (labels == 1), share, -share)
    assert found.importances[1] == pytest.approx(losses.mean(), abs=0.005)
    assert found.errors[1] == pytest.approx(losses.std(ddof=1) / np.sqrt(len(ROWS)), rel=0.01)


def test_labels_may_be_numbers_of_classes() -> None:
    numbers = (ROWS[:, 1] > 0).astype(int)
    artifact = one_column(True).artifact()
    by_number = importance(artifact, ROWS, labels=numbers.tolist())
    by_text = importance(artifact, ROWS, labels=[str(number) for number in numbers])
    assert by_number.repeated.tolist() == by_text.repeated.tolist()
    assert by_number.score == 1.0


def test_with_values_the_mean_absolute_error_grows() -> None:
    wanted = 2 * ROWS[:, 1].astype(float)
    found = importance(one_column().artifact(), ROWS, labels=wanted.tolist(), repeats=40)
    expected = np.abs(wanted[:, None] - wanted).mean()
    assert (found.measure, found.score) == ("more mean absolute error", pytest.approx(0, abs=1e-6))
    assert found.importances[1] == pytest.approx(expected, rel=0.05)


def test_the_score_of_one_class_can_be_watched() -> None:
    found = importance(one_column(True).artifact(), ROWS, class_name="poor", repeats=40)
    income = ROWS[:, 1].astype(float)
    assert found.importances[1] == pytest.approx(np.abs(income[:, None] - income).mean(), rel=0.05)
    assert found.measure.endswith("of class 'poor'")


def test_the_seed_decides_the_shuffles() -> None:
    first, same, other = (
        importance(one_column().artifact(), ROWS, seed=seed).repeated for seed in (1, 1, 2)
    )
    assert first.tolist() == same.tolist() != other.tolist()


def test_rows_by_column_name_and_categories() -> None:
    rows = [
        {"width_m": w, "height_cm": h, "turns": t}
        for w, h, t in zip([1, 2, 3, 4], [10, 30, 20, 50], [0, 5, 1, 8], strict=True)
    ]
    found = importance(column_models.artifact(column_models.numbers()), rows)
    assert found.columns == ("width_m", "height_cm", "turns")
    assert any("4 rows are few" in note for note in found.notes)
    assert min(found.importances) > 0


def test_columns_without_a_card_are_counted_or_named() -> None:
    artifact = identity("float32", ("N", 1)).artifact()
    x = np.arange(40, dtype="f4")[:, None]
    assert importance(artifact, x).columns == ("x[0]",)
    assert importance(artifact, x, names=["age"]).columns == ("age",)
    with pytest.raises(OptionError, match="there are 2 names, expected 1"):
        importance(artifact, x, names=["age", "size"])


def test_doubts_are_told() -> None:
    alike: Array = ROWS.copy()
    alike[:, 0] = alike[:, 1] * 3 + 0.01 * alike[:, 2]
    notes = importance(one_column().artifact(), alike).notes
    assert any("'age' and 'income' are correlated (1.00)" in note for note in notes)
    fixed: Array = ROWS.copy()
    fixed[:, 1] = 1
    found = importance(one_column().artifact(), fixed)
    assert any("all rows get the same answer" in note for note in found.notes)
    assert any("'income' has one value in all rows" in note for note in found.notes)
    assert found.summary().startswith("no column carried the answers")


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (ROWS[0], {}, InputError, "1 row, expected at least 2"),
        (ROWS, {"labels": [1.0]}, InputError, "the labels are 1, expected 200"),
        (ROWS, {"labels": ["a"] * 200}, InputError, "the labels have what is no number"),
        (ROWS, {"labels": [np.nan] * 200}, InputError, "the labels have NaN"),
        (ROWS, {"patch": 3}, OptionError, "patch was given for a table"),
        (ROWS, {"repeats": 1}, OptionError, "repeats is 1, expected a whole number of at least 2"),
        (ROWS, {"class_name": "rich"}, OptionError, "the model answers with one value"),
        (ROWS, {"names": NAMES}, OptionError, "the card has them"),
    ],
)
def test_what_cannot_be_used_is_refused(
    x: Array, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        importance(one_column().artifact(), x, **options)


def test_a_label_that_is_no_class_is_refused() -> None:
    labels = ["rich"] * 199 + ["richer"]
    with pytest.raises(InputError, match="the label of row 199 is 'richer'"):
        importance(one_column(True).artifact(), ROWS, labels=labels)
