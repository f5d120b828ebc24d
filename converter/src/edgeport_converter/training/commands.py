"""`edgeport train`, registered with the runtime's command by entry point.

Progress goes to stderr; the result goes to stdout, as text or with ``--json``. After Ctrl-C the
best weights are written and the exit code is 130, as shells have it for SIGINT.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeport import OptionError
from edgeport_converter.quiet import stdout_on_stderr
from edgeport_converter.training.recipe.examples import EXAMPLES, example
from edgeport_converter.training.train import search, train


def add_train(commands: Any) -> None:
    """Add the command to the sub-parsers of `edgeport`."""
    parser = commands.add_parser(
        "train",
        help="train a Keras model as a recipe says",
        description="Train a Keras model as a recipe in TOML says, ready for `edgeport convert`. "
        "Ctrl-C ends it with the best weights so far, written and measured, and exit code 130; "
        "the same command resumes it, after Ctrl-C as after a kill.",
    )
    add = parser.add_argument
    add("recipe", metavar="RECIPE.toml", nargs="?", help="see --example")
    add("-o", "--output", metavar="OUT.keras", help="the model; replaced once it is measured")
    add(
        "--run-folder",
        metavar="DIR",
        help="where checkpoint, metrics, picture and summary go (default: OUT.run)",
    )
    add("--restart", action="store_true", help="throw away the checkpoint of a former run")
    add(
        "--search-only",
        action="store_true",
        help="only work on the recipe's [search], beside other processes that share its study",
    )
    add(
        "--storage",
        metavar="URL",
        help="where the search keeps its Optuna study: postgresql://user@host/name, mysql://…, or "
        "an SQLite file (default: the recipe's search.storage, or search.db in the run's folder)",
    )
    add(
        "--study-name",
        metavar="NAME",
        help="of the study there (default: the recipe's search.study, or one with a digest of "
        "recipe and data)",
    )
    add("--example", choices=EXAMPLES, help="print a recipe with comments, and do nothing else")
    add("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    if options.example:
        print(example(options.example), end="")
        return
    if options.recipe is None:
        raise OptionError(
            "no recipe was given, expected RECIPE.toml -o OUT.keras: "
            "`edgeport train --example mnist > mnist.toml` writes one"
        )
    # TensorFlow remarks on retracing, which several models in a process are.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # A plain kill unwinds like any error, so that no temporary file is left beside the output.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.search_only:
        _search(options)
        return
    if options.output is None:
        raise OptionError("no output was given, expected -o OUT.keras: add it")
    from edgeport_converter.screen import Screen

    with stdout_on_stderr(), Screen(sys.stderr) as screen:
        report = train(
            options.recipe,
            options.output,
            run_folder=options.run_folder,
            restart=options.restart,
            storage=options.storage,
            study_name=options.study_name,
            progress=screen,
        )
        screen.finish()
    print(_as_json(report.to_dict()) if options.json else report.to_text(), flush=True)
    if report.interrupted:
        raise KeyboardInterrupt


def _search(options: argparse.Namespace) -> None:
    folder = options.run_folder
    if folder is None and options.output is not None:
        folder = Path(options.output).with_suffix(".run")
    from edgeport_converter.screen import Screen

    with stdout_on_stderr(), Screen(sys.stderr) as screen:
        found = search(
            options.recipe,
            run_folder=folder,
            storage=options.storage,
            study_name=options.study_name,
            progress=screen,
        )
        screen.finish()
    if options.json:
        print(_as_json(asdict(found)))
        return
    best = ", ".join(f"{name} = {value}" for name, value in found.best.items())
    print(f"{len(found.trials)} trials by {found.sampler}: {found.metric} {found.value:.4f}")
    print(f"best         {best}")


def _as_json(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False)
