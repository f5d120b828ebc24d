"""Keeping messages of other libraries off the user's screen, where they do not help the user.

TensorFlow writes at start-up from C++ code, before any logging level applies, so that the file
descriptor itself has to be redirected. onnxruntime's quantizer calls ``logging.warning``, which
installs a handler on the root logger for the rest of the process.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hide what the block writes to stderr, from Python and from C++; show it if it raises."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, AttributeError, ValueError):  # no stderr, as under pythonw
        yield
        return
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            if failed:
                hidden.seek(0)
                sys.stderr.write(hidden.read().decode(errors="replace"))


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Drop what the block logs, and leave the root logger's handlers as they were."""
    root = logging.getLogger()
    handler = logging.NullHandler()
    level = root.manager.disable
    root.addHandler(handler)
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
        root.removeHandler(handler)
