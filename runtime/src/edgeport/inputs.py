"""What ``predict`` accepts, and every refusal's sentence.

Here lives the way from anything a caller may hand over to one native, aligned array of the
card's dtype and rank for each input. The rule is that no value changes on the way, but for the
ordinary rounding of a float to a narrower float; what would change is refused. Nothing here
knows the engine.
"""

from __future__ import annotations

import difflib
import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgeport.card import BATCH_AXIS, Shape, TensorSpec, format_shape
from edgeport.errors import InputError
from edgeport.golden import Array


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


def prepare(specs: Sequence[TensorSpec], values: tuple[Any, ...]) -> Feed:
    """Return what ``predict(*values)`` has to feed.

    Args:
        specs: the card's inputs in declared order.
        values: one mapping by input name, or one value an input.

    Raises:
        InputError: a name, dtype, value, rank or size disagrees with the card.
    """
    named = _by_name(specs, values)
    arrays: dict[str, Array] = {}
    lacks_batch: dict[str, bool] = {}
    for spec in specs:
        array = as_exact_array(spec, named[spec.name])
        lacks_batch[spec.name] = spec.has_batch_axis and array.ndim == len(spec.shape) - 1
        arrays[spec.name] = array[np.newaxis] if lacks_batch[spec.name] else array
        _check_shape(spec, array, arrays[spec.name])
    sizes = _check_shared_axes(specs, arrays)
    batched = [spec.name for spec in specs if spec.has_batch_axis]
    single = [name for name in batched if lacks_batch[name]]
    if single and len(single) != len(batched):
        other = next(name for name in batched if not lacks_batch[name])
        raise InputError(
            f"input '{single[0]}' is one sample of shape {arrays[single[0]].shape[1:]} but input "
            f"'{other}' is a batch of shape {arrays[other].shape}, expected all inputs alike: "
            "give each of them the batch axis, x[None]",
            expected="all inputs with or all without the batch axis",
            actual=f"'{single[0]}' without, '{other}' with",
        )
    return Feed(arrays, sizes.get(BATCH_AXIS) if batched else None, bool(single))


def as_exact_array(spec: TensorSpec, value: Any) -> Array:
    """Return ``value`` as a native, aligned array of the input's dtype, every value intact.

    Raises:
        InputError: it is no numeric array, or a value would change.
    """
    if value is None:
        raise _refusal(spec, "None", "pass an array")
    if isinstance(value, (list, tuple)):
        for item in value:
            _refuse_mask(spec, item)
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            given = np.from_dlpack(value)
        else:
            given = np.asanyarray(value)
    except Exception as cause:
        raise _refusal(
            spec,
            f"a {type(value).__name__} that numpy cannot turn into an array "
            f"({str(cause).splitlines()[0] if str(cause) else type(cause).__name__})",
            "pass nested lists of equal lengths or an array",
        ) from cause
    _refuse_mask(spec, given)
    array = np.asarray(given)
    if spec.dtype.kind == "O":
        return _as_strings(spec, array)
    if array.dtype.kind not in "biuf":
        raise _refusal(
            spec,
            f"{_KIND_NAMES.get(array.dtype.kind, 'values')} (dtype {array.dtype})",
            _KIND_REMEDIES.get(array.dtype.kind, "pass numbers"),
        )
    native = array.dtype.newbyteorder("=")
    if native != spec.dtype:
        if isinstance(value, (list, tuple)) and spec.dtype.kind in "iu":
            _refuse_rounded_list(spec, array)
        return _cast(spec, array)
    if array.dtype.isnative and array.flags.aligned:
        return array
    return np.require(array, spec.dtype, "A")


_KIND_NAMES = {
    "c": "complex numbers",
    "O": "Python objects",
    "U": "text",
    "S": "byte strings",
    "M": "dates",
    "m": "time differences",
    "V": "records",
}
_KIND_REMEDIES = {
    "c": "pass x.real or abs(x), whichever the model was trained on",
    "O": "make it a plain numeric array, np.asarray(x, dtype=float)",
    "U": "turn the text into numbers first",
    "S": "turn the bytes into numbers first, np.frombuffer(x, dtype=np.uint8)",
    "V": "pass one numeric field of the records",
}


def _by_name(specs: Sequence[TensorSpec], values: tuple[Any, ...]) -> Mapping[str, Any]:
    """Return the values by input name, refusing unknown, missing and surplus ones."""
    names = [spec.name for spec in specs]
    listed = ", ".join(f"'{name}'" for name in names)
    if len(values) == 1 and isinstance(values[0], Mapping):
        named: Mapping[str, Any] = values[0]
        for name in named:
            if name not in names:
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
            f"predict was given {_count(len(values), 'input')}, the model takes {len(names)} "
            f"({listed}): pass one array for each in this order, or a dict by name",
            expected=_count(len(names), "input"),
            actual=_count(len(values), "input"),
        )
    return dict(zip(names, values, strict=True))


def _refuse_mask(spec: TensorSpec, value: Any) -> None:
    """Refuse a masked array, or a list with one: numpy would drop the mask without a word."""
    if isinstance(value, (list, tuple)):
        for item in value:
            _refuse_mask(spec, item)
    elif isinstance(value, np.ndarray) and type(value) is not np.ndarray:
        masked = sys.modules.get("numpy.ma")  # where nobody imported it, nothing is masked
        if masked is not None and isinstance(value, masked.MaskedArray):
            count = int(masked.count_masked(value))
            raise _refusal(
                spec,
                f"a masked array ({count} of its values hidden)",
                "fill them first, x.filled(value)",
            )


