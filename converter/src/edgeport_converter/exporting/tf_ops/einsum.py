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

from edgeport_converter.exporting.tf_ops.builder import int64_values, node_for, replace


def _einsum(graph: Any, node: Any) -> None:
    """Put Transpose, Reshape and MatMul in the place of an Einsum that is a matrix product.

    Others (three operands, a letter twice in one of them, ranks that are not known) become ONNX's
    Einsum.
    """
    equation = node.get_attr_str("equation").replace(" ", "")
    shapes = [graph.get_shape(name) for name in node.input]
    terms = _spell_out(equation, shapes)
    if terms is None or len(node.input) > 2:
        replace(graph, node, "Einsum", list(node.input), {"equation": equation})
        return
    *operands, result = terms
    sizes: dict[str, int] = {}
    for term, shape in zip(operands, shapes, strict=True):
        sizes.update({letter: size for letter, size in zip(term, shape, strict=True) if size >= 0})
    names = list(node.input)
    for place, term in enumerate(operands):
        others = set(result).union(*operands[:place], *operands[place + 1 :])
        names[place], operands[place] = _sum_single(graph, node, names[place], term, others)
    if len(operands) == 1:
        _finish(graph, node, names[0], operands[0], result)
        return
    product, letters = _multiply(graph, node, names, operands, result, sizes)
    _finish(graph, node, product, letters, result)


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
    if any(len(set(term)) != len(term) for term in terms):
        return None
    return terms


def _sum_single(graph: Any, node: Any, name: str, term: str, others: set[str]) -> tuple[str, str]:
    """Sum over the letters that nothing else has."""
    axes = [place for place, letter in enumerate(term) if letter not in others]
    if not axes:
        return name, term
    summed = node_for(
        graph, node, "ReduceSum", [name, int64_values(graph, node, axes)], {"keepdims": 0}
    )
    return summed, "".join(letter for letter in term if letter in others)


def _multiply(
    graph: Any,
    node: Any,
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
    one, two = (
        _arrange(graph, node, name, term, [*batch, *groups], sizes)
        for name, term, groups in (
            (names[0], first, [*row_groups, summed]),
            (names[1], second, [summed, columns]),
        )
    )
    product = node_for(graph, node, "MatMul", [one, two])
    if len(columns) == 1 and all(len(group) == 1 for group in row_groups):
        return product, batch + rows + columns
    letters = rows + columns
    unknown = [letter for letter in letters if letter not in sizes]
    if len(unknown) <= 1:
        shape = int64_values(
            graph, node, [*[0] * len(batch), *(sizes.get(letter, -1) for letter in letters)]
        )
    else:
        parts = [_size(graph, node, names, operands, letter) for letter in letters]
        if batch:
            parts.insert(0, int64_values(graph, node, [0] * len(batch)))
        shape = node_for(graph, node, "Concat", parts, {"axis": 0})
    return node_for(graph, node, "Reshape", [product, shape]), batch + letters


def _arrange(
    graph: Any, node: Any, name: str, term: str, groups: Sequence[str], sizes: dict[str, int]
) -> str:
    """Return the operand with an axis for each group of letters, one of size 1 for an empty one."""
    order = "".join(groups)
    moved = _transpose(graph, node, name, term, order)
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
        return node_for(graph, node, "Reshape", [moved, int64_values(graph, node, shape)])
    parts = [int64_values(graph, node, shape[:lead])] if lead else []
    for group, size in zip(groups[lead:], shape[lead:], strict=True):
        if size >= 0:
            parts.append(int64_values(graph, node, [size]))
            continue
        factors = [_size(graph, node, [name], [term], letter) for letter in group]
        total = factors[0]
        for factor in factors[1:]:
            total = node_for(graph, node, "Mul", [total, factor])
        parts.append(total)
    target = node_for(graph, node, "Concat", parts, {"axis": 0})
    return node_for(graph, node, "Reshape", [moved, target])


def _size(graph: Any, node: Any, names: Sequence[str], operands: Sequence[str], letter: str) -> str:
    """Return the size of a letter's axis as a tensor (1,)."""
    name, term = next((n, t) for n, t in zip(names, operands, strict=True) if letter in t)
    shape = node_for(graph, node, "Shape", [name])
    return node_for(graph, node, "Gather", [shape, int64_values(graph, node, [term.index(letter)])])


def _transpose(graph: Any, node: Any, name: str, term: str, order: str) -> str:
    if term == order:
        return name
    return node_for(
        graph, node, "Transpose", [name], {"perm": [term.index(letter) for letter in order]}
    )


def _finish(graph: Any, node: Any, name: str, term: str, result: str) -> None:
    if term == result:
        replace(graph, node, "Identity", [name])
    else:
        perm = [term.index(letter) for letter in result]
        replace(graph, node, "Transpose", [name], {"perm": perm})


HANDLERS = {"Einsum": _einsum}
