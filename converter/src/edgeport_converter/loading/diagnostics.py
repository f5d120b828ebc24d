"""The error message for a Keras file that nothing could open."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import keras

from edgeport import ConversionError, EdgeportError
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.model import shorten

if TYPE_CHECKING:
    from edgeport_converter.loading.keras_files import SavedFile

LEGACY_HINT = "install tf_keras, pip install 'edgeport-converter[legacy]', to have Keras 2 read it"

# Keras 3's messages about a name in a config that it does not know.
_UNKNOWN = re.compile(r"(?:Could not locate (?:class|function)|Unknown [\w ]+:) '([^']+)'")


def say_why(cause: Exception) -> str:
    """Return why Keras 3 could not read a file, for the end of a sentence."""
    unknown = _UNKNOWN.search(str(cause))
    if unknown:
        return f"does not know '{unknown[1]}'"
    return f"could not read it ({shorten(cause, 160)})"


def explain(
    saved: SavedFile, cause: Exception, *, second: Exception | None = None, may_help: bool = False
) -> EdgeportError:
    """Return the error for a file that nothing could open.

    ``cause`` is the error of Keras 3, ``second`` that of tf_keras, where it was tried; ``may_help``
    says that tf_keras is not installed and might read the file.
    """
    if isinstance(cause, EdgeportError) and second is None:
        return cause
    version = saved.keras_version or ""
    if version.startswith("1."):
        return ConversionError(
            f"'{saved.path}' was written by Keras {version}, expected Keras 2 or 3: load it with "
            "Keras 2.2, which reads both, and save it again"
        )
    if _as_numbers(version) > _as_numbers(keras.__version__):
        return ConversionError(
            f"'{saved.path}' was written by Keras {version}, newer than the installed "
            f"{keras.__version__}, and does not open ({shorten(cause)}), expected that version: "
            "upgrade Keras, pip install -U keras"
        )
    if "<lambda>" in str(cause):
        return UnsupportedModelError(
            f"'{saved.path}' names a function '<lambda>', a function without a name whose code the "
            "file does not hold, expected its code: pass custom_objects={'<lambda>': "
            "the_function}, or --custom-objects with a file that says globals()['<lambda>'] = "
            "the_function"
        )
    hint = f", or {LEGACY_HINT}" if may_help and saved.is_old else ""
    unknown = _UNKNOWN.search(str(cause))
    if unknown:
        name = unknown[1].rpartition(">")[2]
        return UnsupportedModelError(
            f"'{saved.path}' uses '{name}', which Keras {keras.__version__} does not have and "
            "nothing here defines, expected its code: pass the Python file or module that defines "
            f"it as custom_objects=, or --custom-objects{hint}"
        )
    written = f" of Keras {version}" if version else ""
    tried = f"; tf_keras: {shorten(second)}" if second is not None else ""
    return ConversionError(
        f"Keras {keras.__version__} cannot load '{saved.path}'{written} ({shorten(cause)}{tried}), "
        f"expected a model of this version: save it again with model.save('model.keras'){hint}"
    )


def _as_numbers(version: str) -> tuple[int, ...]:
    """Return (3, 15, 1) for "3.15.1", fewer where there are fewer numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
