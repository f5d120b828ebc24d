"""One value at a time: from anything numpy can see as numbers to an exact array.

The rule is that no value changes on the way, but for the ordinary rounding of a float to a
narrower float; what would change is refused. ``feeds`` adds names, shapes and batches,
``pictures`` reads images.
"""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgeport.artifact.card import TensorSpec, format_shape
from edgeport.artifact.golden import Array
from edgeport.errors import InputError
from edgeport.inputs.pictures import pixels_in
from edgeport.signals import reraise_signal


def as_exact_array(spec: TensorSpec, value: Any) -> Array:
    """Return ``value`` as a native, aligned array of the input's dtype, every value intact.

    Raises:
        InputError: it is no numeric array, or a value would change.
    """
    value = _joined(value)
    array = read_array(spec, value)
    if spec.dtype.kind == "O":
        return _as_strings(spec, array)
    if array.dtype.kind not in "biuf":
        found, remedy = _other_kind(array.dtype)
        raise _refusal(spec, f"{found} (dtype {array.dtype})", remedy)
    if array.dtype.kind == "f" and (isinstance(value, (list, tuple)) or is_unknown_sequence(value)):
        _refuse_rounded_list(spec, value, array)
    if array.dtype.newbyteorder("=") != spec.dtype:
        return _cast(spec, array)
    if array.dtype.isnative and array.flags.aligned:
        return array
    return np.require(array, spec.dtype, "A")


def read_array(spec: TensorSpec, value: Any) -> Array:
    """Return what numpy reads in ``value``, of its own dtype; an array is not copied.

    Raises:
        InputError: numpy reads no array, or one that hides some of its values.
    """
    if value is None:
        raise _refusal(spec, "None", "pass an array")
    try:
        if is_unknown_sequence(value):
            value = list(value)  # so that what is said of lists below holds for it, too
        if _numbers_in(value) is None:
            value = pixels_in(spec, value)
            _refuse_mask(spec, value)
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            given = np.from_dlpack(value)
        else:
            # In a list of text, numpy would cut a last NUL and turn numbers beside it into text.
            is_plain_text = spec.dtype.kind == "O" and isinstance(value, (list, tuple, str))
            given = np.asanyarray(value, object if is_plain_text else None)
        _refuse_mask(spec, given)
    except (InputError, MemoryError):
        raise
    except Exception as cause:
        raise unreadable(spec, value, cause) from cause
    return np.asarray(given)


def unreadable(spec: TensorSpec, value: Any, cause: Exception) -> InputError:
    """Return the refusal of a value that raised while it was read."""
    reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    remedy = "pass nested lists of equal lengths or an array"
    if re.search("bfloat16|float8", str(getattr(value, "dtype", reason)), re.IGNORECASE):
        remedy = "numpy has no such numbers, so convert them first, x.float() in PyTorch"
    found = f"a {type(value).__name__} that numpy cannot turn into an array ({reason})"
    return _refusal(spec, found, remedy)


# What is no number, by numpy's kind, and the next step.
_OTHER_KINDS = {
    "c": ("complex numbers", "pass x.real or abs(x), whichever the model was trained on"),
    "O": ("Python objects", "make it a plain numeric array, np.asarray(x, dtype=float)"),
    "U": ("text", "turn the text into numbers first"),
    "S": ("byte strings", "turn the bytes into numbers first, np.frombuffer(x, dtype=np.uint8)"),
    "M": ("dates", "pass numbers"),
    "m": ("time differences", "pass numbers"),
    "V": ("records", "pass one numeric field of the records"),
}


def _other_kind(dtype: np.dtype[Any]) -> tuple[str, str]:
    """Return what values of a dtype are that is no plain number, and the next step."""
    # The package ml_dtypes adds bfloat16 and the like; its names are not those of records. Each of
    # its floats and integers is a float32 too.
    if dtype.kind == "V" and dtype.names is None and not dtype.name.startswith("void"):
        return f"{dtype.name} numbers", "convert them, which changes none: x.astype(np.float32)"
    return _OTHER_KINDS.get(dtype.kind, ("values", "pass numbers"))


_NUMBERS = frozenset((int, float))
_PLAIN = frozenset((int, float, bool))
_ARRAY_PROTOCOLS = ("__array__", "__dlpack__", "__array_interface__", "__array_struct__")


