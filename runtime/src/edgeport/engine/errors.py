"""The engine's errors: which exceptions are its own, and what they are in edgeport's words."""

from __future__ import annotations

import re

from edgeport.errors import ArtifactError, EdgeportError, InferenceError, UnsupportedFormatError
from edgeport.signals import is_from_signal

# How onnxruntime words a file that is newer than itself, by what is too new.
_TOO_NEW = (
    ("IR version", r"Unsupported model IR version: (\d+), max supported IR version: (\d+)"),
    ("opset", r"(?s)Opset (\d+) is under development.*till opset (\d+)"),
)

# How onnxruntime words what it cannot run though the file is whole, and what helps then.
_REMEDIES = (
    (
        r"Fatal error: (\S+):(\w+)\(\S*\) is not a registered function/op",
        "{1} of '{0}' is a custom operator, which onnxruntime does not have; export the model with "
        "ONNX's own operators",
    ),
    (
        r"No Op registered for (\w+) with domain_version",
        "ONNX has no {0} in this opset; export the model for another opset, or without {0}",
    ),
    (
        r"Could not find an implementation for (\w+)\(|Type Error: Type 'tensor\(\w*float\w*\)'",
        "this device computes no such types; export the model in float32",
    ),
)


def type_remedy(kind: str) -> str:
    """Return what helps where an input or output has a type that is no array of numpy."""
    if "map(" in kind:
        return "it comes from a ZipMap; export without it, options={'zipmap': False} in skl2onnx"
    if kind.startswith(("seq(", "optional(")):
        return "export it as one tensor, ConcatFromSequence joins a sequence"
    if "float" in kind:
        return "numpy has no such numbers; export it as float32, a Cast beside it keeps the rest"
    return "export it with another type"


# What pybind11, which wraps the engine, makes of C++ exceptions, and of arguments that do not fit.
# Source: pybind11's documentation, "Exceptions".
_OF_PYBIND = (
    BufferError, ImportError, IndexError, KeyError, MemoryError, NotImplementedError, OverflowError,
    RuntimeError, SystemError, TypeError, UnicodeDecodeError, UnicodeEncodeError, ValueError,
)  # fmt: skip


def is_of_the_engine(error: Exception) -> bool:
    """Whether a call into the engine raised it; else a signal's handler did, or another thread."""
    kind = type(error)
    if kind.__module__.startswith("onnxruntime."):
        return True
    return kind in _OF_PYBIND and not is_from_signal(error)


# How onnxruntime words that memory is short: C++'s own exception, and its allocator's.
_NO_MEMORY = ("bad_alloc", "Failed to allocate memory")


def load_error(cause: Exception, version: str) -> EdgeportError:
    """Return what to raise where onnxruntime of that version cannot load a file."""
    text = str(cause)
    if isinstance(cause, MemoryError) or any(words in text for words in _NO_MEMORY):
        return no_memory(cause)
    for what, pattern in _TOO_NEW:
        match = re.search(pattern, text)
        if match:
            found, supported = match.groups()
            return UnsupportedFormatError(
                f"the artifact has {what} {found}, onnxruntime {version} reads up "
                f"to {supported}: update onnxruntime, or convert for this version",
                found=found,
                supported=supported,
            )
    if "protobuf parsing failed" in text or "No graph was found" in text:
        return ArtifactError(
            "the artifact is no ONNX file, or was cut short: "
            "copy the .onnx file again from where it was converted"
        )
    remedy = "convert it again with edgeport-converter"
    for pattern, found_remedy in _REMEDIES:
        match = re.search(pattern, text)
        if match:
            remedy = found_remedy.format(*match.groups())
            break
    return ArtifactError(
        f"the artifact cannot be loaded by onnxruntime {version} ({first_line(cause)}): {remedy}"
    )


def no_memory(cause: Exception) -> InferenceError:
    """Return what to raise where the memory does not suffice to load a file."""
    return InferenceError(
        f"there is not enough memory to load the artifact ({first_line(cause)}): free some, or "
        "give the process more"
    )


def first_line(cause: Exception) -> str:
    """Return the engine's reason without its log prefix, one line, at most 200 characters."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(cause).strip())
    text = re.sub(r"/\S+\.(?:cc|h):\d+ .*?\)(?: const)? ", "", text)
    line = text.splitlines()[0] if text else type(cause).__name__
    return line if len(line) <= 200 else line[:197] + "..."
