"""The paths of a conversion and of a training: what is read, and what is written at the end.

They are checked before any work, by ``options`` and ``pipeline``, and by the commands.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeport import OptionError
from edgeport.atomic_files import check_target

DATA_FILES = "a .npy, .npz or .csv file, or a folder of images"
"""What data may be read from, for sentences."""


def require_data_file(path: Path, purpose: str) -> None:
    """Refuse a path that does not exist, by an OptionError."""
    if not path.exists():
        raise OptionError(f"there is no {purpose} file '{path}': pass {DATA_FILES}")


def find_destination(
    output: Any, sources: Sequence[Any], also: Sequence[str] = (), *, is_artifact: bool = True
) -> Path:
    """Return the path to write, links followed; refuse what would fail only after all the work.

    Args:
        output: as the user gave it.
        sources: all that is read, as the user gave it; no file among them may be overwritten, nor
            any file in a folder among them. What is no path is ignored.
        also: the recipes of the variants, which are written beside the output.
        is_artifact: whether an artifact is written, which is named .onnx, and not a Keras model.

    Raises:
        OptionError: the output is no path, a folder, no regular file, lies in no folder, is named
            like another kind of file, or the output or a variant is one of the sources, also under
            another name or inside a folder.
    """
    if not isinstance(output, (str, os.PathLike)):
        raise OptionError(
            f"the output is a {type(output).__name__}, expected a path: pass the name of a file"
        )
    path, suffix = Path(output).resolve(), Path(output).suffix
    if path.is_dir():
        raise OptionError(f"the output '{output}' is a folder, expected a file: add a file name")
    if not path.parent.is_dir():
        raise OptionError(
            f"there is no folder '{path.parent}' for the output: make it first, or choose another"
        )
    if path.exists() and not path.is_file():
        raise OptionError(
            f"the output '{output}' is a device or a pipe, expected a regular file: choose another"
        )
    reads = [one for one in sources if isinstance(one, (str, os.PathLike))]
    for target in (path, *(variant_path(path, recipe) for recipe in also)):
        check_target(target, reads=reads)
    if is_artifact and suffix.lower() not in ("", ".onnx"):
        raise OptionError(
            f"the output '{output}' ends in '{suffix}', expected a name that ends in .onnx, since "
            f"an artifact is an ONNX file: choose '{Path(output).with_suffix('.onnx')}', for "
            "instance"
        )
    return path


def variant_path(output: Path, recipe: str) -> Path:
    """Return where the artifact of a recipe of ``also`` is written: OUT.RECIPE.onnx."""
    return output.with_suffix(f".{recipe}{output.suffix}")


def state_path(output: Path) -> Path:
    """Return where the state of an interrupted fine-tuning is kept: OUT.onnx.finetuning."""
    return output.with_name(f"{output.name}.finetuning")
