"""The card's part on tables: what each column is, and which input takes it.

A module of its own, since few cards have columns, and each record costs every cold start 0.1 ms.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeport.artifact.records import Record, record

NUMBER, CATEGORY = "number", "category"


@record
class Column(Record):
    """One column of the tables that a model takes.

    The columns of an input fill the places of its last axis, in the order of the card.

    Attributes:
        name: as in the header of the training's table.
        kind: ``number`` or ``category``, whose values are texts.
        input: the name of the input that takes it.
        unit: such as ``cm``; "" where nobody said.
        value_range: (lowest, highest) number seen in the training; None where unknown.
        categories: the texts seen in the training; () for numbers, and where unknown.
        missing: what stands for a missing value: the number that the graph puts in place of NaN,
            or the text of a category. None where a missing value is refused.
    """

    name: str
    kind: str
    input: str
    unit: str = ""
    value_range: tuple[float, float] | None = None
    categories: tuple[str, ...] = ()
    missing: float | str | None = None

    @property
    def seen(self) -> str:
        """What the training saw, in words; "" where unknown."""
        if self.value_range is not None:
            low, high = self.value_range
            return f"{low:.6g} to {high:.6g}{f' {self.unit}' if self.unit else ''}"
        names = ", ".join(map(repr, self.categories[:6]))
        return f"{names}, …" if len(self.categories) > 6 else names

    @property
    def in_words(self) -> str:
        """All of it in one line."""
        parts = [f"{self.name}: {self.kind}"]
        if self.unit and self.value_range is None:
            parts.append(f"in {self.unit}")
        if self.seen:
            parts.append(self.seen)
        if self.missing is not None:
            shown = repr(self.missing) if isinstance(self.missing, str) else f"{self.missing:.6g}"
            parts.append(f"a missing value counts as {shown}")
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready data, without what is not known."""
        data = {name: getattr(self, name) for name in self.__slots__}
        plain = {key: list(item) if type(item) is tuple else item for key, item in data.items()}
        return {key: item for key, item in plain.items() if item not in (None, "", [])}


def read_columns(
    data: Sequence[Mapping[str, Any]], shapes: Mapping[str, tuple[int | str, ...]], texts: set[str]
) -> tuple[Column, ...]:
    """Return what a card's JSON says.

    Args:
        data: a record for each column; unknown keys are ignored.
        shapes: of one sample, by input name.
        texts: the inputs that take text.

    Raises:
        ValueError, KeyError, TypeError: these are no columns, or they do not fill the inputs.
    """
    columns = tuple(map(read_column, data))
    check_columns(columns, shapes, texts)
    return columns


def check_columns(
    columns: Sequence[Column], shapes: Mapping[str, tuple[int | str, ...]], texts: set[str]
) -> None:
    """Refuse columns that do not fill the inputs, by a ValueError; the rest as `read_columns`."""
    if len({column.name for column in columns}) < len(columns):
        raise ValueError("two columns of one name")
    for column in columns:
        if (column.kind == CATEGORY) != (column.input in texts):
            raise ValueError(f"the column '{column.name}' of another kind than its input")
    for name, shape in shapes.items():
        count = sum(column.input == name for column in columns)
        if (shape or (1,)) != (count,):
            raise ValueError(f"{count} columns for the input '{name}' of shape {shape}")


def read_column(data: Mapping[str, Any]) -> Column:
    """Return one column; raises as ``read_columns`` does."""
    name, kind, seen = data["name"], data["kind"], data.get("value_range")
    missing, categories = data.get("missing"), data.get("categories", ())
    limits = None if seen is None else (float(seen[0]), float(seen[1]))
    is_number = kind == NUMBER
    missing_fits = missing is None or (
        type(missing) in (int, float) and math.isfinite(missing)
        if is_number
        else isinstance(missing, str)
    )
    if (
        not (isinstance(name, str) and name.strip())
        or kind not in (NUMBER, CATEGORY)
        or not missing_fits
        or isinstance(categories, str)
        or (
            limits is not None and not (is_number and -math.inf < limits[0] <= limits[1] < math.inf)
        )
    ):
        raise ValueError(f"the column {dict(data)!r:.200}")
    return Column(
        name=name,
        kind=kind,
        input=str(data["input"]),
        unit=str(data.get("unit", "")),
        value_range=limits,
        categories=tuple(map(str, categories)),
        missing=float(missing) if is_number and missing is not None else missing,
    )
