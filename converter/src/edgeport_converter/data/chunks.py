"""The one form that all samples come in: chunks of arrays, pass after pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from edgeport.artifact.golden import Array
from edgeport_converter.data.naming import Keys

Chunk = dict[str, Array]
"""Arrays by key, sample along axis 0."""

Chunks = Callable[[], Iterator[Chunk]]
"""Starts a new pass over all samples, in the same order each time."""

Pick = Callable[[Sequence[str]], Keys]
"""Says which of many keys are read."""

SINGLE_KEY = "x"
LABEL_KEY = "y"
CHUNK_BYTES = 4 * 2**20
