"""Which of a model's inputs take frames: found by name, read, put before the graph, in the card.

``conversion`` finds the inputs, ``data`` reads frames by them, ``artifact`` writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeport import FrameFormat, ModelCard, OptionError, TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.sensors.frames import Frames, free_axes
from edgeport_converter.sensors.reference import check_frame, read_frame, require_library

if TYPE_CHECKING:
    import onnx

NO_FRAMES = "none"
"""The text that leaves out the frames which a model's file names."""

Wanted = Frames | Mapping[str, Frames]

_SCALING_LAYERS = ("Rescaling ", "Normalization ")  # in ``LoadedModel.preprocessing``

# Of golden samples: with three channels each fits into a card without being made coarser.
_SMALL_SIZES = ((20, 24), (28, 17))
_CANDIDATES = 8


@dataclass(frozen=True, slots=True)
class FrameInput:
    """One input that takes frames.

    Attributes:
        name: of the input.
        frames: what the training code did.
        picture: (h, w, c) of what the network sees.
    """

    name: str
    frames: Frames
    picture: tuple[int, int, int]

    @property
    def format(self) -> FrameFormat:
        """What the card says of them."""
        return FrameFormat(
            order=self.frames.order,
            picture=self.picture,
            size=self.frames.size,
            most_pixels=self.frames.most_pixels,
            training=self.frames.to_text(),
        )

    def list_frames(self, value: Any, subject: str) -> list[Array]:
        """Return a chunk of the user's data as single frames, (H, W, C) uint8.

        Args:
            value: (N, H, W, C) uint8, or a list of frames that may differ in size.
            subject: what messages call the data.

        Raises:
            OptionError: it is none of these, floats included.
        """
        items = value if isinstance(value, (list, tuple)) else np.asarray(value)
        try:
            if isinstance(items, np.ndarray) and items.dtype != object and items.ndim < 3:
                raise OptionError(f"the array has the shape {items.shape}")
            return [check_frame(np.asarray(item), self.frames) for item in items]
        except OptionError as cause:
            raise OptionError(
                f"{subject} for '{self.name}': {cause}; with frames, data is uint8 (N, H, W, C), a "
                "list of such frames, or a folder of images, and floats are for frames='none'"
            ) from cause

    def read(self, value: Any, subject: str) -> Array:
        """Return a chunk of frames as the training's own library prepares them, (N, h, w, c).

        Raises:
            OptionError: it holds no frames, or one that the library cannot bring to the size.
        """
        frames = self.list_frames(value, subject)
        if not frames:
            return np.zeros((0, *self.picture), np.float32)
        return np.stack([read_frame(frame, self.frames, self.picture) for frame in frames])

    def describe(self) -> str:
        """Return what the graph does to a frame, in words."""
        frames = self.frames
        height, width, channels = self.picture
        size = f"{frames.size[0]} × {frames.size[1]}" if frames.size else "any size"
        steps = [f"'{self.name}': uint8 frames of {size} in {frames.order}"]
        if channels == 1 and frames.order != "gray":
            steps.append("to gray")
        if frames.fit != "stretch":
            steps.append(f"fit {frames.fit}")
        steps.append(f"{frames.resize} to {height} × {width}")
        if channels == 3 and frames.model_order == "bgr":
            steps.append("to bgr")
        if any(frames.numbers("mean")) or any(number != 1 for number in frames.numbers("scale")):
            mean, scale = (_in_words(frames.numbers(name)) for name in ("mean", "scale"))
            steps.append(f"(pixel - {mean}) * {scale}")
        return ", ".join(steps)


def _in_words(numbers: Sequence[float]) -> str:
    words = ", ".join(f"{number:.6g}" for number in numbers)
    return words if len(numbers) == 1 else f"({words})"


def read_wanted(given: Any) -> Wanted | str | None:
    """Return what ``frames=`` of a conversion means: ``Frames``, a text, or either by input name.

    Raises:
        OptionError: it is none of these, or not what ``Frames`` takes.
    """
    if given is None or isinstance(given, Frames):
        return given
    if isinstance(given, str) and given == NO_FRAMES:
        return NO_FRAMES
    if isinstance(given, str):
        return Frames.from_text(given)
    if isinstance(given, Mapping) and given and all(isinstance(name, str) for name in given):
        found = {name: read_wanted(each) for name, each in given.items()}
        if all(isinstance(each, Frames) for each in found.values()):
            return found  # type: ignore[return-value]
    raise OptionError(
        f"frames is {given!r}, expected Frames, a text such as 'keras fit=crop', or a dict of "
        "these by input name: pass one"
    )


