"""The command `edgeport report`, which the runtime's command finds by its entry point."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from edgeport import ArtifactError
from edgeport_converter.paths import DATA_FILES
from edgeport_converter.quiet import stdout_on_stderr


def add_report(commands: Any) -> None:
    """Add the command to the sub-parsers of `edgeport`."""
    parser = commands.add_parser(
        "report",
        help="write what is known of an artifact into one HTML file",
        description="Write what is known of an artifact into one HTML file: the verdict, charts, "
        "the self-test, and the command that makes it again. `edgeport convert --report` writes "
        "a report that also knows the candidates, the float graph and the errors of layers.",
    )
    add = parser.add_argument
    add("artifact", metavar="FILE", help="the .onnx artifact")
    add(
        "-o",
        "--output",
        metavar="OUT.html",
        help="the page (default: FILE.html, in the place of .onnx)",
    )
    add("--data", metavar="DATA", help=f"samples to run it on, best with labels: {DATA_FILES}")
    add("--model", metavar="MODEL", help="the Keras model, to compare the answers with")
    add("--label-column", metavar="NAME", help="the column of a .csv file that holds the labels")
    add("--json", action="store_true", help="print all figures as JSON, too")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from edgeport_converter.progress import telling
    from edgeport_converter.reporting.page import find_page
    from edgeport_converter.screen import Screen

    read = {"artifact": options.artifact, "data": options.data, "model": options.model}
    for purpose, path in read.items():
        is_function = purpose == "model" and path is not None and ":" in Path(path).name
        if path is not None and not Path(path).exists() and not is_function:
            raise ArtifactError(f"there is no {purpose} file '{path}': check the path", path=path)
    output = options.output
    if output is None:
        output = Path(options.artifact).with_suffix(".html")
    page = find_page(output, tuple(read.values()))
    screen = Screen(sys.stderr)
    screen.stage("gather")
    with stdout_on_stderr(), telling(screen):
        from edgeport_converter.reporting.files import from_file
        from edgeport_converter.reporting.rendering import write_report

        data = from_file(
            options.artifact,
            data=options.data,
            model=options.model,
            label_column=options.label_column,
        )
        screen.stage("write")
        write_report(data, page)
        screen.finish()
    if options.json:
        print(json.dumps(data.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(f"{data.headline}\n{page}")
