"""The messages that the READMEs explain are those of the sources, word by word."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = {
    "runtime/README.md": ("runtime/src", "When it refuses"),
    "converter/README.md": ("converter/src", "When it refuses"),
    "converter/README.zh.md": ("", "常见报错"),
}


def quoted(readme):
    """Return the messages in the first column of the table."""
    heading = PLACES[readme][1]
    part = (ROOT / readme).read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return [match[1] for match in re.finditer(r"^\| `(.+?)`[^|]*\|", part, re.MULTILINE)] + [
        match
        for row in re.findall(r"^\| (`[^|]*`) \|", part, re.MULTILINE)
        for match in re.findall(r"`([^`]+)`", row)[1:]
    ]


@cache
def texts(folder):
    """Return every text in the sources; what an f-string fills in is ``…``."""
    found = set()
    for path in (ROOT / folder).rglob("src/**/*.py" if not folder else "*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                found.add("".join(map(str, parts)).replace("'…'", "…"))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


@pytest.mark.parametrize("readme", PLACES)
def test_a_message_in_the_table_is_one_of_the_sources(readme):
    sources = (
        texts("runtime") | texts("converter") if not PLACES[readme][0] else texts(PLACES[readme][0])
    )
    messages = quoted(readme)
    assert len(messages) >= 3
    for message in messages:
        parts = [
            part.strip(" ,:()").removeprefix("expected ")
            for part in message.replace("'…'", "…").split("…")
        ]
        constant = [part for part in parts if len(part) > 2]
        assert constant, message
        for part in constant:
            assert any(part in text for text in sources), (message, part)


@pytest.mark.parametrize("readme", ["runtime/README.md", "converter/README.md"])
def test_every_row_has_a_message_a_cause_and_a_remedy(readme):
    text = (
        (ROOT / readme)
        .read_text(encoding="utf-8")
        .split("## When it refuses\n")[1]
        .split("\n## ")[0]
    )
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 15
    assert all(line.count(" | ") == 2 for line in rows)
