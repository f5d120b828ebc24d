"""Keeping TensorFlow's start-up messages off the user's screen.

They are written by C++ code, before any logging level applies, so the file descriptor itself has
to be turned away. What was written comes back where the import fails, since it may say why.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Turn away what the block writes to stderr, Python's and C++'s; show it if it raises."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, AttributeError, ValueError):  # no stderr, as under pythonw
        yield
        return
    with tempfile.TemporaryFile() as turned_away:
        os.dup2(turned_away.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            if failed:
                turned_away.seek(0)
                sys.stderr.write(turned_away.read().decode(errors="replace"))
