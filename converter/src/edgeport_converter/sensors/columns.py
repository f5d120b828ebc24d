"""The columns of a table: what a card says of them, and where that comes from.

1. ``edgeport train`` writes names, units, ranges and categories into its ``.keras`` file.
2. ``feature_names=`` names the columns of a user's own model.
3. Else the header of the calibration data does, if it has a name for each number of one input.

Ranges that the training did not hand over are those of the data. ``training`` writes, ``loading``
reads, ``conversion`` decides.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeport import ConversionError, OptionError, TensorSpec
from edgeport.artifact.column import CATEGORY, NUMBER, Column, check_columns, read_column
from edgeport.artifact.golden import Array

MEMBER = "edgeport.columns.json"
"""The member of a ``.keras`` file, which is a ZIP archive, that holds the columns."""

_SAMPLES = 16


def to_json(columns: Sequence[Column]) -> str:
    """Return what a ``.keras`` file holds."""
    return json.dumps([column.to_dict() for column in columns], indent=1, ensure_ascii=False)


def read(path: Path) -> tuple[Column, ...]:
    """Return the columns in a ``.keras`` file, () where it has none.

    Raises:
        ConversionError: they are not in the form that ``to_json`` writes.
    """
    with zipfile.ZipFile(path) as archive:
        if MEMBER not in archive.namelist():
            return ()
        content = archive.read(MEMBER)
    try:
        return tuple(map(read_column, json.loads(content)))
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise ConversionError(
            f"the columns '{MEMBER}' in '{path}' cannot be read ({cause}), expected what "
            "`edgeport train` writes: train again, or copy the file again"
        ) from cause


def name_columns(
    known: Sequence[Column],
    names: Sequence[str] | Mapping[str, Sequence[str]] | None,
    inputs: Sequence[TensorSpec],
) -> tuple[Column, ...]:
    """Return the columns of a model's inputs, () where nobody named them.

    Args:
        known: what the training wrote; inputs that were left out take theirs along.
        names: ``feature_names``, which take the place of the known ones.
        inputs: the model's.

    Raises:
        OptionError: the names do not fit the inputs.
        ConversionError: what the training wrote does not.
    """
    if names is not None:
        return from_names(names, inputs)
    own = {spec.name for spec in inputs}
    columns = tuple(column for column in known if column.input in own)
    if columns:
        try:
            _check(columns, inputs)
        except ValueError as cause:
            raise ConversionError(
                f"the columns in the model's file do not fit its inputs ({cause}): train again"
            ) from cause
    return columns


def from_names(
    names: Sequence[str] | Mapping[str, Sequence[str]], inputs: Sequence[TensorSpec]
) -> tuple[Column, ...]:
    """Return columns with nothing but names; raises OptionError if they do not fill the inputs."""
    sizes = {spec.name: (spec.sample_shape or (1,))[0] for spec in inputs}
    flat = [spec.name for spec in inputs if len(spec.sample_shape) > 1 or not spec.has_batch_axis]
    if flat or not all(isinstance(size, int) for size in sizes.values()):
        name = flat[0] if flat else next(n for n, size in sizes.items() if type(size) is not int)
        raise OptionError(
            f"feature_names were given and the input '{name}' takes no rows of a fixed number of "
            "features, expected inputs of shape (N, F): leave the names out"
        )
    if isinstance(names, Mapping):
        unknown = next((name for name in names if name not in sizes), None)
        if unknown is not None:
            raise OptionError(
                f"feature_names has the input '{unknown}', expected {', '.join(sizes)}: use the "
                "model's own names"
            )
        by_input = {name: list(names.get(name, ())) for name in sizes}
    else:
        left = list(names)
        by_input = {}
        for name, size in sizes.items():
            by_input[name], left = left[: int(size)], left[int(size) :]
        if left:
            by_input[name] += left
    for name, size in sizes.items():
        if len(by_input[name]) != size:
            total = sum(map(len, by_input.values()))
            raise OptionError(
                f"there are {total} feature_names, {len(by_input[name])} of them for the input "
                f"'{name}', which takes {size}: pass one for each feature, in the order that the "
                "model was trained on"
            )
    every = [name for part in by_input.values() for name in part]
    repeated = next((name for name in every if every.count(name) > 1), None)
    if repeated is not None:
        raise OptionError(
            f"feature_names has '{repeated}' more than once, expected a name for each column: "
            "rename one"
        )
    texts = {spec.name for spec in inputs if spec.dtype.kind == "O"}
    return tuple(
        Column(name, CATEGORY if key in texts else NUMBER, key)
        for key, part in by_input.items()
        for name in part
    )


def from_header(names: Sequence[str], inputs: Sequence[TensorSpec]) -> tuple[Column, ...]:
    """Return the columns that a header names, () if it does not name those of one input."""
    if len(inputs) != 1 or inputs[0].sample_shape != (len(names),) or "" in names:
        return ()
    try:
        return from_names(names, inputs)
    except OptionError:
        return ()


def with_ranges(
    columns: Sequence[Column], ranges: Mapping[str, tuple[Array, Array]]
) -> tuple[Column, ...]:
    """Return the columns with ranges where they have none.

    Args:
        columns: of a model.
        ranges: the lowest and highest values of each place of an input (F,), by input name.
    """
    places: dict[str, int] = {}
    found = []
    for column in columns:
        at = places[column.input] = places.get(column.input, -1) + 1
        if column.kind == NUMBER and column.value_range is None and column.input in ranges:
            low, high = ranges[column.input]
            column = replace(column, value_range=(float(low[at]), float(high[at])))
        found.append(column)
    return tuple(found)


def fills_of(columns: Sequence[Column]) -> dict[str, Array]:
    """Return what the graph puts in place of NaN, (F,) by input name; NaN where nothing does."""
    found: dict[str, list[float]] = {}
    for column in columns:
        if column.kind == NUMBER:
            missing = column.missing
            found.setdefault(column.input, []).append(
                float("nan") if missing is None or isinstance(missing, str) else missing
            )
    return {
        name: np.array(values, np.float32)
        for name, values in found.items()
        if not np.isnan(values).all()
    }


def check_fills(
    run: Callable[[Mapping[str, Array]], Mapping[str, Array]],
    columns: Sequence[Column],
    samples: Mapping[str, Array],
    what: str,
) -> None:
    """Compare the answers to samples with NaN with those to the same samples filled by hand.

    Args:
        run: arrays by input name to arrays by output name.
        columns: of the model.
        samples: by input name, each with its batch axis.
        what: that answers, for the message.

    Raises:
        ConversionError: an answer differs, if by one bit.
    """
    fills = fills_of(columns)
    if not fills:
        return
    first = {name: array[:_SAMPLES] for name, array in samples.items()}
    lacking, filled = dict(first), dict(first)
    for name, fill in fills.items():
        # One column is missing in each sample, then all that may be.
        x = np.concatenate([first[name], first[name][:1]])
        gone = np.zeros(x.shape, bool)
        may = np.flatnonzero(~np.isnan(fill))
        gone[np.arange(len(x)), may[np.arange(len(x)) % len(may)]] = True
        gone[-1, may] = True
        lacking[name], filled[name] = np.where(gone, np.nan, x), np.where(gone, fill, x)
        lacking[name] = lacking[name].astype(x.dtype)
        filled[name] = filled[name].astype(x.dtype)
    for name, array in first.items():
        if name not in fills:
            lacking[name] = filled[name] = np.concatenate([array, array[:1]])
    answers, expected = run(lacking), run(filled)
    for name, array in expected.items():
        if not np.array_equal(array, answers[name]):
            raise ConversionError(
                f"{what} answers another '{name}' to a missing value than to what stands for it, "
                "expected the same: report this model"
            )


def _check(columns: Sequence[Column], inputs: Sequence[TensorSpec]) -> None:
    shapes: dict[str, Any] = {spec.name: spec.sample_shape for spec in inputs}
    check_columns(columns, shapes, {spec.name for spec in inputs if spec.dtype.kind == "O"})
