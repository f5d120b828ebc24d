"""Keeping messages of other libraries off the user's screen, where they do not help the user.

TensorFlow writes at start-up from C++ code, before any logging level applies, so that the file
descriptor itself has to be redirected. The same goes for stdout, which belongs to the result of a
command: a user's layer may print by ``print``, by TensorFlow or by a child process. onnxruntime's
quantizer calls ``logging.warning``, which installs a handler on the root logger for the rest of the
process.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

from edgeport_converter.errors import UnsupportedModelError


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hide what the block writes to stderr, from Python and from C++; show it if it raises.

    A model that is refused is told of in a sentence, which needs no more, and neither does an
    interruption.
    """
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
        except (UnsupportedModelError, KeyboardInterrupt, SystemExit):
            failed = False
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            if failed:
                hidden.seek(0)
                sys.stderr.write(hidden.read().decode(errors="replace"))


@contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Send what the block writes to stdout to stderr: from Python, C++ and child processes."""
    with redirect_stdout(sys.stderr):
        try:
            saved = os.dup(1)
            os.dup2(2, 1)
        except OSError:  # no such stream, as under pythonw
            yield
            return
        try:
            yield
        finally:
            _flush_c_streams()
            os.dup2(saved, 1)
            os.close(saved)


def _flush_c_streams() -> None:
    """Write out what C and C++ code keeps back, as long as stdout leads to a file or a pipe."""
    with suppress(OSError, AttributeError, TypeError):  # Windows has no library of all symbols
        ctypes.CDLL(None).fflush(None)


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
