"""convert(): the stages in running order.

The stages do not know each other. They exchange graphs, arrays and cards, and all decisions that
need more than one stage's knowledge are made here. TensorFlow is imported late, inside, so that
``import edgeport_converter`` stays fast.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeport import (
    Accuracy,
    ConversionError,
    ModelCard,
)
from edgeport_converter.data.labels import check_class_names
from edgeport_converter.options import (
    DEFAULT_MAX_DROP,
    PixelOptions,
    QuantizationOptions,
    check_image_range,
    find_destination,
    list_class_names,
)
from edgeport_converter.quantization.evaluation import budget
from edgeport_converter.quiet import quiet_stderr
from edgeport_converter.report import ConversionReport
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

    from edgeport_converter.exporting import ExportedModel
    from edgeport_converter.loading.model import LoadedModel
    from edgeport_converter.quantization.evaluation.evaluator import Evaluator
    from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
    from edgeport_converter.quantization.search.candidates import Candidate
    from edgeport_converter.quantization.search.selection import Choice, Step
    from edgeport_converter.verification.runners import Batches

_GOLDEN_CANDIDATES = 256


def convert(
    model: Any,
    output: str | os.PathLike[str],
    *,
    calibration: Any = None,
    evaluation: Any = None,
    quantize: str = "auto",
    max_drop: float = DEFAULT_MAX_DROP,
    metric: Any = None,
    expected_metric: float | None = None,
    target: str = "any",
    ranges: str = "minmax",
    keep_float: Sequence[str] = (),
    objective: str = "balanced",
    also: Sequence[str] = (),
    onnxruntime: str = ONNXRUNTIME_FLOOR,
    image_range: tuple[float, float] = (0.0, 255.0),
    input_uint8: bool = False,
    scale: float | Sequence[float] | None = None,
    mean: float | Sequence[float] | None = None,
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
            float graph. Without labels, the best class may change for twice that share of the
            samples, or the signal-to-noise ratio must reach 20 dB if the model is no classifier;
            of an output in int32, int64 or bool as many answers may change as best classes. The
            same holds where the metric tells nothing, since answers shuffled among the samples
            would keep the budget, too; a note says so.
        metric: None for accuracy; or a function of outputs (N, ...) and labels to a number, larger
            is better; or its name, ``module:function`` or ``file.py:function``. It sees the labels
            in the shape that they were given in.
        expected_metric: what you measured with Keras on the evaluation data; data on which Keras
            gives another is refused, since it is scaled or labelled in another way than yours.
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
        input_uint8: whether the artifact takes uint8 pixels; the data is then of pixels, too. In
            an int8 artifact the first layer reads the bytes as they are.
        scale: with ``input_uint8``: the model sees ``(pixel - mean) * scale``; one number, or one
            a channel. None for 1, where the model scales by itself.
        mean: the same, in the unit of pixels; None for 0.
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
    pixels = PixelOptions(input_uint8, scale, mean)
    pixels.check()
    image_range = check_image_range(image_range)
    budget.check_expected_metric(expected_metric, has_evaluation=evaluation is not None)
    metric_name, metric_function = budget.find_metric(metric)
    profile = find_target(target)
    engine = find_engine(onnxruntime)
    names = list_class_names(labels)
    destination = find_destination(output, (model, calibration, evaluation))
    stages = Stages(on_stage)

    with stages("load"):
        loaded = _load(model, custom_objects=custom_objects, allow_code=allow_code, weights=weights)
        trained, loaded = loaded, _take_pixels(loaded, pixels)
        layers = _layers(loaded)
    with stages("export"):
        from edgeport_converter.verification.runners import batches_for, in_fixed_batches

        exported = _export(loaded, engine)
        exported = replace(
            exported, reference=in_fixed_batches(exported.reference, exported.inputs)
        )
    check_class_names(names, exported.outputs)
    card = ModelCard(
        loaded.name,
        exported.inputs,
        exported.outputs,
        labels=None if names is None else tuple(names),
        preprocessing=loaded.preprocessing,
    )
    with stages("read data"):
        from edgeport_converter import exporting
        from edgeport_converter.data import user_data
        from edgeport_converter.quantization.evaluation import evidence
        from edgeport_converter.verification import scales

        data = user_data.read_user_data(
            calibration,
            evaluation,
            exported.inputs,
            exported.outputs,
            needs_classes=metric is None,
            image_range=image_range,
            class_names=names,
        )
        notes = loaded.notes + scales.check_scale(
            trained,
            in_fixed_batches(exporting.reference_of(trained), exported.inputs),
            data,
            pixels,
            by_class=metric is None,
        )
        if options.quantizes:
            notes += evidence.check_data(data)
    with stages("optimize"):
        from edgeport_converter import optimizing
        from edgeport_converter.verification import parity as parity_of
        from edgeport_converter.verification.runners import Runner

        float_graph = optimizing.optimize(exported.graph)
        exported = replace(exported, graph=float_graph)  # a large one is not kept twice
        compact_float = optimizing.compact(float_graph)
    with stages("check parity"):
        parity, tried = parity_of.check_parity(compact_float, card, exported, data.measured)
    with Runner(card).open(compact_float) as float_run:
        evaluator = None
        accuracy = None
        if data.measured is not None:
            with stages("measure"):
                from edgeport_converter.quantization.evaluation.evaluator import Evaluator

                evaluator = Evaluator(
                    float_run,
                    data.measured.batches,
                    data.labels,
                    metric_function,
                    classifier=evidence.answers_with_a_class(loaded, exported, names, data.labels),
                    max_drop=max_drop,
                )
                if options.quantizes:
                    notes += evidence.check_metric(metric_name, evaluator)
                keras_metric = evaluator.metric_of(exported.reference)
                budget.require_expected_metric(
                    metric_name, keras_metric, expected_metric, len(data.measured)
                )
                accuracy = evidence.compare_metrics(metric_name, keras_metric, evaluator, data)
        choice: Choice | None = None
        siblings: dict[str, Candidate] = {}
        steps: tuple[Step, ...] = ()
        if data.calibration is not None and evaluator is not None and options.quantizes:
            with stages("quantize"):
                choice, siblings, steps = _quantize(
                    float_graph,
                    card,
                    batches_for(data.calibration.batches, exported.inputs),
                    evaluator,
                    profile,
                    options,
                    layers,
                    stages.tell,
                )
    chosen = choice.candidate if choice else None
    graph = chosen.quantized.graph if chosen else compact_float
    samples = None if data.measured is None else data.measured.first(_GOLDEN_CANDIDATES)
    with stages("report layers"):
        from edgeport_converter.quantization.evaluation.layer_report import report_layers

        layer_reports = report_layers(
            chosen.float_graph if chosen else float_graph,
            graph,
            layers,
            samples or tried,
            exported.inputs,
        )
    with stages("stamp"):
        from edgeport_converter.artifact import card as described_card

        described = described_card.Described(
            described_card.describe(card, loaded.source, float_graph, data.calibration),
            engine,
            samples,
            tried,
            layers,
        )
        written = {}
        for kind, candidate in siblings.items():
            written[kind] = destination.with_suffix(f".{kind}{destination.suffix}")
            described.write(
                candidate.quantized.graph,
                candidate,
                _of_candidate(accuracy, candidate),
                profile,
                written[kind],
            )
        card, size = described.write(
            graph,
            chosen,
            _of_candidate(accuracy, chosen),
            profile,
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
        steps=steps,
        siblings=written,
        layers=layer_reports,
        stages=tuple(stages.names),
        notes=notes + evidence.check_answers(chosen.measured.agreement if chosen else None),
    )


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


def _take_pixels(loaded: LoadedModel, options: PixelOptions) -> LoadedModel:
    if not options.input_uint8:
        return loaded
    from edgeport_converter.loading.pixel_input import take_pixels

    scale, mean = options.scale, options.mean
    return take_pixels(loaded, 1.0 if scale is None else scale, 0.0 if mean is None else mean)


def _layers(loaded: LoadedModel) -> KerasLayers:
    from edgeport_converter import loading
    from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers

    return KerasLayers(loading.layer_names(loaded))


def _export(loaded: LoadedModel, engine: Engine) -> ExportedModel:
    with quiet_stderr():
        from edgeport_converter import exporting

        return exporting.export(loaded, opset=engine.opset, ir_version=engine.ir_version)


def _of_candidate(accuracy: Accuracy | None, candidate: Candidate | None) -> Accuracy | None:
    if accuracy is None or candidate is None or candidate.measured.metric is None:
        return accuracy
    return accuracy._replace(artifact=candidate.measured.metric)


def _quantize(
    graph: onnx.ModelProto,
    card: ModelCard,
    calibration: Batches,
    evaluator: Evaluator,
    target: Target,
    options: QuantizationOptions,
    layers: KerasLayers,
    tell: Callable[[str], None],
) -> tuple[Choice | None, dict[str, Candidate], tuple[Step, ...]]:
    from edgeport_converter.quantization.search import selection

    quantizer = selection.Quantizer(
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
    return choice, siblings, quantizer.steps
