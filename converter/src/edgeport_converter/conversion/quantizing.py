"""The search for the best quantized graph within the budget."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeport_converter.conversion.finetuning import (
    describe_state,
    describe_training,
    make_finetuner,
    note_on_training,
)
from edgeport_converter.conversion.float_model import FloatModel
from edgeport_converter.conversion.measuring import Baseline
from edgeport_converter.conversion.source import LoadedSource
from edgeport_converter.conversion.user_samples import ConversionData
from edgeport_converter.options import ConversionOptions
from edgeport_converter.progress import Progress, track_batches

if TYPE_CHECKING:
    from edgeport_converter.quantization.evaluation.layer_times import LayerTimes
    from edgeport_converter.quantization.finetuning.finetune import Finetuned
    from edgeport_converter.quantization.search.candidates import Candidate
    from edgeport_converter.quantization.search.selection import Selection, Step


@dataclass(frozen=True, eq=False)
class Quantized:
    """What the search found, and its variants by recipe. Empty where nothing was quantized.

    ``board`` has the times that the formats were chosen by, None where this machine chose;
    ``finetuned`` what was trained, and ``provenance`` the card's lines on it.
    """

    choice: Selection | None = None
    variants: dict[str, Candidate] | None = None
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    board: LayerTimes | None = None
    is_stopped: bool = False
    finetuned: Finetuned | None = None
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def candidate(self) -> Candidate | None:
        """The graph to write, None for the float graph."""
        return self.choice.candidate if self.choice else None


def quantize_model(
    float_model: FloatModel,
    source: LoadedSource,
    data: ConversionData,
    baseline: Baseline,
    options: ConversionOptions,
    board: LayerTimes | None,
    progress: Progress,
    state_file: Path | None = None,
) -> Quantized:
    """Search for the best quantized graph within the budget, and make the variants.

    ``state_file`` is where the state of an interrupted fine-tuning is kept.
    """
    from edgeport_converter.quantization.evaluation import evidence
    from edgeport_converter.quantization.search.candidates import CandidateFactory
    from edgeport_converter.quantization.search.selection import Quantizer
    from edgeport_converter.quantization.search.telling import telling_steps
    from edgeport_converter.verification.runners import batches_for

    calibration = data.roles.calibration
    assert calibration is not None  # noqa: S101 - the caller asked
    assert baseline.evaluator is not None  # noqa: S101 - the same
    wanted, graph = options.quantization, float_model.graph
    factory: type[CandidateFactory] = CandidateFactory
    if wanted.engine == "ray":
        from edgeport_converter.quantization.search.cluster import CandidatesOnRay

        factory = CandidatesOnRay
    quantizer = Quantizer(
        graph,
        float_model.card,
        track_batches(
            batches_for(calibration.batches, float_model.card.inputs),
            "calibration data",
            len(calibration),
        ),
        baseline.evaluator,
        options.device.cpu,
        options.budget.max_drop,
        factory,
    )
    if options.finetune is not None:
        quantizer.finetuner = make_finetuner(
            float_model, source, data, options.finetune, state_file
        )
    nodes = source.layers.find_nodes(wanted.keep_float, [node.name for node in graph.graph.node])
    choice: Selection | None = None
    notes: tuple[str, ...] = ()
    with telling_steps(progress) as quantizer.on_step, closing(quantizer):
        if board is not None:
            choice = quantizer.compose(board, wanted.ranges, nodes, source.model.source)
        elif wanted.quantize != "none":
            choice = quantizer.choose_unless_stopped(
                wanted.quantize, wanted.ranges, wanted.objective, nodes
            )
        variants = quantizer.variants_unless_stopped(wanted.also, wanted.ranges, nodes)
    if choice is not None:
        progress.say(f"quantize: chosen is {choice.candidate.recipe}")
        notes = evidence.check_answers(choice.candidate.measured.agreement, options.budget.max_drop)
    if board is not None:
        notes += board.notes()
    notes += quantizer.notes + quantizer.notes_on_trying
    provenance: dict[str, str] = {}
    if quantizer.finetuned is not None and options.finetune is not None:
        trained = quantizer.finetuned
        provenance = describe_training(
            trained, float_model, data, baseline, options.finetune, quantizer.gain
        )
        notes += note_on_training(choice, provenance, quantizer.gain) + trained.notes
    if quantizer.is_stopped:
        count = len(quantizer.steps)
        notes += (
            f"the search was stopped after {count} candidate{'s' if count > 1 else ''}, of which "
            "the best was taken: a whole one may find another that is faster or smaller",
        )
        if state_file is not None and state_file.exists():
            notes += (describe_state(state_file),)
    return Quantized(
        choice,
        variants,
        quantizer.steps,
        notes,
        board,
        quantizer.is_stopped,
        quantizer.finetuned,
        provenance,
    )


def read_layer_times(options: ConversionOptions) -> LayerTimes | None:
    """Return the times that a board measured, if asked for."""
    if options.quantization.layer_times is None:
        return None
    from edgeport_converter.quantization.evaluation import layer_times

    return layer_times.read(options.quantization.layer_times)
