"""The optimized graph of an artifact, kept on the device, so that the engine starts sooner.

Optimizing takes most of the time in which the engine starts, and its result depends on the CPU and
on onnxruntime's build. So the result is kept in a file, which is **never trusted over the
artifact**: the artifact is read, and its seal, signature and card are checked as without it; the
kept graph must come from this artifact, CPU, build and options, with a digest that matches, from a
file and a folder that only this user and root can write; and the engine made of it must pass the
same checks and golden samples. At any doubt the artifact itself is loaded, and the log says why.

A file is ::

    edgeport graph 1 {"artifact": ..., "cpu": ..., ...}     what it was made of, one line
    64 hexadecimal digits                                   SHA-256 of what follows
    ...                                                     the graph, an ONNX file

It is written only when the engine made of it gave the very answers, bit by bit, of the engine made
of the artifact. Files of an older onnxruntime stay where they are; the folder may be deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from edgeport.artifact.card import ModelCard
from edgeport.artifact.golden import Array
from edgeport.device import identity, private
from edgeport.engine.watchdog import TimeLimit
from edgeport.errors import EdgeportError, warn
from edgeport.inputs.examples import example
from edgeport.inputs.feeds import Feed, prepare
from edgeport.signals import reraise_signal

_MAGIC = b"edgeport graph 1 "
_DIGEST_SIZE = 64

# The engine writes no file of 2 GiB or more, and optimizing may repeat a weight.
_LARGEST_BYTES = 2**30

# How long the runs may take that compare a kept graph with the artifact, before none is kept.
_LONGEST_RUNS_S = 10.0


class _DoubtError(Exception):
    """Why a file is not used, or not written."""


# After any of these, the artifact itself is loaded.
_HARMLESS = (_DoubtError, EdgeportError, OSError, ValueError, MemoryError)


def load(
    folder: str,
    made_of: dict[str, str],
    model: bytes,
    make: Callable[..., Made],
    test: Callable[[Made], None],
    trial: Mapping[str, Array] | None = None,
) -> Made:
    """Return the model on the engine of the kept graph; keep the graph where there is none yet.

    Args:
        folder: where graphs are kept; made if missing.
        made_of: what ``key`` returns.
        model: the artifact's bytes, whose seal was checked.
        make: gives the model of a graph's bytes after every check but the last; takes
            ``optimization`` and ``save_to`` as ``Session`` does.
        test: the last check, of the golden samples.
        trial: an input to compare the answers on where there are no golden samples; made up if
            None.

    Raises:
        EdgeportError: as ``make`` and ``test`` do of the artifact itself; nothing else, whatever
            is wrong with folder and file.
    """
    text = _text(made_of)
    path, head = _path(folder, text), _MAGIC + text + b"\n"

    def proven(graph: bytes, **more: Any) -> Made:
        made = make(graph, **more)
        test(made)
        return made

    try:
        graph = _read(folder, path, head)
        if graph is not None:
            return proven(graph, optimization="none")
    except _HARMLESS as cause:
        reraise_signal(cause)
        # A log record must not hold on to the error, whose traceback holds the engine.
        warn("'%s' is not used (%s): the artifact itself is loaded", path, str(cause))
    return _fill(folder, path, head, model, proven, trial)


def key(sha256: str, optimization: str) -> dict[str, str]:
    """Return what the graph depends on besides this device."""
    return {"artifact": sha256, "optimization": optimization}


def path_of(folder: str, made_of: dict[str, str]) -> str:
    """Return where that graph is kept on this device."""
    return _path(folder, _text(made_of))


def _text(made_of: dict[str, str]) -> bytes:
    return json.dumps({**made_of, **identity.identity()}, sort_keys=True).encode()


def _path(folder: str, text: bytes) -> str:
    return os.path.join(folder, f"{hashlib.sha256(text).hexdigest()[:32]}.graph")


def _read(folder: str, path: str, head: bytes) -> bytes | None:
    """Return the graph, None where none is kept.

    Raises:
        _DoubtError, ValueError: the file is damaged, of something else, or open to others.
        OSError: it cannot be read.
    """
    try:
        private.check(os.stat(folder), "the folder")
        stream = private.open_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with stream:
        start = stream.read(len(head) + _DIGEST_SIZE + 1)
        graph = stream.read()
    digest = hashlib.sha256(graph).hexdigest()
    if start != head + digest.encode() + b"\n":
        raise _DoubtError("it is damaged, or was made of something else")
    return graph


def _fill(
    folder: str,
    path: str,
    head: bytes,
    model: bytes,
    make: Callable[..., Made],
    trial: Mapping[str, Array] | None,
) -> Made:
    """Return the model of the artifact itself, and keep what the engine made of its graph."""
    from edgeport.atomic_files import temporary_beside  # few processes write

    made = None
    try:
        if len(model) > _LARGEST_BYTES:
            raise _DoubtError(f"it has {len(model):,} bytes, expected at most {_LARGEST_BYTES:,}")
        folder.encode()  # the engine takes no other paths
        os.makedirs(folder, mode=0o700, exist_ok=True)
        private.check(os.stat(folder), "the folder")
        # The system says why no file can be made there, the engine would not.
        with temporary_beside(Path(path), mode=0o600) as file:
            try:
                made = make(model, save_to=file.name)
            except EdgeportError as cause:  # raised again below if it is the artifact's own
                reraise_signal(cause)
            _keep(path, file, head, made, make, trial)
    except _HARMLESS as cause:
        reraise_signal(cause)
        warn("the optimized graph is not kept in '%s' (%s)", folder, str(cause))
    return make(model) if made is None else made


def _keep(
    path: str,
    file: IO[bytes],
    head: bytes,
    made: Made | None,
    make: Callable[..., Made],
    trial: Mapping[str, Array] | None,
) -> None:
    """Put the graph that the engine wrote into its place, once it is proven.

    Raises:
        _DoubtError: the engine wrote none, or one that answers otherwise.
        EdgeportError: the graph does not load, or fails a check.
        OSError: the disk is full or read-only.
    """
    with open(file.name, "rb") as written:  # by its name, as the engine wrote it
        graph = written.read()
    if made is None or not graph:
        raise _DoubtError("the artifact does not load, or the disk is full")
    if not _answer_alike(made, make(graph, optimization="none"), trial):
        raise _DoubtError("the engine made of it gives other answers")
    digest = hashlib.sha256(graph).hexdigest().encode()
    file.seek(file.truncate(0))
    file.write(head + digest + b"\n" + graph)
    file.flush()
    if os.name == "nt":
        file.close()  # Windows renames no open file
    os.replace(file.name, path)  # of two processes at once, the later one's stays


def _answer_alike(one: Runnable, other: Runnable, trial: Mapping[str, Array] | None = None) -> bool:
    """Whether two engines give the same bits for the golden samples, or for made-up ones."""
    card = one.card
    samples = [sample.inputs for sample in card.golden_samples]
    samples = samples or [trial if trial is not None else example(card, 1)]
    for sample in samples:
        feed = prepare(card.inputs, (sample,))
        with TimeLimit(_LONGEST_RUNS_S) as limit:  # a made-up value may be the turns of a loop
            answers = [model.run(feed, limit) for model in (one, other)]
        for first, second in zip(*answers, strict=True):
            if (first.dtype, first.shape) != (second.dtype, second.shape):
                return False
            is_text = first.dtype.kind == "O"  # whose bytes are addresses
            if (first != second).any() if is_text else first.tobytes() != second.tobytes():
                return False
    return True


class Runnable(Protocol):
    """What is known here of a loaded model."""

    card: ModelCard

    def run(self, feed: Feed, limit: TimeLimit | None = None) -> list[Any]:
        """Return the outputs."""


Made = TypeVar("Made", bound=Runnable)
