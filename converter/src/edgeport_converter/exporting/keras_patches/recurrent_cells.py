"""Keras' recurrent cells as ONNX describes them: activations, the order of gates, attributes.

``recurrent`` decides which layers become ONNX nodes, and asks this module for their values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from edgeport_converter.exporting.placeholders import Emit
from edgeport_converter.exporting.tf_ops.builder import Builder

# Keras' activation -> the name, alpha and beta of the one that ONNX's recurrent nodes have.
_ACTIVATIONS: dict[str, tuple[str, float | None, float | None]] = {
    "tanh": ("Tanh", None, None),
    "sigmoid": ("Sigmoid", None, None),
    "relu": ("Relu", None, None),
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
    "softsign": ("Softsign", None, None),
    "softplus": ("Softplus", None, None),
    "linear": ("Affine", 1.0, 0.0),
}


@dataclass(frozen=True)
class Kind:
    """How a class of Keras cells maps to an ONNX node.

    Attributes:
        op: the ONNX operator.
        order: gate k of ONNX is gate ``order[k]`` of Keras.
        states: the number of state tensors.
    """

    op: str
    order: tuple[int, ...]
    states: int


KINDS: dict[type, Kind] = {
    keras.layers.LSTMCell: Kind("LSTM", (0, 3, 1, 2), 2),  # Keras i f c o, ONNX i o f c
    keras.layers.GRUCell: Kind("GRU", (0, 1, 2), 1),  # both z r h
    keras.layers.SimpleRNNCell: Kind("RNN", (0,), 1),
}


def is_known(cell: Any) -> bool:
    """Whether ONNX has a node for the cell: its class, its activations and its dtype."""
    # The exact class is asked for, since a subclass may compute anything in its call.
    return (
        type(cell) in KINDS
        and all(activation is not None for activation in activations(cell))
        and cell.compute_dtype == "float32"
    )


def activations(cell: Any) -> list[tuple[str, float | None, float | None] | None]:
    """Return ONNX's (name, alpha, beta) of each activation in the order of the node's attribute.

    An activation that ONNX does not have gives None.
    """
    op = KINDS[type(cell)].op
    gates = [] if op == "RNN" else [cell.recurrent_activation]
    functions = [*gates, cell.activation] + ([cell.activation] if op == "LSTM" else [])
    return [
        _ACTIVATIONS.get(getattr(function, "__name__", ""))
        if function is getattr(keras.activations, getattr(function, "__name__", ""), None)
        else None
        for function in functions
    ]


def gates_first(kernel: Any, kind: Kind) -> Any:
    """Return a kernel (inputs, gates * units) of Keras as (gates * units, inputs), ONNX's order."""
    parts = tf.split(tf.convert_to_tensor(kernel), len(kind.order), axis=-1)
    return tf.transpose(tf.concat([parts[gate] for gate in kind.order], axis=-1))


def bias_of(cell: Any, kind: Kind) -> Any:
    """Return (2 * gates * units): the input's bias, then the recurrence's, gates in ONNX's order.

    Where Keras has one bias or none, the missing part is zero.
    """
    size = len(kind.order) * cell.units
    if not cell.use_bias:
        return tf.zeros((2 * size,))
    bias = tf.convert_to_tensor(cell.bias)
    rows = [bias[0], bias[1]] if bias.shape.rank == 2 else [bias, tf.zeros((size,))]
    ordered = []
    for row in rows:
        parts = tf.split(row, len(kind.order))
        ordered += [parts[gate] for gate in kind.order]
    return tf.concat(ordered, axis=0)


def emitter(
    kind: Kind, cell: Any, direction: str, has_bias: bool, has_lengths: bool, has_states: bool
) -> Emit:
    """Return a function that replaces a placeholder op by the ONNX node.

    The placeholder's inputs are X, W and R, which ONNX requires; then, where ``has_bias``,
    ``has_lengths`` and ``has_states`` say so, the bias, the sequence lengths and the first states.
    """
    directions = 2 if direction == "bidirectional" else 1
    attributes: dict[str, Any] = {"direction": direction, "hidden_size": cell.units}
    chosen = [item for item in activations(cell) if item is not None] * directions
    attributes["activations"] = [name for name, _, _ in chosen]
    if any(alpha is not None for _, alpha, _ in chosen):
        # The lists have no entries for activations without alpha and beta: ONNX assigns the values
        # in order to those that take them.
        attributes["activation_alpha"] = [a for _, a, _ in chosen if a is not None]
        attributes["activation_beta"] = [b for _, _, b in chosen if b is not None]
    if kind.op == "GRU":
        attributes["linear_before_reset"] = int(cell.reset_after)

    def emit(build: Builder) -> None:
        inputs, rest = build.inputs[:3], build.inputs[3:]
        for is_there in (has_bias, has_lengths):
            inputs.append(rest.pop(0) if is_there else "")
        inputs += rest
        while inputs[-1] == "":
            inputs.pop()
        build.replace(kind.op, *inputs, **attributes)

    return emit
