"""convert(): the stages in running order.

The stages do not know each other. They exchange graphs, arrays and cards, and all decisions that
need more than one stage's knowledge are made here, in one function a stage. TensorFlow is imported
late, in these functions, so that ``import edgeport_converter`` stays fast.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from edgeport import Accuracy, ConversionError, ModelCard
from edgeport_converter import provenance
from edgeport_converter.data.labels import check_class_names
from edgeport_converter.loading.user_code import find_code_files
from edgeport_converter.options import (
    BudgetOptions,
    ConversionOptions,
    DeviceOptions,
    Finetune,
    LoadingOptions,
    OptionKeywords,
    PixelOptions,
    QuantizationOptions,
    SensorOptions,
    TableOptions,
    find_destination,
    fit_to_data,
    gather_options,
    list_class_names,
    require_no_measure,
    variant_path,
)
from edgeport_converter.progress import Progress, track_batches
from edgeport_converter.quantization.evaluation.budget import (
    find_metric,
    require_expected_metric,
)
from edgeport_converter.quantization.evaluation.user_metrics import Metric, is_smaller_better
from edgeport_converter.quiet import quiet_stderr
from edgeport_converter.report import ConversionReport
from edgeport_converter.sensors import frame_inputs
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.stages import Stages

if TYPE_CHECKING:
    import onnx

    from edgeport.artifact.column import Column
    from edgeport.artifact.golden import Array
    from edgeport.artifact.signal_format import SignalFormat
    from edgeport_converter.data.datasets import Dataset
    from edgeport_converter.data.user_data import UserData
    from edgeport_converter.loading.model import LoadedModel
    from edgeport_converter.quantization.evaluation.evaluator import Evaluator
    from edgeport_converter.quantization.evaluation.held_out import SampleRoles
    from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
    from edgeport_converter.quantization.evaluation.layer_report import LayerReport
    from edgeport_converter.quantization.evaluation.layer_times import LayerTimes
    from edgeport_converter.quantization.finetuning.finetune import Finetuned, Finetuner
    from edgeport_converter.quantization.finetuning.samples import TrainingData
    from edgeport_converter.quantization.search.candidates import Candidate
    from edgeport_converter.quantization.search.selection import Selection, Step
    from edgeport_converter.verification.parity import Parity
    from edgeport_converter.verification.runners import Run
    from edgeport_converter.verification.trial_inputs import TrialBatches

_GOLDEN_CANDIDATES = 256  # samples that golden samples are chosen from
_PCM = (-32768.0, 32767.0)
_GOLDEN_BATCH = 16  # the same for a model that runs them in one piece
_PROVEN_FRAMES = 8  # of the user's, beside those that are made up


def convert(
    model: Any,
    output: str | os.PathLike[str],
    *,
    calibration: Any = None,
    evaluation: Any = None,
    labels: Sequence[str] | None = None,
    budget: BudgetOptions | None = None,
    quantization: QuantizationOptions | None = None,
    tables: TableOptions | None = None,
    pixels: PixelOptions | None = None,
    sensors: SensorOptions | None = None,
    device: DeviceOptions | None = None,
    loading: LoadingOptions | None = None,
    report: str | os.PathLike[str] | None = None,
    finetune: Finetune | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[OptionKeywords],
) -> ConversionReport:
    """Convert a Keras model to an artifact that has been proven against it.

    The options from ``budget`` to ``loading`` are fields of seven records. Each is passed by its
    own name, ``convert(..., quantize="static")``, or in its record,
    ``convert(..., quantization=QuantizationOptions(quantize="static"))``; not in both.

    Args:
        model: a Keras model in memory; the path of a ``.keras``, ``.h5`` or ``.json`` file or of a
            SavedModel folder; or ``package.module:function`` that returns a model.
        output: where to write; replaced in one step, and only when every stage held.
        calibration: data that activation ranges are taken from, needed to quantize: the path of a
            ``.npy``, ``.npz`` or ``.csv`` file or of a folder of images, with ``signal`` also of a
            ``.wav`` file or a folder of them; an array; a dict of
            arrays by input name; a pair (x, y); or an iterable of these, such as a generator or a
            ``tf.data.Dataset``, which is read once. At least 10 samples, better a few hundred,
            like the device's.
        evaluation: data that the loss is measured on, in the same forms. With labels y the metric
            is measured. The columns of a ``.csv`` file are matched with those of the calibration
            by name. By default a part of the calibration samples is held out for it and
            calibrates nothing: half, of 600 and more 300, of 1,000 and more three tenths. Of less
            than 100 all do both, which flatters the artifact; a note says so.
        labels: class names in the order of the scores; they also number text labels and folders.
            One output has two: behind a sigmoid class 1 is above 0.5, as a logit above 0.
        budget: ``max_drop``, ``metric``, ``expected_metric``, as below.
        quantization: ``quantize``, ``ranges``, ``keep_float``, ``objective``, ``layer_times``,
            ``also``, as below.
        tables: ``label_column``, ``feature_names``, as below.
        pixels: ``frames``, ``input_uint8``, ``scale``, ``mean``, ``image_range``, as below.
        sensors: ``signal``, as below.
        device: ``target``, ``onnxruntime``, ``one_by_one``, as below.
        loading: ``custom_objects``, ``allow_code``, ``weights``, ``outputs``, as below.
        report: where to write a report of the evidence, one HTML file; needs the extra "report".
            It is written after the artifact, whose bytes do not depend on it.
        finetune: ``Finetune(data, epochs=2)``: where int8 misses the budget, the weights are
            trained while they are quantized, and the result is a candidate like any other. The
            float model is the teacher, and labels teach, too, where the data has any. Needs
            ``quantize`` "auto" or "static". Neither the model nor its file is changed;
            ``Finetune(model="out.keras")`` writes the one with the trained weights. Samples that
            the loss is measured on are never trained on.
        progress: is told of each stage, of each recipe tried and of passes over data;
            ``edgeport_converter.screen.Screen(sys.stderr)`` shows them. By default nothing is.
        **keywords: the options one by one.

            - ``max_drop``: the budget, a share from 0 to below 1: how much of the metric may be
              lost against the float graph. Default 0.005, less than a thousand samples can tell.
              Without labels, the best class may change for twice that share of the samples (about
              half of the samples near a border were wrong before), and the scores of the others
              must keep a signal-to-noise ratio of 20 dB (14 dB where there is a metric; less where
              more than 3 % of the classes may change, down to 10 dB); if the model is no
              classifier, its outputs must. Of an output in int32, int64 or bool as
              many answers may change as best classes. An output that reconstructs the input must
              rank the samples by their reconstruction errors as in float, to a rank correlation of
              1 - 4 * ``max_drop``. The same holds where the metric tells nothing, since answers
              shuffled among the samples keep the budget, too; a note says so.
            - ``metric``: None for accuracy, over all places of scores (N, ..., C) and labels
              (N, ...); a function of outputs (N, ...) and labels to a number, or to a number a
              sample; a metric or a loss of Keras; or a name, ``module:function`` or
              ``file.py:function``. It sees the labels in the shape that they were given in.
              Parameters named like ``y_true, y_pred`` get the labels first. Larger is better,
              unless the name says loss or error (``mse``, ``perplexity``, ...), or shuffled
              answers reach clearly more than the model's own; a note says so. ``max_drop`` is in
              the metric's own unit.
            - ``expected_metric``: what you measured with Keras on the evaluation data. Data on
              which Keras gives another value is refused: it is scaled or labelled in another way.
            - ``quantize``: "static" for int8 weights and activations; "int16" for int8 weights and
              16-bit activations; "dynamic" for int8 with ranges measured at each run, in Dense and
              LSTM layers; "weights" for int8 weights and float arithmetic; "none" for float;
              "auto", the default, tries them and chooses by measurement; without calibration data
              it means "none", and a note says so.
            - ``ranges``: where the search for activation ranges begins: "minmax", the default,
              which clips nothing and takes one pass, or "mse", which clips rare large values.
            - ``keep_float``: names or patterns of Keras layers that stay in float.
            - ``objective``: what to weigh the candidates by that keep the budget: "latency",
              "size", or "balanced", the default: the mean of both as shares of float's.
            - ``layer_times``: the file that `edgeport bench --layers` wrote on a board: each layer
              gets the format that is cheaper there, the conversions between the formats included.
              For "auto" and "static"; the graph is judged by the budget like any other.
            - ``also``: further recipes to write beside the output for comparison, as
              NAME.RECIPE.onnx. One that misses the budget is reported and not written.
            - ``label_column``: the column of a ``.csv`` file that holds the labels; by default
              ``y`` or ``label``. Its texts are numbered by ``labels``.
            - ``frames``: what the training code did to a picture, as ``Frames`` or its text, such
              as "keras" or "ImageOps.fit-lanczos scale=1/127.5 mean=127.5"; with several images a
              dict by input name. The artifact takes uint8 frames of any size, (N, H, W, C), and
              does the same inside, proven against that library. Data for these inputs is frames,
              too: a folder of images, decoded and turned upright as `edgeport predict` does it,
              uint8 arrays (N, H, W, C), or lists of (H, W, C) of any sizes; floats are refused. A
              model that `edgeport train` made of a folder names its frames itself; "none" leaves
              them out. Without frames the images of a folder are resized as Keras'
              ``image_dataset_from_directory`` does it, and the device's code has to do the same.
            - ``feature_names``: the names of a table's columns, in the order that the model takes
              them: a list, or a dict of lists by input name. They stand in the card with the
              ranges of the data, and a device matches columns by them. By default they are what
              ``edgeport train`` wrote into the model's file, or else the header of the calibration
              data: a ``.csv`` file, or a table with ``.columns``.
            - ``input_uint8``: whether the artifact takes uint8 pixels, 0 to 255; the data is then
              of pixels, too, of the model's size. In an int8 artifact the first layer reads the
              bytes as they are.
            - ``scale``: with ``input_uint8``, above 0: the model sees ``(pixel - mean) * scale``;
              one number, or one a channel. Default 1: the model scales by itself.
            - ``mean``: the same, in the unit of pixels, 0 to 255; default 0.
            - ``image_range``: the values that black and white pixels of image files become;
              default (0, 255), the pixels themselves.
            - ``signal``: a ``Signal``: the artifact takes windows of recordings, of int16 PCM with
              the scale inside the graph, or of floats; rate, window and hop are in its card. The
              data is of such windows, too, or of recordings, which are cut in the same way.
            - ``target``: the devices' CPU family. "any", the default, is right on all of them;
              "x86-64-v3" (AVX2), "x86-64-v4" (VNNI), "arm64".
            - ``onnxruntime``: the oldest version on the devices; fixes opset and IR version.
              Default: the oldest that the runtime package supports.
            - ``one_by_one``: whether each sample of a batch is answered as the Keras model answers
              it alone. For models whose answers depend on the whole batch, such as those with a
              MelSpectrogram, which clips at a distance from the loudest sample of the batch; by
              default such a model is a float artifact that runs each batch in one piece.
            - ``custom_objects``: classes and functions that the model's file names: a dict, or the
              Python file or module that defines them.
            - ``allow_code``: whether Python code stored in the model's file may run; by default it
              is refused, and named.
            - ``weights``: for a ``.json`` model, the file with its weights.
            - ``outputs``: names of the outputs to keep, or of layers, whose tensors then become
              outputs; what they do not need is left out. ``backbone/block3`` is a layer of a nested
              model, ``shared:1`` the second call of a layer. By default all outputs.

    Returns:
        Every figure, and the card that the file holds.

    Raises:
        OptionError: an option or the data cannot be used, or a record was given beside one of its
            own options.
        InputError: the data disagrees with the model's inputs.
        ConversionError: a stage failed; ``.stage`` names it. Its leaves: UnsupportedModelError,
            AgreementError, QuantizationError.
        TypeError: there is no option of that name.
        KeyboardInterrupt: Ctrl-C, but where a candidate that was tried keeps the budget: then the
            search ends with the best one, the report says so, and a second Ctrl-C stops at once.

        After any error the output is as it was before, but for an error of the report, which is
        written last. Files of ``also`` that were written before the output failed stay.
    """
    options = gather_options(
        {
            "budget": budget,
            "quantization": quantization,
            "tables": tables,
            "pixels": pixels,
            "sensors": sensors,
            "device": device,
            "loading": loading,
        },
        keywords,
    )
    asked = options = replace(options, finetune=finetune)
    options = fit_to_data(options, calibration, evaluation)
    metric = find_metric(options.budget.metric)
    names = list_class_names(labels)
    code = find_code_files(model, options.budget.metric, options.loading.custom_objects)
    times = options.quantization.layer_times
    given = None if finetune is None else finetune.data
    read = (model, calibration, evaluation, given, options.loading.weights, times, *code)
    with Stages()("load"):  # what is no model is no source that could be overwritten
        from edgeport_converter.loading.formats import require_model

        require_model(model)
    destination = find_destination(output, read, options.quantization.also)
    page = _find_report(report, read, options, destination)
    tuned = None
    if finetune is not None and finetune.model is not None:
        written = [one for one in (destination, page) if one is not None]
        tuned = find_destination(finetune.model, (*read, *written), is_artifact=False)
    board = _read_layer_times(options)
    stages = Stages(progress)

    with stages("load"):
        source = _load(model, options)
    with stages("export"):
        float_model = _export(source, names, options)
    with stages("read data"):
        data = _read_data(calibration, evaluation, source, float_model, names, options)
    if source.frames:
        with stages("prove frames"):
            frame_inputs.prove(
                source.frames, data.frames[:_PROVEN_FRAMES], options.device.engine.opset
            )
    with stages("optimize"):
        float_model = _optimize(float_model)
    with stages("check parity"):
        compared = _prepare_batches(float_model, data.user.measured)
        float_model, options = _check_samples(float_model, source, compared, options)
        parity = _check_parity(float_model, compared)
    baseline, quantized = _Baseline(), _Quantized()
    with float_model.open() as run:
        if data.user.measured is not None and not float_model.card.samples_interact:
            with stages("measure"):
                baseline = _measure(run, float_model, source, data, metric, options)
        if options.quantization.quantizes and baseline.evaluator is not None:
            with stages("quantize"):
                quantized = _quantize(
                    float_model, source, data, baseline, options, board, stages.progress
                )
    if tuned is not None:
        with stages("write fine-tuned model"):
            _save_finetuned(quantized, source, tuned)
    with stages("report layers"):
        layers = _report_layers(float_model, quantized, source, data, parity)
    with stages("stamp"):
        stamped = _stamp(
            float_model, quantized, source, data, parity, baseline, options, destination
        )
    found = ConversionReport(
        output=destination,
        file_bytes=stamped.file_bytes,
        float_bytes=float_model.compact.ByteSize(),
        recipe=str(quantized.candidate.recipe) if quantized.candidate else "none",
        reason=quantized.choice.reason if quantized.choice else "",
        card=stamped.card,
        parity=parity.figures,
        agreement=quantized.candidate.measured.agreement if quantized.candidate else None,
        judged_on=data.roles.source,
        accuracy=stamped.card.accuracy,
        latency_us=quantized.choice.latency_us if quantized.choice else None,
        float_latency_us=quantized.choice.float_latency_us if quantized.choice else None,
        steps=quantized.steps,
        variants=stamped.variants,
        layers=layers,
        stages=tuple(stages.names),
        interrupted=quantized.is_stopped,
        notes=options.notes
        + source.model.notes
        + data.notes
        + baseline.notes
        + quantized.notes
        + stamped.card.unproven,
    )
    if page is not None:
        with stages("report"):
            given = {"calibration": calibration, "evaluation": evaluation}
            _write_report(
                page, found, float_model, quantized, source, data, baseline, asked, model, given
            )
    return found


def _read_layer_times(options: ConversionOptions) -> LayerTimes | None:
    if options.quantization.layer_times is None:
        return None
    from edgeport_converter.quantization.evaluation import layer_times

    return layer_times.read(options.quantization.layer_times)


@dataclass(frozen=True, eq=False)
class _Source:
    """What was loaded.

    Attributes:
        trained: the model as its file has it.
        model: the same, or one that takes uint8 pixels or int16 PCM, if asked for.
        signal: how the card says that recordings are cut, if asked for.
        layers: the Keras layers by the names of a graph's nodes.
        frames: the inputs that take frames. All stages but the last work with pictures.
    """

    trained: LoadedModel
    model: LoadedModel
    layers: KerasLayers
    signal: SignalFormat | None = None
    frames: tuple[frame_inputs.FrameInput, ...] = ()


def _load(model: Any, given: ConversionOptions) -> _Source:
    options, pixels, signal = given.loading, given.pixels, given.sensors.signal
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":  # said before the import, which fails where it is not installed
        raise ConversionError(
            f"KERAS_BACKEND is '{backend}', expected 'tensorflow', which the export traces: set it "
            "to tensorflow before Python starts, the model's file may come from any backend"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr():
        from edgeport_converter.loading.load import load_model, start_tensorflow

        start_tensorflow()
    from edgeport_converter.loading.pixel_input import take_pixels
    from edgeport_converter.loading.signal_input import find_signal_input, take_signal
    from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers

    trained = load_model(
        model,
        custom_objects=options.custom_objects,
        allow_code=options.allow_code,
        weights=options.weights,
        outputs=options.outputs or (),
    )
    layers = KerasLayers(trained.layer_names)
    taken, signal_format = trained, None
    frames: tuple[frame_inputs.FrameInput, ...] = ()
    if pixels.input_uint8:
        scale = 1.0 if pixels.scale is None else pixels.scale
        mean = 0.0 if pixels.mean is None else pixels.mean
        taken = take_pixels(taken, scale, mean)
    else:
        trained, frames = _find_frames(trained, pixels)
        taken = trained
    if signal is not None:
        signal_format = signal.format_of(find_signal_input(taken, signal).name)
        taken = take_signal(taken, signal)
    return _Source(trained, taken, layers, signal_format, frames)


def _find_frames(
    model: LoadedModel, pixels: PixelOptions
) -> tuple[LoadedModel, tuple[frame_inputs.FrameInput, ...]]:
    """Return the inputs that take frames, as the options say, or else the model's own file."""
    wanted = pixels.frames
    trained = model.source.get(provenance.FRAMES)
    if wanted is None and trained is not None:
        pixels = replace(pixels, frames=trained)  # refused beside options that frames exclude
        wanted = Frames.from_text(trained)
        note = (
            f"the artifact takes frames of any size, as the model's file says that it was trained "
            f"on pictures prepared by '{wanted.to_text()}'; frames='none' leaves that out"
        )
        model = replace(model, notes=(*model.notes, note))
    elif trained is not None and isinstance(wanted, Frames):
        doubts = frame_inputs.doubt_resize(wanted, Frames.from_text(trained))
        model = replace(model, notes=(*model.notes, *doubts))
    if wanted is None or wanted == frame_inputs.NO_FRAMES:
        return model, ()
    inputs = [(info.name, info.shape, info.dtype) for info in model.inputs]
    found = frame_inputs.find_frame_inputs(wanted, inputs)
    if len(inputs) == 1:  # else a layer may scale another input
        notes = frame_inputs.doubt_scales(found, model.preprocessing)
        model = replace(model, notes=(*model.notes, *notes))
    return model, found


