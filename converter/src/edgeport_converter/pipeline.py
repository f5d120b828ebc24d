"""convert(): the stages in running order.

The stages do not know each other. They exchange graphs, arrays and cards, and all decisions that
need more than one stage's knowledge are made here. TensorFlow is imported late, inside, so that
``import edgeport_converter`` stays fast.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeport import (
    Accuracy,
    ConversionError,
    ModelCard,
)
from edgeport_converter.errors import AgreementError
from edgeport_converter.fixed_batches import batches_in_parts, fixed_batch, run_in_parts
from edgeport_converter.options import (
    QuantizationOptions,
    check_class_names,
    find_destination,
    list_class_names,
)
from edgeport_converter.quantization import budget
from edgeport_converter.quiet import quiet_stderr
from edgeport_converter.reports import ConversionReport
from edgeport_converter.stages import Stages
from edgeport_converter.targets import (
    ONNXRUNTIME_FLOOR,
    Engine,
    Target,
    find_engine,
    find_target,
)

if TYPE_CHECKING:
    import onnx

    from edgeport.golden import Array
    from edgeport_converter.data.datasets import Dataset
    from edgeport_converter.exporting import ExportedModel
    from edgeport_converter.fixed_batches import Batches
    from edgeport_converter.loaded import LoadedModel
    from edgeport_converter.quantization.choosing import Candidate, Choice
    from edgeport_converter.quantization.evaluating import Evaluator
    from edgeport_converter.verifying import Parity

_GOLDEN_CANDIDATES = 256
_PARITY_SAMPLES = 512
_PARITY_BATCH = 64

# Between Keras and the float graph, by the user's metric on all of the evaluation data: a sample
# or two may stand on the border of two classes, more would be another model.
_MAX_METRIC_GAP = 0.002


def convert(
    model: Any,
    output: str | os.PathLike[str],
    *,
    calibration: Any = None,
    evaluation: Any = None,
    quantize: str = "auto",
    max_drop: float = budget.DEFAULT_MAX_DROP,
    metric: Any = None,
    target: str = "any",
    ranges: str = "minmax",
    keep_float: Sequence[str] = (),
    objective: str = "balanced",
    also: Sequence[str] = (),
    onnxruntime: str = ONNXRUNTIME_FLOOR,
    image_range: tuple[float, float] = (0.0, 255.0),
    labels: Sequence[str] | None = None,
    custom_objects: Any = None,
    allow_code: bool = False,
    weights: str | os.PathLike[str] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> ConversionReport:
    """Convert a Keras model to an artifact that has been proven against it.

    Args:
        model: a Keras model in memory; the path of a ``.keras``, ``.h5`` or ``.json`` file or of a
            SavedModel folder; or ``package.module:function`` that returns a model.
        output: where to write; replaced in one step, and only when every stage held.
        calibration: data that the activations' ranges are taken from, needed to quantize: the path
            of a ``.npy``, ``.npz`` or ``.csv`` file or of a folder of images; an array; a dict of
            arrays by input name; a pair (x, y); or an iterable of these, such as a generator or a
            ``tf.data.Dataset``. A few hundred samples that look like the device's will do.
        evaluation: data that the loss is measured on, in the same forms; without it the
            calibration data serves. With labels the metric is measured.
        quantize: "static" for int8 weights and activations; "int16" for int8 weights and 16-bit
            activations; "dynamic" for int8 with ranges measured at each run, in Dense and LSTM
            layers; "weights" for int8 weights and float arithmetic; "none" for float; "auto" tries
            them and chooses by measurement.
        max_drop: the budget, from 0 to below 1: how much of the metric may be lost against the
            float graph. Without labels, the best class may change for 1 % of the samples, or the
            signal-to-noise ratio must reach 20 dB if the model is no classifier.
        metric: None for accuracy; or a function of outputs (N, ...) and labels to a number, larger
            is better; or its name, ``module:function`` or ``file.py:function``.
        target: "any", or the devices' CPU family; see ``edgeport_converter.targets``.
        ranges: where the search for activation ranges begins: "minmax", "percentile", "entropy"
            or "mse".
        keep_float: names or patterns of Keras layers that stay in float.
        objective: what to weigh the candidates by that keep the budget: "latency", "size", or
            "balanced", the geometric mean of both.
        also: further recipes to write beside the output for comparison, as NAME.RECIPE.onnx;
            one that misses the budget is reported and not written.
        onnxruntime: the oldest version that the artifact has to open in; fixes opset and IR.
        image_range: the values that black and white pixels of image files become.
        labels: class names in the order of the scores.
        custom_objects: classes and functions that the model's file names: a dict, or the Python
            file or module that defines them.
        allow_code: whether Python code stored in the model's file may run; it is refused, and
            named, by default.
        weights: for a ``.json`` model, the file with its weights.
        on_stage: is told the name of each stage as it begins, and each recipe tried.

    Returns:
        Every figure, and the card that the file bears.

    Raises:
        OptionError: an option or the data cannot be used.
        InputError: the data disagrees with the model's inputs.
        ConversionError: a stage failed; ``.stage`` names it. Its leaves: UnsupportedModelError,
            AgreementError, QuantizationError. The target is as it was before.
    """
    options = QuantizationOptions(quantize, max_drop, ranges, keep_float, objective, also)
    options.check(calibration)
    metric_name, metric_function = budget.find_metric(metric)
    profile = find_target(target)
    engine = find_engine(onnxruntime)
    names = list_class_names(labels)
    destination = find_destination(output, (model, calibration, evaluation))
    stages = Stages(on_stage)

    with stages("load"):
        loaded = _load(model, custom_objects=custom_objects, allow_code=allow_code, weights=weights)
    with stages("export"):
        exported = _export(loaded, engine)
        batch = fixed_batch(exported.inputs)
        exported = replace(exported, reference=run_in_parts(exported.reference, batch))
    check_class_names(names, exported.outputs)
    card = ModelCard(
        loaded.name,
        exported.inputs,
        exported.outputs,
        labels=None if names is None else tuple(names),
    )
    with stages("read data"):
        data = _read_data(exported, calibration, evaluation, metric is None, image_range)
    with stages("optimize"):
        from edgeport_converter import optimizing, verifying
        from edgeport_converter.graphs import open_graph

        float_graph = optimizing.optimize(exported.graph)
        exported = replace(exported, graph=float_graph)  # a large one is not kept twice
        compact_float = optimizing.compact(float_graph)
    with stages("check parity"):
        parity, tried = _check_parity(compact_float, card, exported, data.measured)
    with open_graph(compact_float, card) as float_predictor:
        evaluator = None
        accuracy = None
        if data.measured is not None:
            with stages("measure"):
                from edgeport_converter.quantization.evaluating import Evaluator

                evaluator = Evaluator(
                    verifying.as_run(float_predictor),
                    data.measured.batches,
                    data.labels,
                    metric_function,
                    classifier=_answers_with_a_class(exported, names, data.labels),
                )
                accuracy = _accuracy(metric_name, evaluator, exported, data)
        choice: Choice | None = None
        siblings: dict[str, Candidate] = {}
        if data.calibration is not None and evaluator is not None and options.quantizes:
            with stages("quantize"):
                choice, siblings = _quantize(
                    float_graph,
                    card,
                    batches_in_parts(data.calibration.batches, batch),
                    evaluator,
                    profile,
                    options,
                    stages.tell,
                )
    with stages("stamp"):
        from edgeport_converter import describing

        described = describing.Described(
            describing.describe(card, loaded.source, float_graph, data.calibration),
            engine,
            None if data.measured is None else data.measured.first(_GOLDEN_CANDIDATES),
            tried,
        )
        written = {}
        for kind, candidate in siblings.items():
            written[kind] = destination.with_suffix(f".{kind}{destination.suffix}")
            described.write(
                candidate.quantized.graph,
                candidate,
                _of_candidate(accuracy, candidate),
                profile.name,
                written[kind],
            )
        chosen = choice.candidate if choice else None
        card, size = described.write(
            chosen.quantized.graph if chosen else compact_float,
            chosen,
            _of_candidate(accuracy, chosen),
            profile.name,
            destination,
        )
    return ConversionReport(
        output=destination,
        file_bytes=size,
        float_bytes=compact_float.ByteSize(),
        recipe=str(chosen.recipe) if chosen else "none",
        card=card,
        parity=parity,
        agreement=chosen.measured.agreement if chosen else None,
        accuracy=card.accuracy,
        latency_us=choice.latency_us if choice else None,
        float_latency_us=choice.float_latency_us if choice else None,
        steps=choice.steps if choice else (),
        siblings=written,
        stages=tuple(stages.names),
        notes=loaded.notes,
    )


@dataclass(frozen=True, eq=False)
class _Data:
    """The user's data: what ranges are taken from, what the loss is measured on."""

    calibration: Dataset | None
    measured: Dataset | None
    labels: Array | None


