"""The float graph with its card and its reference: exported, then optimized."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeport import ModelCard, TensorSpec
from edgeport_converter.conversion.source import LoadedSource
from edgeport_converter.data.labels import (
    check_class_names,
    check_number_of_classes,
    class_names_of,
    is_classifier,
)
from edgeport_converter.options import ConversionOptions
from edgeport_converter.quiet import quiet_stderr

if TYPE_CHECKING:
    import onnx

    from edgeport.artifact.column import Column
    from edgeport_converter.verification.runners import Run

_PCM = (-32768.0, 32767.0)


@dataclass(frozen=True, eq=False)
class FloatModel:
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


def export_model(
    source: LoadedSource, names: tuple[str, ...] | None, options: ConversionOptions
) -> FloatModel:
    """Export the model to a float graph, and write the first card."""
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
    return FloatModel(exported.graph, exported.graph, card, reference, logits, columns)


def name_classes(
    float_model: FloatModel, calibration: Any, evaluation: Any, options: ConversionOptions
) -> tuple[FloatModel, ConversionOptions]:
    """Return the model with the classes' names of the evaluation data, and a note on them.

    The accuracy that is measured tells whether the order is the model's. Calibration data tells
    nothing of it, so that its names are not taken.

    Raises:
        OptionError: the data has another number of classes than the model.
    """
    outputs = float_model.card.outputs
    names = class_names_of(calibration if evaluation is None else evaluation)
    if names is None or options.budget.metric is not None or not is_classifier(outputs):
        return float_model, options
    card = float_model.card
    if evaluation is None:
        note = (
            "the folders of the calibration data may be the classes, which the artifact does not "
            "name, and no accuracy was measured: pass other samples in such folders as evaluation"
        )
    else:
        check_number_of_classes(names, outputs, evaluation)
        card = replace(card, labels=names)
        note = (
            f"the labels are the evaluation data's classes, {', '.join(names[:3])}"
            f"{', …' if len(names) > 3 else ''}, in the order in which Keras numbers folders, by "
            "name: pass labels for another order"
        )
    return replace(float_model, card=card), replace(options, notes=(*options.notes, note))


def optimize_model(float_model: FloatModel) -> FloatModel:
    """Return the model with its graph rewritten for speed and size."""
    from edgeport_converter import optimizing

    graph = optimizing.optimize(float_model.graph)
    outputs = tuple(
        _with_known_sizes(spec, value)
        for spec, value in zip(float_model.card.outputs, graph.graph.output, strict=True)
    )
    card = replace(float_model.card, outputs=outputs)
    return replace(float_model, graph=graph, compact=optimizing.compact(graph), card=card)


def _with_known_sizes(spec: TensorSpec, value: onnx.ValueInfoProto) -> TensorSpec:
    """Return the output with sizes that constants decide, which were folded only now."""
    sizes = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    if len(sizes) != len(spec.shape):
        return spec
    shape = tuple(
        known if isinstance(said, str) and place > 0 and known > 0 else said
        for place, (said, known) in enumerate(zip(spec.shape, sizes, strict=True))
    )
    return replace(spec, shape=shape)