WHOLE_IN_FLOAT32 = 2.0**23  # whole numbers up to it are the same in float32 as in wider kinds
_NUMPYS_MOST_AXES = 64
_SHORT = 16  # a sum for each row costs more than a row of all


def float32_of(value: Any, are_small: Callable[[Array], bool]) -> Array | None:
    """Return an array of another dtype, arrays in a list, or nested lists of numbers as float32.

    This is ``as_exact_array`` for calls that count in microseconds. None where a value is not
    known to be intact, or where there is more to look at than numbers: ``as_exact_array`` decides.

    Args:
        value: what the caller gave; arrays in a list become one.
        are_small: says whether no value is NaN or above ``WHOLE_IN_FLOAT32`` in size.
    """
    shape = None
    try:
        value = _joined(value)
        if type(value) is not np.ndarray:
            found = _numbers_in(value)
            if found is None:
                return None
            value, shape = found
        elif value.dtype.kind not in "iuf":
            return None  # numpy's cast would take text, dates and complex numbers as well
        with np.errstate(over="ignore"):
            array = np.asarray(value, np.float32, order="C")
        if shape is not None:
            array = array.reshape(shape)
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        reraise_signal(error)
        return None
    return array if are_small(array) else None


def _joined(value: Any) -> Any:
    """Return a list of plain arrays of one dtype and shape as one array, any other value as it is.

    numpy reads such a list a number at a time where it only has to copy.
    """
    if type(value) not in (list, tuple) or not value or type(value[0]) is not np.ndarray:
        return value
    first = value[0]
    if first.ndim == 0 or first.dtype.kind not in "biuf":
        return value
    if any(
        type(each) is not np.ndarray or each.dtype != first.dtype or each.shape != first.shape
        for each in value
    ):
        return value
    return np.concatenate(value).reshape(len(value), *first.shape)


def _numbers_in(values: Any) -> tuple[list[Any], tuple[int, ...] | None] | None:
    """Return lists, or lists of lists and so on, that hold Python's numbers alone, else None.

    They come back as they are, with None; or, where the innermost lists are short, as one list of
    all numbers with the shape that they have, which numpy reads in a third of the time.
    """
    rows, shape = [values], []
    for _ in range(_NUMPYS_MOST_AXES):
        # To count what is the same object takes half of the time of a set.
        if list(map(type, rows)).count(list) != len(rows) or not rows[0]:
            return None
        shape.append(len(rows[0]))
        if list(map(len, rows)).count(shape[-1]) != len(rows):
            return None
        if type(rows[0][0]) is not list:
            break
        rows = rows[0] if len(rows) == 1 else list(itertools.chain.from_iterable(rows))
    else:
        return None
    is_joined = len(rows) > 1 and shape[-1] < _SHORT
    if is_joined:
        rows = [list(itertools.chain.from_iterable(rows))]
    if not _are_numbers(rows):
        return None
    return (rows[0], tuple(shape)) if is_joined else (values, None)


def _are_numbers(rows: list[list[Any]]) -> bool:
    """Whether the rows hold Python's numbers alone."""
    if "fractions" in sys.modules:
        # A fraction beside floats is lost in their sum, and numpy reads objects there.
        types = list(map(type, itertools.chain.from_iterable(rows)))
        return types.count(float) == len(types) or _PLAIN.issuperset(types)
    try:
        # Half of the time of a look at each type. Text cannot be added; masked numbers, arrays and
        # the numbers of other packages give a sum of their own type.
        return type(sum(map(sum, rows))) in _NUMBERS
    except Exception as error:  # whatever an item's addition raises
        reraise_signal(error)
        return False


def is_unknown_sequence(value: Any) -> bool:
    """Whether numpy would read it item by item as it reads a list, like a deque."""
    return (
        hasattr(value, "__len__")
        and hasattr(value, "__getitem__")
        and not isinstance(value, (list, tuple, str, bytes, bytearray, memoryview, Mapping))
        and not any(hasattr(value, name) for name in _ARRAY_PROTOCOLS)
    )


def _refuse_mask(spec: TensorSpec, value: Any) -> None:
    """Refuse a masked array, or a list with one: numpy would drop the mask without a word."""
    if isinstance(value, (list, tuple)):
        if not _NUMBERS.issuperset(map(type, value)):  # a tenth of the time of a loop
            for item in value:
                if not isinstance(item, (int, float)):
                    _refuse_mask(spec, item)
    elif isinstance(value, np.ndarray) and type(value) is not np.ndarray:
        masked = sys.modules.get("numpy.ma")  # where no program imported it, nothing is masked
        if masked is not None and isinstance(value, masked.MaskedArray):
            count = int(masked.count_masked(value))
            raise _refusal(
                spec,
                f"a masked array ({count} of its values hidden)",
                "fill them first, x.filled(value)",
            )


