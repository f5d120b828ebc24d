"""The one tree of errors: names, exit codes, and the way through a pickle."""

from __future__ import annotations

import inspect
import pickle

import pytest

import edgeport
from edgeport import errors

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, errors.EdgeportError)
]


def test_every_error_can_be_imported_from_the_door() -> None:
    for kind in CLASSES:
        assert getattr(edgeport, kind.__name__) is kind
        assert kind.__name__ in edgeport.__all__


def test_exit_codes_tell_the_errors_apart() -> None:
    codes = [kind.exit_code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(0 < code < 126 for code in codes)  # beyond, shells use them for signals


def test_wrong_data_and_options_are_value_errors() -> None:
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.OptionError, ValueError)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_crosses_processes_with_its_attributes(kind: type[errors.EdgeportError]) -> None:
    names = [
        name
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    error = kind("what, found, expected: next", **dict.fromkeys(names, "value"))
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(back) is kind
    assert str(back) == "what, found, expected: next"
    assert [getattr(back, name) for name in names] == ["value"] * len(names)
