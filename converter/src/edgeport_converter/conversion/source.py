"""The model as it is loaded, with pixels, frames or recordings in front of it if asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeport import ConversionError
from edgeport_converter import provenance
from edgeport_converter.options import ConversionOptions, PixelOptions
from edgeport_converter.quiet import quiet_stderr
from edgeport_converter.sensors import frame_inputs
from edgeport_converter.sensors.frames import Frames

if TYPE_CHECKING:
    from edgeport.artifact.signal_format import SignalFormat
    from edgeport_converter.loading.model import LoadedModel
    from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers


@dataclass(frozen=True, eq=False)
class LoadedSource:
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


def load_source(model: Any, given: ConversionOptions) -> LoadedSource:
    """Start TensorFlow and load the model; pixels or recordings go in front if asked for."""
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
    return LoadedSource(trained, taken, layers, signal_format, frames)


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
