"""Pictures of `edgeport explain`: the photo beside its heat, or a signal over its heat, as PNG.

Pillow, the extra ``edgeport[images]``, draws; it is imported where it is needed. Warm colours mark
what carried the answer and cold ones what spoke against it; the largest heat has the full colour.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np

from edgeport.artifact.card import ModelCard
from edgeport.artifact.golden import Array
from edgeport.errors import OptionError
from edgeport.explaining.occlusion import OcclusionMap

_SMALLEST, _LARGEST = 320, 1200  # pixels of the longer side of one panel
_MARGIN, _LINE, _SCALE = 12, 18, 12
_WARM, _COLD = np.array([224.0, 48.0, 16.0]), np.array([24.0, 96.0, 224.0])
_PAPER, _INK = (255, 255, 255), (24, 24, 24)
_OPAQUE = 0.75
_SIGNAL_SIZE = (960, 240)


def require_pillow() -> Any:
    """Return the package; raises OptionError where it is not installed."""
    try:
        import PIL.Image
        import PIL.ImageDraw
    except ImportError as cause:
        raise OptionError(
            "pictures need the package 'pillow', which is not installed: "
            "pip install 'edgeport[images]', or write a .npy file"
        ) from cause
    return PIL


def write_picture(file: IO[bytes], found: OcclusionMap, card: ModelCard, sample: Array) -> None:
    """Write the heat of a picture or a signal as PNG.

    Args:
        file: to write to.
        found: the map.
        card: says where the sample has its axes and what its levels are.
        sample: as it was explained, without batch axis.
    """
    pil = require_pillow()
    if found.heat.ndim == 1:
        panels = [_signal_panel(pil, found, sample)]
    else:
        photo = _photo_of(card, sample, found.heat.shape)
        panels = [pil.Image.fromarray(photo), pil.Image.fromarray(_over(photo, found.heat))]
        panels = [_enlarged(pil, panel) for panel in panels]
    _framed(pil, panels, found).save(file, "PNG")


def colours(share: Array) -> tuple[Array, Array]:
    """Return the colour (..., 3) and the opacity (...) of heat from -1 to 1."""
    strength = np.abs(np.clip(share, -1, 1))
    return np.where((share > 0)[..., np.newaxis], _WARM, _COLD), _OPAQUE * strength


def _shares(heat: Array) -> Array:
    largest = float(np.abs(heat).max(initial=0.0))
    shares: Array = heat / largest if largest else heat
    return shares


def _photo_of(card: ModelCard, sample: Array, sizes: tuple[int, ...]) -> Array:
    """Return uint8 (H, W, 3), whatever the sample's dtype and order of axes."""
    spec = card.inputs[0]
    letters = spec.axes[1:]
    if sample.ndim == 1:  # features that are a picture, row by row
        sample, letters = sample.reshape(sizes), ("H", "W")
    pixels = sample.transpose([letters.index(axis) for axis in "HWC" if axis in letters])
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.dtype != np.uint8:
        low, high = spec.value_range or (float(pixels.min()), float(pixels.max()))
        wide = (pixels.astype(np.float64) - low) / ((high - low) or 1.0)
        pixels = np.rint(np.clip(wide, 0, 1) * 255).astype(np.uint8)
    if pixels.shape[2] not in (3, 4):
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    frames = card.frames.get(spec.name)
    if frames is not None and frames.order == "bgr":
        pixels = pixels[..., ::-1]
    photo: Array = np.ascontiguousarray(pixels[..., :3])
    return photo


def _over(photo: Array, heat: Array) -> Array:
    """Return the heat over the photo in gray, uint8 (H, W, 3)."""
    gray = np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2)
    colour, opacity = colours(_shares(heat))
    mixed = gray + (colour - gray) * opacity[..., np.newaxis]
    levels: Array = np.rint(mixed).astype(np.uint8)
    return levels


def _enlarged(pil: Any, panel: Any) -> Any:
    """Return small pictures in whole multiples, with sharp pixels, and large ones smaller."""
    side = max(panel.size)
    if side > _LARGEST:
        panel.thumbnail((_LARGEST, _LARGEST))
        return panel
    factor = max(1, -(-_SMALLEST // side))
    sizes = tuple(size * factor for size in panel.size)
    return panel.resize(sizes, pil.Image.Resampling.NEAREST)


def _signal_panel(pil: Any, found: OcclusionMap, sample: Array) -> Any:
    """Return the signal as a line over its heat, time from left to right."""
    width, height = _SIGNAL_SIZE
    steps = len(found.heat)
    wave = sample.reshape(steps, -1).astype(np.float64).mean(axis=1)
    colour, opacity = colours(_shares(found.heat))
    paper = 255 + (colour - 255) * opacity[:, np.newaxis]
    at = np.arange(width) * steps // width
    strip = np.repeat(np.rint(paper[at]).astype(np.uint8)[np.newaxis], height, axis=0)
    panel = pil.Image.fromarray(strip)
    draw = pil.ImageDraw.Draw(panel)
    low, high = float(wave.min()), float(wave.max())
    rows = (height - 9) * (1 - (wave - low) / ((high - low) or 1.0)) + 4
    ends = np.append(np.arange(width), width) * steps // width
    for column in range(width):
        part = rows[ends[column] : max(ends[column] + 1, ends[column + 1])]
        draw.line([(column, part.min()), (column, part.max() + 1)], fill=_INK)
    return panel


def _framed(pil: Any, panels: list[Any], found: OcclusionMap) -> Any:
    """Return the panels side by side, with what was explained and the scale of the colours."""
    inner = sum(panel.width for panel in panels) + _MARGIN * (len(panels) - 1)
    height = max(panel.height for panel in panels)
    size = (inner + 2 * _MARGIN, height + 3 * _MARGIN + 2 * _LINE + _SCALE)
    sheet = pil.Image.new("RGB", size, _PAPER)
    draw = pil.ImageDraw.Draw(sheet)
    left = _MARGIN
    for panel in panels:
        sheet.paste(panel, (left, _MARGIN))
        left += panel.width + _MARGIN
    top = height + 2 * _MARGIN
    shares = np.linspace(-1, 1, inner)
    colour, opacity = colours(shares)
    scale = np.rint(255 + (colour - 255) * opacity[:, np.newaxis]).astype(np.uint8)
    sheet.paste(pil.Image.fromarray(np.repeat(scale[np.newaxis], _SCALE, axis=0)), (_MARGIN, top))
    largest = float(np.abs(found.heat).max(initial=0.0))
    _write(draw, _MARGIN, top + _SCALE + 2, f"{-largest:.3g} spoke against")
    text = f"carried {largest:.3g}"
    _write(draw, size[0] - _MARGIN - draw.textlength(text), top + _SCALE + 2, text)
    text = f"drop of {found.answer}, {found.score:.4g}; baseline {found.baseline}"
    if found.rate is not None:
        text += f"; 0 to {len(found.heat) / found.rate:.3g} s"
    _write(draw, _MARGIN, top + _SCALE + _LINE, text)
    return sheet


def _write(draw: Any, left: float, top: float, text: str) -> None:
    # The font that Pillow brings knows Latin letters alone.
    draw.text((left, top), text.encode("ascii", "replace").decode(), fill=_INK)