def find_frame_inputs(
    wanted: Wanted, inputs: Sequence[tuple[str, tuple[int | None, ...], str]]
) -> tuple[FrameInput, ...]:
    """Return the inputs that take frames, in the model's order.

    Args:
        wanted: for the only image (N, H, W, C) among the inputs, or by input name.
        inputs: name, shape with the batch axis, and dtype of each of the model's inputs.

    Raises:
        OptionError: there is no such input, or it is no picture of fixed size.
    """
    listed = ", ".join(f"'{name}' {dtype} {shape}" for name, shape, dtype in inputs)
    if isinstance(wanted, Frames):
        images = [
            name
            for name, shape, dtype in inputs
            if (len(shape) == 4 and dtype.startswith("float")) or len(inputs) == 1
        ]
        if len(images) != 1:
            raise OptionError(
                f"frames were given for the one image of a model, found {len(images)} among the "
                f"inputs {listed}: give them by the input's name"
            )
        wanted = {images[0]: wanted}
    unknown = [name for name in wanted if name not in [each[0] for each in inputs]]
    if unknown:
        raise OptionError(
            f"frames were given for the input '{unknown[0]}', found the inputs {listed}: name one "
            "of these"
        )
    found = []
    for name, shape, dtype in inputs:
        if name not in wanted:
            continue
        sides = shape[1:]
        if len(shape) != 4 or dtype != "float32" or not all(isinstance(s, int) for s in sides):
            raise OptionError(
                f"frames were given for the input '{name}' of {dtype} {shape}, expected a float32 "
                "picture (N, H, W, C) of fixed height and width, which frames are resized to: "
                "give it one, as with keras.Sequential([keras.Input((96, 96, 3)), model]), or "
                "leave frames out"
            )
        height, width, channels = (int(side) for side in sides if side is not None)
        wanted[name].require_channels(channels)
        found.append(FrameInput(name, wanted[name], (height, width, channels)))
    return tuple(found)


def doubt_scales(inputs: Sequence[FrameInput], preprocessing: Sequence[str]) -> tuple[str, ...]:
    """Return a note for each input whose pixels are probably scaled in another way than meant.

    Args:
        inputs: those that take frames.
        preprocessing: what the model does to them by itself, in words.
    """
    notes = []
    own = [step for step in preprocessing if step.startswith(_SCALING_LAYERS)]
    for each in inputs:
        mean, scale = (np.array(each.frames.numbers(name)) for name in ("mean", "scale"))
        if own and (mean.any() or (scale != 1).any()):
            notes.append(
                f"the frames of '{each.name}' are scaled by '{each.frames.to_text()}', and the "
                f'model begins with "{own[0]}": leave scale and mean out of frames unless the '
                "training scaled pixels twice"
            )
        if 0 < mean.max() <= 1 < scale.max():
            largest = ((255 - mean) * scale).max()
            notes.append(
                f"the frames of '{each.name}' become values up to {largest:.4g}, since pixels go "
                "from 0 to 255 and the mean is below 1: if the training had pixels from 0 to 1, "
                "write the mean times 255 and the scale divided by 255"
            )
    return tuple(notes)


def doubt_resize(wanted: Frames, trained: Frames) -> tuple[str, ...]:
    """Return a note if frames do not prepare pictures as the model's file says of the training."""
    device = {name: getattr(wanted, name) for name in ("order", "size", "most_pixels")}
    if replace(trained, **device) == wanted:
        return ()
    return (
        f"the frames are '{wanted.to_text()}', and the model's file says that it was trained on "
        f"pictures prepared by '{trained.to_text()}': leave frames out, or repeat these words in "
        "them, unless that file is wrong",
    )


