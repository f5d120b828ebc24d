"""convert(): the stages in running order.

The stages do not know each other. They exchange graphs, arrays and cards, and all decisions that
need more than one stage's knowledge are made here. TensorFlow is imported late, inside, so that
``import edgeport_converter`` stays fast.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeport import (
    Accuracy,
    Calibration,
    ConversionError,
    EdgeportError,
    ModelCard,
    OptionError,
    Predictor,
    Quantization,
    Requirements,
    TensorSpec,
)
from edgeport_converter import budget
from edgeport_converter.errors import QuantizationError
from edgeport_converter.quiet import quiet_stderr
from edgeport_converter.targets import (
    ONNXRUNTIME_FLOOR,
    Engine,
    Target,
    find_engine,
    find_target,
    require_readable,
)

if TYPE_CHECKING:
    import onnx

    from edgeport_converter.calibrating import Ranges
    from edgeport_converter.datasets import Dataset
    from edgeport_converter.exporting import ExportedModel
    from edgeport_converter.loaded import LoadedModel
    from edgeport_converter.quantizing import QuantizedGraph
    from edgeport_converter.verifying import Agreement, Parity

RECIPES = ("auto", "static", "none")
_CALIBRATION_BATCH = 16
_EVALUATION_BATCH = 256

# An int8 kernel of another CPU may round a tie the other way; one step in an inner layer moves an
# output by less than this share of its range, a saturating kernel by far more.
_INT8_TOLERANCE = 0.02
_FLOAT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class ConversionReport:
    """Everything that a conversion measured.

    Attributes:
        output: the artifact's path.
        file_bytes: its size.
        float_bytes: the size of the float graph it was made from.
        recipe: how it was quantized, "static" or "none".
        card: the card inside the file.
        parity: the float graph beside Keras.
        agreement: the artifact beside the float graph, None for a float artifact.
        accuracy: with Keras, in float and of the artifact; None without labels.
        stages: the names of the stages that ran, in order.
    """

    output: Path
    file_bytes: int
    float_bytes: int
    recipe: str
    card: ModelCard
    parity: Parity
    agreement: Agreement | None
    accuracy: Accuracy | None
    stages: tuple[str, ...]


def convert(
    model: Any,
    output: str | os.PathLike[str],
    *,
    calibration: Any = None,
    evaluation: Any = None,
    quantize: str = "auto",
    max_drop: float = budget.DEFAULT_MAX_DROP,
    target: str = "any",
    onnxruntime: str = ONNXRUNTIME_FLOOR,
    labels: Sequence[str] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> ConversionReport:
    """Convert a Keras model to an artifact that has been proven against it.

    Args:
        model: a Keras model, or the path of a ``.keras`` or ``.h5`` file.
        output: where to write; replaced in one step, and only when every stage held.
        calibration: data that the activations' ranges are taken from, needed for int8: the path of
            a ``.npy`` or ``.npz`` file, an array, a dict of arrays by input name, or (x, y).
            A few hundred samples that look like the device's will do.
        evaluation: data with labels that the accuracy is measured on, in the same forms.
        quantize: "static" for int8 weights and activations, "none" for float, "auto" to choose.
        max_drop: the budget, as a share from 0 to 1: how much accuracy int8 may lose against the
            float graph. Without labels, the best class may change for 1 % of the samples, or the
            signal-to-noise ratio must reach 20 dB if the model is no classifier.
        target: "any", or the devices' CPU family; see ``edgeport_converter.targets``.
        onnxruntime: the oldest version that the artifact has to open in; fixes opset and IR.
        labels: class names in the order of the scores.
        on_stage: is told the name of each stage as it begins.

    Returns:
        Every figure, and the card that the file bears.

    Raises:
        OptionError: an option or the data cannot be used.
        InputError: the data disagrees with the model's inputs.
        ConversionError: a stage failed; ``.stage`` names it. Its leaves: UnsupportedModelError,
            AgreementError, QuantizationError. The target is as it was before.
    """
    _check_options(quantize, max_drop, calibration)
    profile = find_target(target)
    engine = find_engine(onnxruntime)
    destination = Path(output)
    _check_destination(destination)
    stages = _Stages(on_stage)

    with stages("load"):
        loaded = _load(model)
    with stages("export"):
        exported = _export(loaded, engine)
    _check_class_names(labels, exported.outputs)
    with stages("read data"):
        calibration_data, evaluation_data = _read_data(exported, calibration, evaluation)
    with stages("optimize"):
        from edgeport_converter import optimizing

        float_graph = optimizing.optimize(exported.graph)
        compact_float = optimizing.compact(float_graph)
    with stages("check parity"):
        parity, tried = _check_parity(compact_float, exported, calibration_data or evaluation_data)

    quantized: QuantizedGraph | None = None
    graph = compact_float
    if quantize != "none" and calibration_data is not None:  # _check_options asked for it
        with stages("calibrate"):
            ranges = _collect_ranges(float_graph, calibration_data)
        with stages("quantize"):
            quantized = _quantize(float_graph, ranges, profile)
            graph = optimizing.compact(quantized.graph)
    with stages("measure"):
        agreement, accuracy = _measure(
            exported,
            compact_float,
            graph if quantized else None,
            calibration_data,
            evaluation_data,
            max_drop,
        )
    with stages("stamp"):
        card = _describe(
            loaded, exported, float_graph, quantized, profile, engine, labels, accuracy,
            calibration_data,
        )  # fmt: skip
        card, size = _stamp(graph, card, calibration_data or evaluation_data, tried, destination)
    return ConversionReport(
        output=destination,
        file_bytes=size,
        float_bytes=compact_float.ByteSize(),
        recipe="static" if quantized else "none",
        card=card,
        parity=parity,
        agreement=agreement,
        accuracy=accuracy,
        stages=tuple(stages.names),
    )


class _Stages:
    """Names the stage that is running, to the caller and in any error."""

    def __init__(self, on_stage: Callable[[str], None] | None) -> None:
        self._on_stage = on_stage
        self.names: list[str] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.names.append(name)
        if self._on_stage:
            self._on_stage(name)
        try:
            yield
        except ConversionError as error:
            error.stage = error.stage or name
            raise
        except (EdgeportError, KeyboardInterrupt, MemoryError):
            raise
        except Exception as cause:
            reason = str(cause).strip().splitlines() or [""]
            raise ConversionError(
                f"the stage '{name}' failed ({type(cause).__name__}: {reason[0][:300]}): "
                "report this model, with the cause that is chained to this error",
                stage=name,
            ) from cause


def _check_options(quantize: str, max_drop: float, calibration: Any) -> None:
    if quantize not in RECIPES:
        raise OptionError(
            f"quantize is {quantize!r}, expected one of {', '.join(RECIPES)}: "
            "'auto' gives int8, 'none' gives float"
        )
    if not 0 <= max_drop < 1:
        raise OptionError(
            f"max_drop is {max_drop!r}, expected a share from 0 to below 1: "
            "0.005 allows half a percentage point"
        )
    if quantize != "none" and calibration is None:
        raise OptionError(
            "int8 needs calibration data and none was given, expected a few hundred samples like "
            "the device's, since ranges of made-up data would ruin real answers: pass "
            "calibration=, or quantize='none' for a float artifact"
        )


def _check_destination(output: Path) -> None:
    """Refuse what would fail only after all the work."""
    if output.is_dir():
        raise OptionError(f"the output '{output}' is a folder, expected a file: add a file name")
    if not output.parent.is_dir():
        raise OptionError(
            f"there is no folder '{output.parent}' for the output: make it first, or choose another"
        )


def _check_class_names(labels: Sequence[str] | None, outputs: Sequence[TensorSpec]) -> None:
    if labels is None:
        return
    from edgeport_converter.verifying import is_classifier

    if not is_classifier(outputs):
        raise OptionError(
            "labels were given, but the model has no single output of class scores: "
            "leave the labels out"
        )
    count = outputs[0].shape[1]
    expected = 2 if count == 1 else count
    if len(labels) != expected:
        raise OptionError(
            f"there are {len(labels)} labels, the model has {expected} classes: "
            "pass one name for each class, in the order of the scores"
        )


def _load(model: Any) -> LoadedModel:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr():
        from edgeport_converter import loading

        loading.start_tensorflow()
    return loading.load(model)


def _export(loaded: LoadedModel, engine: Engine) -> ExportedModel:
    with quiet_stderr():
        from edgeport_converter import exporting

        return exporting.export(loaded, opset=engine.opset, ir_version=engine.ir_version)


def _read_data(
    exported: ExportedModel, calibration: Any, evaluation: Any
) -> tuple[Dataset | None, Dataset | None]:
    from edgeport_converter import datasets, verifying

    first = second = None
    if calibration is not None:
        first = datasets.read_dataset(calibration, exported.inputs, "calibration")
    if evaluation is not None:
        second = datasets.read_dataset(evaluation, exported.inputs, "evaluation")
        if second.labels is None:
            raise OptionError(
                "the evaluation data has no labels, expected an array 'y' beside the inputs: "
                "add the labels, or pass the data as calibration only"
            )
        checked = verifying.check_labels(second.labels, exported.outputs)
        second = replace(second, labels=checked)
    return first, second


def _check_parity(
    graph: onnx.ModelProto, exported: ExportedModel, data: Dataset | None
) -> tuple[Parity, dict[str, Any]]:
    """Return the parity, and the last batch that it was measured on."""
    from edgeport_converter import verifying

    batches: list[Any] = []
    if data is not None:
        start = 0
        for size in verifying.BATCH_SIZES:
            batch = data.take(start, size)
            if all(len(array) for array in batch.values()):
                batches.append(batch)
            start += size
    batches = verifying.parity_inputs(exported.inputs, batches, exported.reference)
    with Predictor.load(graph.SerializeToString()) as predictor:
        run = verifying.as_run(predictor)
        return verifying.check_parity(run, exported.reference, batches), batches[-1]


def _collect_ranges(graph: onnx.ModelProto, data: Dataset) -> Ranges:
    from edgeport_converter import calibrating

    return calibrating.collect_ranges(graph, data.batches(_CALIBRATION_BATCH))


def _quantize(graph: onnx.ModelProto, ranges: Ranges, target: Target) -> QuantizedGraph:
    from edgeport_converter import quantizing

    quantized = quantizing.quantize_static(graph, ranges, target)
    if not quantizing.has_quantized_layers(quantized.graph):
        raise QuantizationError(
            "the model has no layer that int8 could store smaller, expected a Dense or "
            "convolution layer: pass quantize='none'"
        )
    return quantized


def _measure(
    exported: ExportedModel,
    float_graph: onnx.ModelProto,
    int8_graph: onnx.ModelProto | None,
    calibration: Dataset | None,
    evaluation: Dataset | None,
    max_drop: float,
) -> tuple[Agreement | None, Accuracy | None]:
    """Return what int8 lost; refuse it where that exceeds the budget."""
    from edgeport_converter import verifying

    final = int8_graph or float_graph
    data = evaluation or calibration
    with (
        Predictor.load(float_graph.SerializeToString()) as float_predictor,
        Predictor.load(final.SerializeToString()) as final_predictor,
    ):
        run_float = verifying.as_run(float_predictor)
        run_final = verifying.as_run(final_predictor)
        agreement = accuracy = None
        if int8_graph is not None and data is not None:
            agreement = verifying.measure_agreement(
                run_final, run_float, list(data.batches(_EVALUATION_BATCH)),
                classifier=verifying.is_classifier(exported.outputs),
            )  # fmt: skip
        if evaluation is not None and evaluation.labels is not None:
            batches = list(evaluation.batches(_EVALUATION_BATCH))
            runs = (exported.reference, run_float, run_final)
            keras, float32, artifact = (
                verifying.measure_accuracy(run, batches, evaluation.labels) for run in runs
            )
            accuracy = Accuracy("accuracy", len(evaluation), keras, float32, artifact)
    if agreement is not None:
        budget.check_budget(agreement, accuracy, max_drop)
    return agreement, accuracy


def _describe(
    loaded: LoadedModel,
    exported: ExportedModel,
    float_graph: onnx.ModelProto,
    quantized: QuantizedGraph | None,
    target: Target,
    engine: Engine,
    labels: Sequence[str] | None,
    accuracy: Accuracy | None,
    calibration: Dataset | None,
) -> ModelCard:
    """Return the card but for what is measured on the finished graph."""
    from edgeport_converter.arithmetic import count_multiply_accumulates

    quantization = None
    if quantized is not None:
        quantization = Quantization(
            "static",
            quantized.weights,
            quantized.activations,
            target.name,
            quantized.float_layers,
        )
    shipped = float_graph if quantized is None else quantized.graph
    opsets = {entry.domain: entry.version for entry in shipped.opset_import}
    require_readable(engine, opsets, shipped.ir_version)
    inputs, source = exported.inputs, None
    if calibration is not None:
        inputs = tuple(replace(s, value_range=calibration.value_range(s.name)) for s in inputs)
        source = Calibration(len(calibration), calibration.digest())
    return ModelCard(
        name=loaded.name,
        inputs=inputs,
        outputs=exported.outputs,
        labels=None if labels is None else tuple(labels),
        quantization=quantization,
        accuracy=accuracy,
        calibration=source,
        requires=Requirements(shipped.ir_version, opsets[""], engine.version),
        multiply_accumulates=count_multiply_accumulates(float_graph),
        provenance=loaded.source | _versions(),
    )


def _versions() -> dict[str, str]:
    packages = ("edgeport-converter", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime")
    return {name: importlib.metadata.version(name) for name in packages}


def _stamp(
    graph: onnx.ModelProto,
    card: ModelCard,
    data: Dataset | None,
    tried: dict[str, Any],
    output: Path,
) -> tuple[ModelCard, int]:
    """Write the artifact; return the card as a device reads it, and the file's size.

    Args:
        graph: what to ship.
        card: all but golden samples and tolerance.
        data: the user's samples, or None.
        tried: inputs that the model takes, for a model with free axes and no data.
        output: the target.
    """
    import numpy as np

    from edgeport_converter import stamping, verifying

    with Predictor.load(graph.SerializeToString()) as predictor:
        run = verifying.as_run(predictor)
        samples = None if data is None else data.take(0, _EVALUATION_BATCH)
        if data is None and any(isinstance(n, str) for s in card.inputs for n in s.shape[1:]):
            samples = tried  # the model may not take every size
        golden_samples: list[dict[str, Any]] = []
        # The card's form of an array is numbers; a model that reads or writes text has no
        # self-test yet.
        if all(spec.dtype.kind != "O" for spec in (*card.inputs, *card.outputs)):
            golden_samples = stamping.make_golden_samples(
                verifying.run_as_defined(graph), card.inputs, samples
            )
        share = _FLOAT_TOLERANCE if card.quantization is None else _INT8_TOLERANCE
        seen = run(tried if data is None else data.take(0, _EVALUATION_BATCH))
        tolerance = {
            name: share * float(np.max(np.abs(array.astype(np.float64)), initial=1e-3))
            if array.dtype.kind == "f" else 0.0
            for name, array in seen.items()
        }  # fmt: skip
        # Loading the file below runs its self-test, so this host's kernels are held to the
        # graph's definition, too.
        text = stamping.card_json(replace(card, tolerance=tolerance), golden_samples)
        artifact = stamping.stamp(graph, text)
        stamped = ModelCard.from_json(text)
        stamping.write(artifact, output, run, stamped.golden_samples)
    with Predictor.load(output) as predictor:
        return predictor.card, len(artifact)