def _refuse_rounded_list(spec: TensorSpec, array: Array) -> None:
    """Refuse what numpy has rounded already: an integer next to a float in a list becomes one."""
    if array.dtype.kind == "f" and array.size and np.max(np.abs(array)) >= 2.0**53:
        raise _refusal(
            spec,
            "a list of floats and integers that float64 does not hold exactly",
            f"pass integers alone, np.asarray(x, dtype=np.{spec.dtype})",
        )


def _as_strings(spec: TensorSpec, array: Array) -> Array:
    if array.dtype.kind in "UT":
        return array.astype(object)
    if array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat):
        return array
    raise _refusal(spec, f"values of dtype {array.dtype}", "pass text, an array of str")


def _cast(spec: TensorSpec, array: Array) -> Array:
    """Return the array in the input's dtype; refuse the first value that would change."""
    target = spec.dtype
    with np.errstate(over="ignore", invalid="ignore"):
        result: Array = array.astype(target)
    if array.dtype.kind == "b" or array.size == 0:
        return result
    if target.kind == "f":
        if array.dtype.kind == "f":
            changed = np.isinf(result) & ~np.isinf(array)
        else:
            changed = ~_is_exact_in_float(array, target)
    elif target.kind == "b":
        changed = (array != 0) & (array != 1)
    else:
        changed = ~_is_whole_within(array, np.iinfo(target))
    if changed.any():
        raise _value_refusal(spec, array, changed)
    return result


def _is_exact_in_float(integers: Array, target: np.dtype[Any]) -> Array:
    """Whether each integer is a multiple of a power of two with few enough digits."""
    info = np.finfo(target)
    digits = info.nmant + 1
    negative = integers < 0
    # Two's complement in uint64 holds the magnitude of every 64-bit integer, -2**63 included.
    magnitude = integers.astype(np.uint64)
    magnitude = np.where(negative, np.uint64(0) - magnitude, magnitude)
    lowest_bit = np.maximum(magnitude & (~magnitude + np.uint64(1)), np.uint64(1))
    fits: Array = magnitude // lowest_bit < np.uint64(2**digits)
    if float(info.max) < 2.0**64:
        fits &= magnitude <= np.uint64(int(info.max))
    return fits


def _is_whole_within(array: Array, info: np.iinfo[Any]) -> Array:
    """Whether each value is a whole number of the integer type's range."""
    if array.dtype.kind == "f":
        wide = array.astype(np.result_type(array.dtype, np.float64))
        # The upper end is compared as a power of two, which float64 holds where 2**63 - 1 is not.
        whole: Array = wide == np.floor(wide)
        return whole & (wide >= float(info.min)) & (wide < float(info.max + 1))
    source = np.iinfo(array.dtype)
    fits = np.ones(array.shape, dtype=bool)
    if source.min < info.min:
        fits &= array >= info.min
    if source.max > info.max:
        fits &= array <= info.max
    return fits


def _value_refusal(spec: TensorSpec, array: Array, changed: Array) -> InputError:
    index = tuple(int(i) for i in np.argwhere(changed)[0])
    value = array[index]
    count = int(changed.sum())
    where = f" at {list(index)}" if index else ""
    more = f" and {_count(count - 1, 'more such value')}" if count > 1 else ""
    if spec.dtype.kind == "b":
        expected, remedy = "0 or 1", "pass booleans, e.g. x > 0.5"
    elif spec.dtype.kind == "f":
        limit = float(np.finfo(spec.dtype).max)
        if abs(float(value)) > limit:
            expected, remedy = f"at most {limit:.3g} in size", "scale the values first"
        else:
            expected = f"whole numbers that {spec.dtype} holds exactly"
            remedy = f"round on purpose, x.astype(np.{spec.dtype})"
    else:
        info = np.iinfo(spec.dtype)
        expected = f"whole numbers from {info.min} to {info.max}"
        remedy = "scale, round or clip on purpose first, e.g. np.clip(np.rint(x), low, high)"
    return InputError(
        f"input '{spec.name}' has the value {value}{where}{more}, which {spec.dtype} would change, "
        f"expected {expected}: {remedy}",
        expected=expected,
        actual=f"{value}{where}",
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _refusal(spec: TensorSpec, actual: str, remedy: str) -> InputError:
    expected = f"{spec.dtype} of shape {format_shape(accepted_shape(spec))}"
    return InputError(
        f"input '{spec.name}' is {actual}, expected {expected}: {remedy}",
        expected=expected,
        actual=actual,
    )


def _check_shape(spec: TensorSpec, given: Array, array: Array) -> None:
    """Refuse a rank or a fixed size that the card does not have; ``given`` words the message."""
    shape = accepted_shape(spec)
    if _fits(shape, array.shape):
        return
    raise InputError(
        f"input '{spec.name}' has shape {given.shape}, expected {format_shape(shape)}: "
        f"{_shape_remedy(spec, given)}",
        expected=format_shape(shape),
        actual=str(given.shape),
    )


def accepted_shape(spec: TensorSpec) -> Shape:
    """Return the shape that callers may pass: a batch fixed by the model takes any number."""
    return (BATCH_AXIS, *spec.shape[1:]) if spec.has_batch_axis else spec.shape


def _fits(shape: Shape, sizes: tuple[int, ...]) -> bool:
    return len(shape) == len(sizes) and all(
        isinstance(want, str) or want == have for want, have in zip(shape, sizes, strict=True)
    )


def _shape_remedy(spec: TensorSpec, given: Array) -> str:
    """Return the likeliest next step for a shape that does not fit."""
    shape, sizes = accepted_shape(spec), given.shape
    one_sample = shape[1:] if spec.has_batch_axis else shape
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
        for axis, size in zip(accepted_shape(spec), arrays[spec.name].shape, strict=True):
            if not isinstance(axis, str):
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
