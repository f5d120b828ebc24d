"""How a recipe's tables become frozen records, and how a wrong one is refused.

A record's fields are its schema: each names the rule for its value. What the keys mean is
``recipes``' business; nothing heavy is imported here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from edgeport import OptionError

_HEADER = re.compile(r"\s*\[{1,2}([^\[\]]+)\]{1,2}\s*(#.*)?$")
_KEY = re.compile(
    r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*="
)
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([\w-]+)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LONGEST = 60


@dataclass(frozen=True)
class Rule:
    """What a value may be.

    Attributes:
        expected: in words, for the middle of a sentence.
        accept: returns the value in its final form; raises ValueError where it does not fit.
    """

    expected: str
    accept: Callable[[Any], Any]


@dataclass(frozen=True)
class Origin:
    """Where a recipe was written, so that every refusal names the place.

    Attributes:
        name: the file's name, or "the recipe" for a dict.
        text: what the file says; None for a dict, which has no lines.
    """

    name: str = "the recipe"
    text: str | None = None

    def place(self, key: str) -> str:
        """Return file, line and key, for the beginning of a sentence."""
        line = None if self.text is None else find_line(self.text, key)
        return f"{self.name}{'' if line is None else f', line {line}'}: {key}"

    def refuse(self, key: str, found: object, expected: str, step: str = "correct it") -> Exception:
        """Return the error for a value that does not fit."""
        return OptionError(f"{self.place(key)} is {show(found)}, expected {expected}: {step}")

    def refuse_name(self, key: str, found: str, known: Iterable[str], what: str) -> Exception:
        """Return the error for a name that nobody knows, with the nearest known one."""
        names = list(known)
        near = difflib.get_close_matches(found.lower(), names, n=1, cutoff=0.5)
        step = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(names[:12])}"
        return OptionError(f"{self.place(key)} is {show(found)}, expected {what}: {step}")


def key(rule: Rule, default: Any = MISSING) -> Any:
    """Return a dataclass field for a key with a value."""
    return field(default=default, metadata={"rule": rule})


def section(record: type, *, required: bool = False) -> Any:
    """Return a dataclass field for a table; None where the recipe has none."""
    metadata = {"section": record, "required": required}
    return field(default=None, metadata=metadata) if not required else field(metadata=metadata)


def read_record(record: type, table: Mapping[str, Any], origin: Origin, path: str = "") -> Any:
    """Return the record that a table says.

    Raises:
        OptionError: an unknown key, a missing one, or a value against its rule.
    """
    known = {item.name: item for item in fields(record) if item.metadata}
    for name in table:
        if name not in known:
            raise _unknown(name, known, origin, path)
    values = {}
    for name, item in known.items():
        full = f"{path}{name}"
        if name not in table:
            if item.default is MISSING:
                wanted = item.metadata.get("rule")
                what = wanted.expected if wanted else "a table"
                raise OptionError(
                    f"{origin.name} has no key '{full}', expected {what}: add it"
                    if wanted
                    else f"{origin.name} has no table [{full}]: add it"
                )
            continue
        value = table[name]
        if "section" in item.metadata:
            if not isinstance(value, Mapping):
                raise origin.refuse(full, value, "a table", f"write [{full}] and its keys below")
            values[name] = read_record(item.metadata["section"], value, origin, f"{full}.")
            continue
        rule = item.metadata["rule"]
        try:
            values[name] = rule.accept(value)
        except (ValueError, TypeError, OverflowError):
            raise origin.refuse(full, value, rule.expected) from None
    return record(**values)


def whole(low: int, high: int | None = None) -> Rule:
    """Return the rule of a whole number."""

    def accept(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError
        if high is not None and value > high:
            raise ValueError
        return value

    return Rule(_interval("a whole number", low, high), accept)


def number(
    low: float, high: float | None = None, *, above: bool = False, below: bool = False
) -> Rule:
    """Return the rule of a number; ``above`` and ``below`` leave the ends out."""

    def accept(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError
        if not (value > low if above else value >= low) or value == float("inf"):
            raise ValueError
        if high is not None and not (value < high if below else value <= high):
            raise ValueError
        return float(value)

    return Rule(_interval("a number", low, high, above=above, below=below), accept)


def choice(*names: str) -> Rule:
    """Return the rule of one of a few words."""

    def accept(value: Any) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return Rule(f"one of {', '.join(map(repr, names))}", accept)


def text(what: str = "a text") -> Rule:
    """Return the rule of a text that is not empty."""

    def accept(value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError
        return value

    return Rule(what, accept)


def plain_name() -> Rule:
    """Return the rule of a name that TensorFlow takes as a scope and ONNX as a graph's name."""

    def accept(value: Any) -> str:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise ValueError
        return value

    return Rule("a name of letters from A to Z, digits, '_', '.' and '-'", accept)