@dataclass(frozen=True, eq=False)
class _FloatModel:
    """The float graph and what it is held to.

    Attributes:
        graph: with the types of its inner tensors, which quantizing needs.
        compact: the same as it is written to a file.
        card: names, inputs, outputs, labels and preprocessing.
        reference: the Keras model as a function of any number of samples.
        logits: the same, with the values before the last function of each output.
        columns: of the tables that it takes, as far as the model and the options say.
    """

    graph: onnx.ModelProto
    compact: onnx.ModelProto
    card: ModelCard
    reference: Run
    logits: Run
    columns: tuple[Column, ...] = ()

    def open(self) -> AbstractContextManager[Run]:
        """Open the graph as it is judged."""
        from edgeport_converter.verification.runners import Runner

        return Runner(self.card).open(self.compact)


def _export(
    source: _Source, names: tuple[str, ...] | None, options: ConversionOptions
) -> _FloatModel:
    model, signal = source.model, source.signal
    engine = options.device.engine
    with quiet_stderr():
        from edgeport_converter import exporting

        exported = exporting.export(model, opset=engine.opset, ir_version=engine.ir_version)
        if options.device.one_by_one:
            exported = exporting.with_one_sample(exported)
    from edgeport_converter.sensors.columns import name_columns
    from edgeport_converter.verification.runners import in_fixed_batches

    check_class_names(names, exported.outputs)
    inputs = exported.inputs
    if signal is not None:  # until data says more, PCM may have any value
        inputs = tuple(
            replace(spec, value_range=_PCM)
            if spec.name == signal.input and spec.dtype.kind == "i"
            else spec
            for spec in inputs
        )
    card = ModelCard(
        model.name,
        inputs,
        exported.outputs,
        labels=names,
        preprocessing=model.preprocessing,
        signal=signal,
    )
    reference, logits = (
        in_fixed_batches(run, card.inputs) for run in (exported.reference, exported.logits)
    )
    columns = name_columns(model.columns, options.tables.feature_names, card.inputs)
    return _FloatModel(exported.graph, exported.graph, card, reference, logits, columns)


