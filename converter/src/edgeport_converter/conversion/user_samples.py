"""The user's data: which samples calibrate, judge, train and become golden samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from edgeport_converter.conversion.float_model import FloatModel
from edgeport_converter.conversion.source import LoadedSource
from edgeport_converter.options import ConversionOptions

if TYPE_CHECKING:
    from edgeport.artifact.card import ModelCard
    from edgeport.artifact.column import Column
    from edgeport.artifact.golden import Array
    from edgeport_converter.data.user_data import UserData
    from edgeport_converter.quantization.evaluation.held_out import SampleRoles
    from edgeport_converter.quantization.finetuning.samples import TrainingData

_GOLDEN_CANDIDATES = 256  # samples that golden samples are chosen from
GOLDEN_BATCH = 16
"""The same for a model that runs them in one piece."""


@dataclass(frozen=True, eq=False)
class ConversionData:
    """The user's data, which samples calibrate and which judge.

    Attributes:
        user: the data.
        roles: which samples calibrate and which judge.
        border: of a score that stands alone, above which it means class 1; None where it means no
            class.
        notes: what has to be said.
        frames: the first samples as they were given, if inputs take frames.
        columns: of the tables that the model takes, with their ranges.
        training: what to fine-tune on, if asked for.
    """

    user: UserData
    roles: SampleRoles
    border: float | None
    notes: tuple[str, ...]
    columns: tuple[Column, ...] = ()
    frames: tuple[dict[str, Array], ...] = ()
    training: TrainingData | None = None

    @cached_property
    def golden_candidates(self) -> dict[str, Array] | None:
        """The first samples of the evaluation data, else of all others; None without data."""
        measured = self.user.measured
        return None if measured is None else measured.first(_GOLDEN_CANDIDATES)


def read_data(
    calibration: Any,
    evaluation: Any,
    source: LoadedSource,
    float_model: FloatModel,
    names: Sequence[str] | None,
    options: ConversionOptions,
) -> ConversionData:
    """Read the user's data, and decide which samples calibrate and which judge."""
    from edgeport_converter import exporting
    from edgeport_converter.data.user_data import read_user_data
    from edgeport_converter.quantization.evaluation import evidence
    from edgeport_converter.quantization.evaluation.held_out import assign_samples
    from edgeport_converter.verification.runners import in_fixed_batches
    from edgeport_converter.verification.scales import check_scale

    card, by_class = float_model.card, options.budget.metric is None
    reading: dict[str, Any] = {
        "image_range": options.pixels.image_range,
        "class_names": names,
        "label_column": options.tables.label_column,
        "frames": source.frames,
        "signal": source.signal,
        "columns": float_model.columns,
    }
    user = read_user_data(
        calibration,
        evaluation,
        card.inputs,
        card.outputs,
        needs_classes=by_class,
        **reading,
    )
    run = in_fixed_batches(exporting.reference_of(source.trained), card.inputs)
    border, notes = evidence.measure_border(
        source.model, card, float_model.reference, user, by_class=by_class
    )
    notes = user.notes + notes
    if source.signal is None:  # else the data has the dtype and so the scale of the recordings
        notes += check_scale(
            source.trained, run, user, options.pixels, by_class=by_class, border=border or 0.0
        )
    roles = assign_samples(user, quantizes=options.quantization.quantizes)
    if options.quantization.quantizes:
        notes += evidence.check_data(roles)
    frames: tuple[dict[str, Array], ...] = ()
    if source.frames and user.measured is not None:
        frames = tuple(islice(user.measured.as_given(), GOLDEN_BATCH))
    training = None
    if options.finetune is not None:
        training = _read_training_data(calibration, user, roles, card, options, reading)
        notes += training.notes
    return ConversionData(
        user, roles, border, notes, _describe_columns(float_model, user), frames, training
    )


def _read_training_data(
    calibration: Any,
    user: UserData,
    roles: SampleRoles,
    card: ModelCard,
    options: ConversionOptions,
    reading: dict[str, Any],
) -> TrainingData:
    """Read what to fine-tune on, as the other data was read: ``read_dataset`` gets ``reading``."""
    from edgeport_converter.data.datasets import read_dataset
    from edgeport_converter.quantization.finetuning.samples import prepare

    wanted = options.finetune
    assert wanted is not None and user.calibration is not None  # noqa: S101, PT018 - checked
    dataset = user.calibration
    if wanted.data is not None and wanted.data is not calibration:
        dataset = read_dataset(
            wanted.data,
            card.inputs,
            "fine-tuning",
            like=dataset.columns,
            outputs=[spec.name for spec in card.outputs],
            **reading,
        )
    assert roles.judged is not None  # noqa: S101 - there is calibration data
    return prepare(
        dataset,
        dataset.labels,
        roles.judged,
        card.outputs,
        by_class=options.budget.metric is None,
        seed=wanted.seed,
    )


def _describe_columns(float_model: FloatModel, user: UserData) -> tuple[Column, ...]:
    """Return the columns with the data's names where nothing else named them, and its ranges."""
    from edgeport_converter.sensors.columns import from_header, with_ranges

    columns, seen = float_model.columns, user.calibration or user.measured
    if seen is None:
        return columns
    return with_ranges(
        columns or from_header(seen.columns, float_model.card.inputs), seen.feature_ranges
    )
