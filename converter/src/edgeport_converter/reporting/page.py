"""Where a report goes, and whether what draws it is installed: known before any work is done."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeport import OptionError
from edgeport.atomic_files import check_target

_NEEDED = ("jinja2", "matplotlib")


def find_page(report: Any, reads: Sequence[Any], writes: Sequence[Path] = ()) -> Path:
    """Return the path of the page to write; refuse what would fail only after all the work.

    Args:
        report: as the user gave it.
        reads: all that is read; what is no path is ignored.
        writes: all other files that the same call writes.

    Raises:
        OptionError: it is no path, a folder, in no folder, a file that is read or written by the
            same call, not named as a web page, or the packages that draw it are missing.
    """
    if not isinstance(report, (str, os.PathLike)) or not os.fspath(report):
        raise OptionError(
            f"the report is {report!r}, expected the path of a file: pass report.html, for instance"
        )
    path = Path(report).resolve()
    if path.suffix.lower() not in (".html", ".htm"):
        raise OptionError(
            f"the report '{report}' does not end in .html, expected the name of a web page: "
            f"choose '{Path(report).with_suffix('.html')}', for instance"
        )
    if not path.parent.is_dir():
        raise OptionError(
            f"there is no folder '{path.parent}' for the report: make it first, or choose another"
        )
    if path in [Path(each).resolve() for each in writes]:
        raise OptionError(
            f"the report '{report}' and the artifact are one file, expected two: rename one"
        )
    check_target(path, reads=[each for each in reads if isinstance(each, (str, os.PathLike))])
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise OptionError(
            f"a report needs {' and '.join(missing)}, not installed here: "
            "pip install 'edgeport-converter[report]'"
        )
    return path
