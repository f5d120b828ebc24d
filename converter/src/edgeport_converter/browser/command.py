"""The command `edgeport page`, which the runtime's command finds by its entry point."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgeport_converter.browser.onnxruntime_web import VERSION


def add_page(commands: Any) -> None:
    """Add the command to the sub-parsers of `edgeport`."""
    parser = commands.add_parser(
        "page",
        help="write a web page that runs an artifact in the browser",
        description="Write a folder with a web page that runs the artifact in the browser. Any "
        "server of static files serves it; it asks the network for nothing. Opening it as a file "
        "does not work, since browsers load no modules from file://.",
    )
    add = parser.add_argument
    add("artifact", metavar="MODEL.onnx", help="an artifact of `edgeport convert`")
    add("-o", "--output", metavar="FOLDER", help="the page's folder (default: MODEL.page)")
    add(
        "--onnxruntime-web",
        metavar="FOLDER",
        help=f"onnxruntime-web {VERSION}, as npm unpacks it (default: npm downloads it once into "
        "the user's cache)",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from edgeport_converter.browser.folder import write_page

    artifact = Path(options.artifact)
    output = Path(options.output or artifact.with_suffix(".page"))
    card = write_page(artifact, output, onnxruntime_web=options.onnxruntime_web)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(f"page         {output}: {card.name}, {size / 1e6:.1f} MB, onnxruntime-web {VERSION}")
    print(f"serve it     python3 -m http.server --bind 127.0.0.1 --directory {output} 8000")
    print("and open     http://127.0.0.1:8000 (as a file, without a server, it does not work)")
