"""The float graph held against Keras: samples alone and in batches, and the parity check."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeport_converter.conversion.float_model import FloatModel
from edgeport_converter.conversion.source import LoadedSource
from edgeport_converter.option_checks import require_no_measure
from edgeport_converter.options import ConversionOptions

if TYPE_CHECKING:
    from edgeport.artifact.golden import Array
    from edgeport_converter.data.datasets import Dataset
    from edgeport_converter.verification.parity import Parity
    from edgeport_converter.verification.trial_inputs import TrialBatches


@dataclass(frozen=True, eq=False)
class ParityCheck:
    """The worst difference from Keras, and the last inputs that it was looked for on."""

    figures: Parity
    tried: dict[str, Array]


def prepare_comparison(float_model: FloatModel, data: Dataset | None) -> TrialBatches:
    """Return the batches that the float graph and Keras are compared on."""
    from edgeport_converter.verification.trial_inputs import prepare_batches

    return prepare_batches(
        float_model.compact, float_model.card, float_model.reference, float_model.logits, data
    )


def check_samples(
    float_model: FloatModel,
    source: LoadedSource,
    compared: TrialBatches,
    options: ConversionOptions,
) -> tuple[FloatModel, ConversionOptions]:
    """Return the model and the options that are left if answers depend on the whole batch.

    Such a model gets a mark in its card, and nothing splits its batches from then on. It stays in
    float and has no accuracy, since both losses and metrics would change with the batches that
    they are measured in.
    """
    import onnx_ir as ir

    from edgeport_converter.verification.independence import find_interaction

    found = find_interaction(
        float_model.compact,
        float_model.card,
        compared,
        lambda graph: source.layers.owners(ir.from_proto(graph).graph),
    )
    if found is None:
        return float_model, options
    note = require_no_measure(options, found.place)
    card = replace(float_model.card, samples_interact=True)
    return replace(float_model, card=card), replace(options, notes=(*options.notes, note))


def prove_parity(float_model: FloatModel, compared: TrialBatches) -> ParityCheck:
    """Compare the float graph with Keras; raises AgreementError where they differ."""
    from edgeport_converter.verification.parity import check_parity

    return ParityCheck(
        *check_parity(float_model.compact, float_model.card, compared, float_model.logits)
    )
