"""The border to the engine: the only module that imports onnxruntime.

Here live the quiet import, the session with its options, the call that runs it, and the
translation of the engine's errors into edgeport's. What the arrays mean is decided elsewhere.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgeport.errors import ArtifactError, InferenceError, UnsupportedFormatError
from edgeport.golden import Array

# From 1.29 on, onnxruntime's Linux wheel sends telemetry unless this is set before its import:
# the bare import then writes a device id below the home folder and starts a thread, which hangs
# a forked child at exit. It cannot be undone afterwards. Remove when the wheel asks first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

logger = logging.getLogger("edgeport")

_FATAL_ONLY = 4  # onnxruntime's severities run from 0, verbose, to 4, fatal

# Names of ONNX element types as onnxruntime prints them, with the numpy dtype of each.
_DTYPES: Mapping[str, type[Any]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
    **{f"tensor(int{bits})": getattr(np, f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"tensor(uint{bits})": getattr(np, f"uint{bits}") for bits in (8, 16, 32, 64)},
}


class Port(NamedTuple):
    """An input or output as the graph declares it; a free axis is its name or None."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]


class Session:
    """One loaded graph. Safe to run from several threads at once.

    Args:
        model: the bytes of an ONNX file.
        threads: how many threads one run may use; 1 starts none.
        path: the file's name for messages.

    Raises:
        UnsupportedFormatError: the file's IR or opset is newer than this onnxruntime.
        ArtifactError: onnxruntime cannot load the bytes.
    """

    def __init__(self, model: bytes, *, threads: int = 1, path: str | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        # A device waits for its next frame most of the time; spinning threads would burn it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._engine = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as cause:
            raise _translate_load_error(cause, path) from cause
        self.inputs = tuple(_port(node, path) for node in self._engine.get_inputs())
        self.outputs = tuple(_port(node, path) for node in self._engine.get_outputs())
        self.graph_name: str = self._engine.get_modelmeta().graph_name
        self._run = self._engine.run
        self._run_options = onnxruntime.RunOptions()
        self._run_options.log_severity_level = _FATAL_ONLY

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """Return the outputs, by default all of them in the graph's order.

        Args:
            outputs: names of the outputs wanted, None for all.
            feeds: a native, aligned array of the declared dtype and rank for every input.

        Raises:
            InferenceError: the engine failed.
        """
        try:
            results: list[Array] = self._run(outputs, feeds, self._run_options)
        except Exception as cause:
            raise InferenceError(
                f"onnxruntime {onnxruntime.__version__} failed while running the model "
                f"({_first_line(cause)}): check the input's sizes, or run "
                "'edgeport verify' on the artifact"
            ) from cause
        return results


def engine_version() -> str:
    """Return the version of the installed onnxruntime."""
    return str(onnxruntime.__version__)


def _port(node: Any, path: str | None) -> Port:
    place = "the artifact" if path is None else f"'{path}'"
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise UnsupportedFormatError(
            f"{place} has a tensor '{node.name}' of type {node.type}, "
            f"expected one of {', '.join(_DTYPES)}: export it with another type",
            path=path,
            found=node.type,
            supported=", ".join(_DTYPES),
        )
    return Port(node.name, np.dtype(dtype), tuple(node.shape))


# How onnxruntime words a file that is newer than itself, by what is too new.
_TOO_NEW = (
    (
        "IR version",
        re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)"),
    ),
    ("opset", re.compile(r"Opset (\d+) is under development.*till opset (\d+)", re.DOTALL)),
)


def _translate_load_error(cause: Exception, path: str | None) -> ArtifactError:
    place = "the artifact" if path is None else f"'{path}'"
    text = str(cause)
    for what, pattern in _TOO_NEW:
        match = pattern.search(text)
        if match:
            found, supported = match.groups()
            return UnsupportedFormatError(
                f"{place} has {what} {found}, onnxruntime {onnxruntime.__version__} reads up to "
                f"{supported}: update onnxruntime, or convert for this version",
                path=path,
                found=found,
                supported=supported,
            )
    if "protobuf parsing failed" in text or "No graph was found" in text:
        return ArtifactError(
            f"{place} is no ONNX file, or was cut short: "
            "copy the .onnx file again from where it was converted",
            path=path,
        )
    return ArtifactError(
        f"{place} cannot be loaded by onnxruntime {onnxruntime.__version__} "
        f"({_first_line(cause)}): convert it again with edgeport-converter",
        path=path,
    )


def _first_line(cause: Exception) -> str:
    """Return the engine's reason without its log prefix, one line, at most 200 characters."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(cause).strip())
    text = re.sub(r"/\S+\.(?:cc|h):\d+ .*?\)(?: const)? ", "", text)
    line = text.splitlines()[0] if text else type(cause).__name__
    return line if len(line) <= 200 else line[:197] + "..."
