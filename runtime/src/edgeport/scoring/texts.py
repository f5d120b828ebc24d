"""Rows of csv and json lines: by record, since a cell in quotes may hold the end of a line.

What a line means is the business of ``cli.tables`` and ``cli.reading``, as for `edgeport predict`.
The number of a row is that of the line that it ends in, from 1, as editors show it.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from edgeport.artifact.card import ModelCard
from edgeport.cli.reading import is_header, numbers_of, object_of
from edgeport.cli.tables import Table, is_row
from edgeport.errors import InputError
from edgeport.inputs.columns import Columns
from edgeport.scoring.files import Digest, open_file
from edgeport.scoring.job import Chunk, Piece, Refused, Settings, Source

_BOM = "\ufeff"
Record = Any  # the cells of a line, the line, or an InputError


def split(
    source: Source, card: ModelCard, settings: Settings, tell: Callable[[str], None]
) -> list[Piece]:
    """Return pieces that begin with a record each; see ``inputs.split``."""
    with open_file(source) as file:
        form = _form(source.path, card, settings, file, tell)
        lines = _Lines(file, *form.begin)
        pieces: list[Piece] = []
        start, first, rows = lines.offset, lines.number, 0

        def end(until: int) -> None:
            if rows:
                pieces.append(Piece(source, start, until, first, rows, until - start))

        for line, record in form.records(lines, None):
            form.check(record, line)
            rows += 1
            if lines.offset - start >= settings.part_bytes:
                end(lines.offset)
                start, first, rows = lines.offset, lines.number, 0
        end(lines.offset)
    return pieces


def header(source: Source, card: ModelCard, settings: Settings) -> list[str]:
    """Return the names of columns that are taken by their place; [] where there are none."""
    if card.columns or settings.columns or not source.path.lower().endswith(".csv"):
        return []
    with open_file(source) as file:
        return _Csv(source.path, card, settings, file, _silent).names


def read(piece: Piece, card: ModelCard, settings: Settings, digest: Digest) -> Iterator[Chunk]:
    """Yield the rows of a piece; see ``inputs.read``."""
    with open_file(piece.source) as file:
        form = _form(piece.file, card, settings, file, _silent)
        digest.add_from(file, 0, form.begin[0])
        lines = _Lines(file, piece.start, piece.first, digest)
        chunk = _empty(piece)
        keys: dict[str, list[str | None]] = {name: [] for name in settings.keys}
        for line, record in form.records(lines, piece.stop):
            try:
                if isinstance(record, InputError):
                    raise record
                sample, copied = form.sample(record, line)
            except InputError as error:
                chunk.refused.append(Refused(piece.file, line, str(error)))
            else:
                chunk.rows.append(line)  # type: ignore[attr-defined]
                chunk.value.append(sample)
                for name, text in copied.items():
                    keys[name].append(text)
            if len(chunk.rows) + len(chunk.refused) == settings.batch_size:
                yield _with_keys(chunk, keys)
                chunk, keys = _empty(piece), {name: [] for name in settings.keys}
        yield _with_keys(chunk, keys)


def ranges(
    file: IO[bytes], piece: Piece, card: ModelCard, settings: Settings
) -> list[tuple[int, int]]:
    """Return which bytes are read for a piece; see ``inputs.digest``."""
    form = _form(piece.file, card, settings, file, _silent)
    return [(0, form.begin[0]), (piece.start, piece.stop)]


def row_numbers(piece: Piece, card: ModelCard, settings: Settings) -> Iterator[int]:
    """Yield the numbers of a piece's rows."""
    with open_file(piece.source) as file:
        form = _form(piece.file, card, settings, file, _silent)
        lines = _Lines(file, piece.start, piece.first)
        yield from (line for line, _ in form.records(lines, piece.stop))


