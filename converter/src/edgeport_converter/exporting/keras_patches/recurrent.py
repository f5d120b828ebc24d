"""LSTM, GRU and SimpleRNN layers as the ONNX nodes of these names.

The loop of a layer is replaced by one placeholder op. A layer that the ONNX node cannot express (an
activation outside its list, a custom cell) keeps its loop.

Masks become sequence lengths. ONNX takes lengths only, Keras any mask; so the steps that count are
moved to the front before the node, and its outputs backward to their places after it. That is exact
for every mask, and does nothing where the mask only cuts off the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeport_converter.exporting.keras_patches import recurrent_cells
from edgeport_converter.exporting.patching import function_patch
from edgeport_converter.exporting.placeholders import Placeholders


@dataclass(frozen=True)
class _Outcome:
    """The results of one direction.

    Attributes:
        steps: (N, T, units) in the order of the input's steps.
        last: (N, units), what Keras calls the last output.
        states: final states, (N, units) each.
    """

    steps: Any
    last: Any
    states: list[Any]


@function_patch
def loop(
    original: Any,
    placeholders: Placeholders,
    self: Any,
    sequences: Any,
    initial_state: Any,
    mask: Any,
    training: Any = False,
) -> Any:
    """Put a placeholder op in the place of a layer's loop over time."""
    cells = _cells(self)
    mask = _plain_mask(mask)
    if cells is None or mask is False or not _is_plain(sequences):
        return original(self, sequences, initial_state, mask, training=training)
    steps, states, flat = sequences, [], keras.tree.flatten(initial_state)
    for cell in cells:
        count = recurrent_cells.KINDS[type(cell)].states
        first, flat = flat[:count], flat[count:]
        backwards = self.go_backwards and cell is cells[0]
        (outcome,) = _run(
            placeholders, [cell], steps, [first], mask, (backwards,), self.zero_output_for_mask
        )
        states.extend(outcome.states)
        steps = outcome.steps
        if backwards:
            steps = tf.reverse(steps, [1])
            mask = None if mask is None else tf.reverse(mask, [1])
    return outcome.last, steps, keras.tree.pack_sequence_as(list(initial_state), states)


@function_patch
def both_directions(
    original: Any,
    placeholders: Placeholders,
    self: Any,
    sequences: Any,
    initial_state: Any = None,
    mask: Any = None,
    training: Any = None,
) -> Any:
    """Put one placeholder op in the place of two loops of opposite directions."""
    plain = _plain_mask(mask)
    if plain is False or not _is_plain(sequences) or not _fit_one_node(self):
        return original(self, sequences, initial_state=initial_state, mask=mask, training=training)
    return _run_both(placeholders, self, sequences, initial_state, plain)


def _cells(layer: Any) -> list[Any] | None:
    """Return the layer's cells, None where one of them has no ONNX node."""
    cell = layer.cell
    cells = list(cell.cells) if type(cell) is keras.layers.StackedRNNCells else [cell]
    return cells if all(recurrent_cells.is_known(cell) for cell in cells) else None


def _plain_mask(mask: Any) -> Any:
    """Return the mask as booleans (N, T), None for no mask, False for one of another shape."""
    masks = [m for m in keras.tree.flatten(mask) if m is not None]
    if not masks:
        return None
    first = tf.convert_to_tensor(masks[0])
    if first.shape.rank == 3 and first.shape[2] == 1:
        first = first[:, :, 0]
    return tf.cast(first, tf.bool) if first.shape.rank == 2 else False


def _is_plain(sequences: Any) -> bool:
    return bool(tf.is_tensor(sequences) and sequences.shape.rank == 3)


def _fit_one_node(layer: Any) -> bool:
    """Whether both directions fit one bidirectional node."""
    forward, backward = layer.forward_layer, layer.backward_layer
    if not all(
        type(side) in (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)
        for side in (forward, backward)
    ):
        return False
    cells = (forward.cell, backward.cell)
    return (
        all(recurrent_cells.is_known(cell) for cell in cells)
        and type(forward) is type(backward)
        and not forward.go_backwards
        and backward.go_backwards
        and forward.return_sequences == backward.return_sequences
        and forward.zero_output_for_mask == backward.zero_output_for_mask
        and not (forward.stateful or backward.stateful)
        and cells[0].units == cells[1].units
        and recurrent_cells.activations(cells[0]) == recurrent_cells.activations(cells[1])
        and getattr(cells[0], "reset_after", None) == getattr(cells[1], "reset_after", None)
    )


