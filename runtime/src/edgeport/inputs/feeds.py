"""What ``predict`` accepts, and the refusals of names, shapes and batches.

It turns a caller's arguments into one array with its batch axis for each input; ``casting`` checks
the values. Nothing here knows the engine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeport.artifact.card import (
    ANY_SHAPE,
    BATCH_AXIS,
    Shape,
    TensorSpec,
    format_shape,
)
from edgeport.artifact.golden import Array
from edgeport.errors import InferenceError, InputError
from edgeport.inputs.casting import as_exact_array, counted

if TYPE_CHECKING:
    from edgeport.artifact.frame_format import FrameFormat


class Feed(NamedTuple):
    """Arrays ready for the engine.

    Attributes:
        arrays: by input name; each has its batch axis, if the input has one.
        samples: how many samples they hold; None where the model has no batch axis.
        is_single: whether one sample came without the batch axis, so that the answer loses it.
    """

    arrays: dict[str, Array]
    samples: int | None
    is_single: bool


_NO_FRAMES: Mapping[str, FrameFormat] = {}


def prepare(
    specs: Sequence[TensorSpec],
    values: tuple[Any, ...],
    frames: Mapping[str, FrameFormat] = _NO_FRAMES,
) -> Feed:
    """Return what ``predict(*values)`` has to feed; ``frames`` are those of the card.

    Raises:
        InputError: a name, dtype, value, rank or size disagrees with the card.
        InferenceError: the memory does not suffice.
    """
    named = _by_name(specs, values)
    arrays: dict[str, Array] = {}
    singles: list[str] = []
    batches: list[str] = []
    for spec in specs:
        try:
            if spec.name in frames:
                from edgeport.inputs.frames import as_frames  # most models have none

                array = given = as_frames(spec, frames[spec.name], named[spec.name])
            else:
                array = given = as_exact_array(spec, named[spec.name])
        except InputError:
            if spec.name not in frames:
                _check_rank(spec, named[spec.name])  # says more: inputs in another order, mostly
            raise
        except MemoryError as cause:
            raise InferenceError(
                f"there is not enough memory to convert input '{spec.name}' to {spec.dtype} "
                f"({cause}): pass fewer samples at a time"
            ) from cause
        if spec.has_batch_axis:
            is_single = given.ndim == len(spec.shape) - 1
            array = given[np.newaxis] if is_single else given
            (singles if is_single else batches).append(spec.name)
        _check_shape(spec, given, array)
        if not array.size:
            _refuse_empty(spec, array)
        arrays[spec.name] = array
    sizes = _check_shared_axes(specs, arrays)
    if singles and batches:
        one, many = singles[0], batches[0]
        raise InputError.of(
            f"input '{one}' is",
            f"one sample of shape {arrays[one].shape[1:]} but input '{many}' is a batch of "
            f"shape {arrays[many].shape}",
            "all inputs alike",
            "give each of them the batch axis, x[None]",
        )
    samples = sizes.get(BATCH_AXIS) if singles or batches else None
    return Feed(arrays, samples, is_single=bool(singles))


def _by_name(specs: Sequence[TensorSpec], values: tuple[Any, ...]) -> Mapping[str, Any]:
    """Return the values by input name, refusing unknown, missing and surplus ones."""
    names = [spec.name for spec in specs]
    listed = ", ".join(f"'{name}'" for name in names)
    if len(values) == 1 and isinstance(values[0], Mapping):
        named: Mapping[str, Any] = values[0]
        for name in named:
            if name not in names:
                import difflib  # only a refusal needs it

                near = difflib.get_close_matches(str(name), names, n=1)
                hint = f"did you mean '{near[0]}'?" if near else "use the names of the card"
                raise InputError(
                    f"there is no input {name!r}, the model's inputs are {listed}: {hint}",
                    expected=listed,
                    actual=repr(name),
                )
        for name in names:
            if name not in named:
                raise InputError(
                    f"input '{name}' is missing, found {', '.join(map(repr, named)) or 'none'}: "
                    f"pass all of {listed}",
                    expected=listed,
                    actual=", ".join(map(repr, named)),
                )
        return named
    if len(values) != len(names):
        raise InputError(
            f"predict was given {counted(len(values), 'input')}, the model takes {len(names)} "
            f"({listed}): pass one array for each in this order, or a dict by name",
            expected=counted(len(names), "input"),
            actual=counted(len(values), "input"),
        )
    return dict(zip(names, values, strict=True))


def _check_shape(spec: TensorSpec, given: Array, array: Array) -> None:
    """Refuse a rank or a fixed size that the card does not have; ``given`` words the message."""
    shape = spec.accepted_shape
    if _fits(shape, array.shape):
        return
    subject, remedy = f"input '{spec.name}' has shape", _shape_remedy(spec, given)
    raise InputError.of(subject, str(given.shape), format_shape(shape), remedy)


def _check_rank(spec: TensorSpec, value: Any) -> None:
    """Refuse an array with a number of axes that neither one sample nor a batch has."""
    if isinstance(value, np.ndarray) and spec.shape != ANY_SHAPE:
        ranks = {len(spec.shape), len(spec.sample_shape)}
        if value.ndim not in ranks:
            _check_shape(spec, value, value)


def _refuse_empty(spec: TensorSpec, array: Array) -> None:
    """Refuse an axis without values, of which no card says that the model was proven with one.

    Recurrent operators of the engine end the process there, and a mean over nothing is a number.
    """
    for axis, size in enumerate(array.shape):
        if size == 0 and not (axis == 0 and spec.has_batch_axis):
            name = spec.shape[axis] if axis < len(spec.shape) and spec.shape != ANY_SHAPE else axis
            raise InputError.of(
                f"input '{spec.name}' has",
                f"nothing along axis {name}, shape {array.shape}",
                "a size of at least 1",
                "leave such a sample out",
            )


def _fits(shape: Shape, sizes: tuple[int, ...]) -> bool:
    same = (isinstance(want, str) or want == have for want, have in zip(shape, sizes, strict=False))
    return shape == ANY_SHAPE or (len(shape) == len(sizes) and all(same))


def _shape_remedy(spec: TensorSpec, given: Array) -> str:
    """Return the likeliest next step for a shape that does not fit."""
    shape, sizes = spec.accepted_shape, given.shape
    one_sample = spec.sample_shape
    targets = tuple(dict.fromkeys((shape, one_sample)))
    for target in targets:
        if target and target[-1] == 1 and _fits(target, (*sizes, 1)):
            return "add the channel axis, x[..., None]"
        if sizes and sizes[-1] == 1 and _fits(target, sizes[:-1]):
            return "drop the last axis, x[..., 0]"
    if sizes and sizes[0] == 1 and _fits(shape, sizes[1:]):
        return "drop the extra first axis, x[0]"
    for target in targets:
        order = _transpose_that_fits(target, sizes)
        if order:
            return f"the axes look swapped, x.transpose{order}"
    fixed = [size for size in one_sample if isinstance(size, int)]
    if len(fixed) == len(one_sample) and fixed:
        wanted = math.prod(fixed)
        tail = ", ".join(map(str, fixed))
        if given.size == wanted:
            return f"one sample has the right number of values, x.reshape({tail})"
        if spec.has_batch_axis and len(sizes) > 1 and math.prod(sizes[1:]) == wanted:
            return f"each row has the right number of values, x.reshape(-1, {tail})"
    if spec.has_batch_axis:
        return f"pass one sample of shape {format_shape(one_sample)} or a batch of them"
    return "pass an array of that shape"


def _transpose_that_fits(shape: Shape, sizes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the axis order in which the sizes fit, None where there is none or too many axes."""
    if len(sizes) != len(shape) or not 2 <= len(sizes) <= 5:
        return None
    for order in itertools.permutations(range(len(sizes))):
        if _fits(shape, tuple(sizes[axis] for axis in order)):
            return order
    return None


def _check_shared_axes(specs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> dict[str, int]:
    """Return the size of each named axis; refuse inputs that disagree about one."""
    seen: dict[str, tuple[int, str]] = {}
    for spec in specs:
        for axis, size in zip(spec.accepted_shape, arrays[spec.name].shape, strict=False):
            if not isinstance(axis, str) or spec.shape == ANY_SHAPE:
                continue
            known, owner = seen.setdefault(axis, (size, spec.name))
            if known != size:
                raise InputError(
                    f"input '{spec.name}' has {size} along axis {axis} and input '{owner}' has "
                    f"{known}, expected the same: give both the same number",
                    expected=f"{axis} = {known}",
                    actual=f"{axis} = {size}",
                )
    return {axis: size for axis, (size, _) in seen.items()}
