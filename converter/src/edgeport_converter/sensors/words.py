"""The words of a command line that describe what a sensor gives: ``name=value``, each name once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeport import OptionError


def read_words(
    text: str,
    subject: str,
    example: str,
    read: Callable[[str, str], Any],
    first: str = "",
) -> dict[str, Any]:
    """Return the values by name.

    Args:
        text: the words, between blanks.
        subject: begins a message, such as "frames are".
        example: of a right text, for a message.
        read: makes a value of a name and a word's text.
        first: the name of the first word if it stands without one; "" where none may.

    Raises:
        OptionError: no word at all, as of an unset variable of a shell; a word without a name, or a
            name that stands twice.
    """
    if not text.split():
        raise OptionError(f"{subject} {text!r}, expected {example}: write them, or leave it out")
    values: dict[str, Any] = {}
    for position, word in enumerate(text.split()):
        name, equals, value = word.partition("=")
        if not equals and position == 0 and first:
            name, value = first, word
        elif not equals:
            raise OptionError(
                f"{subject} {text!r} with the word {word!r}, expected {example}: write name=value"
            )
        if name in values:
            raise OptionError(f"{subject} {text!r} with {name} twice, expected it once")
        values[name] = read(name, value)
    return values
