"""The command that makes the same artifact again.

A conversion knows its own options: they become a command line where each can be written as text,
else a call in Python. A file knows less; its command has gaps, in capital letters.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import numpy as np

from edgeport import ModelCard
from edgeport_converter.options import RECORDS, ConversionOptions, Finetune
from edgeport_converter.reporting.records import RemakeCommand
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.sensors.signals import Signal

_PACKAGES = ("edgeport-converter", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime")
_MOST_LABEL_LETTERS = 400  # more are read from a file


_TUNED = "finetune_data"  # what the data is called in a call in Python


class _NoTextError(Exception):
    """A value has no form on the command line."""


def command_of_conversion(
    model: Any,
    output: Path,
    data: Mapping[str, Any],
    labels: Sequence[str] | None,
    options: ConversionOptions,
    card: ModelCard,
) -> RemakeCommand:
    """Return the command of a conversion that has just been done.

    Args:
        model: as ``convert`` was given it.
        output: the artifact.
        data: calibration and evaluation, as ``convert`` was given them; None where there are none.
        labels: class names.
        options: as they were given, before they were fitted to the data.
        card: the artifact's.
    """
    remarks = list(_remarks(options))
    given = list(_given(options))
    try:
        words = ["edgeport", "convert", _path(model), "-o", str(output)]
        for name, value in data.items():
            if value is not None:
                words += [f"--{name}", _path(value)]
        if labels is not None:
            words += ["--labels", _label_text(labels, output, remarks)]
        for option, value in given:
            words += _as_flags(option, value)
        if options.finetune is not None:
            words += _finetune_flags(options.finetune, data)
        return RemakeCommand(_wrapped(words), True, _packages(card), tuple(remarks))
    except _NoTextError:
        call = _as_call(model, output, data, labels, given, options.finetune)
        tuned = None if options.finetune is None else options.finetune.data
        in_memory = [
            name
            for name, value in {"model": model, **data, _TUNED: tuned}.items()
            if value is not None and not isinstance(value, (str, os.PathLike))
        ]
        if in_memory:
            remarks.append(
                f"{' and '.join(in_memory)} came from the memory of a program: the digests below "
                "tell whether it is the same again."
            )
        return RemakeCommand(call, not in_memory, _packages(card), tuple(remarks))


def command_of_card(card: ModelCard, file: Path) -> RemakeCommand:
    """Return the command as far as the card of a file tells it."""
    words = ["edgeport", "convert", card.provenance.get("source", "MODEL")]
    remarks = [
        "The file does not record the options that it was made with; this is what its card tells. "
        "`edgeport convert … --report FILE` writes a report with the whole command."
    ]
    if words[-1] == "memory":
        words[-1] = "MODEL"
        remarks.append("The model came from the memory of a program.")
    words += ["-o", file.name]
    if card.calibration is not None:
        words += ["--calibration", "DATA"]
        remarks.append(
            f"The calibration data had {card.calibration.samples:,} samples that calibrated, and "
            f"the digest {card.calibration.sha256}."
        )
    if card.accuracy is not None:
        words += ["--evaluation", "DATA"]
    if card.labels:
        words += ["--labels", _label_text(card.labels, file, remarks)]
    if card.quantization is not None:
        words += ["--quantize", card.quantization.recipe, "--target", card.quantization.target]
    elif card.is_vouched_for:
        words += ["--quantize", "none"]
    if card.requires is not None:
        words += ["--onnxruntime", card.requires.onnxruntime]
    return RemakeCommand(_wrapped(words), False, _packages(card), tuple(remarks))


def _label_text(labels: Sequence[str], file: Path, remarks: list[str]) -> str:
    """Return the class names with commas, or the name of a file that a remark explains."""
    text = ",".join(labels)
    is_plain = all(name == name.strip() and "," not in name for name in labels)
    if len(labels) > 1 and is_plain and len(text) <= _MOST_LABEL_LETTERS:
        return text
    remarks.append(
        f"labels.txt holds the {len(labels):,} class names of the card, one a line, in the order "
        f"of `edgeport info {shlex.quote(file.name)} --json`."
    )
    return "labels.txt"


def _remarks(options: ConversionOptions) -> list[str]:
    if options.quantization.quantize != "auto":
        return []
    return [
        "`auto` chooses by measured times, which may differ on another machine or day; "
        "the recipe by its name, with --quantize, gives the same bytes on one machine.",
    ]


def _given(options: ConversionOptions) -> list[tuple[Field[Any], Any]]:
    """Return the options that are not at their defaults."""
    return [each for name in RECORDS for each in _given_of(getattr(options, name))]


def _given_of(record: Any) -> list[tuple[Field[Any], Any]]:
    return [
        (option, value)
        for option in fields(record)
        if not _is_default(value := getattr(record, option.name), option.default)
    ]


def _is_default(value: Any, default: Any) -> bool:
    if value is default:
        return True
    return type(value) is type(default) and bool(value == default)


def _path(value: Any) -> str:
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    raise _NoTextError


def _as_flags(option: Field[Any], value: Any) -> list[str]:
    """Return an option as on the command line; raises _NoTextError."""
    flag = f"--{option.name.replace('_', '-')}"
    if value is True:
        return [flag]
    if isinstance(value, Frames):
        return [flag, value.to_text()]
    if isinstance(value, Signal):
        return [flag, value.to_text()]
    if isinstance(value, Mapping) and all(isinstance(one, Frames) for one in value.values()):
        return [word for name, one in value.items() for word in (flag, f"{name}={one.to_text()}")]
    if isinstance(value, (list, tuple)):
        texts = [_text(one) for one in value]
        if option.metadata.get("repeatable"):
            return [word for text in texts for word in (flag, text)]
        if any("," in text or text != text.strip() for text in texts):
            raise _NoTextError
        joined = ",".join(texts)
        return [f"{flag}={joined}"] if joined.startswith("-") else [flag, joined]
    return [flag, _text(value)]


def _finetune_flags(wanted: Finetune, data: Mapping[str, Any]) -> list[str]:
    """Return the options of fine-tuning; without data of its own it takes what calibrates."""
    given = data.get("calibration") if wanted.data is None else wanted.data
    words = ["--finetune", _path(given)]
    for option, value in _given_of(wanted):
        if option.name != "data":
            flag = option.metadata.get("flag", f"--{option.name.replace('_', '-')}")
            words += [flag, _text(value)]
    return words


def _text(value: Any) -> str:
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return repr(float(value)) if isinstance(value, (float, np.floating)) else str(value)
    raise _NoTextError


def _wrapped(words: Sequence[str]) -> str:
    """Return a command a shell reads, one option a line."""
    lines, line = [], ""
    for word in map(shlex.quote, words):
        if word.startswith("-") and line:
            lines.append(line)
            line = f"    {word}"
        else:
            line = f"{line} {word}" if line else word
    return " \\\n".join([*lines, line])


def _as_call(
    model: Any,
    output: Path,
    data: Mapping[str, Any],
    labels: Sequence[str] | None,
    given: Sequence[tuple[Field[Any], Any]],
    finetune: Finetune | None,
) -> str:
    """Return a call in Python; what is in memory is named there, and described above it."""
    tuned = [] if finetune is None else _given_of(finetune)
    values = {"model": model, **data, **{option.name: value for option, value in given}}
    if finetune is not None:
        values[_TUNED] = finetune.data
    in_memory = [f"# {name}: {_kind(v)}" for name, v in values.items() if not _is_plain(v)]
    arguments = [_in_python(model, "model"), repr(str(output))]
    arguments += [f"{k}={_in_python(v, k)}" for k, v in data.items() if v is not None]
    if labels is not None:
        arguments.append(f"labels={list(labels)!r}")
    arguments += [f"{option.name}={_in_python(v, option.name)}" for option, v in given]
    if finetune is not None:
        options = (
            _in_python(v, _TUNED) if option.name == "data" else f"{option.name}={_in_python(v, '')}"
            for option, v in tuned
        )
        arguments.append(f"finetune=Finetune({', '.join(options)})")
    inner = "".join(f"    {argument},\n" for argument in arguments)
    remarks = "".join(f"{line}\n" for line in in_memory)
    names = "convert" if finetune is None else "Finetune, convert"
    return f"from edgeport_converter import {names}\n\n{remarks}convert(\n{inner})"


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(one, (str, float, int)) for one in value)
    simple = (str, bool, int, float, os.PathLike, Frames, Signal)
    return value is None or isinstance(value, simple)


def _in_python(value: Any, name: str) -> str:
    if not _is_plain(value):
        return name
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    return repr(list(value) if isinstance(value, tuple) else value)


def _kind(value: Any) -> str:
    """Describe an object in memory, and each part of a pair or a dict."""
    if isinstance(value, Mapping):
        return "a dict of " + ", ".join(f"{k}: {_kind(v)}" for k, v in list(value.items())[:6])
    if isinstance(value, tuple) and len(value) <= 4:
        return f"({', '.join(map(_kind, value))})"
    kind = getattr(value, "__name__", type(value).__name__)
    shape = getattr(value, "shape", None)
    return f"{kind} {value.dtype} {tuple(shape)}" if isinstance(shape, tuple) else kind


def _packages(card: ModelCard) -> str:
    found = [f"{k}=={card.provenance[k]}" for k in _PACKAGES if k in card.provenance]
    return f"pip install {' '.join(found)}" if found else ""