@dataclass(frozen=True, eq=False)
class _Data:
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


def _read_data(
    calibration: Any,
    evaluation: Any,
    source: _Source,
    float_model: _FloatModel,
    names: Sequence[str] | None,
    options: ConversionOptions,
) -> _Data:
    from edgeport_converter import exporting
    from edgeport_converter.data.user_data import read_user_data
    from edgeport_converter.quantization.evaluation import evidence
    from edgeport_converter.quantization.evaluation.held_out import assign_samples
    from edgeport_converter.verification.runners import in_fixed_batches
    from edgeport_converter.verification.scales import check_scale

    card, by_class = float_model.card, options.budget.metric is None
    user = read_user_data(
        calibration,
        evaluation,
        card.inputs,
        card.outputs,
        needs_classes=by_class,
        image_range=options.pixels.image_range,
        class_names=names,
        label_column=options.tables.label_column,
        frames=source.frames,
        signal=source.signal,
        columns=float_model.columns,
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
        frames = tuple(islice(user.measured.as_given(), _GOLDEN_BATCH))
    training = None
    if options.finetune is not None:
        training = _read_training_data(
            calibration, user, roles, source, float_model, names, options
        )
        notes += training.notes
    return _Data(user, roles, border, notes, _describe_columns(float_model, user), frames, training)


def _read_training_data(
    calibration: Any,
    user: UserData,
    roles: SampleRoles,
    source: _Source,
    float_model: _FloatModel,
    names: Sequence[str] | None,
    options: ConversionOptions,
) -> TrainingData:
    from edgeport_converter.data.datasets import read_dataset
    from edgeport_converter.quantization.finetuning.samples import prepare

    wanted, card = options.finetune, float_model.card
    assert wanted is not None and user.calibration is not None  # noqa: S101, PT018 - checked
    dataset = user.calibration
    if wanted.data is not None and wanted.data is not calibration:
        dataset = read_dataset(
            wanted.data,
            card.inputs,
            "fine-tuning",
            image_range=options.pixels.image_range,
            class_names=names,
            label_column=options.tables.label_column,
            like=dataset.columns,
            frames=source.frames,
            signal=source.signal,
            columns=float_model.columns,
            outputs=[spec.name for spec in card.outputs],
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


def _describe_columns(float_model: _FloatModel, user: UserData) -> tuple[Column, ...]:
    """Return the columns with the data's names where nothing else named them, and its ranges."""
    from edgeport_converter.sensors.columns import from_header, with_ranges

    columns, seen = float_model.columns, user.calibration or user.measured
    if seen is None:
        return columns
    return with_ranges(
        columns or from_header(seen.columns, float_model.card.inputs), seen.feature_ranges
    )


def _optimize(float_model: _FloatModel) -> _FloatModel:
    from edgeport_converter import optimizing

    graph = optimizing.optimize(float_model.graph)
    return replace(float_model, graph=graph, compact=optimizing.compact(graph))


def _prepare_batches(float_model: _FloatModel, data: Dataset | None) -> TrialBatches:
    from edgeport_converter.verification.trial_inputs import prepare_batches

    return prepare_batches(
        float_model.compact, float_model.card, float_model.reference, float_model.logits, data
    )


def _check_samples(
    float_model: _FloatModel, source: _Source, compared: TrialBatches, options: ConversionOptions
) -> tuple[_FloatModel, ConversionOptions]:
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


@dataclass(frozen=True, eq=False)
class _Parity:
    """The worst difference from Keras, and the last inputs that it was looked for on."""

    figures: Parity
    tried: dict[str, Array]


def _check_parity(float_model: _FloatModel, compared: TrialBatches) -> _Parity:
    from edgeport_converter.verification.parity import check_parity

    return _Parity(
        *check_parity(float_model.compact, float_model.card, compared, float_model.logits)
    )


@dataclass(frozen=True, eq=False)
class _Baseline:
    """What the float graph reaches on the data: what candidates are held to. Empty without data."""

    evaluator: Evaluator | None = None
    accuracy: Accuracy | None = None
    notes: tuple[str, ...] = ()


def _measure(
    run: Run,
    float_model: _FloatModel,
    source: _Source,
    data: _Data,
    metric: tuple[str, Metric],
    options: ConversionOptions,
) -> _Baseline:
    from edgeport_converter.quantization.evaluation import evidence
    from edgeport_converter.quantization.evaluation.evaluator import Evaluator

    name, function = metric
    judged = data.roles.judged
    assert judged is not None  # noqa: S101 - the caller asked
    evaluator = Evaluator(
        run,
        track_batches(judged.batches, "evaluation data", len(judged)),
        data.user.labels,
        function,
        classifier=evidence.answers_with_a_class(
            source.model, float_model.card, data.user.labels, data.border
        ),
        max_drop=options.budget.max_drop,
        smaller_is_better=is_smaller_better(options.budget.metric),
        border=data.border or 0.0,
    )
    notes = evidence.check_metric(name, evaluator) if options.quantization.quantizes else ()
    keras = evaluator.metric_of(float_model.reference)
    # Keras' own accuracy compares a logit with 0.5, unless it is told its threshold.
    told = f"{name} (class 1 above 0)" if data.border == 0 else name
    require_expected_metric(told, keras, options.budget.expected_metric, len(judged))
    accuracy = evidence.compare_metrics(name, keras, evaluator, len(judged))
    return _Baseline(evaluator, accuracy, notes)


@dataclass(frozen=True, eq=False)
class _Quantized:
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


def _quantize(
    float_model: _FloatModel,
    source: _Source,
    data: _Data,
    baseline: _Baseline,
    options: ConversionOptions,
    board: LayerTimes | None,
    progress: Progress,
) -> _Quantized:
    from edgeport_converter.quantization.evaluation import evidence
    from edgeport_converter.quantization.search.selection import Quantizer
    from edgeport_converter.quantization.search.telling import telling_steps
    from edgeport_converter.verification.runners import batches_for

    calibration = data.roles.calibration
    assert calibration is not None  # noqa: S101 - the caller asked
    assert baseline.evaluator is not None  # noqa: S101 - the same
    wanted, graph = options.quantization, float_model.graph
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
    )
    if options.finetune is not None:
        quantizer.finetuner = _make_finetuner(float_model, source, data, options.finetune)
    nodes = source.layers.find_nodes(wanted.keep_float, [node.name for node in graph.graph.node])
    choice: Selection | None = None
    notes: tuple[str, ...] = ()
    with telling_steps(progress) as quantizer.on_step:
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
    notes += quantizer.notes
    provenance: dict[str, str] = {}
    if quantizer.finetuned is not None and options.finetune is not None:
        trained = quantizer.finetuned
        provenance = _describe_training(trained, float_model, data, baseline, options.finetune)
        notes += _note_on_training(choice, provenance, baseline)
    if quantizer.is_stopped:
        count = len(quantizer.steps)
        notes += (
            f"the search was stopped after {count} candidate{'s' if count > 1 else ''}, of which "
            "the best was taken: a whole one may find another that is faster or smaller",
        )
    return _Quantized(
        choice,
        variants,
        quantizer.steps,
        notes,
        board,
        quantizer.is_stopped,
        quantizer.finetuned,
        provenance,
    )


def _make_finetuner(
    float_model: _FloatModel, source: _Source, data: _Data, wanted: Finetune
) -> Finetuner:
    from edgeport_converter import optimizing
    from edgeport_converter.quantization.finetuning.finetune import Finetuner
    from edgeport_converter.verification.runners import fixed_batch

    def prove(graph: onnx.ModelProto) -> None:
        trained = replace(float_model, graph=graph, compact=optimizing.compact(graph))
        _check_parity(trained, _prepare_batches(trained, data.user.measured))

    assert data.training is not None  # noqa: S101 - it was read, since it is wanted
    fixed = fixed_batch(float_model.card.inputs)
    return Finetuner(
        wanted,
        source.model.model,
        data.training,
        prove,
        fixed or wanted.batch_size,
        0.5 if data.border is None else data.border,
        is_fixed=fixed is not None,
    )


def _describe_training(
    trained: Finetuned,
    float_model: _FloatModel,
    data: _Data,
    baseline: _Baseline,
    wanted: Finetune,
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
    return found


def _note_on_training(
    choice: Selection | None, provenance: dict[str, str], baseline: _Baseline
) -> tuple[str, ...]:
    if choice is None or not choice.candidate.recipe.finetuned:
        return (
            "the weights that were trained under quantization were not taken, since they miss the "
            "budget or another candidate is better by the objective",
        )
    figures = (
        f"; fine-tuned in float: {provenance['finetuned_float']}"
        if ("finetuned_float" in provenance)
        else ""
    )
    return (
        "the weights are not those of the model that was given: they were fine-tuned under "
        f"quantization on {provenance['finetuned_on']}{figures}",
    )


def _save_finetuned(quantized: _Quantized, source: _Source, path: Path) -> None:
    """Write the Keras model with the trained weights, if these were chosen."""
    from edgeport_converter.quantization.finetuning.keras_links import assigned

    candidate = quantized.candidate
    if quantized.finetuned is None or candidate is None or not candidate.recipe.finetuned:
        return
    whole = path.with_name(f".{path.stem}.partial.keras")
    try:
        with assigned(quantized.finetuned.values):
            source.model.model.save(whole)
        whole.replace(path)
    finally:
        whole.unlink(missing_ok=True)


def _report_layers(
    float_model: _FloatModel, quantized: _Quantized, source: _Source, data: _Data, parity: _Parity
) -> tuple[LayerReport, ...]:
    from edgeport_converter.quantization.evaluation.layer_report import report_layers

    chosen = quantized.candidate
    return report_layers(
        chosen.float_graph if chosen else float_model.compact,
        chosen.graph if chosen else float_model.compact,
        source.layers,
        data.golden_candidates or parity.tried,
        float_model.card.inputs,
    )


@dataclass(frozen=True, eq=False)
class _Stamped:
    """What was written: the card as a device reads it, the size, the variants by recipe."""

    card: ModelCard
    file_bytes: int
    variants: dict[str, Path]


def _stamp(
    float_model: _FloatModel,
    quantized: _Quantized,
    source: _Source,
    data: _Data,
    parity: _Parity,
    baseline: _Baseline,
    options: ConversionOptions,
    destination: Path,
) -> _Stamped:
    from edgeport_converter.artifact.card import ArtifactWriter, describe
    from edgeport_converter.sensors.columns import check_fills
    from edgeport_converter.verification.runners import as_run, open_graph

    samples = data.golden_candidates
    if samples is not None and float_model.card.samples_interact:  # a run takes them all at once
        samples = {name: array[:_GOLDEN_BATCH] for name, array in samples.items()}

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
    return _Stamped(*write(quantized.candidate, destination), variants)


def _find_report(
    report: Any, sources: Sequence[Any], options: ConversionOptions, destination: Path
) -> Path | None:
    """Return where the report goes; refuse at once what could not be written after the work."""
    if report is None:
        return None
    from edgeport_converter.reporting.page import find_page

    variants = [variant_path(destination, kind) for kind in options.quantization.also]
    return find_page(report, sources, (destination, *variants))


def _write_report(
    page: Path,
    found: ConversionReport,
    float_model: _FloatModel,
    quantized: _Quantized,
    source: _Source,
    data: _Data,
    baseline: _Baseline,
    asked: ConversionOptions,
    model: Any,
    given: dict[str, Any],
) -> None:
    from edgeport_converter.data.labels import are_classes, check_labels
    from edgeport_converter.quantization.evaluation import evidence
    from edgeport_converter.reporting import gathering, remaking
    from edgeport_converter.reporting.rendering import write_report
    from edgeport_converter.verification.runners import Runner

    candidate, judged = quantized.candidate, data.roles.judged
    kind = candidate.recipe.kind if candidate else "none"
    labels = data.user.labels if baseline.evaluator is not None else None
    card = replace(float_model.card, columns=data.columns)
    if labels is not None:  # with a metric of the user's they may be anything
        labels = check_labels(labels, card.outputs) if are_classes(labels, card.outputs) else None
    has_classes = evidence.answers_with_a_class(source.model, card, labels, data.border)
    known = gathering.ConversionEvidence(
        keras=float_model.reference,
        open_float=float_model.open,
        open_artifact=lambda: Runner(float_model.card, kind, asked.device.cpu).open(
            candidate.graph if candidate else float_model.compact
        ),
        card=card,
        layers=source.layers,
        judged=None if judged is None else judged.batches,
        calibration=None if data.roles.calibration is None else data.roles.calibration.batches,
        labels=labels,
        has_classes=has_classes or labels is not None,
        border=data.border or 0.0,
        command=remaking.command_of_conversion(
            model, found.output, given, found.card.labels, asked, found.card
        ),
        model=model,
        max_drop=asked.budget.max_drop,
        judged_sha256="" if judged is None else judged.sha256,
        smaller_is_better=baseline.evaluator is not None and baseline.evaluator.smaller_is_better,
    )
    write_report(gathering.from_conversion(found, known), page)
