"""Sections of a README that a script writes from a stored run: between two markers, never typed."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

TITLES = {"avx2": "AVX2, without VNNI", "avx512-vnni": "AVX-512 with VNNI"}


def title_of(kind: str) -> str:
    """Return a kind of CPU as readers know it."""
    return TITLES.get(kind, kind)


def put(readme: Path, name: str, text: str) -> None:
    """Replace what stands between the markers of that name; exit where the README lacks one."""
    found = readme.read_text(encoding="utf-8")
    begin, end = markers(name)
    pattern = f"{begin}.*{end}"
    if not re.search(pattern, found, re.DOTALL):
        sys.exit(f"'{readme}' has no '{begin}' before an '{end}': add both")
    changed = re.sub(pattern, lambda _: f"{begin}\n{text}\n{end}", found, flags=re.DOTALL)
    readme.write_text(changed, encoding="utf-8")


def shown(readme: Path, name: str) -> str:
    """Return what stands between the markers now."""
    text = readme.read_text(encoding="utf-8")
    begin, end = markers(name)
    return text[text.index(begin) + len(begin) + 1 : text.index(end) - 1]


def markers(name: str) -> tuple[str, str]:
    return f"<!-- {name} figures -->", f"<!-- end of {name} figures -->"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
