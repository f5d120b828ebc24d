"""What info, verify, predict, bench, explain, score and sign do with their parsed arguments.

``main`` has these arguments; `edgeport tune` and `edgeport warm` are in ``tune``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from edgeport.artifact.card import ModelCard
from edgeport.artifact.golden import Array
from edgeport.artifact.seal import read_card
from edgeport.artifact.signature import sign as sign_artifact
from edgeport.atomic_files import check_target, replacing
from edgeport.checks import whole_number
from edgeport.cli import printing, reading, trial, tune, writing
from edgeport.device import cpus, tuning_file
from edgeport.engine.session import engine_version
from edgeport.errors import IntegrityError, OptionError
from edgeport.loading import run_golden_samples
from edgeport.options import TUNING_SUFFIX
from edgeport.predictor import Predictor
from edgeport.streaming import join_all, rows


def info(options: argparse.Namespace) -> None:
    """Show what an artifact says of itself."""
    path = options.artifact
    if not options.verify:
        for name in ("public_key", "minimum_version", "allow_unsealed"):
            if getattr(options, name) is not None and getattr(options, name) is not False:
                raise OptionError(
                    f"--{name.replace('_', '-')} belongs to the checks, and info runs none by "
                    "itself: add --verify"
                )
    checks = _checks(options) if options.verify else None
    card = read_card(path)
    if card is None:  # then its graph is all there is, and the engine reads it
        with Predictor.load(path, tuning=False) as predictor:
            card = predictor.card
    tuning = _tuning_of(path, card)
    threads = cpus.choose_threads(
        None, card.multiply_accumulates, tuning.threads if tuning else None
    )
    facts = {
        "file": path,
        "file_bytes": Path(path).stat().st_size,
        "sha256": card.sha256,
        "vouched_for": card.is_vouched_for,
        **card.to_dict(),
        "device": {
            "onnxruntime": engine_version(),
            "usable_cpus": cpus.usable_cpus(),
            "threads": threads,
            "tuning": tuning and tuning.to_dict(),
        },
    }
    if checks is not None:
        facts["checks"] = checks
    if options.json:
        printing.print_json(facts)
        return
    printing.print_card(card, facts)
    if checks is not None:
        printing.print_checks(checks)


def _tuning_of(path: str, card: ModelCard) -> tuning_file.Tuning | None:
    """Return what ``Predictor.load`` would take from the tuning file beside an artifact."""
    file = path + TUNING_SUFFIX
    if not Path(file).exists():
        return None
    return tuning_file.read(file, tune.digest_of(path, card))


def verify(options: argparse.Namespace) -> None:
    """Run every check that there is, and show what was found."""
    show = printing.print_json if options.json else printing.print_checks
    show(_checks(options))


def _checks(options: argparse.Namespace) -> dict[str, Any]:
    """Return what was found by every check that there is.

    Raises:
        IntegrityError: the file has no seal, and --allow-unsealed was not given.
        ArtifactError: a check failed.
    """
    if not options.allow_unsealed and read_card(options.artifact) is None:
        raise IntegrityError(
            "the artifact has no seal and no card, so that nothing tells whether it is whole or "
            "answers right: convert the model with edgeport-converter, or accept that with "
            "--allow-unsealed",
            path=options.artifact,
        )
    with Predictor.load(
        options.artifact,
        public_key=options.public_key,
        minimum_version=options.minimum_version,
        tuning=False,
    ) as predictor:
        run_golden_samples(predictor._usable())
        card, version = predictor.card, predictor.version
    return {
        "file": options.artifact,
        "seal": "matches" if card.is_vouched_for else "absent: nothing vouches for this file",
        "sha256": card.sha256,
        "signature": "not asked for" if version is None else f"version {version}",
        "engine": f"onnxruntime {engine_version()} loads it",
        "golden_samples": len(card.golden_samples),
        "unproven": list(card.unproven),
    }


def predict(options: argparse.Namespace) -> None:
    """Print or write the answers to files."""
    if options.top_k is not None and options.output:
        raise OptionError("--top-k prints classes and --output writes arrays: choose one")
    if options.batch_size is not None:
        whole_number(options.batch_size, "--batch-size")
    with Predictor.load(
        options.artifact, threads=options.threads, finite=options.finite
    ) as predictor:
        outputs = predictor.card.outputs
        told: set[str] = set()  # of several files, the same is said once

        def tell(note: str) -> None:
            _say_once(f"note: {note}", told)

        files = reading.find_files(options.data, predictor.card, tell)
        samples = reading.read_samples(files, predictor.card, tell)
        names_files = len(files) > 1 or files != options.data
        place = partial(_place, samples, names_files=names_files, as_json=options.json)
        if options.output is not None:
            writing.check_output(options.output, [options.artifact, *files], outputs)
        items = printing.with_progress(samples.items, samples.total, is_printing=not options.output)
        if predictor.card.samples_interact:
            items = _whole_batch(predictor.card, items, options.batch_size)
        if options.top_k is not None:
            for item in items:
                values = item if isinstance(item, tuple) else (item,)
                labels = predictor.classify(*values, top_k=options.top_k)
                printing.print_labels(labels, options.json, **place())
        else:
            answers = (
                answer if isinstance(answer, dict) else {outputs[0].name: answer}
                for answer in _answers(predictor, items, options.batch_size)
            )
            if options.output:
                writing.write_outputs(options.output, answers, outputs, predictor.card.labels)
            else:
                for answer in answers:
                    printing.print_answer(answer, options.json, **place())
        outside, card = predictor.out_of_range, predictor.card
    for name, count in outside.items():
        if count:
            printing.say(printing.say_outside(card, name, count))


def _say_once(sentence: str, told: set[str]) -> None:
    if sentence not in told:
        told.add(sentence)
        printing.say(sentence)


def _place(samples: reading.SampleStream, *, names_files: bool, as_json: bool) -> dict[str, Any]:
    """Return where the next answer belongs: its file, and in a recording the time.

    A single file need not be named, except for a program that reads the answer to a photo.
    """
    if not samples.places:
        return {}
    file, seconds = samples.places.popleft()
    place: dict[str, Any] = {"file": file} if names_files or (as_json and seconds is None) else {}
    return place if seconds is None else place | {"seconds": seconds}


def _whole_batch(
    card: ModelCard, samples: Iterable[Any], batch_size: int | None
) -> Iterator[dict[str, Array]]:
    """Yield all samples as one batch; nothing where there is none."""
    if batch_size is not None:
        raise OptionError(
            f"--batch-size is {batch_size}, expected none for this model, whose answers depend on "
            "the whole batch: leave it out"
        )
    columns = None
    if card.columns:
        from edgeport.inputs.columns import Columns

        columns = Columns(card)
    feed = join_all(card, samples, columns)
    if feed is not None:
        printing.say(
            "note: the answers of this model depend on the whole batch: "
            f"{feed.samples} samples are answered in one run"
        )
        yield feed.arrays


def _answers(predictor: Predictor, items: Iterator[Any], batch_size: int | None) -> Iterator[Any]:
    """Return the answer to each sample; of a model that runs whole batches, items are those."""
    if not predictor.card.samples_interact:
        return predictor.stream(items, batch_size=batch_size or 32)
    return (row for batch in items for row in rows(predictor.predict(batch)))


def bench(options: argparse.Namespace) -> None:
    """Measure an artifact on this device."""
    from edgeport.cli.bench import bench as measure  # it alone needs subprocess

    for size in options.batch_sizes or ():
        whole_number(size, "--batch-sizes", highest=2**31)
    tune.within(options.seconds, "--seconds", *tune.SECONDS)
    if options.layers or options.siblings or options.output is not None:
        _bench_layers(options)
        return
    figures = measure(
        options.artifact,
        threads=options.threads,
        batch_sizes=options.batch_sizes,
        seconds=options.seconds,
        trial=trial.of(options),
    )
    show = printing.print_json if options.json else printing.print_bench
    show(figures)


def _bench_layers(options: argparse.Namespace) -> None:
    from edgeport.cli import layer_times

    if not options.layers or not options.siblings:
        raise OptionError(
            "the times of layers are measured in two files, a float artifact and its int8 sibling: "
            "pass both after --layers, or leave the second file and --output out"
        )
    if options.batch_sizes is not None:
        raise OptionError(
            "--batch-sizes was given with --layers, which runs single samples: leave it out"
        )
    if options.output is not None:
        check_target(options.output, reads=[options.artifact, *options.siblings])
    found = layer_times.measure_layers(
        options.artifact,
        options.siblings,
        threads=options.threads,
        seconds=options.seconds,
        trial=trial.of(options),
    )
    if options.output is not None:
        with replacing(options.output, reads=[options.artifact, *options.siblings]) as file:
            file.write(json.dumps(found, indent=1, allow_nan=False).encode())
    if options.json:
        printing.print_json(found)
    else:
        printing.print_layers(found)


def explain(options: argparse.Namespace) -> None:
    """Show which parts of an input carried the answer."""
    from edgeport.cli.explain import run_explain  # it alone needs what explains

    if options.sample is not None:
        whole_number(options.sample, "--sample", lowest=0)
    run_explain(options, lambda note: printing.say(f"note: {note}"))


def score(options: argparse.Namespace) -> None:
    """Score millions of rows."""
    from edgeport.scoring.command import run_score  # with pyarrow and all that it needs

    run_score(options)


def sign(options: argparse.Namespace) -> None:
    """Sign an artifact."""
    digest = sign_artifact(options.artifact, options.key, options.version)
    if options.json:
        print(json.dumps({"file": options.artifact, "version": options.version, "sha256": digest}))
    else:
        printing.print_line(f"signed version {options.version}, sha256 {digest}")
