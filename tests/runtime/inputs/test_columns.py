"""Rows and tables by column name: the same answers in any order, or a sentence with the place."""

from __future__ import annotations

import collections
import importlib
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from column_models import NUMBERS, REGION, ROWS, artifact, mixed, numbers, score
from examples import identity, sealed, spec

from edgeport import InputError, ModelCard, Predictor
from edgeport.artifact.column import Column

EXPECTED = [[score(*row)] for row in ROWS.tolist()]
NAMES = [column.name for column in NUMBERS]


@pytest.fixture
def table() -> Iterator[Predictor]:
    with Predictor.load(numbers().artifact()) as loaded:
        yield loaded


class Frame:
    """A table with the interface that pandas and polars share: names, and columns by name."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name: str) -> Any:
        return np.asarray(self._columns[name])


class ArrowTable:
    """A table with pyarrow's interface: its columns, their names beside them, chunks as columns."""

    class Chunks:
        def __init__(self, values: list[Any]) -> None:
            self._values = values

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.array(self._values)

        def __len__(self) -> int:
            return len(self._values)

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns
        self.column_names = list(columns)
        self.columns = [self.Chunks(values) for values in columns.values()]

    def __getitem__(self, name: str) -> Any:
        return self.columns[self.column_names.index(name)]


