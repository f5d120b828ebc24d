"""Sections of a README that a script writes from a stored run: between two markers, never typed."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path


def put(readme: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between the markers; exit where the README lacks one."""
    found = readme.read_text(encoding="utf-8")
    if not re.search(f"{begin}.*{end}", found, re.DOTALL):
        sys.exit(f"'{readme}' has no '{begin}' before an '{end}': add both")
    changed = re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{text}\n{end}", found, flags=re.DOTALL)
    readme.write_text(changed, encoding="utf-8")


def shown(readme: Path, begin: str, end: str) -> str:
    """Return what stands between the markers now."""
    text = readme.read_text(encoding="utf-8")
    return text[text.index(begin) + len(begin) + 1 : text.index(end) - 1]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
