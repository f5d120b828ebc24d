"""Complex arithmetic in a frozen graph as arithmetic of real and imaginary parts.

ONNX has complex numbers in its DFT alone. ``tf_ops.signal`` translates a graph in which nothing
but Fourier transforms, Complex, Real, Imag, Conj and ComplexAbs read such tensors; ``lower`` brings
every other graph into that form (discrete cosine transforms, ``s * conj(s)``, a slice of a
spectrum):

1. Each complex tensor becomes two real ones, its parts.
2. What moves or adds values (Reshape, StridedSlice, Sum, AddV2, ...) is done to both parts.
3. Products and the like are written out by their formulas.
4. A Fourier transform gets its input from Complex, and gives its parts to Real and Imag; a
   transform of two axes becomes two of one axis each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

_PART_TYPES = {
    tf.complex64.as_datatype_enum: tf.float32.as_datatype_enum,
    tf.complex128.as_datatype_enum: tf.float64.as_datatype_enum,
}

_TRANSFORMS = ("FFT", "IFFT", "RFFT", "IRFFT")

# The same is done to the real and to the imaginary part.
_BY_PART = frozenset((
    "Add", "AddN", "AddV2", "BroadcastTo", "ConcatV2", "Cumsum", "ExpandDims", "Fill", "GatherNd",
    "GatherV2", "Identity", "Mean", "MirrorPad", "Neg", "Pack", "Pad", "PadV2", "Reshape",
    "ReverseV2", "Roll", "Select", "SelectV2", "Slice", "Snapshot", "Split", "SplitV", "Squeeze",
    "StopGradient", "StridedSlice", "Sub", "Sum", "Tile", "Transpose", "Unpack", "ZerosLike",
))  # fmt: skip
# Linear in each of two operands.
_PRODUCTS = frozenset({"Mul", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"})

Parts = tuple[str, str]


def is_complex(node: Any) -> bool:
    """Whether a node of a TensorFlow graph reads or gives complex numbers."""
    return any(value.type in _PART_TYPES for value in node.attr.values())


def lower(graph_def: Any, understood: frozenset[str], outputs: Sequence[str]) -> bool:
    """Write the complex arithmetic of a graph as real arithmetic, in place.

    Args:
        graph_def: without variables; its nodes keep their names where they give real numbers.
        understood: the operations that may read complex numbers. A graph with no others stays as it
            is, and so does one with an operation that is not known here.
        outputs: names of the graph's output tensors; a graph stays as it is if one is complex.

    Returns:
        Whether the graph has changed.
    """
    nodes = [node for node in graph_def.node if is_complex(node)]
    if all(node.op in understood for node in nodes):
        return False
    known = understood | _BY_PART | _PRODUCTS | _FORMULAS.keys() | _TWO_AXES.keys() | {"Cast"}
    is_answer = any(f"{node.name}:0" in outputs for node in nodes)  # ``tracing`` ends in Identity
    if is_answer or not all(node.op in known for node in nodes):
        return False
    lowering = _Lowering(graph_def)
    del graph_def.node[:]
    graph_def.node.extend(lowering.nodes)
    return True


class _Lowering:
    """A graph that is written again, node by node in the order of computation.

    Attributes:
        nodes: those of the new graph.
        parts: the two parts of each complex tensor of the old graph.
    """

    def __init__(self, graph_def: Any) -> None:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
        self._shapes = {
            op.name: [tensor.shape for tensor in op.outputs] for op in graph.get_operations()
        }
        self._message = type(graph_def.node[0])
        self.nodes: list[Any] = []
        self.parts: dict[str, Parts] = {}
        by_name = {node.name: node for node in graph_def.node}
        for op in graph.get_operations():  # import_graph_def has sorted them
            node = by_name[op.name]
            if is_complex(node):
                self._write(node)
            else:
                self._copy(node, node.name, node.input)

    def _copy(self, node: Any, name: str, inputs: Sequence[str], part: int = 0) -> str:
        """Add the node under a name, each complex input replaced by one of its parts."""
        made = self._message()
        made.CopyFrom(node)
        made.name = name
        del made.input[:]
        for source in inputs:
            if not source.startswith("^"):
                key = source.removesuffix(":0")
                made.input.append(self.parts[key][part] if key in self.parts else source)
        for value in made.attr.values():
            if value.type in _PART_TYPES:
                value.type = _PART_TYPES[value.type]
        made.attr.pop("_output_shapes", None)
        self.nodes.append(made)
        return name

    def _copy_twice(self, node: Any) -> Parts:
        """Add the node for the real and for the imaginary part of what it reads."""
        real, imag = (
            self._copy(node, f"{node.name}/{part}", node.input, place)
            for place, part in enumerate(("real", "imag"))
        )
        return real, imag

    def add(self, op: str, name: str, inputs: Sequence[str], **types: int) -> str:
        """Add an operation, with the types that its attributes name; return its output."""
        made = self._message(op=op, name=name, input=inputs)
        for key, dtype in types.items():
            made.attr[key].type = dtype
        self.nodes.append(made)
        return name

    def constant(self, name: str, value: Any, dtype: int) -> str:
        """Add a constant; return its output."""
        made = self._message(op="Const", name=name)
        made.attr["dtype"].type = dtype
        made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.as_dtype(dtype)))
        self.nodes.append(made)
        return name

    def rank(self, node: Any) -> int:
        """Return the rank of a node's first output in the old graph."""
        rank: int = self._shapes[node.name][0].rank
        return rank

    def _write(self, node: Any) -> None:
        dtype = next(
            _PART_TYPES[value.type] for value in node.attr.values() if value.type in _PART_TYPES
        )
        name = node.name
        sources = [source.removesuffix(":0") for source in node.input if source[0] != "^"]
        pairs = [self.parts[source] for source in sources if source in self.parts]
        if node.op in _TRANSFORMS:
            self._transform(node, sources, pairs, dtype)
        elif node.op in _TWO_AXES:
            _two_axes(self, node, sources, pairs, dtype)
        elif node.op == "Const":
            value = tf.make_ndarray(node.attr["value"].tensor)
            self.parts[name] = (
                self.constant(f"{name}/real", value.real, dtype),
                self.constant(f"{name}/imag", value.imag, dtype),
            )
        elif node.op == "Complex":
            self.parts[name] = (sources[0], sources[1])
        elif node.op == "Cast" and sources[0] not in self.parts:  # a real tensor becomes complex
            real = self._copy(node, f"{name}/real", sources)
            self.parts[name] = (real, self.add("ZerosLike", f"{name}/imag", [real], T=dtype))
        elif node.op == "Cast" and node.attr["DstT"].type not in _PART_TYPES:
            self._copy(node, name, node.input)
        elif node.op in _PRODUCTS:
            self.parts[name] = self._product(node, pairs, dtype)
        elif node.op in _BY_PART or node.op == "Cast":
            made = self._copy_twice(node)
            for port in range(len(self._shapes[name])):
                suffix = f":{port}" if port else ""
                self.parts[name + suffix] = (made[0] + suffix, made[1] + suffix)
        else:
            outcome = _FORMULAS[node.op](self, node, pairs, dtype)
            if outcome is not None:
                self.parts[name] = outcome

    def _transform(self, node: Any, sources: list[str], pairs: Sequence[Parts], dtype: int) -> None:
        made = self._message()
        made.CopyFrom(node)
        if pairs:
            sources = [self.join(f"{node.name}/input", pairs[0], dtype), *sources[1:]]
        made.input[:] = sources
        self.nodes.append(made)
        if node.op != "IRFFT":
            self.parts[node.name] = self.split(node.name, dtype)

    def join(self, name: str, parts: Parts, dtype: int) -> str:
        """Add the complex tensor of two parts."""
        return self.add("Complex", name, parts, T=dtype, Tout=_complex_type(dtype))

    def split(self, source: str, dtype: int) -> Parts:
        """Add the parts of a complex tensor."""
        whole = _complex_type(dtype)
        real, imag = (
            self.add(op, f"{source}/{op.lower()}", [source], T=whole, Tout=dtype)
            for op in ("Real", "Imag")
        )
        return real, imag

    def _product(self, node: Any, pairs: list[Parts], dtype: int) -> Parts:
        """(a + ib)(c + id) = (ac - bd) + i(ad + bc); an adjoint operand is conjugated."""
        name = node.name
        for place, key in enumerate(("adj_x", "adj_y")):
            if node.attr[key].b:
                real, imag = pairs[place]
                pairs[place] = (real, self.add("Neg", f"{name}/conj_{place}", [imag], T=dtype))
        (a, b), (c, d) = pairs
        ac, bd, ad, bc = (
            self._copy(node, f"{name}/{label}", pair)
            for label, pair in (("ac", [a, c]), ("bd", [b, d]), ("ad", [a, d]), ("bc", [b, c]))
        )
        return (
            self.add("Sub", f"{name}/real", [ac, bd], T=dtype),
            self.add("AddV2", f"{name}/imag", [ad, bc], T=dtype),
        )


