"""Proof that a model computes from its inputs alone: the one list of operations that do not.

The export records one run of the model. Python state, a clock, a random number or a changed weight
would be frozen into the artifact as it was in that run. ``loading`` asks for SavedModels and for
models with Python code of their own; ``exporting`` looks for the same operations in each graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common.stateless_scope import get_stateless_scope

from edgeport import TensorSpec
from edgeport_converter.data.made_up import Draw, random_inputs
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.model import (
    NEEDS_FIXED_AXIS,
    LoadedModel,
    TensorInfo,
    layer_of,
    needs_fixed_axis,
    shorten,
)

_FREE_SIZE = 8
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Impurity:
    """One way to depend on more than the inputs.

    Attributes:
        operations: how the names of TensorFlow's operations of that kind begin.
        does: what they do, for a sentence whose subject is a layer or a model.
        way_out: what to do instead.
    """

    operations: tuple[str, ...]
    does: str
    way_out: str

    def find_in(self, graph_def: Any, outputs: Iterable[str] = ()) -> list[tuple[str, str]]:
        """Return name and operation of each such node.

        Args:
            graph_def: a TensorFlow graph, with the functions that it calls.
            outputs: names of tensors; nodes that they do not need are left out, as
                ``needed_nodes`` says. Without any, all nodes that can run count.
        """
        names = list(outputs)
        nodes = needed_nodes(graph_def, names) if names else running_nodes(graph_def)
        return [(node.name, node.op) for node in nodes if node.op.startswith(self.operations)]


PYTHON = Impurity(
    ("PyFunc", "EagerPyFunc", "NumpyFunction"),
    "calls back into Python while it runs",
    "write it with Keras operations, keras.ops",
)
RANDOM = Impurity(
    (
        "Multinomial",
        "Random",
        "StatefulRandom",
        "StatefulStandardNormal",
        "StatefulTruncated",
        "StatefulUniform",
        "StatelessMultinomial",
        "StatelessRandom",
        "StatelessTruncated",
        "TruncatedNormal",
    ),
    "draws random numbers at inference",
    "leave that out where training is False",
)
WRITES = Impurity(
    ("Assign", "ResourceScatter"),
    "changes a variable while it answers",
    "return the state as an output instead",
)
_COMPILED = Impurity(
    ("XlaCallModule", "XlaLaunch", "TRTEngineOp"),
    "holds code compiled by another framework",
    "convert the Keras model itself",
)
_PARSING = Impurity(
    ("ParseExample", "ParseSingleExample", "DecodeJpeg", "DecodePng"),
    "reads serialized data",
    "save a signature that takes the tensors themselves",
)
# Random numbers before writes: the state of their generators is a variable.
_ALL = (PYTHON, RANDOM, WRITES, _COMPILED, _PARSING)


def require_pure(loaded: LoadedModel, owner: str) -> None:
    """Refuse a model whose answers depend on more than its inputs.

    Args:
        loaded: the model.
        owner: names the layer or model with the code, for the message.

    Raises:
        UnsupportedModelError: it calls Python while it runs, changes a variable, draws random
            numbers, cannot be traced, or gives two answers for the same input.
    """
    signature = {
        spec.name: tf.TensorSpec(spec.shape, tf.as_dtype(spec.dtype), name=spec.name)
        for spec in loaded.inputs
    }
    try:
        # A recurrent layer with dropout draws its masks at inference too, and uses none of them.
        # Drawing the seed would be a write that every output waits for.
        with tf.device("/cpu:0"), patch.object(keras.random.SeedGenerator, "next", _constant_seed):
            concrete = tf.function(loaded.call, autograph=False).get_concrete_function(signature)
    except Exception as cause:
        if needs_fixed_axis(cause):
            raise UnsupportedModelError(f"the call of {owner} {NEEDS_FIXED_AXIS}") from cause
        raise UnsupportedModelError(
            f"the call of {owner} cannot be traced ({shorten(cause)}), expected Keras or "
            "TensorFlow operations only: take conversions to numpy and Python numbers out of it"
        ) from cause
    names = sorted(info.name for info in loaded.outputs)  # TensorFlow lists a dict's values so
    tensors = dict(zip(names, concrete.outputs, strict=True))
    outputs = {info.name: tensors[info.name].name for info in loaded.outputs}
    refuse_operations(concrete.graph.as_graph_def(), owner, outputs, loaded.model)
    _require_same_answer(loaded, owner)


@contextmanager
def keeping_variables(model: Any) -> Iterator[None]:
    """Leave a model's variables as they are, whatever its layers write while they answer.

    A BatchNormalization that a layer of one's own calls with ``training=True`` moves its statistics
    at each call, though no answer needs that. In Keras 3 such writes go into a scope, which is
    dropped; values that a scope around this one holds are seen in it. Variables of tf_keras get
    their values back, however often Ctrl-C comes. What is traced in the block writes in the same
    way: run it in the block, too.

    Args:
        model: of Keras 3 or tf_keras, None for a SavedModel, whose variables are nobody else's.
    """
    if model is None or isinstance(model, keras.layers.Layer):
        around = get_stateless_scope()
        with keras.StatelessScope() as scope:
            if around is not None:
                scope.state_mapping.update(around.state_mapping)
            yield
        return
    # Of a frozen layer the variables are trainable all the same, and no layer writes into those.
    written = [variable for variable in model.non_trainable_weights if not variable.trainable]
    before = [(variable, variable.numpy()) for variable in written]
    try:
        yield
    finally:
        assign_all(before)


def assign_all(values: list[tuple[Any, Any]]) -> None:
    """Assign every value, also while Ctrl-C comes; then let the last one through."""
    stopped: KeyboardInterrupt | None = None
    waiting = list(values)
    while waiting:
        try:
            variable, value = waiting[-1]
            variable.assign(value)
            waiting.pop()
        except KeyboardInterrupt as stop:
            stopped = stop
    if stopped is not None:
        raise stopped


def refuse_operations(
    graph_def: Any, owner: str, outputs: Mapping[str, str], model: Any = None
) -> None:
    """Refuse a TensorFlow graph with operations that no file can hold.

    Args:
        graph_def: the graph, with the functions that it calls.
        owner: names the layer or model where the operation does not tell its layer.
        outputs: the tensors of the graph by the names of the model's outputs.
        model: the Keras model, for the names of its layers; None where there is none.

    Raises:
        UnsupportedModelError: there is one.
    """
    for impurity in _ALL:
        for place, operation in impurity.find_in(graph_def, outputs.values()):
            layer = layer_of(model, place)
            subject = owner if layer is None else f"the {type(layer).__name__} '{layer.name}'"
            raise UnsupportedModelError(
                f"{subject} {impurity.does} (operation {operation}), expected tensors in, tensors "
                f"out and nothing else: {impurity.way_out}{_or_keep(graph_def, outputs, impurity)}"
            )


def _or_keep(graph_def: Any, outputs: Mapping[str, str], impurity: Impurity) -> str:
    """Return the way out that is left if other outputs are pure, or other layers might be."""
    pure = [name for name, tensor in outputs.items() if not impurity.find_in(graph_def, [tensor])]
    if pure:
        return f", or keep the outputs that do not need it, outputs={pure}"
    return ", or keep a layer before it as the output, outputs=['NAME']"


def running_nodes(graph_def: Any) -> Iterator[Any]:
    """Yield the nodes that can run: the graph's own, and those of functions that these call.

    The library of a SavedModel holds the functions of its training, too.
    """
    for _, node in _Graph(graph_def).running():
        yield node


def needed_nodes(graph_def: Any, outputs: Iterable[str]) -> Iterator[Any]:
    """Yield the nodes that the outputs are computed from, and what writes to what they read.

    What only has to run before or beside them is left out: a dropout layer draws a seed at
    inference, too, and the variable that it counts up is read by no output.

    Args:
        graph_def: a TensorFlow graph.
        outputs: names of tensors of the graph.
    """
    graph = _Graph(graph_def)
    needed = graph.needed(outputs)
    for scope, node in graph.running():
        if (scope, node.name) in needed or (
            node.op.startswith(WRITES.operations)
            and not needed.isdisjoint(graph.origins(scope, node.input[0]))
        ):
            yield node


_Key = tuple[str, str]  # the name of a function, "" for the graph itself; the name of a node in it


class _Graph:
    """A TensorFlow graph with its functions, as one graph whose calls can be followed."""

    def __init__(self, graph_def: Any) -> None:
        self._functions = {each.signature.name: each for each in graph_def.library.function}
        self._nodes = {"": {node.name: node for node in graph_def.node}}
        self._callers: dict[str, list[tuple[str, Any]]] = {}
        self._running: list[tuple[str, Any]] = []
        waiting = [""]
        while waiting:
            scope = waiting.pop()
            for node in self._nodes[scope].values():
                self._running.append((scope, node))
                for name in self._called(node):
                    if name not in self._callers:
                        body = self._functions[name].node_def
                        self._nodes[name] = {inner.name: inner for inner in body}
                        waiting.append(name)
                    self._callers.setdefault(name, []).append((scope, node))

    def running(self) -> list[tuple[str, Any]]:
        """Return the nodes that can run, each after the name of its function."""
        return self._running

    def needed(self, outputs: Iterable[str]) -> set[_Key]:
        """Return the nodes that the tensors of these names are computed from."""
        found: set[_Key] = set()
        seen: set[_Key] = set()
        waiting = [("", name) for name in outputs]
        while waiting:
            scope, tensor = waiting.pop()
            if (scope, tensor) in seen or tensor.startswith("^"):
                continue
            seen.add((scope, tensor))
            name = tensor.partition(":")[0]
            node = self._nodes[scope].get(name)
            if node is None:
                waiting += self._given(scope, name)
                continue
            found.add((scope, name))
            waiting += self._read_by(scope, node, tensor)
        return found

    def origins(self, scope: str, tensor: str) -> set[_Key]:
        """Return the nodes that a handle may come from, followed out of functions and Identity."""
        found: set[_Key] = set()
        waiting = [(scope, tensor)]
        seen = set()
        while waiting:
            scope, tensor = waiting.pop()
            name = tensor.partition(":")[0]
            if (scope, name) in seen:
                continue
            seen.add((scope, name))
            node = self._nodes[scope].get(name)
            if node is None:
                waiting += self._given(scope, name)
            elif node.op == "Identity":
                waiting.append((scope, node.input[0]))
            else:
                found.add((scope, name))
        return found

    def _read_by(self, scope: str, node: Any, tensor: str) -> Iterator[tuple[str, str]]:
        """Yield the tensors that one tensor of a node is computed from."""
        called = self._called(node)
        for name in called:
            function = self._functions[name]
            results = [each.name for each in function.signature.output_arg]
            if node.op in _CALLS:  # one tensor of a call needs one result of the function
                port = tensor.rpartition(":")[2] if ":" in tensor else "0"
                results = results[int(port) : int(port) + 1]
            for result in results:
                yield name, function.ret[result]
        if not (called and node.op in _CALLS):  # which arguments a call needs, its function says
            for source in node.input:
                yield scope, source

    def _given(self, scope: str, argument: str) -> Iterator[tuple[str, str]]:
        """Yield the tensors that a function gets for an argument, wherever it is called."""
        if scope == "":
            return
        names = [each.name for each in self._functions[scope].signature.input_arg]
        if argument not in names:
            return
        place = names.index(argument)
        for outer, node in self._callers[scope]:
            data = [source for source in node.input if not source.startswith("^")]
            if node.op in _CALLS:
                yield outer, data[place]
            else:  # a branch has its condition in front, a loop has not: all of them are needed
                for source in data:
                    yield outer, source

    def _called(self, node: Any) -> list[str]:
        names = [node.op]
        for value in node.attr.values():
            names += [value.func.name, *(each.name for each in value.list.func)]
        return [name for name in dict.fromkeys(names) if name in self._functions]


_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def _constant_seed(self: Any, ordered: bool = True) -> Any:
    return tf.constant([0, 0], dtype=self.state.dtype)


def _spec(info: TensorInfo) -> TensorSpec:
    axes = ("N", *(f"A{axis}" for axis in range(1, len(info.shape))))[: len(info.shape)]
    sizes = zip(info.shape, axes, strict=True)
    shape = tuple(axis if size is None else size for size, axis in sizes)
    return TensorSpec(info.name, np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype), shape, axes)


def _require_same_answer(loaded: LoadedModel, owner: str) -> None:
    """Call the code twice by hand; one sample is enough to see a counter, a clock, a dice."""
    if any(info.dtype == "string" for info in loaded.inputs):
        return
    specs = [_spec(info) for info in loaded.inputs]
    arrays = random_inputs(specs, 1, _FREE_SIZE, 0, Draw())
    inputs = {name: tf.constant(array) for name, array in arrays.items()}
    try:
        with tf.device("/cpu:0"), keeping_variables(loaded.model):
            first, second = loaded.call(inputs), loaded.call(inputs)
    except (tf.errors.OpError, ValueError):
        return  # a made-up size does not fit; parity is checked on sizes that do
    for name, tensor in first.items():
        one, two = np.asarray(tensor), np.asarray(second[name])
        equal = one.shape == two.shape and (
            np.allclose(one, two, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
            if one.dtype.kind == "f"
            else np.array_equal(one, two)
        )
        if not equal:
            raise UnsupportedModelError(
                f"{owner} gives two answers for the same input in '{name}', expected one that "
                "depends on the input alone: take counters, clocks and random numbers out of its "
                "call"
            )
