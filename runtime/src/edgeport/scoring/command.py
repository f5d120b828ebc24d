"""What `edgeport score` does, from its options to its last line on stderr."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeport.addresses import hide_secrets
from edgeport.artifact.card import ModelCard
from edgeport.checks import whole_number
from edgeport.cli import printing
from edgeport.device.cpus import usable_cpus
from edgeport.errors import InputError, OptionError
from edgeport.labels import class_names
from edgeport.scoring import files, inputs, local, manifest, parts, scorer
from edgeport.scoring.job import Job, Part, Settings
from edgeport.scoring.manifest import Manifest
from edgeport.scoring.progress import Progress
from edgeport.scoring.verify import refuse_other_bytes, verify
from edgeport.scoring.writer import check_keys

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True, slots=True)
class Request:
    """The options of `edgeport score`, as ``cli.main`` has read them."""

    inputs: tuple[str, ...]
    model: str
    out: str
    engine: str = "local"
    columns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    top_k: int = 1
    batch_size: int | None = None
    part_bytes: int = 64 * 2**20
    workers: int | None = None
    max_rejected: int | None = None
    verify: bool = False
    json: bool = False


def run_score(options: argparse.Namespace) -> None:
    """Run the command with what the parser has read; raises as ``run`` does."""
    run(
        Request(
            inputs=tuple(options.inputs),
            model=options.model,
            out=options.output,
            engine=options.engine,
            columns=tuple(options.columns),
            keys=tuple(options.keys),
            top_k=options.top_k,
            batch_size=options.batch_size,
            part_bytes=_bytes_of(options.part_size),
            workers=options.workers,
            max_rejected=options.max_rejected,
            verify=options.verify,
            json=options.json,
        )
    )


def _bytes_of(text: str) -> int:
    found = re.fullmatch(r"([0-9]+)([KMG]?)i?B?", text, re.IGNORECASE)
    if found is None or not int(found[1]):
        raise OptionError(f"--part-size is '{text}', expected bytes such as 64M: pass such a size")
    return int(found[1]) * _UNITS[found[2].upper()]


def run(request: Request) -> None:
    """Score what is not scored yet, or verify what is.

    Raises:
        OptionError: the folder was begun with something else, a package is missing, or the output
            cannot be written; parts that are done stay done.
        InputError: a file cannot be read, or too many rows are rejected; likewise.
        EdgeportError: as ``Predictor.load`` and ``predict`` do; likewise.
    """
    _need("pyarrow", "fsspec", "cryptography", extra="score")
    for name in ("top_k", "part_bytes", "batch_size", "workers", "max_rejected"):
        value, lowest = getattr(request, name), int(name != "max_rejected")
        if value is not None:
            whole_number(value, f"--{name.replace('_', '-')}", lowest=lowest, highest=2**40)
    for option, names in (("--columns", request.columns), ("--keys", request.keys)):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise OptionError(
                f"{option} names '{twice[0]}' twice, expected each column once: leave one out"
            )
    _check_out(request)
    with scorer.load(request.model) as predictor:
        card = predictor.card
        digest = scorer.digest_of(predictor)
        size = request.batch_size or scorer.batch_size(predictor)
    check_keys(card, request.keys)
    if request.top_k > 1:
        most = len(class_names(card))  # which says what is wrong with other models
        whole_number(request.top_k, "--top-k", highest=most, remedy=f"the model has {most} classes")
    settings = Settings(request.columns, request.keys, request.top_k, size, request.part_bytes)
    if request.verify:
        _verify(request, card, settings, digest)
        return
    with manifest.folder_of_one_run(request.out):
        plan = _plan(request, card, settings, digest, _say_once())
        done = manifest.records(request.out)
        left = [part for part in plan.parts if part.number not in done]
        progress = Progress(left, len(plan.parts) - len(left))
        rejected = sum(record["rejected"] for record in done.values())
        _limit(rejected, request)
        try:
            job = Job(settings, request.out, digest, plan.versions["onnxruntime"])
            for record in _engine(request, job, left):
                progress.add(record)
                done[record["part"]] = record
                rejected += record["rejected"]
                _limit(rejected, request)
        except BaseException:
            progress.close()
            _say(
                f"{len(done):,} of {len(plan.parts):,} parts are done and stay so: the same "
                "command goes on from here"
            )
            raise
        progress.close()
        _finish(request, card, done, progress)


def _check_out(request: Request) -> None:
    """Refuse an OUT that cannot work: an object store, or a folder that is read as input."""
    if "://" in request.out:
        raise OptionError(
            f"the output is '{request.out}', expected a folder, since a part is renamed when it is "
            "done: score into a folder and copy it"
        )
    out = Path(os.path.realpath(request.out))
    for address in request.inputs:
        given = Path(os.path.realpath(re.sub("^(file|local)://", "", address)))
        if given == out or given in out.parents:
            raise OptionError(
                f"the output '{request.out}' lies in the input '{address}', so that scores would "
                "become input: choose a folder beside it"
            )


def _plan(
    request: Request,
    card: ModelCard,
    settings: Settings,
    digest: str,
    tell: Callable[[str], None],
) -> Manifest:
    """Return the manifest in the folder, written now if there was none."""
    begun = manifest.read(request.out)
    paths = files.find(request.inputs, inputs.READABLE, tell, request.out)
    sources = files.look(paths)
    model = {"name": card.name, "sha256": digest}
    if begun is not None:
        touched = manifest.refuse_other(begun, request.out, model, settings, sources)
        begun = begun.opened_by(sources)
        refuse_other_bytes(begun, request.out, card, touched)
        for name, version in manifest.versions().items():
            if begun.versions[name] != version and name != "onnxruntime":  # refused by the workers
                tell(
                    f"'{request.out}' was begun with {name} {begun.versions[name]}, this is "
                    f"{version}: parts of the two may differ in the last bits"
                )
        return begun
    manifest.refuse_parts(request.out)
    pieces = inputs.split_all(sources, card, settings, tell)
    numbered = tuple(parts.number(pieces, settings.part_bytes))
    if not numbered:
        raise InputError.of("the input has", "no rows", "one or more", "check the files")
    plan = Manifest(model, settings, tuple(sources), numbered)
    plan.write(request.out)
    return plan


def _engine(request: Request, job: Job, left: Sequence[Part]) -> Iterator[dict[str, Any]]:
    if not left:
        return iter(())
    if request.engine == "ray":
        _need("ray", extra="ray")
        from edgeport.scoring import cluster

        return cluster.run(left, request.model, job, request.workers)
    workers = request.workers or usable_cpus()
    return local.run(left, request.model, job, workers)


def _need(*packages: str, extra: str) -> None:
    for package in packages:
        try:
            __import__(package)
        except ImportError as cause:
            raise OptionError(
                f"'edgeport score' needs the package '{package}', which is not installed "
                f"({cause}): pip install 'edgeport[{extra}]'"
            ) from cause


def _limit(rejected: int, request: Request) -> None:
    if request.max_rejected is not None and rejected > request.max_rejected:
        raise InputError.of(
            f"the input has {rejected:,} rows or more that were",
            "rejected",
            f"at most {request.max_rejected:,} by --max-rejected",
            f"read '{Path(request.out, 'rejected')}', repair the input or allow more",
        )


def _verify(request: Request, card: ModelCard, settings: Settings, digest: str) -> None:
    begun = manifest.read(request.out)
    if begun is None:
        raise OptionError(f"'{request.out}' has no manifest.json: score into it first")
    paths = files.find(request.inputs, inputs.READABLE, lambda sentence: None, request.out)
    sources = files.look(paths)
    model = {"name": card.name, "sha256": digest}
    manifest.refuse_other(begun, request.out, model, settings, sources)
    facts = verify(begun.opened_by(sources), request.out, card)
    if request.json:
        printing.print_json(facts)
    else:
        printing.print_line(
            f"verified     {facts['rows']:,} rows with scores and {facts['rejected']:,} rejected "
            f"in {facts['parts']:,} parts, each row of the input once"
        )


def _finish(
    request: Request,
    card: ModelCard,
    done: dict[int, dict[str, Any]],
    progress: Progress,
) -> None:
    outside: Counter[str] = Counter()
    for record in done.values():
        outside.update(record["out_of_range"])
    rows = sum(record["rows"] for record in done.values())
    rejected = sum(record["rejected"] for record in done.values())
    if not rows:
        raise _refuse_all(rejected, request.out)
    for name, count in outside.items():
        _say(printing.say_outside(card, name, count))
    if progress.rows:
        _say(progress.line())
    if request.json:
        print(json.dumps({"rows": rows, "rejected": rejected, "parts": len(done)}))
        return
    place = f", see {Path(request.out, 'rejected')}" if rejected else ""
    printing.print_line(f"scores       {rows:,} rows in {Path(request.out, 'scores')}")
    printing.print_line(f"rejected     {rejected:,}{place}")


def _refuse_all(rejected: int, out: str) -> InputError:
    first = min(Path(out, "rejected").iterdir())
    with first.open(encoding="utf-8") as file:
        reason = json.loads(file.readline())["reason"]
    return InputError.of(
        "the input has",
        f"{rejected:,} rows that were all rejected, the first since {reason}",
        "one or more with scores",
        f"read '{first.parent}', and choose another folder for the repaired input",
    )


def _say_once() -> Callable[[str], None]:
    told: set[str] = set()

    def tell(sentence: str) -> None:
        if sentence not in told:
            told.add(sentence)
            _say(f"note: {sentence}")

    return tell


def _say(sentence: str) -> None:
    print(f"edgeport: {printing.escaped(hide_secrets(sentence))}", file=sys.stderr, flush=True)