def put_before(graph: onnx.ModelProto, inputs: Sequence[FrameInput]) -> onnx.ModelProto:
    """Return a finished graph with frames in place of pictures; without inputs, as it is."""
    from edgeport_converter.sensors.frame_graph import prepend_frames

    for each in inputs:
        graph = prepend_frames(graph, each.name, each.frames)
    return graph


def put_in_card(card: ModelCard, inputs: Sequence[FrameInput]) -> ModelCard:
    """Return the card of the same graph with frames in place of pictures."""
    if not inputs:
        return card
    specs = {spec.name: spec for spec in card.inputs}
    for each in inputs:
        spec = specs[each.name]
        sides = each.frames.size or free_axes(  # as prepend_frames names them in the graph
            {side for other in specs.values() for side in other.shape}
        )
        specs[each.name] = TensorSpec(
            name=each.name,
            dtype=np.dtype(np.uint8),
            shape=(spec.shape[0], *sides, each.format.channels),
            axes=("N", "H", "W", "C"),
            value_range=(0.0, 255.0),
        )
    versions = ", ".join(dict.fromkeys(_version_of(each.frames) for each in inputs))
    return replace(
        card,
        inputs=tuple(specs.values()),
        frames={each.name: each.format for each in inputs},
        preprocessing=(*(each.describe() for each in inputs), *card.preprocessing),
        provenance={**card.provenance, "frames_proven_with": versions},
    )


def _version_of(frames: Frames) -> str:
    module = require_library(frames)
    name = {"keras": "tensorflow"}.get(frames.library, frames.library)
    version = getattr(module, "__version__", None)  # which PIL.Image has too, as the package
    return f"{name} {version}"


def make_small(
    inputs: Sequence[FrameInput],
    samples: Sequence[Mapping[str, Array]],
    others: Mapping[str, Array],
    together: int,
) -> Iterator[dict[str, Array]]:
    """Yield candidates for golden samples: small frames of two sizes in turn.

    Args:
        inputs: those that take frames.
        samples: the user's, each with the batch axis; without any, noise and ramps are made up.
        others: samples of the other inputs where there is no data, axis 0 counts them.
        together: samples in each.
    """
    generator = np.random.default_rng(0)
    count = max(len(samples), 1)
    for number in range(_CANDIDATES):
        rows = [(number * together + each) % count for each in range(together)]
        found: dict[str, Array] = {}
        if samples:
            found = {
                name: np.concatenate([samples[row][name] for row in rows])
                for name in samples[0]
                if name not in {each.name for each in inputs}
            }
        else:
            found = {
                name: array.take(range(number, number + together), axis=0, mode="wrap")
                for name, array in others.items()
            }
        for each in inputs:
            size = each.frames.size or _SMALL_SIZES[number % 2]
            found[each.name] = np.stack(
                [
                    _thin_out(samples[row][each.name][0], size)
                    if samples
                    else _make_up(size, each.format.channels, generator)
                    for row in rows
                ]
            )
        yield found


def _thin_out(frame: Array, size: tuple[int, int]) -> Array:
    """Return some of a frame's pixels, evenly: no resize, so that no library is needed."""
    rows, columns = (
        np.linspace(0, have - 1, want).round().astype(int)
        for have, want in zip(frame.shape, size, strict=False)
    )
    thin: Array = frame[rows][:, columns]
    return thin


def _make_up(size: tuple[int, int], channels: int, generator: np.random.Generator) -> Array:
    """Return a blurred pattern of all levels: noise alone would be a flat gray once resized."""
    height, width = size
    coarse = generator.integers(0, 256, (5, 6, channels))
    pattern = _thin_out(coarse, size) + generator.integers(-20, 21, (height, width, channels))
    return np.clip(pattern, 0, 255).astype(np.uint8)


def prove(inputs: Sequence[FrameInput], samples: Sequence[Mapping[str, Array]], opset: int) -> None:
    """Compare each frame graph with its library, on made-up frames and on the user's.

    Raises:
        OptionError: the library is not installed.
        ConversionError: the graph's answer is too far off.
    """
    from edgeport_converter.sensors.proof import prove_frames

    for each in inputs:
        photos = [sample[each.name][0] for sample in samples]
        prove_frames(each.frames, each.picture, photos=photos, opset=opset)