def _complex_type(dtype: int) -> int:
    found: int = next(whole for whole, part in _PART_TYPES.items() if part == dtype)
    return found


Formula = Callable[[_Lowering, Any, Sequence[Parts], int], Parts | None]


def _formula(write: Callable[..., Parts | str]) -> Formula:
    """Return a function of complex operands, from its formula over (operation, real, imag, ...)."""

    def lower_one(graph: _Lowering, node: Any, pairs: Sequence[Parts], dtype: int) -> Parts | None:
        count = 0

        def operation(op: str, *inputs: Any) -> str:
            nonlocal count
            count += 1
            name = f"{node.name}/{op.lower()}_{count}"
            if op == "Const":
                return graph.constant(name, inputs[0], dtype)
            return graph.add(op, name, inputs, T=dtype)

        outcome = write(operation, *(part for pair in pairs for part in pair))
        if isinstance(outcome, str):  # real, and read by the node's own name
            graph.add("Identity", node.name, [outcome], T=dtype)
            return None
        return outcome

    return lower_one


def _modulus(do: Callable[..., str], real: str, imag: str) -> str:
    return do("Sqrt", do("AddV2", do("Square", real), do("Square", imag)))


def _exponential(do: Callable[..., str], real: str, imag: str) -> Parts:
    size = do("Exp", real)
    return do("Mul", size, do("Cos", imag)), do("Mul", size, do("Sin", imag))


