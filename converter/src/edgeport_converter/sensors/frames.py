"""``Frames``: what the training code did to a picture before the model saw it.

The names are those of the calls in the training code, since that is what a user knows. Nothing here
touches a pixel: ``frame_graph`` and ``reference`` do.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any

from edgeport import OptionError
from edgeport_converter.sensors.words import read_words

ORDERS = ("rgb", "bgr", "gray")
FITS = ("stretch", "crop", "pad")

_KERAS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian")
_PILLOW = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
_OPENCV = ("linear", "nearest", "area", "cubic", "lanczos4")
_WITHOUT_ANTIALIAS = ("nearest", "area")  # tf.image.resize ignores the argument for these

RESIZES = (
    *(f"keras-{kind}" for kind in (*_KERAS, "mitchellcubic")),
    *(
        f"keras-{kind}-antialias"
        for kind in (*_KERAS, "mitchellcubic")
        if kind not in _WITHOUT_ANTIALIAS
    ),
    *(f"load_img-{kind}" for kind in _PILLOW),
    *(f"pillow-{kind}" for kind in _PILLOW),
    *(f"opencv-{kind}" for kind in _OPENCV),
)
"""Every resize, by its library or call and the library's own word for the filter."""

# What each call does when it is told nothing else.
_DEFAULTS = {
    "keras": "keras-bilinear",
    "load_img": "load_img-nearest",
    "pillow": "pillow-bicubic",
    "opencv": "opencv-linear",
}
_FIT_CALL = "ImageOps.fit"

MOST_PIXELS = 2**26
"""The largest frame by default: 67 million pixels, above every camera's of 64 megapixels."""

_LARGEST_PIXELS = 2**31 - 1
_LARGEST_SIDE = 2**15 - 1  # OpenCV's own; and float32 holds every product with a model's side