def by_column(order: tuple[int, ...]) -> dict[str, list[float]]:
    return {NAMES[at]: ROWS[:, at].tolist() for at in order}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize(
    "form",
    [
        dict,
        lambda columns: {name: np.array(values) for name, values in columns.items()},
        lambda columns: {name: np.array(values)[:, None] for name, values in columns.items()},
        lambda columns: [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ],
        lambda columns: tuple(
            [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        ),
        Frame,
        ArrowTable,
    ],
)
def test_columns_come_in_any_order_and_form(table: Predictor, form: Any, order: Any) -> None:
    assert table.predict(form(by_column(order))).tolist() == EXPECTED


def test_a_dict_of_values_is_one_row(table: Predictor) -> None:
    for row, expected in zip(ROWS.tolist(), EXPECTED, strict=True):
        given = dict(zip(NAMES, row, strict=True))
        assert table.predict(dict(reversed(given.items()))).tolist() == expected
    rows = [dict(zip(NAMES, row, strict=True)) for row in ROWS.tolist()]
    assert [answer.tolist() for answer in table.stream(rows)] == EXPECTED


def test_a_bare_array_keeps_the_declared_order(table: Predictor) -> None:
    for _ in range(3):
        assert table.predict(ROWS).tolist() == EXPECTED
        assert [table.predict(row).tolist() for row in ROWS] == EXPECTED
        assert table.predict({"features": ROWS}).tolist() == EXPECTED


def test_pandas_tables_and_rows(table: Predictor) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(by_column((1, 2, 0)))
    assert table.predict(frame).tolist() == EXPECTED
    assert table.predict(frame.iloc[1]).tolist() == EXPECTED[1]
    nullable = frame.convert_dtypes()
    assert table.predict(nullable).tolist() == EXPECTED
    nullable.loc[0, "turns"] = pandas.NA
    assert table.predict(nullable)[0].tolist() == [score(1.5, 100, 3)]
    nullable.loc[1, "height_cm"] = pandas.NA
    with pytest.raises(InputError, match=r"'height_cm' in row 1 has no value"):
        table.predict(nullable)
    with pytest.raises(InputError, match=r"the table has the column 'turns' 2 times"):
        table.predict(pandas.concat([frame, frame[["turns"]]], axis=1))


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_tables_of_other_libraries(table: Predictor, library: str) -> None:
    module = pytest.importorskip(library)
    make = module.DataFrame if library == "polars" else module.table
    assert table.predict(make(by_column((2, 1, 0)))).tolist() == EXPECTED


def test_texts_and_numbers_go_to_their_inputs() -> None:
    texts = ["north", "south", "north"]
    with Predictor.load(mixed().artifact()) as predictor:
        columns = {REGION.name: texts, **by_column((2, 1, 0))}
        for given in (columns, Frame(columns), ArrowTable(columns)):
            answer = predictor.predict(given)
            assert answer["y"].tolist() == EXPECTED
            assert answer["echo"].tolist() == [[text] for text in texts]
        by_input = {"features": ROWS, "region": [[text] for text in texts]}
        assert predictor.predict(by_input)["y"].tolist() == EXPECTED


def test_where_inputs_and_columns_have_the_same_names_a_dict_is_by_column() -> None:
    one = identity(shape=("N", 1))
    columns = (Column("x", "number", "x"),)
    with Predictor.load(artifact(one, *columns)) as predictor:
        assert predictor.predict({"x": 2.0}).tolist() == [2.0]
        assert predictor.predict({"x": [2.0, 3.0]}).tolist() == [[2.0], [3.0]]
        assert predictor.predict({"x": np.array([[2.0], [3.0]])}).tolist() == [[2.0], [3.0]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"width_m": None},
            r"'width_m' in row 1 has no value, expected a number: fill it or leave",
        ),
        ({"height_cm": float("nan")}, r"column 'height_cm' in row 1 has no value"),
        ({"height_cm": float("inf")}, r"column 'height_cm' in row 1 has the value inf"),
        ({"height_cm": "20"}, r"column 'height_cm' in row 1 has the text '20', expected a number"),
        ({"height_cm": 10**400}, r"'height_cm' in row 1 has a number beyond every float"),
        ({"height_cm": 1e39}, r"'height_cm' in row 1 has the value 1e\+39, beyond float32"),
        ({"height_cm": [1, 2]}, r"column 'height_cm' in row 1 has a list, expected a number"),
    ],
)
def test_a_wrong_value_is_named_by_row_and_column(
    table: Predictor, change: dict[str, Any], sentence: str
) -> None:
    rows = [dict(zip(NAMES, row, strict=True)) for row in ROWS.tolist()]
    rows[1].update(change)
    with pytest.raises(InputError, match=sentence):
        table.predict(rows)
    with pytest.raises(InputError, match="sample 1 of the stream cannot be used: the column"):
        list(table.stream(rows))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"width_m": 1, "height_cm": 2}, r"the dict has no column 'turns', only width_m, height"),
        ({"width": 1, "height_cm": 2, "turns": 1}, r"no column 'width_m'.*is it 'width'\? then re"),
        ([{"width_m": 1, "height_cm": 2}], r"row 0 has no column 'turns'"),
        (Frame({"width_m": [1], "turns": [2]}), r"the table has no column 'height_cm'"),
        ({"width_m": [1, 2], "height_cm": [2], "turns": [1]}, r"'height_cm' has 1 values and 'wi"),
        ({"width_m": [1], "height_cm": 2, "turns": 1}, r"'height_cm' is one value and 'width_m' h"),
        ({"width_m": np.ones((2, 2)), "height_cm": [2], "turns": [1]}, r"array of shape \(2, 2\)"),
        ([{"width_m": 1, "height_cm": 2, "turns": 3}, 5], r"row 1 is a int, expected a dict"),
        ({name: np.array(["2024"], "M8[D]") for name in NAMES}, r"'width_m' has dates, expected a"),
        ({name: np.array(["1.5"]) for name in NAMES}, r"'width_m' in row 0 has the text '1.5', ex"),
    ],
)
def test_what_is_no_table_of_these_columns_is_refused(
    table: Predictor, given: Any, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        table.predict(given)


def test_nan_in_an_array_counts_as_the_training_had_it_or_is_refused(table: Predictor) -> None:
    x = ROWS.copy()
    x[:, 2] = np.nan
    filled = [[score(*row)] for row in x.tolist()]
    assert filled[0] == [1.5 + 100 / 4 - 4 * 3]
    for _ in range(3):
        assert table.predict(x).tolist() == filled
        assert [table.predict(row).tolist() for row in x] == filled
    x[2, 1] = np.nan
    with pytest.raises(InputError, match=r"the column 'height_cm' in row 2 has no value"):
        table.predict(x)
    with pytest.raises(InputError, match=r"the column 'height_cm' has no value"):
        table.predict(x[2])
    masked = np.ma.masked_array([2.0, 8.0, 0.0], [True, False, False])
    given = {**by_column((0, 1)), "turns": masked}
    assert table.predict(given)[0].tolist() == [score(1.5, 100.0, 3.0)]


def test_a_further_column_is_told_once(table: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    columns = {"id": [1, 2, 3], **by_column((0, 1, 2)), "big": ["yes", "no", "yes"]}
    with caplog.at_level(logging.WARNING, "edgeport"):
        for _ in range(2):
            assert table.predict(columns).tolist() == EXPECTED
    assert [record.getMessage() for record in caplog.records] == [
        "the dict has the columns 'id', 'big', which the model does not take: they are left out "
        "(said once)"
    ]


def test_each_name_is_looked_at_a_few_times_alone() -> None:
    """With a further column, a row of 10,000 columns took 8 s."""
    looked_at = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal looked_at
            looked_at += 1
            return str.__eq__(self, other)

    size = 200
    one = identity(shape=("N", size))
    own = [Column(f"c{at}", "number", "x") for at in range(size)]
    with Predictor.load(artifact(one, *own)) as predictor:
        row = {Name(f"c{at}"): float(at) for at in reversed(range(size))} | {Name("id"): 1.0}
        assert predictor.predict(row).tolist() == list(range(size))
    assert looked_at < 20 * size


def test_integers_of_an_integer_input_stay_exact() -> None:
    one = identity("int64", ("N", 1))
    with Predictor.load(artifact(one, Column("count", "number", "x"))) as predictor:
        assert predictor.predict({"count": [2**60 + 1]}).tolist() == [[2**60 + 1]]
        big = np.array([2**60 + 1], object)
        assert predictor.predict({"count": big}).tolist() == [[2**60 + 1]]
        with pytest.raises(InputError, match=r"the column 'count' has the value 1\.5 at \[1\]"):
            predictor.predict({"count": [1, 1.5]})


def test_an_integer_beside_floats_is_not_rounded() -> None:
    for dtype, value in (("int64", 2**53 + 1), ("uint64", 2**63 + 1)):
        one = identity(dtype, ("N", 1))
        with Predictor.load(artifact(one, Column("count", "number", "x"))) as predictor:
            given = {"count": [np.array(value, dtype)[()]]}
            assert predictor.predict(given).tolist() == [[value]]
            for beside in (1.0, np.float64(1.0)):
                with pytest.raises(InputError, match=f"floats with the integer {value}, which"):
                    predictor.predict({"count": [value, beside]})


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.complex128(1 + 2j), "a complex128"),
        (np.timedelta64(5, "ns"), "a timedelta64"),
        (np.timedelta64(5, "D"), "a timedelta64"),
        (np.array(1 + 2j), "a complex128"),
        (bytearray(b"5"), "a bytearray"),
    ],
)
def test_what_numpy_would_turn_into_a_number_is_none(
    table: Predictor, value: Any, found: str
) -> None:
    row = {"width_m": 1.0, "height_cm": 100.0, "turns": value}
    with pytest.raises(InputError, match=f"the column 'turns' in row 0 has {found}, expected a n"):
        table.predict([row])