def _square_root(do: Callable[..., str], real: str, imag: str) -> Parts:
    """√z = √((|z| + a) / 2) ± i √((|z| - a) / 2), with the sign of b, and + for b = 0."""
    size = _modulus(do, real, imag)
    parts = []
    for combine in ("AddV2", "Sub"):
        double = do("Relu", do(combine, size, real))  # rounding may leave less than zero
        parts.append(do("Sqrt", do("Mul", double, do("Const", 0.5))))
    sign = do("Sign", imag)
    zero_is_one = do("Sub", do("Const", 1.0), do("Square", sign))
    return parts[0], do("Mul", parts[1], do("AddV2", sign, zero_is_one))


def _square(do: Callable[..., str], real: str, imag: str) -> Parts:
    cross = do("Mul", real, imag)
    return do("Sub", do("Square", real), do("Square", imag)), do("AddV2", cross, cross)


def _quotient(do: Callable[..., str], a: str, b: str, c: str, d: str) -> Parts:
    """(a + ib) / (c + id) = ((ac + bd) + i(bc - ad)) / (c² + d²)."""
    size = do("AddV2", do("Square", c), do("Square", d))
    real = do("AddV2", do("Mul", a, c), do("Mul", b, d))
    imag = do("Sub", do("Mul", b, c), do("Mul", a, d))
    return do("RealDiv", real, size), do("RealDiv", imag, size)


_FORMULAS: dict[str, Formula] = {
    "Real": _formula(lambda do, real, imag: real),
    "Imag": _formula(lambda do, real, imag: imag),
    "Conj": _formula(lambda do, real, imag: (real, do("Neg", imag))),
    "ComplexAbs": _formula(_modulus),
    "Angle": _formula(lambda do, real, imag: do("Atan2", imag, real)),
    "Exp": _formula(_exponential),
    "Log": _formula(
        lambda do, real, imag: (do("Log", _modulus(do, real, imag)), do("Atan2", imag, real))
    ),
    "Square": _formula(_square),
    "Sqrt": _formula(_square_root),
    "Div": _formula(_quotient),
    "RealDiv": _formula(_quotient),
}

# A transform over the last two axes: the one over the last axis, the one over the other, and
# whether the last axis comes first.
_TWO_AXES = {
    "FFT2D": ("FFT", "FFT", True),
    "IFFT2D": ("IFFT", "IFFT", True),
    "RFFT2D": ("RFFT", "FFT", True),
    "IRFFT2D": ("IRFFT", "IFFT", False),
}


def _two_axes(
    graph: _Lowering, node: Any, sources: list[str], pairs: Sequence[Parts], dtype: int
) -> None:
    """Transform the last axis and the one before it, which stands last meanwhile."""
    last, other, is_last_first = _TWO_AXES[node.op]
    name, rank = node.name, graph.rank(node)
    whole, index = _complex_type(dtype), tf.int32.as_datatype_enum
    perm = graph.constant(f"{name}/perm", [*range(rank - 2), rank - 1, rank - 2], index)

    def turned(label: str, parts: Parts) -> Parts:
        real, imag = (
            graph.add("Transpose", f"{name}/{label}_{part}", [source, perm], T=dtype, Tperm=index)
            for source, part in zip(parts, ("real", "imag"), strict=True)
        )
        return real, imag

    def across(parts: Parts) -> Parts:
        joined = graph.join(f"{name}/columns", turned("to_last", parts), dtype)
        step = graph.add(other, f"{name}/across", [joined], Tcomplex=whole)
        return turned("from_last", graph.split(step, dtype))

    def along(source: str, label: str) -> str:
        if last in ("FFT", "IFFT"):
            return graph.add(last, label, [source], Tcomplex=whole)
        length = _last_length(graph, name, sources[1])
        return graph.add(last, label, [source, length], Tcomplex=whole, Treal=dtype)

    if is_last_first:
        source = graph.join(f"{name}/rows", pairs[0], dtype) if pairs else sources[0]
        graph.parts[name] = across(graph.split(along(source, f"{name}/along"), dtype))
    else:
        along(graph.join(f"{name}/rows", across(pairs[0]), dtype), name)


def _last_length(graph: _Lowering, name: str, lengths: str) -> str:
    """Return the second one of two lengths, as a vector."""
    index = tf.int32.as_datatype_enum
    place = graph.constant(f"{name}/place", [1], index)
    axis = graph.constant(f"{name}/axis", 0, index)
    types = {"Tparams": index, "Tindices": index, "Taxis": index}
    return graph.add("GatherV2", f"{name}/last_length", [lengths, place, axis], **types)