def _run_both(
    placeholders: Placeholders, layer: Any, sequences: Any, initial_state: Any, mask: Any
) -> Any:
    """Compute what ``keras.layers.Bidirectional.call`` computes, with one placeholder op."""
    cells = [layer.forward_layer.cell, layer.backward_layer.cell]
    if initial_state is None:
        batch = tf.shape(sequences)[0]
        flat = [
            state
            for side in (layer.forward_layer, layer.backward_layer)
            for state in side.get_initial_state(batch_size=batch)
        ]
    else:
        flat = [tf.convert_to_tensor(state) for state in keras.tree.flatten(initial_state)]
    half = len(flat) // 2
    outcomes = _run(
        placeholders,
        cells,
        sequences,
        [flat[:half], flat[half:]],
        mask,
        (False, True),
        layer.forward_layer.zero_output_for_mask,
    )
    forward, backward = ((o.steps if layer.return_sequences else o.last) for o in outcomes)
    ways: dict[str | None, Callable[[], Any]] = {
        "concat": lambda: tf.concat([forward, backward], axis=-1),
        "sum": lambda: forward + backward,
        "ave": lambda: (forward + backward) / 2,
        "mul": lambda: forward * backward,
        None: lambda: (forward, backward),
    }
    merged = ways[layer.merge_mode]()
    if not layer.return_state:
        return merged
    states = tuple(state for outcome in outcomes for state in outcome.states)
    return (merged if layer.merge_mode is None else (merged,)) + states


def _run(
    placeholders: Placeholders,
    cells: Sequence[Any],
    sequences: Any,
    states: Sequence[Sequence[Any]],
    mask: Any,
    backwards: tuple[bool, ...],
    zero_masked: bool,
) -> list[_Outcome]:
    """Place one placeholder op that runs the cells side by side, each in its direction.

    Args:
        placeholders: those of this trace.
        cells: of one kind and size.
        sequences: (N, T, F).
        states: the initial ones, (N, units) each, by cell.
        mask: (N, T), True where a step counts; or None.
        backwards: for each cell, whether it starts at the last step.
        zero_masked: masked steps give zeros, not the output before them.
    """
    kind, units = recurrent_cells.KINDS[type(cells[0])], cells[0].units
    steps = sequences.shape[1]
    direction = "bidirectional" if len(cells) == 2 else "reverse" if backwards[0] else "forward"
    has_lengths = mask is not None
    if has_lengths:
        # Keys without ties: the steps that count in their order, then the others.
        step_count = tf.shape(sequences)[1]
        key = tf.range(step_count)[None, :] + tf.where(mask, 0, step_count)
        sequences = tf.gather(sequences, tf.argsort(key, axis=1), batch_dims=1)
        counts = tf.cumsum(tf.cast(mask, tf.int32), axis=1)
        lengths = counts[:, -1]
    has_states = not all(_is_zero(state) for cell in states for state in cell)
    inputs = [
        tf.transpose(sequences, [1, 0, 2]),
        tf.stack([recurrent_cells.gates_first(cell.kernel, kind) for cell in cells]),
        tf.stack([recurrent_cells.gates_first(cell.recurrent_kernel, kind) for cell in cells]),
    ]
    has_bias = any(cell.use_bias for cell in cells)
    if has_bias:
        inputs.append(tf.stack([recurrent_cells.bias_of(cell, kind) for cell in cells]))
    if has_lengths:
        inputs.append(lengths)
    if has_states:
        inputs += [tf.stack(list(pair)) for pair in zip(*states, strict=True)]
    batch = sequences.shape[0]
    outputs: list[tuple[Any, tuple[Any, ...]]] = [(tf.float32, (steps, len(cells), batch, units))]
    outputs += [(tf.float32, (len(cells), batch, units))] * kind.states
    emit = recurrent_cells.emitter(kind, cells[0], direction, has_bias, has_lengths, has_states)
    all_steps, *finals = placeholders.place(inputs, outputs, emit, kind.op)

    outcomes = []
    for index, (is_back, steps_given) in enumerate(
        zip(backwards, _unstack(all_steps, 1), strict=True)
    ):
        final = [_unstack(state, 0)[index] for state in finals]
        y = tf.transpose(steps_given, [1, 0, 2])
        if not has_lengths:
            outcomes.append(_Outcome(y, final[0], final))
            continue
        # A masked step repeats the output before it, in the direction of the run.
        place = tf.where(mask, counts - 1, counts) if is_back else counts - 1
        known = (place >= 0) & (place < lengths[:, None])
        if zero_masked:
            known = mask
        y = tf.gather(
            y, tf.clip_by_value(place, 0, tf.maximum(lengths[:, None] - 1, 0)), batch_dims=1
        )
        y = tf.where(known[:, :, None], y, 0.0)
        is_empty = (lengths == 0)[:, None]
        final = [
            tf.where(is_empty, before, after)
            for before, after in zip(states[index], final, strict=True)
        ]
        outcomes.append(_Outcome(y, y[:, 0] if is_back else y[:, -1], final))
    return outcomes


def _unstack(tensor: Any, axis: int) -> list[Any]:
    """Return the directions; a squeeze is all that one direction needs."""
    if tensor.shape[axis] == 1:
        return [tf.squeeze(tensor, [axis])]
    return list(tf.unstack(tensor, axis=axis))


def _is_zero(tensor: Any) -> bool:
    """Whether the traced tensor is made as zeros, which is ONNX's own default."""
    op = tensor.op
    while op.type in ("Identity", "Cast"):
        op = op.inputs[0].op
    if op.type == "ZerosLike":
        return True
    value = tf.get_static_value(op.inputs[1] if op.type == "Fill" else op.outputs[0])
    return value is not None and not np.any(value)
