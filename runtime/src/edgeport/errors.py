"""Every error that a caller of edgeport can meet, in one tree.

    EdgeportError
    ├─ ArtifactError              missing, damaged or unreadable file; .path
    │  ├─ IntegrityError          the file's digest does not match its bytes
    │  ├─ UnsupportedFormatError  card, opset or IR beyond this runtime; .found .supported
    │  └─ SelfTestError           a golden sample is off on this device; .measured .allowed
    ├─ InputError (ValueError)    x disagrees with the card; .expected .actual
    ├─ InferenceError             the engine failed while it ran; the cause is chained
    ├─ OptionError (ValueError)   options that cannot be met
    └─ ConversionError            the converter's branch; .stage

A message is one sentence: subject, what was found, what was expected, the next step.
The command line exits with the ``exit_code`` of the error's class. Attributes are
keyword-only and optional, so that every error survives pickling between processes.
"""

from __future__ import annotations

from typing import ClassVar

from edgeport.addresses import hide_secrets


class EdgeportError(Exception):
    """The root: catching it catches everything that edgeport raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return hide_secrets(super().__str__())


class ArtifactError(EdgeportError):
    """The artifact is missing, damaged or unreadable; nothing was loaded.

    The checks know bytes, not files, and say "the artifact"; once its path is known, the message
    names it instead.

    Attributes:
        path: the file's path as given, or None where bytes were given.
    """

    exit_code = 3

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path

    def __str__(self) -> str:
        place = "the artifact" if self.path is None else f"'{self.path}'"
        return super().__str__().replace("the artifact", hide_secrets(place), 1)


class IntegrityError(ArtifactError):
    """The artifact's bytes are not the ones that were sealed; nothing was loaded."""

    exit_code = 4


class UnsupportedFormatError(ArtifactError):
    """The artifact needs a newer runtime or engine; nothing was loaded.

    Attributes:
        found: the version that the file asks for.
        supported: the highest version that this installation reads.
    """

    exit_code = 5

    def __init__(self, message: str, *, found: str = "", supported: str = "") -> None:
        super().__init__(message)
        self.found = found
        self.supported = supported


class SelfTestError(ArtifactError):
    """A golden sample came out differently on this device; nothing was loaded.

    Attributes:
        measured: the largest absolute difference seen.
        allowed: the card's tolerance for that output.
    """

    exit_code = 6

    def __init__(self, message: str, *, measured: float = 0.0, allowed: float = 0.0) -> None:
        super().__init__(message)
        self.measured = measured
        self.allowed = allowed


class InputError(EdgeportError, ValueError):
    """The data handed to ``predict`` disagrees with the card; nothing was run.

    Attributes:
        expected: what the card asks for, as text.
        actual: what was given, as text.
    """

    exit_code = 7

    def __init__(self, message: str, *, expected: str = "", actual: str = "") -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual

    @classmethod
    def of(cls, subject: str, actual: str, expected: str, remedy: str) -> InputError:
        """Return the error of one sentence: subject, found, expected, next step."""
        message = f"{subject} {actual}, expected {expected}: {remedy}"
        return cls(message, expected=expected, actual=actual)


class InferenceError(EdgeportError):
    """The engine failed while it ran; the predictor stays usable, the cause is chained."""

    exit_code = 8


class OptionError(EdgeportError, ValueError):
    """An option, or a combination of options, that cannot be met; nothing was done."""

    exit_code = 2


class ConversionError(EdgeportError):
    """A conversion failed; the target file is as it was before.

    Attributes:
        stage: the name of the pipeline stage that failed.
    """

    exit_code = 10

    def __init__(self, message: str, *, stage: str | None = None) -> None:
        super().__init__(message)
        self.stage = stage


def warn(message: str, *details: object) -> None:
    """Log a warning; without a handler of the program's own it must not reach stderr."""
    import logging  # 3 ms, or 2 % of a cold start, and most programs never get here

    logger = logging.getLogger("edgeport")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.warning(message, *details)
