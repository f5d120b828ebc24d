"""The engine of one machine: a process for each CPU, each with one thread, parts as they are free.

With one worker, everything is done in this process. Threads of the engine inside one process would
share the reading's interpreter lock; processes do not, and each answers as one thread does.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from edgeport.errors import InferenceError
from edgeport.scoring.job import Job, Part
from edgeport.scoring.scorer import Scorer


def run(parts: Sequence[Part], model: str, job: Job, workers: int) -> Iterator[dict[str, Any]]:
    """Yield the record of each part when it is done, in any order.

    Args:
        parts: to do.
        model: the artifact's path.
        job: what was begun.
        workers: how many processes.

    Raises:
        EdgeportError: as ``Scorer.score`` does; parts with a record stay done.
        InferenceError: a worker was killed.
    """
    count = min(workers, len(parts))
    if count <= 1:
        scorer = Scorer(model, job)
        for part in parts:
            yield scorer.score(part)
        return
    with contextlib.ExitStack() as stack:
        idle = [_start(stack, model, job) for _ in range(count)]
        waiting = list(reversed(parts))
        busy: list[Connection[Any, Any]] = []
        while waiting or busy:
            while idle and waiting:
                worker = idle.pop()
                _send(worker, waiting.pop())
                busy.append(worker)
            for ready in wait(busy):
                assert isinstance(ready, Connection)  # noqa: S101 - for the type alone
                busy.remove(ready)
                idle.append(ready)
                yield _receive(ready)


def _start(stack: contextlib.ExitStack, *arguments: Any) -> Connection[Any, Any]:
    """Start a worker, which ends with the stack; return the way to it."""
    context = multiprocessing.get_context("spawn")  # pyarrow's threads do not survive a fork
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()

    def end() -> None:
        ours.close()
        process.terminate()
        process.join()

    stack.callback(end)
    return ours


def _work(way: Connection[Any, Any], *arguments: Any) -> None:
    """Answer parts until the other end is gone; errors go there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        scorer = None
        while True:
            part = way.recv()
            try:
                scorer = scorer or Scorer(*arguments)
                answer: Any = scorer.score(part)
            except Exception as error:
                answer = error
            way.send(answer)


def _send(worker: Connection[Any, Any], part: Part) -> None:
    try:
        worker.send(part)
    except OSError as cause:
        raise _lost() from cause


def _receive(worker: Connection[Any, Any]) -> dict[str, Any]:
    try:
        answer = worker.recv()
    except (EOFError, OSError) as cause:
        raise _lost() from cause
    if isinstance(answer, Exception):
        raise answer
    found: dict[str, Any] = answer
    return found


def _lost() -> InferenceError:
    return InferenceError(
        "a worker was killed, expected it to answer its part: free memory or ask for fewer "
        "--workers, and run the command again, which goes on where this one stopped"
    )