def test_arrays_without_axes_are_one_row(table: Predictor) -> None:
    row = {name: np.array(value) for name, value in zip(NAMES, ROWS[0], strict=True)}
    assert table.predict(row).tolist() == EXPECTED[0]


def test_named_tuples_are_matched_by_name(table: Predictor) -> None:
    """As ``itertuples()`` of pandas gives them, in the order of that table."""
    pair = collections.namedtuple("pair", "Index turns width_m height_cm")
    rows = [pair(at, row[2], row[0], row[1]) for at, row in enumerate(ROWS.tolist())]
    assert table.predict(rows[0]).tolist() == EXPECTED[0]
    assert table.predict(rows).tolist() == EXPECTED
    assert [answer.tolist() for answer in table.stream(rows)] == EXPECTED
    lacking = collections.namedtuple("lacking", "turns width_m height")(1.0, 2.0, 3.0)
    for given in (lacking, [lacking]):
        with pytest.raises(InputError, match="has no column 'height_cm', only turns, width_m, he"):
            table.predict(given)
    own = collections.namedtuple("own", "features")(ROWS[0])
    assert [answer.tolist() for answer in table.stream([own])] == EXPECTED[:1]


def test_rows_of_pandas_are_matched_by_name(table: Predictor) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=NAMES)[[NAMES[2], NAMES[0], NAMES[1]]]
    assert table.predict([row for _, row in frame.iterrows()]).tolist() == EXPECTED
    doubled = frame[[*NAMES, "turns"]].iloc[0]
    with pytest.raises(InputError, match="the row has the column 'turns' 2 times"):
        table.predict(doubled)


def test_categories_are_text_and_never_missing_unseen() -> None:
    def row(region: Any) -> dict[str, Any]:
        return {**dict(zip(NAMES, ROWS[0].tolist(), strict=True)), REGION.name: region}

    filling = Column(REGION.name, "category", "region", categories=("1", "2"), missing="none")
    with Predictor.load(mixed().artifact()) as predictor:
        for bad in (None, "", float("nan")):
            with pytest.raises(InputError, match="'Région du nord' has no value, expected a text"):
                predictor.predict(row(bad))
        with pytest.raises(InputError, match="'Région du nord' has the int 1, expected a text"):
            predictor.predict(row(1))
    with Predictor.load(artifact(mixed(), *NUMBERS, filling)) as predictor:
        assert predictor.predict(row(None))["echo"].tolist() == ["none"]
        assert predictor.predict(row(2))["echo"].tolist() == ["2"]


def test_a_named_tuple_and_a_queue_are_what_they_are_without_columns() -> None:
    """A card without columns takes what it always took."""
    one = identity(shape=("N", 2))
    with Predictor.load(one.artifact()) as predictor:
        queue = collections.deque([1.0, 2.0])
        assert predictor.predict(queue).tolist() == [1.0, 2.0]
        with pytest.raises(InputError, match="there is no input 'a'"):
            predictor.predict({"a": 1.0, "b": 2.0})


def test_no_library_of_tables_is_imported() -> None:
    module = importlib.import_module("edgeport.inputs.columns")
    assert not {"pandas", "polars", "pyarrow"} & set(vars(module))


def test_columns_that_do_not_fill_the_inputs_are_refused() -> None:
    from edgeport import ArtifactError

    with pytest.raises(ArtifactError, match="2 columns for the input 'features'"):
        Predictor.load(artifact(numbers(), *NUMBERS[:2]))
    one = ModelCard("m", (spec("x", "float32", ("N", 1)),), (spec("y", "float32", ("N", 1)),))
    twice = [Column("a", "number", "x").to_dict()] * 2
    with pytest.raises(ArtifactError, match="two columns of one name"):
        Predictor.load(sealed(identity(shape=("N", 1)).onnx, one, columns=twice))