def _refuse_rounded_list(spec: TensorSpec, values: Any, array: Array) -> None:
    """Refuse an integer in a list of floats whose value changes as a float.

    Between floats rounding is what everybody means; an integer is a label or a count.
    """
    target = spec.dtype if spec.dtype.kind == "f" else array.dtype
    with np.errstate(all="ignore"):  # in float16 the bound of float32 is infinite
        if not (np.abs(array) > 2.0 ** np.finfo(target).nmant).any():
            return  # every integer of that size is a float, too
        held = array.astype(target).ravel().tolist()
    for item, kept in zip(np.array(values, object).flat, held, strict=True):
        item = item[()] if isinstance(item, np.ndarray) else item
        if isinstance(item, (int, np.integer)) and int(item) != kept:
            raise _refusal(
                spec,
                f"a list of floats with the integer {item}, which {target} would round",
                f"convert it on purpose, np.asarray(x, dtype=np.{spec.dtype})",
            )


def _as_strings(spec: TensorSpec, array: Array) -> Array:
    if array.dtype.kind in "UT":
        array = array.astype(object)
    if array.dtype.kind != "O" or not all(isinstance(item, str) for item in array.flat):
        raise _refusal(spec, f"values of dtype {array.dtype}", "pass text, an array of str")
    try:
        "".join(array.flat).encode()
    except UnicodeEncodeError as cause:
        code = f"U+{ord(cause.object[cause.start]):04X}"
        raise _refusal(
            spec, f"text with half a character ({code} alone)", "decode it with its own encoding"
        ) from cause
    return array


def _cast(spec: TensorSpec, array: Array) -> Array:
    """Return the array in the input's dtype; refuse the first value that would change."""
    source, target = array.dtype, spec.dtype
    with np.errstate(all="ignore"):
        result: Array = array.astype(target)
        if np.can_cast(source, target) and source.itemsize < 8:  # numpy has int64 fit in float64
            return result
        if target.kind == "b":
            changed = (array != 0) & (array != 1)
        elif source.kind == "f":
            if target.kind == "f":
                if not result.size or (math.isfinite(result.min()) and math.isfinite(result.max())):
                    return result
                changed = np.isinf(result) & ~np.isinf(array)
            else:
                changed = ~_are_whole(array, np.iinfo(target))
        elif target.kind == "f":
            fit = _are_whole(result, np.iinfo(source))
            changed = ~fit | (np.where(fit, result, 0).astype(source) != array)
        else:
            limits = np.iinfo(target)
            changed = (array < limits.min) | (array > limits.max)
    if changed.any():
        raise _value_refusal(spec, array, changed)
    return result


def _are_whole(floats: Array, limits: np.iinfo[Any]) -> Array:
    """Whether each is a whole number within an integer type."""
    wide = floats.astype(np.result_type(floats.dtype, np.float64))
    # The upper end is compared as a power of two, which floats hold where 2**63 - 1 is not.
    whole: Array = wide == np.floor(wide)
    return whole & (wide >= float(limits.min)) & (wide < float(limits.max + 1))


def _value_refusal(spec: TensorSpec, array: Array, changed: Array) -> InputError:
    index = tuple(int(i) for i in np.argwhere(changed)[0])
    value = array[index]
    count = int(changed.sum())
    where = f" at {list(index)}" if index else ""
    more = f" and {counted(count - 1, 'more such value')}" if count > 1 else ""
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
    actual = f"the value {value}{where}{more}, which {spec.dtype} would change"
    return InputError.of(f"input '{spec.name}' has", actual, expected, remedy)


def counted(number: int, what: str) -> str:
    """Return ``1 sample``, ``2 samples``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _refusal(spec: TensorSpec, actual: str, remedy: str) -> InputError:
    kind = "text" if spec.dtype.kind == "O" else spec.dtype
    expected = f"{kind} of shape {format_shape(spec.accepted_shape)}"
    return InputError.of(f"input '{spec.name}' is", actual, expected, remedy)
