"""Training of the weights while they are quantized, for ``quantizing``, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeport_converter.conversion.float_model import FloatModel
from edgeport_converter.conversion.measuring import Baseline
from edgeport_converter.conversion.proving import prepare_comparison, prove_parity
from edgeport_converter.conversion.source import LoadedSource
from edgeport_converter.conversion.user_samples import ConversionData
from edgeport_converter.options import Finetune
from edgeport_converter.progress import say

if TYPE_CHECKING:
    import onnx

    from edgeport_converter.quantization.evaluation.paired import PairedTest
    from edgeport_converter.quantization.finetuning.finetune import Finetuned, Finetuner
    from edgeport_converter.quantization.search.selection import Selection


def make_finetuner(
    float_model: FloatModel,
    source: LoadedSource,
    data: ConversionData,
    wanted: Finetune,
    state_file: Path | None,
) -> Finetuner:
    """Return what the search trains the weights by, each result proven against Keras."""
    from edgeport_converter import optimizing
    from edgeport_converter.exporting import logits, reference
    from edgeport_converter.quantization.finetuning.finetune import Finetuner
    from edgeport_converter.verification.runners import fixed_batch, in_fixed_batches

    inputs = float_model.card.inputs

    def prove(graph: onnx.ModelProto) -> None:
        # What ran before may have traced the model with the weights that it had.
        trained = replace(
            float_model,
            graph=graph,
            compact=optimizing.compact(graph),
            reference=in_fixed_batches(reference.reference_of(source.model), inputs),
            logits=in_fixed_batches(logits.logits_of(source.model), inputs),
        )
        prove_parity(trained, prepare_comparison(trained, data.user.measured))

    assert data.training is not None  # noqa: S101 - it was read, since it is wanted
    fixed = fixed_batch(inputs)
    return Finetuner(
        wanted,
        source.model.model,
        data.training,
        prove,
        fixed or wanted.batch_size,
        0.5 if data.border is None else data.border,
        is_fixed=fixed is not None,
        state_file=state_file,
    )


def describe_state(file: Path) -> str:
    """Return the sentence on a state of fine-tuning, which an earlier call may have written."""
    return (
        f"fine-tuning is kept as far as it went in '{file}': the call that wrote it goes on from "
        "there when it comes again"
    )


@contextmanager
def telling_of_state(file: Path | None) -> Iterator[None]:
    """Where the block fails and a state of fine-tuning is left, say who goes on from there."""
    try:
        yield
    except BaseException as error:
        if file is None or not file.exists():
            raise
        kept = describe_state(file)
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"{error or 'interrupted'}; {kept}") from error
        say(kept)
        raise


def describe_training(
    trained: Finetuned,
    float_model: FloatModel,
    data: ConversionData,
    baseline: Baseline,
    wanted: Finetune,
    gain: PairedTest | None,
) -> dict[str, str]:
    """Return the card's lines on changed weights: which, from what to what, on what data."""
    import onnx_ir as ir

    from edgeport_converter.verification.runners import as_run, open_graph

    seen, evaluator = data.training, baseline.evaluator
    assert seen is not None and evaluator is not None  # noqa: S101, PT018 - there was a training
    teaching = "labels and the float model" if seen.labels is not None else "the float model"
    found = {
        "finetuned_from_sha256": trained.digests[0],
        "finetuned_to_sha256": trained.digests[1],
        "finetuned_on": f"{len(seen)} samples, {trained.fitted.steps} steps of "
        f"{trained.fitted.batch_size}, taught by {teaching}, seed {wanted.seed}",
        "finetuned_on_sha256": seen.sha256,
        "finetuned_agreement": f"{trained.agreement:.2%} of the answers as trained",
    }
    with open_graph(ir.to_proto(trained.graph), float_model.card) as predictor:
        reached = evaluator.metric_of(as_run(predictor))
    if reached is not None and baseline.accuracy is not None:
        found["finetuned_float"] = (
            f"{baseline.accuracy.metric} {reached:.4f}, {baseline.accuracy.float32:.4f} before"
        )
    if gain is not None:
        found["finetuned_gain"] = gain.describe() + (", within noise" if gain.is_noise else "")
    return found


def note_on_training(
    choice: Selection | None, provenance: dict[str, str], gain: PairedTest | None
) -> tuple[str, ...]:
    """Return the notes on trained weights: taken and from what data, or why not; and the gain."""
    if choice is None or not choice.candidate.recipe.finetuned:
        notes = (
            "the weights that were trained under quantization were not taken, since they miss the "
            "budget or another candidate is better by the objective",
        )
    else:
        figures = (
            f"; fine-tuned in float: {provenance['finetuned_float']}"
            if ("finetuned_float" in provenance)
            else ""
        )
        notes = (
            "the weights are not those of the model that was given: they were fine-tuned under "
            f"quantization on {provenance['finetuned_on']}{figures}",
        )
    if gain is None:
        return notes
    if gain.is_noise:
        return (
            *notes,
            f"what fine-tuning changed against int8 is within its noise: {gain.describe()}; more "
            "evaluation data would tell",
        )
    verb = "lost" if gain.is_worse else "gained"
    return (*notes, f"what fine-tuning {verb} against int8 is beyond noise: {gain.describe()}")
