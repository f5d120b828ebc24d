"""Einsum as a matrix product, so that it runs as fast and quantizes as well as a Dense layer.

tf2onnx's own decomposition tries every order of the letters, seven of which take a minute and
eight an hour; so its optimizer is left out, and the order is read from the equation: letters of
both operands and the result count batches, letters of both alone are summed over, and the others
are rows and columns.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from edgeport_converter.exporting.tf_ops.builder import Builder


def _einsum(build: Builder) -> None:
    """Put Transpose, Reshape and MatMul in the place of an Einsum that is a matrix product.

    Others (three operands, a letter twice in one of them, ranks that are not known) become ONNX's
    Einsum.
    """
    equation = build.source.get_attr_str("equation").replace(" ", "")
    names = list(build.inputs)
    shapes = [build.graph.get_shape(name) for name in names]
    terms = _spell_out(equation, shapes)
    if terms is None or len(names) > 2:
        build.replace("Einsum", *names, equation=equation)
        return
    *operands, result = terms
    sizes: dict[str, int] = {}
    for term, shape in zip(operands, shapes, strict=True):
        sizes.update({letter: size for letter, size in zip(term, shape, strict=True) if size >= 0})
    for place, term in enumerate(operands):
        others = set(result).union(*operands[:place], *operands[place + 1 :])
        alone = [axis for axis, letter in enumerate(term) if letter not in others]
        if alone:  # nothing else has these letters: they are summed over
            names[place] = build.node("ReduceSum", names[place], build.int64(*alone), keepdims=0)
            operands[place] = "".join(letter for letter in term if letter in others)
    product, letters = names[0], operands[0]
    if len(operands) == 2:
        product, letters = _multiply(build, names, operands, result, sizes)
    if letters == result:
        build.replace("Identity", product)
    else:
        build.replace("Transpose", product, perm=[letters.index(letter) for letter in result])


def _spell_out(equation: str, shapes: Sequence[Any]) -> list[str] | None:
    """Return the terms, the result's last, with letters for "..."; None where it is no product."""
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if not arrow or any(shape is None for shape in shapes):
        return None
    spare = [letter for letter in string.ascii_letters if letter not in equation]
    longest = 0
    for place, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        if "..." in term:
            count = len(shape) - len(term.replace("...", ""))
            longest = max(longest, count)
            if count > len(spare):
                return None
            # Aligned at the end, as broadcasting does.
            terms[place] = term.replace("...", "".join(reversed(spare[:count])))
    terms.append(result.replace("...", "".join(reversed(spare[:longest]))))
    return None if any(len(set(term)) != len(term) for term in terms) else terms


def _multiply(
    build: Builder,
    names: Sequence[str],
    operands: Sequence[str],
    result: str,
    sizes: dict[str, int],
) -> tuple[str, str]:
    """Return the product of both operands, and its letters in their order."""
    first, second = operands
    batch = "".join(letter for letter in result if letter in first and letter in second)
    summed = "".join(letter for letter in first if letter in second and letter not in result)
    rows = "".join(letter for letter in result if letter in first and letter not in second)
    columns = "".join(letter for letter in result if letter in second and letter not in first)
    # Without a batch the second operand is one matrix, and the first may keep all its axes.
    row_groups = [rows] if batch or not rows else list(rows)
    one = _arrange(build, names[0], first, [*batch, *row_groups, summed], sizes)
    two = _arrange(build, names[1], second, [*batch, summed, columns], sizes)
    product = build.node("MatMul", one, two)
    if len(columns) == 1 and all(len(group) == 1 for group in row_groups):
        return product, batch + rows + columns
    letters = rows + columns
    if sum(letter not in sizes for letter in letters) <= 1:
        kept = [0] * len(batch)
        shape = build.int64(*kept, *(sizes.get(letter, -1) for letter in letters))
    else:
        parts = [_size(build, names, operands, letter) for letter in letters]
        if batch:
            parts.insert(0, build.int64(*[0] * len(batch)))
        shape = build.node("Concat", *parts, axis=0)
    return build.node("Reshape", product, shape), batch + letters


def _arrange(
    build: Builder, name: str, term: str, groups: Sequence[str], sizes: dict[str, int]
) -> str:
    """Return the operand with an axis for each group of letters, one of size 1 for an empty one."""
    order, moved = "".join(groups), name
    if term != order:
        moved = build.node("Transpose", name, perm=[term.index(letter) for letter in order])
    if all(len(group) == 1 for group in groups):
        return moved
    lead = next(place for place, group in enumerate(groups) if len(group) != 1)
    shape: list[int] = [0] * lead  # as they are
    for group in groups[lead:]:
        size = 1
        for letter in group:
            size = -1 if size < 0 or letter not in sizes else size * sizes[letter]
        shape.append(size)
    if shape.count(-1) <= 1:
        return build.node("Reshape", moved, build.int64(*shape))
    parts = [build.int64(*shape[:lead])] if lead else []
    for group, size in zip(groups[lead:], shape[lead:], strict=True):
        if size >= 0:
            parts.append(build.int64(size))
            continue
        total, *factors = [_size(build, [name], [term], letter) for letter in group]
        for factor in factors:
            total = build.node("Mul", total, factor)
        parts.append(total)
    return build.node("Reshape", moved, build.node("Concat", *parts, axis=0))


def _size(build: Builder, names: Sequence[str], operands: Sequence[str], letter: str) -> str:
    """Return the size of a letter's axis as a tensor (1,)."""
    name, term = next((n, t) for n, t in zip(names, operands, strict=True) if letter in t)
    return build.node("Gather", build.node("Shape", name), build.int64(term.index(letter)))


HANDLERS = {"Einsum": _einsum}
