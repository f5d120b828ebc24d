"""What a run was begun with, and which of its parts are done.

``OUT/manifest.json`` is written before the first part: the artifact's digest, the settings, the
versions, every input file with its size and time, every part. ``OUT/done/part-N.json`` is the
record of part N, written after its files: how many rows and rejected rows, the SHA-256 of its
scores and of its rejections, and the digest of the bytes that were read for each of its pieces.

A file that has another time on a later run is proved to be the same by the digests of its parts,
where all of them are done; else it is refused.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeport.atomic_files import remove_leftovers, replacing
from edgeport.engine.session import engine_version
from edgeport.errors import OptionError
from edgeport.scoring.job import Job, Part, Piece, Settings, Source
from edgeport.scoring.writer import rejected_path, scores_path
from edgeport.signals import reraise_signal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FORMAT = 2
_FOLDERS = ("scores", "rejected", "done")
_COUNTS = ("part", "rows", "rejected")  # the whole numbers of a record


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a run was begun with.

    Attributes:
        model: name and digest of the artifact.
        settings: of the run.
        sources: the input files, in order.
        parts: all of them, in order.
        versions: of the packages that the first run answered with.
    """

    model: Mapping[str, str]
    settings: Settings
    sources: tuple[Source, ...]
    parts: tuple[Part, ...]
    versions: Mapping[str, str] = field(default_factory=lambda: versions())

    def opened_by(self, sources: Sequence[Source]) -> Manifest:
        """Return it with the addresses, passwords and all, of the same files."""
        if not any(source.opened_by for source in sources):
            return self
        by_path = {source.path: source.opened_by for source in sources}
        parts = tuple(
            Part(
                part.number,
                tuple(
                    replace(piece, source=replace(piece.source, opened_by=by_path[piece.file]))
                    for piece in part.pieces
                ),
            )
            for part in self.parts
        )
        return replace(self, sources=tuple(sources), parts=parts)

    def write(self, out: str) -> None:
        """Write it whole; raises OptionError if that fails."""
        # Paths are written once: a million pictures have as many pieces.
        place = {source.path: at for at, source in enumerate(self.sources)}
        content = {
            "format": _FORMAT,
            "model": dict(self.model),
            "versions": dict(self.versions),
            "settings": self.settings.to_dict(),
            "inputs": [source.to_dict() for source in self.sources],
            "parts": [
                [[place[p.file], p.start, p.stop, p.first, p.rows, p.bytes] for p in part.pieces]
                for part in self.parts
            ],
        }
        with replacing(_path(out)) as file:
            file.write(json.dumps(content).encode() + b"\n")


def read(out: str) -> Manifest | None:
    """Return the manifest of a folder, None where no run was begun.

    Raises:
        OptionError: it cannot be read, or another edition of edgeport wrote it.
    """
    path = _path(out)
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}")
        found = Manifest(
            {name: str(content["model"][name]) for name in ("name", "sha256")},
            _settings(content["settings"]),
            tuple(Source(**source) for source in content["inputs"]),
            (),
            {name: str(content["versions"][name]) for name in versions()},
        )
        parts = tuple(
            Part(number, tuple(Piece(found.sources[at], *rest) for at, *rest in pieces))
            for number, pieces in enumerate(content["parts"])
        )
    except FileNotFoundError as cause:
        reraise_signal(cause)
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as cause:
        reraise_signal(cause)
        raise OptionError(
            f"'{path}' cannot be read ({cause}), expected what this edgeport writes: choose "
            "another folder"
        ) from cause
    return replace(found, parts=parts)


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide the last bits of an answer."""
    import numpy as np

    import edgeport

    return {
        "edgeport": edgeport.__version__,
        "onnxruntime": engine_version(),
        "numpy": np.__version__,
    }


def _settings(found: Mapping[str, Any]) -> Settings:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
    }
    return Settings(**values)


def refuse_other(
    begun: Manifest,
    out: str,
    model: Mapping[str, str],
    settings: Settings,
    sources: Sequence[Source],
) -> list[Source]:
    """Refuse to go on with another model, other settings or other files.

    Returns:
        The files that have their size but another stamp, as they were when the run was begun.

    Raises:
        OptionError: something differs; it is named.
    """
    remedy = f"choose another folder than '{out}', or pass what it was begun with"
    if begun.model["sha256"] != model["sha256"]:
        raise OptionError(
            f"the model is '{model['name']}' of digest {model['sha256']}, expected "
            f"'{begun.model['name']}' of digest {begun.model['sha256']}, with which '{out}' was "
            f"begun: {remedy}"
        )
    for name, value in settings.to_dict().items():
        before = begun.settings.to_dict()[name]
        if value != before:
            option = "--" + {"part_bytes": "part-size"}.get(name, name.replace("_", "-"))
            raise OptionError(f"{option} is {value}, expected {before} as before: {remedy}")
    known = {source.path: source for source in begun.sources}
    touched = []
    for source in sources:
        then = known.pop(source.path, None)
        if then is None:
            raise OptionError(f"the data has the new file '{source.path}', expected none: {remedy}")
        if then.bytes != source.bytes:
            raise OptionError(
                f"'{source.path}' was changed and has {source.bytes:,} bytes, expected "
                f"{then.bytes:,} as before: {remedy}"
            )
        if then.stamp != source.stamp:
            touched.append(then)
    if known:
        raise OptionError(f"the data lacks the file '{next(iter(known))}': {remedy}")
    if [source.path for source in sources] != [source.path for source in begun.sources]:
        raise OptionError(f"the files come in another order, expected that of before: {remedy}")
    return touched


def refuse_other_engine(job: Job) -> None:
    """Refuse another onnxruntime than that of the run's first part; raises OptionError."""
    if engine_version() != job.engine:
        raise OptionError(
            f"onnxruntime is {engine_version()} here, expected {job.engine} with which '{job.out}' "
            "was begun, since the last bits of answers may differ: install that version, on every "
            "machine of a cluster, or choose another folder"
        )


