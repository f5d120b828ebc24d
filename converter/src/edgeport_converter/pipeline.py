"""convert(): the stages in running order.

The stages do not know each other. They exchange graphs, arrays and cards, and all decisions that
need more than one stage's knowledge are made in ``conversion``, in one function a stage, which
``convert`` calls. TensorFlow is imported late, in these functions, so that
``import edgeport_converter`` stays fast.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Unpack

from edgeport.atomic_files import replacing
from edgeport_converter.conversion.finetuning import telling_of_state
from edgeport_converter.conversion.float_model import (
    export_model,
    name_classes,
    optimize_model,
)
from edgeport_converter.conversion.measuring import Baseline, measure_baseline
from edgeport_converter.conversion.proving import check_samples, prepare_comparison, prove_parity
from edgeport_converter.conversion.quantizing import Quantized, quantize_model, read_layer_times
from edgeport_converter.conversion.reporting import describe_layers, find_report, write_page
from edgeport_converter.conversion.source import load_source
from edgeport_converter.conversion.training_run import find_run
from edgeport_converter.conversion.user_samples import read_data
from edgeport_converter.conversion.writing import is_finetuned, save_finetuned, stamp
from edgeport_converter.loading.user_code import find_code_files
from edgeport_converter.option_checks import fit_to_data, list_class_names
from edgeport_converter.options import (
    BudgetOptions,
    DeviceOptions,
    Finetune,
    LoadingOptions,
    OptionKeywords,
    PixelOptions,
    QuantizationOptions,
    SensorOptions,
    TableOptions,
    gather_options,
)
from edgeport_converter.paths import find_destination, state_path
from edgeport_converter.progress import Progress
from edgeport_converter.quantization.evaluation.budget import find_metric
from edgeport_converter.report import ConversionReport
from edgeport_converter.sensors import frame_inputs
from edgeport_converter.stages import Stages

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
            like the device's. For a model of `edgeport train` with its run folder beside it,
            calibration, evaluation and labels are by default those of the training.
        evaluation: data that the loss is measured on, in the same forms. With labels y the metric
            is measured. The columns of a ``.csv`` file are matched with those of the calibration
            by name. By default a part of the calibration samples is held out for it and
            calibrates nothing: half of up to 600 samples, 300 of up to 1,000, and three tenths of
            more. Fewer than 100 do both, which flatters the artifact; a note says so.
        labels: class names in the order of the scores; they also number text labels and folders.
            One output has two: after a sigmoid class 1 is above 0.5, as a logit above 0. By
            default they are the folders of the evaluation data, in the order of their names.
        budget: ``max_drop``, ``metric``, ``expected_metric``, as below.
        quantization: ``quantize``, ``ranges``, ``keep_float``, ``objective``, ``layer_times``,
            ``engine``, ``also``, as below.
        tables: ``label_column``, ``feature_names``, as below.
        pixels: ``frames``, ``input_uint8``, ``scale``, ``mean``, ``image_range``, as below.
        sensors: ``signal``, as below.
        device: ``target``, ``onnxruntime``, ``one_by_one``, as below.
        loading: ``custom_objects``, ``allow_code``, ``weights``, ``outputs``, as below.
        report: where to write a report of the evidence, one HTML file; needs the extra "report".
            It is written after the artifact, whose bytes do not depend on it.
        finetune: ``Finetune(data, epochs=2)``: where int8 misses the budget, and int8 throughout
            would gain by the objective over layers in float, the weights are trained while they
            are quantized, and the result is a candidate like any other. The
            float model is the teacher, and labels teach, too, where the data has any. Needs
            ``quantize`` "auto" or "static". Neither the model nor its file is changed;
            ``Finetune(model="out.keras")`` writes the one with the trained weights. Samples that
            the loss is measured on are never trained on. An interrupted training goes on from
            OUTPUT.finetuning when the same call comes again; a success removes that file.
        progress: is told of each stage, of each recipe tried and of passes over data;
            ``edgeport_converter.screen.Screen(sys.stderr)`` shows them. By default nothing is.
        **keywords: the options one by one.

            - ``max_drop``: the budget, a share from 0 to below 1: how much of the metric may be
              lost against the float graph. Default 0.005, less than a thousand samples can tell.
              Without labels, the best class may change for twice that share of the samples (about
              half of the samples near a border were wrong before), and the scores of the others
              must keep a signal-to-noise ratio of 20 dB (14 dB where there is a metric; less where
              more than 3 % of the classes may change, down to 10 dB); if the model is no
              classifier, its outputs must. Where an output is int32, int64 or bool, as
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
            - ``engine``: where candidates are tried: "local", the default, one after the other on
              this machine; "ray", as tasks of a Ray cluster, the one that ``RAY_ADDRESS`` names or
              one on this machine. The choice is the same on CPUs of one kind; times are always
              taken on this machine. Needs the extra "ray".
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
    run_folder = find_run(model) if options.loading.outputs is None else None
    is_asked = calibration is evaluation is None
    is_as_trained = options.pixels == PixelOptions() and options.sensors == SensorOptions()
    if run_folder is not None and is_asked and is_as_trained:  # else it takes other pixels, sounds
        calibration, evaluation = run_folder.calibration, run_folder.evaluation
        options = replace(options, notes=(*options.notes, run_folder.note))
    options = fit_to_data(options, calibration, evaluation)
    metric = find_metric(options.budget.metric)
    names = list_class_names(labels)
    if names is None and run_folder is not None:
        names = run_folder.labels
    code = find_code_files(model, options.budget.metric, options.loading.custom_objects)
    times = options.quantization.layer_times
    given = None if finetune is None else finetune.data
    read = (model, calibration, evaluation, given, options.loading.weights, times, *code)
    with Stages()("load"):  # what is no model is no source that could be overwritten
        from edgeport_converter.loading.formats import require_model

        require_model(model)
    destination = find_destination(output, read, options.quantization.also)
    page = find_report(report, read, options, destination)
    written = [one for one in (destination, page) if one is not None]
    tuned = state_file = None
    if finetune is not None:
        state_file = find_destination(state_path(destination), (*read, *written), is_artifact=False)
        if finetune.model is not None:
            written.append(state_file)
            tuned = find_destination(finetune.model, (*read, *written), is_artifact=False)
    board = read_layer_times(options)
    stages = Stages(progress)

    with stages("load"):
        source = load_source(model, options)
    with stages("export"):
        float_model = export_model(source, names, options)
        if names is None:
            float_model, options = name_classes(float_model, calibration, evaluation, options)
            names = float_model.card.labels
    with stages("read data"):
        data = read_data(calibration, evaluation, source, float_model, names, options)
    if source.frames:
        with stages("prove frames"):
            frame_inputs.prove(
                source.frames, data.frames[:_PROVEN_FRAMES], options.device.engine.opset
            )
    with stages("optimize"):
        float_model = optimize_model(float_model)
    with stages("check parity"):
        compared = prepare_comparison(float_model, data.user.measured)
        float_model, options = check_samples(float_model, source, compared, options)
        parity = prove_parity(float_model, compared)
    baseline, quantized = Baseline(), Quantized()
    with float_model.open() as run:
        if data.user.measured is not None and not float_model.card.samples_interact:
            with stages("measure"):
                baseline = measure_baseline(run, float_model, source, data, metric, options)
        if options.quantization.quantizes and baseline.evaluator is not None:
            with stages("quantize"), telling_of_state(state_file):
                quantized = quantize_model(
                    float_model,
                    source,
                    data,
                    baseline,
                    options,
                    board,
                    stages.progress,
                    state_file,
                )
    with stages("report layers"):
        layers = describe_layers(float_model, quantized, source, data, parity)
    with ExitStack() as proven:  # the fine-tuned model takes its place right after the artifact
        if tuned is not None and is_finetuned(quantized):
            with stages("write fine-tuned model"):
                save_finetuned(quantized, source, proven.enter_context(replacing(tuned)))
        with stages("stamp"):
            stamped = stamp(
                float_model, quantized, source, data, parity, baseline, options, destination
            )
    if state_file is not None and not quantized.is_stopped:
        state_file.unlink(missing_ok=True)
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
            write_page(
                page, found, float_model, quantized, source, data, baseline, asked, model, given
            )
    return found