def joined(card: ModelCard, samples: list[Any]) -> Any:
    """Return what ``predict`` takes for several samples: rows by column, or lists by input.

    Raises:
        InputError: some samples are by column or input name and others are not.
    """
    inputs = {spec.name for spec in card.inputs}
    is_named = [isinstance(sample, dict) for sample in samples]
    if not any(is_named):
        if len(inputs) > 1:
            raise InputError.of(
                "the line is", "a list", f"an object with {', '.join(inputs)}", "name the inputs"
            )
        return {next(iter(inputs)): samples}
    if not all(is_named):
        raise InputError.of("the lines are", "objects and lists", "all alike", "write one kind")
    if card.columns and any(set(sample) != inputs for sample in samples):
        return samples
    for sample in samples:
        if set(sample) != inputs:
            found = ", ".join(map(str, sample)) or "no names"
            raise InputError.of("the line has", found, ", ".join(inputs), "name the inputs")
    return {name: [sample[name] for sample in samples] for name in inputs}


def _silent(sentence: str) -> None:
    """Say nothing: the split has said it."""


def _empty(piece: Piece) -> Chunk:
    return Chunk(piece.file, [], [])


def _with_keys(chunk: Chunk, keys: dict[str, list[str | None]]) -> Chunk:
    import pyarrow as pa

    chunk.keys = {name: pa.array(texts, pa.string()) for name, texts in keys.items()}
    return chunk


class _Lines:
    """The lines of an open file from one place on, as text; counts and digests its bytes.

    What is no UTF-8 becomes half characters, which ``_is_text`` finds.
    """

    def __init__(
        self, file: IO[bytes], offset: int, number: int, digest: Digest | None = None
    ) -> None:
        file.seek(offset)
        self._file, self.offset, self.number, self._digest = file, offset, number, digest

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        raw = self._file.readline()
        if not raw:
            raise StopIteration
        if self._digest is not None:
            self._digest.update(raw)
        text = raw.decode("utf-8", "surrogateescape")
        if not self.offset:
            text = text.removeprefix(_BOM)
        self.offset += len(raw)
        self.number += 1
        return text


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\udc80" <= sign <= "\udcff" for sign in text)


def _form(
    path: str,
    card: ModelCard,
    settings: Settings,
    file: IO[bytes],
    tell: Callable[[str], None],
) -> _Csv | _Json:
    if path.lower().endswith(".csv"):
        return _Csv(path, card, settings, file, tell)
    return _Json(path, card, settings, tell)


class _Csv:
    """How the records of one csv file are parted and read.

    Attributes:
        begin: offset and line number where the rows begin, after the header.
        names: of the columns; [] where there is no header.
    """

    def __init__(
        self,
        path: str,
        card: ModelCard,
        settings: Settings,
        file: IO[bytes],
        tell: Callable[[str], None],
    ) -> None:
        self._path, self._card, self._settings = path, card, settings
        self._table: Table | None = None
        self._delimiter, self.begin, names = ",", (0, 0), list[str]()
        lines = _Lines(file, 0, 0)
        first = next((line for line in lines if line.strip()), "")
        if card.columns:
            self._table = Table(path, Columns(card, tell), first)
            self._delimiter = self._table.delimiter
        header = next(self._reader(itertools.chain([first], lines)), [])
        if self._table is not None:
            if self._table.has_header:
                self._table.take_header(header, settings.keys)
                self.begin = lines.offset, lines.number
            names = self._table.names
        elif len(card.inputs) != 1:
            raise InputError(
                f"'{path}' holds one input, the model takes {len(card.inputs)}: use .npz or .jsonl "
                "with the inputs' names"
            )
        elif is_header(header):
            self.begin, names = (lines.offset, lines.number), [name.strip() for name in header]
        self._keys = {name: _place(path, name, names) for name in settings.keys}
        self._taken = [_place(path, name, names) for name in settings.columns]
        self.names, self._width = names, len(names)

    def _reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self._delimiter, strict=True)

    def records(self, lines: _Lines, stop: int | None) -> Iterator[tuple[int, Record]]:
        """Yield the cells of each record that begins before ``stop``, with its last line."""
        reader = self._reader(lines)
        while stop is None or lines.offset < stop:
            first = lines.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as cause:
                self._refuse_swallowed(first, lines.number)
                sentence = f"'{self._path}' line {lines.number} is no csv ({cause}): repair it"
                yield lines.number, InputError(sentence)
                continue
            if cells:
                if self._width and len(cells) != self._width:
                    self._refuse_swallowed(first, lines.number)
                yield lines.number, cells

    def _refuse_swallowed(self, first: int, last: int) -> None:
        """Refuse the file if a damaged record has several lines, which may be rows of their own."""
        if last > first:
            raise InputError.of(
                f"'{self._path}' lines {first} to {last} are",
                "one damaged record, in which a quote is left open or has text after it",
                "quotes in pairs",
                "repair them, since rows in between would be lost",
            )

    def check(self, record: Record, line: int) -> None:
        """Refuse a file of decimal commas and points, which its parts could not see."""
        if self._table is None or self._delimiter == "," or isinstance(record, InputError):
            return
        with contextlib.suppress(InputError):  # which rejects the row later
            self._table.read_row(record, line)
        if self._table.has_comma_and_point:
            raise InputError.of(
                f"'{self._path}' has",
                f"numbers with a decimal comma and with a point, seen at line {line}",
                "one of the two",
                "write all of them in one way",
            )

    def sample(self, record: list[str], line: int) -> tuple[Any, dict[str, str]]:
        """Return the sample of a record, and the cells to copy."""
        subject = f"'{self._path}' line {line}"
        if not all(map(_is_text, record)):
            raise InputError.of(f"{subject} has", "bytes that are no UTF-8", "text", "convert it")
        if self._table is not None:
            sample: Any = self._table.read_row(record, line)
        else:
            if self._width and len(record) != self._width:
                raise InputError.of(
                    f"{subject} has", f"{len(record)} cells", f"{self._width}", "correct the line"
                )
            cells = [record[at] for at in self._taken] if self._taken else record
            sample = numbers_of(cells, self._card.inputs[0].sample_shape, subject)
        return sample, {name: record[at] for name, at in self._keys.items()}