def flag() -> Rule:
    """Return the rule of true or false."""

    def accept(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    return Rule("true or false", accept)


def list_of(rule: Rule, what: str, *, least: int = 0, most: int | None = None) -> Rule:
    """Return the rule of a list, each item by the same rule."""

    def accept(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or len(value) < least:
            raise ValueError
        if most is not None and len(value) > most:
            raise ValueError
        return tuple(rule.accept(item) for item in value)

    return Rule(what, accept)


def table_of(rule: Rule, what: str) -> Rule:
    """Return the rule of a table with free keys, each value by the same rule."""

    def accept(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError
        return {str(name): rule.accept(item) for name, item in value.items()}

    return Rule(what, accept)


def either(*rules: Rule) -> Rule:
    """Return the rule of a value that fits one of several rules, tried in order."""

    def accept(value: Any) -> Any:
        for rule in rules:
            try:
                return rule.accept(value)
            except (ValueError, TypeError):
                continue
        raise ValueError

    return Rule(", or ".join(rule.expected for rule in rules), accept)


def anything() -> Rule:
    """Return the rule of a value that is judged later."""
    return Rule("a value", lambda value: value)


def show(value: object) -> str:
    """Return a value as a recipe would say it, shortened."""
    if isinstance(value, bool):
        shown = str(value).lower()
    elif isinstance(value, Mapping):
        shown = "a table"
    else:
        shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def find_line(source: str, key: str) -> int | None:
    """Return the line of a key, or of the nearest table around it; None where neither is there.

    ``tomllib`` keeps no places. A scan by line is right for every way of writing a key but one: a
    line inside a text of several lines that looks like a key itself.
    """
    wanted = key.split(".")
    best, line_of_best = 0, None
    table: list[str] = []
    for number_of_line, line in enumerate(source.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
            found = table
        elif assigned := _KEY.match(line):
            found = table + _parts(assigned[1])
        else:
            continue
        same = 0
        while same < min(len(found), len(wanted)) and found[same] == wanted[same]:
            same += 1
        # A key counts where it lies on the way to the wanted one, or the wanted one on its way.
        if same == min(len(found), len(wanted)) and same > best:
            best, line_of_best = same, number_of_line
    return line_of_best


def _parts(dotted: str) -> list[str]:
    # A quoted key may hold dots itself; "training.learning_rate" in quotes means the same place.
    names = ["".join(match.groups(default="")) for match in _PART.finditer(dotted)]
    return [part for name in names for part in name.split(".")]


def _unknown(name: str, known: Mapping[str, Any], origin: Origin, path: str) -> Exception:
    where = f"[{path.rstrip('.')}]" if path else "a recipe's top level"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    step = f"did you mean '{path}{near[0]}'?" if near else f"the keys are {', '.join(known)}"
    return OptionError(f"{origin.place(path + name)} is no key of {where}: {step}")


def _interval(
    what: str, low: float, high: float | None, *, above: bool = False, below: bool = False
) -> str:
    begin = f"above {_show_end(low)}" if above else f"from {_show_end(low)}"
    if high is None:
        return f"{what} {begin}" if above else f"{what} {begin} up"
    return f"{what} {begin} {'to below' if below else 'to'} {_show_end(high)}"


def _show_end(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