def refuse_parts(out: str) -> None:
    """Refuse a folder without manifest that has parts, of whatever run; raises OptionError."""
    for name in _FOLDERS:
        if any(Path(out, name).glob("part-*")):
            raise OptionError(
                f"'{out}' has parts of a run but no manifest.json, expected both or neither: "
                "choose another folder"
            )


def records(out: str) -> dict[int, dict[str, Any]]:
    """Return the records of the parts that are done and have their files, by number.

    A record that a power cut left empty or broken counts for none; the part is done again.

    Raises:
        OptionError: one cannot be read.
    """
    found = {}
    folder = Path(out, "done")
    for path in sorted(folder.glob("part-*.json")) if folder.is_dir() else ():
        record = _read_record(path)
        if record is None:
            continue
        written = [scores_path(out, record["part"])]
        written += [rejected_path(out, record["part"])] if record["rejected"] else []
        if all(map(Path.is_file, written)):
            del record["inputs"]  # a million pictures have as many
            found[record["part"]] = record
    return found


def digests(out: str, number: int) -> list[str] | None:
    """Return the digests of a part's pieces, None if the part has no whole record.

    Raises:
        OptionError: the record cannot be read.
    """
    record = _read_record(_record_path(out, number))
    return None if record is None else list(record["inputs"])


def _read_record(path: Path) -> dict[str, Any] | None:
    """Return a record as ``write_record`` writes it, None where there is no such one.

    Raises:
        OptionError: the file cannot be read.
    """
    try:
        record: Any = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError) as cause:
        reraise_signal(cause)
        return None
    except OSError as cause:
        reraise_signal(cause)
        raise OptionError(
            f"'{path}' cannot be read ({cause}): delete it, and its part is done again"
        ) from cause
    is_whole = (
        isinstance(record, dict)
        and record.keys() >= {*_COUNTS, "sha256", "rejected_sha256", "inputs", "out_of_range"}
        and all(type(record[name]) is int for name in _COUNTS)
        and path.name == _record_path("", record["part"]).name
        and isinstance(record["inputs"], list)
        and isinstance(record["out_of_range"], dict)
        and all(type(count) is int for count in record["out_of_range"].values())
    )
    return record if is_whole else None


def write_record(
    out: str, part: Part, facts: Mapping[str, Any], digests: Sequence[str]
) -> dict[str, Any]:
    """Write that a part is done; return the record without the digests of its pieces."""
    record = {"part": part.number, **facts}
    with replacing(_record_path(out, part.number), in_bulk=True) as file:
        file.write(json.dumps({**record, "inputs": digests}).encode() + b"\n")
    return record


@contextlib.contextmanager
def folder_of_one_run(out: str) -> Iterator[None]:
    """Make the folders of a run, and keep other runs out of them until the end of the block.

    Raises:
        OptionError: they cannot be made, or another run is at work there.
    """
    try:
        for name in _FOLDERS:
            Path(out, name).mkdir(parents=True, exist_ok=True)
        lock = Path(out, ".lock").open("ab")  # noqa: SIM115 - closed below
    except OSError as cause:
        reraise_signal(cause)
        raise OptionError(
            f"'{out}' cannot be written ({cause.strerror or cause}): choose another folder"
        ) from cause
    with lock:
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise OptionError(
                f"another run is at work in '{out}', expected none: wait for its end"
            ) from cause
        except OSError as cause:  # a file system without locks
            reraise_signal(cause)
        _remove_leftovers(out)
        yield
        _remove_leftovers(out)


def _remove_leftovers(out: str) -> None:
    """Remove the temporary files of workers that were killed."""
    for name in _FOLDERS:
        remove_leftovers(Path(out, name))


def _record_path(out: str, number: int) -> Path:
    return Path(out, "done", f"part-{number:06d}.json")


def _path(out: str) -> Path:
    return Path(out, "manifest.json")
