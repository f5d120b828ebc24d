"""What ``python -m pydoc edgeport`` shows: every public name explains itself."""

from __future__ import annotations

import inspect
import re

import pytest

import edgeport
from edgeport.artifact.records import Record

PUBLIC = [
    kind
    for kind in (getattr(edgeport, name) for name in edgeport.__all__)
    if isinstance(kind, type)
]
RECORDS = [kind for kind in PUBLIC if issubclass(kind, Record)]


def explained(kind: type) -> set[str]:
    """Return the names that the section Attributes of a docstring has."""
    section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
    names = re.findall(r"^    (\w[\w, ]*):", section, re.MULTILINE)
    return {name for group in names for name in group.split(", ")}


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_each_field_of_a_record_is_explained(kind: type[Record]) -> None:
    assert explained(kind) == set(kind.__slots__)


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_each_public_method_has_a_docstring_of_its_own(kind: type) -> None:
    own = {name: member for name, member in vars(kind).items() if not name.startswith("_")}
    methods = {
        name: member
        for name, member in own.items()
        if inspect.isfunction(member) or isinstance(member, (classmethod, property))
    }
    assert [name for name, member in methods.items() if not inspect.getdoc(member)] == []


def test_the_manual_begins_with_the_use_and_ends_with_the_words() -> None:
    text = edgeport.__doc__ or ""
    places = [
        text.index(part) for part in ("Predictor.load", "The promise", "Modules and", "Words, as")
    ]
    assert places == sorted(places)