@dataclass(frozen=True, slots=True)
class Frames:
    """What the training code did to a picture, from uint8 pixels to the model's input.

    In this order: gray from colour, fit, resize, ``(pixel - mean) * scale``.

    Attributes:
        resize: what the training code called, one of ``RESIZES`` or a short form. ``keras``
            (bilinear) stands for ``image_dataset_from_directory``, ``tf.image.resize`` and
            ``Resizing`` of float pictures, which have further filters, most of them also with
            ``-antialias``. ``load_img`` (nearest) is that of Keras, and ``ImageDataGenerator``.
            ``pillow`` is bicubic and ``opencv`` linear, as these are when told nothing.
            ``ImageOps.fit`` is ``pillow-bicubic`` with ``fit="crop"``; ``ImageOps.fit-lanczos`` and
            others name another filter.
        fit: ``stretch`` to the model's size; ``crop`` the middle of the model's aspect (as
            ``crop_to_aspect_ratio``, ``keep_aspect_ratio`` of ``load_img``, ``ImageOps.fit`` do);
            ``pad`` to the model's aspect (as ``tf.image.resize_with_pad`` and ``ImageOps.pad`` do).
        pad: the colour of the padding, 0 to 255: one number, or one for each channel of the model.
        order: of the channels in the frames that the device hands over: ``rgb``, ``bgr``, ``gray``.
        model_order: of the channels that the training code gave to the model: ``rgb``, or ``bgr``
            if it read pictures with OpenCV and left them so. A model of one channel sees gray.
        size: (height, width) of every frame, where the device has only one: a faster graph.
        most_pixels: height times width of the largest frame that is accepted.
        scale: one number above zero, or one for each channel of the model.
        mean: one number, or one for each channel of the model, in the pixels' unit, 0 to 255.

    Raises:
        OptionError: a word or a number that is none of these.
    """

    resize: str = "keras-bilinear"
    fit: str = "stretch"
    pad: float | Sequence[float] = (0.0,)
    order: str = "rgb"
    model_order: str = "rgb"
    size: tuple[int, int] | None = None
    most_pixels: int = MOST_PIXELS
    scale: float | Sequence[float] = (1.0,)
    mean: float | Sequence[float] = (0.0,)

    def __post_init__(self) -> None:
        resize, fit = _full_names(self.resize, self.fit)
        object.__setattr__(self, "resize", resize)
        object.__setattr__(self, "fit", fit)
        _require_one_of("order", self.order, ORDERS)
        _require_one_of("model_order", self.model_order, ORDERS[:2])
        for name in ("pad", "scale", "mean"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        self._check_pad()
        if not all(number > 0 for number in self.numbers("scale")):
            raise OptionError(
                f"frames have the scale {self.scale}, expected numbers above zero: pass 1/255 for "
                "0 to 1, for instance"
            )
        if not _is_whole(self.most_pixels) or not 1 <= self.most_pixels <= _LARGEST_PIXELS:
            raise OptionError(
                f"frames have most_pixels {self.most_pixels!r}, expected a whole number from 1 to "
                f"{_LARGEST_PIXELS}: pass the height times the width of the largest frame"
            )
        if self.size is not None:
            object.__setattr__(self, "size", self._checked_size(self.size))

    @property
    def library(self) -> str:
        """Which library the training code resized with: ``keras``, ``pillow`` or ``opencv``."""
        call = self.resize.partition("-")[0]
        return "pillow" if call == "load_img" else call

    @property
    def kind(self) -> str:
        """The library's word for the filter, such as ``bilinear``."""
        return self.resize.split("-")[1]

    @property
    def antialias(self) -> bool:
        """Whether TensorFlow was asked to widen its filter when it makes a picture smaller."""
        return self.resize.endswith("-antialias")

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return ``pad``, ``scale`` or ``mean``: one number, or one for each channel."""
        return tuple(getattr(self, name))

    def _check_pad(self) -> None:
        if any(not 0 <= number <= 255 for number in self.numbers("pad")):
            raise OptionError(
                f"frames have the padding {self.pad}, expected numbers from 0 to 255: pass a colour"
            )
        if self.fit != "pad":
            if any(self.numbers("pad")):
                raise OptionError(
                    f"frames have the padding {self.pad} and fit='{self.fit}', expected a padding "
                    "with fit='pad' only: leave one of them out"
                )
            return
        if self.resize.startswith(("opencv", "load_img")):
            raise OptionError(
                f"frames have fit='pad' with resize='{self.resize}', which has no padding of its "
                "own to compare with, expected a keras or a pillow resize: pad before predict, and "
                "pass fit='stretch'"
            )
        if self.library == "pillow" and any(
            number != int(number) for number in self.numbers("pad")
        ):
            raise OptionError(
                f"frames have the padding {self.pad}, expected whole numbers, as Pillow paints"
            )

    def _checked_size(self, size: Any) -> tuple[int, int]:
        sides = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else ()
        if len(sides) != 2 or not all(
            _is_whole(side) and 1 <= side <= _LARGEST_SIDE for side in sides
        ):
            raise OptionError(
                f"frames have the size {size!r}, expected a height and a width from 1 to "
                f"{_LARGEST_SIDE}: pass (480, 640), or leave it out if frames differ"
            )
        height, width = (int(side) for side in sides)
        if height * width > self.most_pixels:
            raise OptionError(
                f"frames have the size {height} × {width}, expected at most {self.most_pixels} "
                "pixels: raise most_pixels, or pass a smaller size"
            )
        return height, width

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON holds them, for the card."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Frames:
        """Return the frames that a card or a recipe describes.

        Raises:
            OptionError: a key or a value that ``Frames`` does not take.
        """
        names = [field.name for field in fields(cls)]
        for name in values:
            _require_one_of("key", name, names)
        return cls(**dict(values))

    @classmethod
    def from_text(cls, text: str) -> Frames:
        """Return the frames of a command line: a resize, then ``name=value`` words.

        For instance ``keras fit=crop order=bgr``, ``ImageOps.fit-lanczos scale=1/127.5 mean=127.5``
        or ``opencv-area size=480x640``.

        Raises:
            OptionError: a word that is none of these.
        """
        example = "the call of the training code, such as 'keras', then words such as fit=crop"
        return cls.from_dict(read_words(text, "frames are", example, _read, first="resize"))

    def to_text(self) -> str:
        """Return the shortest text that ``from_text`` reads as these frames."""
        words = [self.resize]
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                if field.name == "size":
                    value = f"{value[0]}x{value[1]}"
                elif isinstance(value, tuple):
                    value = ",".join(f"{number!r}" for number in value)
                words.append(f"{field.name}={value}")
        return " ".join(words)

    def require_channels(self, channels: int) -> None:
        """Refuse a model whose channels these frames cannot be brought to.

        Raises:
            OptionError: not 1 or 3 channels, or other numbers for each than the model has.
        """
        if channels not in (1, 3):
            raise OptionError(
                f"the model takes a picture of {channels} channels, expected 1 or 3 for frames: "
                "make the picture before predict, and leave frames out"
            )
        for name in ("pad", "scale", "mean"):
            numbers = self.numbers(name)
            if len(numbers) not in (1, channels):
                raise OptionError(
                    f"frames have {len(numbers)} numbers as {name}, expected one, or one for each "
                    f"of the model's {channels} channels: pass these"
                )


def _full_names(resize: Any, fit: Any) -> tuple[str, str]:
    if isinstance(resize, str) and resize.partition("-")[0] == _FIT_CALL:
        if fit not in ("stretch", "crop"):
            raise OptionError(
                f"frames have resize='{resize}' and fit={fit!r}, expected fit='crop', which is "
                f"what {_FIT_CALL} does: leave fit out"
            )
        resize, fit = f"pillow-{resize.partition('-')[2] or 'bicubic'}", "crop"
    resize = _DEFAULTS.get(resize, resize) if isinstance(resize, str) else resize
    _require_one_of("resize", resize, RESIZES, further=(*_DEFAULTS, _FIT_CALL))
    _require_one_of("fit", fit, FITS)
    return resize, fit


def _require_one_of(
    name: str, value: Any, choices: Sequence[str], further: Sequence[str] = ()
) -> None:
    if isinstance(value, str) and value in choices:
        return
    near = difflib.get_close_matches(str(value), (*further, *choices), 1, 0.5)
    hint = f": did you mean '{near[0]}'?" if near else ""
    shown = further or choices
    more = " or one of their further forms, such as 'keras-bicubic-antialias'" if further else ""
    raise OptionError(
        f"frames have the {name} {value!r}, expected {', '.join(map(repr, shown))}{more}{hint}"
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    values = [value] if isinstance(value, Real) else value
    try:
        numbers = tuple(float(number) for number in values)
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise OptionError(
            f"frames have the {name} {value!r}, expected a finite number, or one for each channel "
            "of the model: pass these"
        )
    return numbers


def _read(name: str, text: str) -> Any:
    try:
        if name == "size":
            height, width = text.lower().split("x")
            return int(height), int(width)
        if name == "most_pixels":
            return int(text)
        if name in ("pad", "scale", "mean"):
            parts = [part.partition("/") for part in text.split(",")]
            return [float(top) / (float(bottom) if slash else 1.0) for top, slash, bottom in parts]
    except (ValueError, ZeroDivisionError):
        raise OptionError(
            f"frames have {name}={text}, expected a number such as 1/255 or 123.7,116.3,103.5, and "
            "for size one such as 480x640"
        ) from None
    return text


def free_axes(taken: Collection[object]) -> tuple[str, str]:
    """Return names of the height and the width of frames that no axis of the other inputs has.

    Axes of equal names have equal sizes, and frames of two inputs need not.
    """
    ends = ("", *(str(number) for number in range(2, len(taken) + 3)))
    return next(
        pair for pair in (("H" + end, "W" + end) for end in ends) if not set(pair) & set(taken)
    )