def _load(model: Any, **options: Any) -> LoadedModel:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":  # said before the import, which fails where it is not installed
        raise ConversionError(
            f"KERAS_BACKEND is '{backend}', expected 'tensorflow', which the export traces: set it "
            "to tensorflow before Python starts, the model's file may come from any backend"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr():
        from edgeport_converter import loading

        loading.start_tensorflow()
    return loading.load(model, **options)


def _export(loaded: LoadedModel, engine: Engine) -> ExportedModel:
    with quiet_stderr():
        from edgeport_converter import exporting

        return exporting.export(loaded, opset=engine.opset, ir_version=engine.ir_version)


def _read_data(
    exported: ExportedModel,
    calibration: Any,
    evaluation: Any,
    needs_classes: bool,
    image_range: tuple[float, float],
) -> _Data:
    from edgeport_converter import verifying
    from edgeport_converter.data import datasets

    def read(source: Any, purpose: str) -> Dataset | None:
        if source is None:
            return None
        return datasets.read_dataset(source, exported.inputs, purpose, image_range=image_range)

    first, second = read(calibration, "calibration"), read(evaluation, "evaluation")
    labels = None if second is None else second.labels
    if labels is not None and needs_classes:
        labels = verifying.check_labels(labels, exported.outputs)
    return _Data(first, second or first, labels)


def _answers_with_a_class(
    exported: ExportedModel, names: Sequence[str] | None, labels: Array | None
) -> bool:
    """Whether the best class is what matters: (N, C) alone may as well be a regression."""
    from edgeport_converter import verifying

    return verifying.is_classifier(exported.outputs) and (
        exported.outputs[0].value_range is not None or names is not None or labels is not None
    )


def _check_parity(
    graph: onnx.ModelProto, card: ModelCard, exported: ExportedModel, data: Dataset | None
) -> tuple[Parity, dict[str, Array]]:
    """Return the parity, and the last inputs that it was measured on."""
    from edgeport_converter import trying, verifying
    from edgeport_converter.graphs import open_graph

    batches = []
    if data is not None:
        samples = data.first(_PARITY_SAMPLES)
        start = 0
        for size in (*verifying.BATCH_SIZES, *[_PARITY_BATCH] * (_PARITY_SAMPLES // _PARITY_BATCH)):
            batch = {name: array[start : start + size] for name, array in samples.items()}
            if all(len(array) for array in batch.values()):
                batches.append(batch)
            start += size
    known = trying.looked_up(graph)
    batches = trying.parity_inputs(exported.inputs, batches, exported.reference, known)
    with open_graph(graph, card) as predictor:
        run = verifying.as_run(predictor)
        return verifying.check_parity(run, exported.reference, batches), batches[-1]


def _accuracy(
    name: str, evaluator: Evaluator, exported: ExportedModel, data: _Data
) -> Accuracy | None:
    keras, float32 = evaluator.metric_of(exported.reference), evaluator.float_metric
    if keras is None or float32 is None or data.measured is None:
        return None
    if abs(keras - float32) > max(_MAX_METRIC_GAP, 2 / len(data.measured)):
        raise AgreementError(
            f"{name} is {keras:.4f} with Keras and {float32:.4f} with the float graph, expected "
            "the same: report this model, its conversion would be wrong",
            measured=abs(keras - float32),
            allowed=_MAX_METRIC_GAP,
        )
    return Accuracy(name, len(data.measured), keras, float32, float32)


def _of_candidate(accuracy: Accuracy | None, candidate: Candidate | None) -> Accuracy | None:
    if accuracy is None or candidate is None or candidate.measured.metric is None:
        return accuracy
    return replace(accuracy, artifact=candidate.measured.metric)


def _quantize(
    graph: onnx.ModelProto,
    card: ModelCard,
    calibration: Batches,
    evaluator: Evaluator,
    target: Target,
    options: QuantizationOptions,
    tell: Callable[[str], None],
) -> tuple[Choice | None, dict[str, Candidate]]:
    from edgeport_converter.quantization import choosing, layers

    quantizer = choosing.Quantizer(
        graph,
        card,
        calibration,
        evaluator,
        target,
        options.max_drop,
        lambda step: tell(f"quantize: {step.describe()}"),
    )
    float_nodes = layers.find_nodes(options.keep_float, [node.name for node in graph.graph.node])
    choice = None
    if options.quantize != "none":
        choice = quantizer.choose(options.quantize, options.ranges, options.objective, float_nodes)
    siblings = quantizer.siblings(options.also, options.ranges, float_nodes)
    return choice, siblings
