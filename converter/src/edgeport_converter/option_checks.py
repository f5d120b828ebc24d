"""What of the options depends on the data, the labels or the model.

A record of ``options`` checks itself when it is made. ``pipeline`` calls these functions with all
records, before any work is done, and ``conversion`` the one that needs the exported model.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeport import OptionError
from edgeport_converter.options import ConversionOptions, Finetune, QuantizationOptions
from edgeport_converter.paths import require_data_file


def fit_to_data(options: ConversionOptions, calibration: Any, evaluation: Any) -> ConversionOptions:
    """Return the options that hold for the data: ``auto`` without calibration data means float.

    Raises:
        OptionError: a named recipe has no calibration data, the expected metric no evaluation data,
            or a file is missing.
    """
    for purpose, data in (("calibration", calibration), ("evaluation", evaluation)):
        if isinstance(data, (str, os.PathLike)):
            if not os.fspath(data):  # pathlib takes it for the working folder
                raise OptionError(
                    f"the {purpose} data is an empty path, expected that of a file or a folder: "
                    "check the variable that it came from"
                )
            require_data_file(Path(data), purpose)
    has_table = _is_table(calibration) or _is_table(evaluation)
    if options.tables.label_column is not None and not has_table:
        raise OptionError(
            "label_column was given and no data is a .csv file, expected the name of a column in "
            "one: leave it out"
        )
    if options.budget.expected_metric is not None and evaluation is None:
        raise OptionError(
            "expected_metric was given without evaluation data, expected the number that Keras "
            "reaches on the evaluation data: pass both, or leave it out"
        )
    wanted = options.quantization
    if options.finetune is not None:
        _require_finetuning(options.finetune, wanted, calibration)
    if calibration is not None or not wanted.quantizes:
        return options
    if wanted.layer_times is not None or wanted.quantize != "auto" or set(wanted.also) - {"none"}:
        raise OptionError(
            "quantization needs calibration data and none was given, expected a few hundred "
            "samples like the device's, since ranges and losses on made-up data would say "
            "nothing of real answers: pass calibration=, or quantize='none' for a float "
            "artifact"
        )
    note = (
        "the artifact is a float one, since there is no calibration data: with a few hundred "
        "samples like the device's it can be quantized, which makes most files a quarter as large"
    )
    return replace(
        options, quantization=replace(wanted, quantize="none"), notes=(*options.notes, note)
    )


def _require_finetuning(finetune: Finetune, wanted: QuantizationOptions, calibration: Any) -> None:
    """Raise an OptionError where nothing becomes int8, or calibration data is missing."""
    if not isinstance(finetune, Finetune):
        raise OptionError(
            f"finetune is a {type(finetune).__name__}, expected Finetune: pass Finetune(data)"
        )
    if isinstance(finetune.data, (str, os.PathLike)):
        require_data_file(Path(finetune.data), "fine-tuning")
    if calibration is None:
        raise OptionError(
            "finetune was given without calibration data, expected a few hundred samples like the "
            "device's, which ranges start from: pass calibration="
        )
    if wanted.quantize not in ("auto", "static") or wanted.layer_times is not None:
        found = "layer_times" if wanted.layer_times is not None else f"quantize={wanted.quantize!r}"
        raise OptionError(
            f"finetune was given with {found}, expected quantize='auto' or 'static' alone, since "
            "weights are trained for int8 activations: leave one of them out"
        )


def _is_table(data: Any) -> bool:
    if isinstance(data, tuple):
        data = data[0] if data else None
    if hasattr(data, "columns"):  # a table of pandas and the like
        return True
    return isinstance(data, (str, os.PathLike)) and os.fspath(data).lower().endswith(".csv")


def require_no_measure(options: ConversionOptions, place: str) -> str:
    """Return the note on a model whose answers depend on the whole batch.

    Args:
        options: those of the conversion.
        place: where in the model, in words.

    Raises:
        OptionError: a recipe or a metric was asked for, which no measurement could judge.
    """
    wanted = options.quantization
    asked = {
        "quantize": wanted.quantize not in ("auto", "none"),
        "also": bool(set(wanted.also) - {"none"}),
        "expected_metric": options.budget.expected_metric is not None,
    }
    for name in (name for name, is_asked in asked.items() if is_asked):
        raise OptionError(
            f"{name} was given and the answers of this model depend on the whole batch from "
            f"{place} on, so that what is measured would change with the batches, expected a model "
            f"that answers each sample by itself: leave {name} out, or pass one_by_one to have "
            "each sample answered alone"
        )
    return (
        f"the answers depend on the whole batch from {place} on: the artifact is a float one that "
        "runs each batch in one piece, as the Keras model does, and refuses streams, and no "
        "accuracy was measured, which would change with the batches; with one_by_one each sample "
        "is answered alone, and can be quantized, measured and streamed"
        + ("" if options.finetune is None else "; fine-tuning was left out, too")
    )


def list_class_names(labels: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the class names in order.

    Raises:
        OptionError: they are one text, which would be taken letter by letter, no list, or have no
            order that could be that of the scores, as a set.
    """
    if isinstance(labels, str):
        raise OptionError(
            f"labels are the text {labels!r}, expected a list of names: put it into a list"
        )
    unordered = isinstance(labels, (Set, Mapping))
    if labels is not None and (unordered or not isinstance(labels, Iterable)):
        raise OptionError(
            f"labels are a {type(labels).__name__}, expected a list of names in the order of the "
            "scores: write one"
        )
    return None if labels is None else tuple(labels)
