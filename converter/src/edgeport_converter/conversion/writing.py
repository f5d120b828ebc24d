"""What is written: the artifact and its variants, and the Keras model with trained weights."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from edgeport import ConversionError, ModelCard
from edgeport.artifact.golden import Array
from edgeport_converter.conversion.float_model import FloatModel
from edgeport_converter.conversion.measuring import Baseline
from edgeport_converter.conversion.proving import ParityCheck
from edgeport_converter.conversion.quantizing import Quantized
from edgeport_converter.conversion.source import LoadedSource
from edgeport_converter.conversion.user_samples import GOLDEN_BATCH, ConversionData
from edgeport_converter.options import ConversionOptions
from edgeport_converter.paths import variant_path

if TYPE_CHECKING:
    from edgeport_converter.quantization.search.candidates import Candidate
    from edgeport_converter.verification.runners import Run


@dataclass(frozen=True, eq=False)
class Stamped:
    """What was written: the card as a device reads it, the size, the variants by recipe."""

    card: ModelCard
    file_bytes: int
    variants: dict[str, Path]


def stamp(
    float_model: FloatModel,
    quantized: Quantized,
    source: LoadedSource,
    data: ConversionData,
    parity: ParityCheck,
    baseline: Baseline,
    options: ConversionOptions,
    destination: Path,
) -> Stamped:
    """Write the artifact and its variants, each with its card and golden samples."""
    from edgeport_converter.artifact.card import ArtifactWriter, describe
    from edgeport_converter.sensors.columns import check_fills
    from edgeport_converter.verification.runners import as_run, open_graph

    samples = data.golden_candidates
    if samples is not None and float_model.card.samples_interact:  # a run takes them all at once
        samples = {name: array[:GOLDEN_BATCH] for name, array in samples.items()}

    def metric_on_frames(run: Run) -> float | None:
        """Measure the finished graph on what a device will hand over."""
        judged, evaluator = data.user.measured, baseline.evaluator
        assert judged is not None and evaluator is not None  # noqa: S101, PT018 - there is accuracy
        return evaluator.metric_of(run, lambda _: judged.as_given())

    board = quantized.board
    chosen_by = {} if board is None else {"layer_times": board.describe()}
    writer = ArtifactWriter(
        describe(
            replace(float_model.card, columns=data.columns),
            {**source.model.source, **chosen_by},
            float_model.graph,
            data.roles.calibration,
            parity.figures.doubts(),
        ),
        options.device,
        samples,
        parity.tried,
        source.layers,
        data.roles.source,
        source.frames,
        data.frames,
        None if baseline.accuracy is None else metric_on_frames,
        floors=parity.figures.floors,
    )

    filled = data.columns, samples or parity.tried
    check_fills(float_model.reference, *filled, "the Keras model")

    def write(candidate: Candidate | None, path: Path) -> tuple[ModelCard, int]:
        graph = candidate.graph if candidate else float_model.compact
        if any(column.missing is not None for column in data.columns):
            with open_graph(graph, float_model.card) as predictor:
                check_fills(as_run(predictor), *filled, "the artifact")
        own = writer
        if candidate is not None and candidate.recipe.finetuned:
            lines = {**writer.card.provenance, **quantized.provenance}
            own = replace(writer, card=replace(writer.card, provenance=lines))
        return own.write(graph, candidate, baseline.accuracy, path)

    variants = {}
    for kind, candidate in (quantized.variants or {}).items():
        variants[kind] = variant_path(destination, kind)
        write(candidate, variants[kind])
    return Stamped(*write(quantized.candidate, destination), variants)


def is_finetuned(quantized: Quantized) -> bool:
    """Whether the graph to write has trained weights."""
    candidate = quantized.candidate
    return quantized.finetuned is not None and candidate is not None and candidate.recipe.finetuned


def save_finetuned(quantized: Quantized, source: LoadedSource, file: IO[bytes]) -> None:
    """Write the Keras model with the trained weights into a file, and read them again.

    The file takes its place right after the artifact. A process that is killed in between leaves
    the new artifact beside the former model. That can be told: the artifact's card says
    ``finetuned_to_sha256``, the SHA-256 over the bytes of ``model.weights`` in their order. It is
    mended by the same call again, since OUTPUT.finetuning is still there.

    Raises:
        ConversionError: the file lacks a trained weight, as where a layer saves its own way.
    """
    from edgeport_converter.quantization.finetuning.keras_links import with_values

    assert quantized.finetuned is not None  # noqa: S101 - the caller asked
    values, model = quantized.finetuned.values, source.model.model
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "model.keras"
        _fill_keras_cache()
        with with_values(values):
            model.save(whole)
        _require_values(whole, [value for _, value in values])
        with whole.open("rb") as written:
            shutil.copyfileobj(written, file)
    file.flush()
    os.fsync(file.fileno())


def _fill_keras_cache() -> None:
    """Have Keras make the optimizer now that saving compares others with.

    A stateless scope allows no new variables, which an optimizer has. Keras means to keep what it
    learns of it, but keeps it under another name than it looks for (``get_attr_skipset``, 3.15).
    """
    from keras.src.backend.common import global_state
    from keras.src.saving.saving_lib import get_attr_skipset

    name = "saving_attr_skiplist_Optimizer"
    global_state.set_global_attribute(name, get_attr_skipset("Optimizer"))


def _require_values(path: Path, values: list[Array]) -> None:
    """Refuse a .keras file that lacks one of these weights."""
    import h5py

    found: set[bytes] = set()

    def add(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.add(_digest(item[()]))

    with zipfile.ZipFile(path) as archive, h5py.File(archive.open("model.weights.h5")) as weights:
        weights.visititems(add)
    if any(_digest(value) not in found for value in values):
        raise ConversionError(
            "the file of the fine-tuned Keras model lacks a weight that was trained, expected all "
            "of them: a layer saves its weights in its own way, so leave the fine-tuned model out"
        )


def _digest(array: Array) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
