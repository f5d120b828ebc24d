"""Where warnings go: to the program's ``logging``, under the name ``edgeport``."""

from __future__ import annotations


def warn(message: str, *details: object) -> None:
    """Log a warning; without a handler of the program's own it must not reach stderr."""
    import logging  # costs a cold start 3 ms, and most programs never get here

    logger = logging.getLogger("edgeport")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.warning(message, *details)
