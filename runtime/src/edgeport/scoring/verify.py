"""Proves that each row of the input is in the output once: a score, or a rejection with a reason.

1. Each part has a record.
2. The bytes that were read for each piece of the input are read again and have the digests of the
   records; so have the scores, which name the artifact, and the rejected rows.
3. The rows of the inputs are counted from the inputs themselves, and compared with the keys of the
   scores and of the rejected rows, file by file and number by number.
4. The input is split again, so that the parts of the manifest are known to be all of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeport.artifact.card import ModelCard
from edgeport.errors import IntegrityError, OptionError
from edgeport.scoring import files, inputs, parts
from edgeport.scoring.job import Part, Source
from edgeport.scoring.manifest import Manifest, digests, records
from edgeport.scoring.writer import rejected_path, scores_path


def verify(manifest: Manifest, out: str, card: ModelCard) -> dict[str, int]:
    """Return how many parts, rows and rejections there are, after every check.

    Raises:
        OptionError: the run is not finished.
        IntegrityError: a file was changed, or a row is missing or there twice; it is named.
    """
    done = records(out)
    missing = [part.number for part in manifest.parts if part.number not in done]
    if missing:
        raise OptionError(
            f"'{out}' lacks {len(missing)} of {len(manifest.parts)} parts, the first is "
            f"{missing[0]}: run the command again without --verify"
        )
    rows = rejected = 0
    for part in manifest.parts:
        expected = digests(out, part.number) or []
        if len(expected) != len(part.pieces):
            raise _other_record(out, part, f"{len(expected)} digests of inputs", len(part.pieces))
        for piece, made in zip(part.pieces, expected, strict=True):
            found = inputs.digest(piece, card, manifest.settings)
            if found != made:
                raise _changed(piece.file, found, made)
        record = done[part.number]
        scored, refused = _keys(manifest, out, part, record)
        _compare(manifest, part, card, scored + refused)
        for name, keys in (("rows", scored), ("rejected", refused)):
            if record[name] != keys.total():
                words = "rows" if name == "rows" else "rejected rows"
                raise _other_record(out, part, f"{record[name]} {words}", keys.total())
        rows, rejected = rows + scored.total(), rejected + refused.total()
    _refuse_others(out, manifest, done)
    pieces = inputs.split_all(manifest.sources, card, manifest.settings, lambda sentence: None)
    if parts.number(pieces, manifest.settings.part_bytes) != list(manifest.parts):
        raise IntegrityError(
            f"the manifest in '{out}' has other parts than the input is split into: it was "
            "changed, score into another folder",
            path=out,
        )
    return {"parts": len(manifest.parts), "rows": rows, "rejected": rejected}


def refuse_other_bytes(
    begun: Manifest, out: str, card: ModelCard, touched: Sequence[Source]
) -> None:
    """Refuse files of another stamp, unless the digests of all their parts prove them the same.

    Raises:
        OptionError: a file has other bytes, or has parts that are not done; it is named.
        InputError: one cannot be read.
    """
    remedy = f"choose another folder than '{out}', or bring the file back as it was"
    names = {source.path for source in touched}
    for part in begun.parts if names else ():
        pieces = [(at, piece) for at, piece in enumerate(part.pieces) if piece.file in names]
        made = digests(out, part.number) if pieces else None
        for at, piece in pieces:
            if made is None:
                raise OptionError(
                    f"'{piece.file}' was written again since '{out}' was begun, before all of its "
                    f"rows were scored, expected the time of change that it had then: {remedy}"
                )
            found = inputs.digest(piece, card, begun.settings)
            if found != made[at]:
                raise OptionError(
                    f"'{piece.file}' was changed, its bytes of part {part.number} have the digest "
                    f"{found}, expected {made[at]}: {remedy}"
                )


def _refuse_others(out: str, manifest: Manifest, done: dict[int, dict[str, Any]]) -> None:
    """Refuse files of no part, whose rows a reader of the whole folder would see twice."""
    numbers = range(len(manifest.parts))
    ours = {scores_path(out, number) for number in numbers}
    ours |= {rejected_path(out, number) for number in numbers if done[number]["rejected"]}
    for folder in ("scores", "rejected"):
        for path in sorted(Path(out, folder).iterdir()):
            if path not in ours and not path.name.startswith("."):
                raise IntegrityError(
                    f"'{path}' belongs to no part of this run, expected none such: move it away",
                    path=str(path),
                )


def _changed(path: Any, found: str, expected: str) -> IntegrityError:
    return IntegrityError(
        f"'{path}' has the digest {found}, expected {expected} as the run recorded it: it was "
        "changed or damaged since, bring the old one back or score into another folder",
        path=str(path),
    )


def _other_record(out: str, part: Part, found: str, expected: int) -> IntegrityError:
    return IntegrityError(
        f"the record of part {part.number} in '{out}' has {found}, expected {expected}: delete the "
        "record and run the command again",
        path=out,
    )


Keys = Counter[tuple[str, int]]


def _keys(manifest: Manifest, out: str, part: Part, record: dict[str, Any]) -> tuple[Keys, Keys]:
    import pyarrow.parquet as pq

    path = scores_path(out, part.number)
    with files.naming(str(path)):
        found = files.sha256(path)
        if found != record["sha256"]:
            raise _changed(path, found, record["sha256"])
        about = pq.read_schema(path).metadata or {}
        table = pq.read_table(path, columns=["file", "row"], partitioning=None)
    if about.get(b"edgeport.artifact", b"").decode() != manifest.model["sha256"]:
        raise IntegrityError(
            f"'{path}' names another artifact than the manifest: delete the part's record in "
            f"'{out}' and run the command again",
            path=str(path),
        )
    scored = Counter(zip(table["file"].to_pylist(), table["row"].to_pylist(), strict=True))
    refused: Keys = Counter()
    if record["rejected"]:
        path = rejected_path(out, part.number)
        with files.naming(str(path)):
            digest = files.sha256(path)
            if digest != record["rejected_sha256"]:
                raise _changed(path, digest, record["rejected_sha256"])
            with path.open(encoding="utf-8") as file:
                lines = [json.loads(line) for line in file]
            refused = Counter((line["file"], line["row"]) for line in lines)
    return scored, refused


def _compare(manifest: Manifest, part: Part, card: ModelCard, found: Keys) -> None:
    expected: Keys = Counter(inputs.row_numbers(part, card, manifest.settings))
    for file, row in (expected - found) + (found - expected):
        times = found[file, row]
        state = "missing" if not times else f"there {times} times"
        raise IntegrityError(
            f"row {row} of '{file}' is {state} in part {part.number}, expected "
            f"{'it once' if expected[file, row] else 'no such row'}: delete the part's record and "
            "run the command again",
            path=file,
        )
