"""The engine of many machines: Ray Data, with one actor and one thread for each CPU.

Ray moves what is small, the parts' descriptions and their records. Each actor reads its rows where
they are and writes its files to the folder of the run, so all machines must see both under the
same paths. The artifact is put into the object store once, and each machine fetches it once.

A part whose machine dies is run again on another one. It writes the same files under the same
names, so that it does not matter how far the first attempt came.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeport.errors import EdgeportError, InferenceError
from edgeport.scoring.job import Job, Part
from edgeport.scoring.scorer import Scorer
from edgeport.signals import reraise_signal


class _Actor:
    """Answers parts; Ray Data makes one for each CPU, and calls it with a batch of one part.

    Args:
        artifact: a reference to its bytes in the object store.
        job: what was begun.
    """

    def __init__(self, artifact: Any, job: Job) -> None:
        import ray

        self._scorer = Scorer(ray.get(artifact), job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        answers: list[bytes] = []
        for part in batch["part"]:
            try:
                answer: Any = self._scorer.score(pickle.loads(part))  # noqa: S301 - ours, see run
            except EdgeportError as error:  # a finding about the data, which no retry changes
                answer = error
            answers.append(pickle.dumps(answer))
        return {"record": answers}


def run(
    parts: Sequence[Part],
    model: str,
    job: Job,
    workers: int | None,
) -> Iterator[dict[str, Any]]:
    """Yield the record of each part when it is done, in any order.

    Connects to the cluster that runs already or that ``RAY_ADDRESS`` names, else starts one on
    this machine.

    Args:
        parts: to do.
        model: the artifact's path.
        job: what was begun, in a folder that every machine finds under this path.
        workers: how many actors; by default one for each CPU of the cluster.

    Raises:
        EdgeportError: as ``Scorer.score`` does; parts with a record stay done.
        InferenceError: Ray failed.
    """
    import ray

    try:
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level="warning")
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)  # its plans are no news here
        # Up to 2.50 it calls ``compute`` deprecated, from 2.51 on its successor ``concurrency``.
        logging.getLogger("ray.data._internal.util").setLevel(logging.ERROR)
        count = workers or int(ray.cluster_resources().get("CPU", 1))
        count = max(1, min(count, len(parts)))
        artifact = ray.put(Path(model).read_bytes())
        items = [{"part": pickle.dumps(part)} for part in parts]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Actor,
            fn_constructor_args=(artifact, replace(job, out=str(Path(job.out).absolute()))),
            batch_size=1,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=count),
        )
        for row in done.iter_rows():
            answer = pickle.loads(row["record"])  # noqa: S301 - what our actors wrote
            if isinstance(answer, EdgeportError):
                raise answer
            yield answer
    except EdgeportError:
        raise
    except Exception as cause:
        reraise_signal(cause)
        found = _ours(cause)
        if found is not None:
            raise found from cause
        reason = str(cause).strip().splitlines()[-1:] or [type(cause).__name__]
        raise InferenceError(
            f"Ray failed ({reason[0]}), expected it to answer every part: look at its cluster, and "
            "run the command again, which goes on where this one stopped"
        ) from cause


def _ours(error: BaseException | None) -> EdgeportError | None:
    """Return the error of edgeport's that Ray has wrapped, if there is one."""
    while error is not None:
        if isinstance(error, EdgeportError):
            return error
        inner = getattr(error, "cause", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__
    return None