def _place(path: str, name: str, names: list[str]) -> int:
    if names.count(name) != 1:
        found = "twice" if name in names else f"not, only {', '.join(names[:12]) or 'no header'}"
        raise InputError.of(f"'{path}' has the column '{name}'", found, "it once", "name another")
    return names.index(name)


class _Json:
    """How the lines of one file of json lines are read."""

    begin = (0, 0)

    def __init__(
        self, path: str, card: ModelCard, settings: Settings, tell: Callable[[str], None]
    ) -> None:
        self._path, self._settings = path, settings
        self._inputs = {spec.name for spec in card.inputs}
        self._columns = Columns(card, tell) if card.columns else None
        if settings.columns:
            raise InputError.of(
                f"'{path}' has",
                "names in each line",
                "no --columns",
                "name the inputs or the card's columns in the lines",
            )

    def records(self, lines: _Lines, stop: int | None) -> Iterator[tuple[int, Record]]:
        """Yield each line that begins before ``stop`` and is not blank, with its number."""
        while stop is None or lines.offset < stop:
            line = next(lines, None)
            if line is None:
                return
            if line.strip():
                yield lines.number, line

    def check(self, record: Record, line: int) -> None:
        """Check nothing: what a line means depends on no other."""

    def sample(self, record: str, line: int) -> tuple[Any, dict[str, str | None]]:
        """Return the sample of a line, and the values to copy as text."""
        subject = f"'{self._path}' line {line}"
        if not _is_text(record):
            raise InputError.of(f"{subject} has", "bytes that are no UTF-8", "text", "convert it")
        item = object_of(record, subject)
        copied: dict[str, str | None] = {}
        for name in self._settings.keys:
            if not isinstance(item, dict) or name not in item:
                raise InputError.of(f"{subject} has", f"no '{name}'", "this key", "add it")
            text = None if item[name] is None else str(item[name])
            if text is not None and any("\ud800" <= sign <= "\udfff" for sign in text):
                raise InputError.of(
                    f"{subject} has", f"'{name}' with half a character", "text", "correct it"
                )
            copied[name] = text
        if isinstance(item, dict):
            wanted: Iterable[str] = self._inputs
            if self._columns is not None and is_row(item, self._inputs, self._columns):
                wanted = self._columns.names
            item = {name: item[name] for name in wanted if name in item}
        return item, copied
