"""WAV files and folders of them: each file is cut into windows, as the device will cut it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgeport import OptionError, TensorSpec
from edgeport.artifact.signal_format import SignalFormat
from edgeport.inputs.windows import file_windows
from edgeport_converter.data.chunks import CHUNK_BYTES, LABEL_KEY, SINGLE_KEY, Chunk, Chunks
from edgeport_converter.data.image_folders import find_classes

RECORDINGS = (".wav",)


def is_recording(path: Path) -> bool:
    """Whether it is a recording or a folder, which for a model with a signal is of recordings."""
    return path.is_dir() or path.suffix.lower() in RECORDINGS


def read_recordings(
    place: Path,
    specs: Sequence[TensorSpec],
    purpose: str,
    signal: SignalFormat,
    class_names: Sequence[str] | None = None,
) -> Chunks:
    """Read a WAV file, a folder of them, or of one folder of them for each class.

    Args:
        place: the file or the folder, whose files are read in name order.
        specs: the model's only input.
        purpose: for messages; see ``find_classes``.
        signal: how recordings are cut. All windows of a file have its class.
        class_names: number the classes; without them the folders are numbered in name order.

    Raises:
        OptionError: the model has further inputs, a folder is no class, a file is of no class.
        InputError: of each pass, if a file is not as the signal says.
    """
    if len(specs) != 1:
        raise OptionError(
            f"the {purpose} data '{place}' holds recordings, expected a model of one input, found "
            f"{len(specs)}: cut the windows and pass arrays for each input, in a .npz file"
        )
    files: list[tuple[Path, int | None]] = [(place, None)]
    if place.is_dir():
        files = find_classes(place, RECORDINGS, "recording", purpose, class_names)

    def chunks() -> Iterator[Chunk]:
        for path, label in files:
            waiting = []
            windows = file_windows(str(path), specs[0], signal)
            for window in windows:
                waiting.append(window)
                if len(waiting) * window.nbytes >= CHUNK_BYTES:
                    yield _chunk(waiting, label)
                    waiting = []
            if waiting:
                yield _chunk(waiting, label)

    return chunks


def _chunk(windows: list[np.ndarray], label: int | None) -> Chunk:
    chunk = {SINGLE_KEY: np.stack(windows)}
    return chunk if label is None else chunk | {LABEL_KEY: np.full(len(windows), label)}
