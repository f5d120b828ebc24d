"""The loop that trains a quantized graph: losses, teacher, early stop.

Steps of ``train``:

1. The float graph is the teacher: the pupil's outputs are held to its outputs (Hinton et al.,
   "Distilling the Knowledge in a Neural Network", 2015), and activations at a few depths to its
   activations (Romero et al., "FitNets", 2014). With labels their loss is added.
2. Adam (Kingma and Ba, 2014) with a rate that falls to zero as a cosine.
3. A few times an epoch the loss is measured on samples that are not trained on; the variables with
   the smallest one are kept, those of the beginning included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from edgeport.artifact.golden import Array
from edgeport_converter.progress import begin
from edgeport_converter.quantization.finetuning.checkpoint import Checkpoint, Position
from edgeport_converter.quantization.finetuning.samples import TrainingData
from edgeport_converter.quantization.finetuning.trainable import Trainable
from edgeport_converter.quantization.tensors import open_session

_DEPTHS = 3  # of activations that are compared
_FEATURES = 0.3  # weight of their loss
_CHECKS = 4  # an epoch
_PATIENCE = 0.5  # of all checks may go by without a better loss: it falls most with the rate
_DECAYS = 0.9, 0.999  # of Adam's moments, as its authors propose
_TINY = 1e-8
_SIGMOIDS = ("Sigmoid",)
_SOFTMAXES = ("Softmax",)


@dataclass(frozen=True)
class Fitted:
    """How the training went: loss before and after on samples not trained on, steps, their size."""

    before: float
    after: float
    steps: int
    batch_size: int


@dataclass(frozen=True, eq=False)
class _Output:
    """An output of the graph: its name, its last function, and what stands before that."""

    name: str
    function: str
    inner: str

    @property
    def compared(self) -> str:
        """The name among the pupil's tensors of what is compared."""
        return f"before {self.name}" if self.has_logits else self.name

    @property
    def has_logits(self) -> bool:
        return self.function in (*_SOFTMAXES, *_SIGMOIDS)


class Teacher:
    """The float graph, which answers with outputs, logits and a few activations."""

    def __init__(self, source: ir.Model, rounded: Sequence[str]) -> None:
        graph = source.graph
        self.outputs = [_describe(value) for value in graph.outputs]
        values = {value.name: value for node in graph for value in node.outputs}
        order = [name for name in values if name in set(rounded)]
        self.features = [order[int(p)] for p in _spread(len(order))]
        wanted = [each.inner if each.has_logits else each.name for each in self.outputs]
        self._names = list(dict.fromkeys([*wanted, *self.features]))
        self._session = open_session(source, [values[name] for name in self._names])

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return what the pupil's tensors are compared with, by their names."""
        found = dict(zip(self._names, self._session.run(self._names, dict(batch)), strict=True))
        answers = {name: found[name] for name in self.features}
        for each in self.outputs:
            answers[each.compared] = found[each.inner if each.has_logits else each.name]
        return answers


def _describe(value: ir.Value) -> _Output:
    node = value.producer()
    if node is None or node.inputs[0] is None or not _is_over_last_axis(node):
        return _Output(value.name or "", "", "")
    return _Output(value.name or "", node.op_type, node.inputs[0].name or "")


def _is_over_last_axis(node: ir.Node) -> bool:
    """Return False for a Softmax over another axis than the last, the axis of the losses."""
    shape = node.outputs[0].shape
    last = -1 if shape is None else len(shape) - 1
    return node.op_type not in _SOFTMAXES or node.attributes.get_int("axis", -1) in (-1, last)


def _spread(count: int) -> Array:
    places = np.linspace(0, count - 1, _DEPTHS + 2)[1:-1] if count > _DEPTHS else np.arange(count)
    return np.unique(places.astype(int))


def train(
    pupil: Trainable,
    source: ir.Model,
    data: TrainingData,
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    border: float,
    seed: int,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """Train the pupil's variables, and leave it with the best that were found.

    Args:
        pupil: the quantized graph.
        source: the float graph that it was made from.
        data: what to train on.
        epochs: passes over it.
        learning_rate: how far a weight moves at a step, in steps of its scale.
        batch_size: samples a step; the last ones of an epoch that fill no batch are left out.
        border: of a score that stands alone: 0.5 for a share, 0 for a logit.
        seed: of the order of samples.
        checkpoint: where an interrupted training goes on from, None for no such file.
    """
    teacher = Teacher(source, list(pupil.rounded))
    loss_of = _Loss(teacher, pupil, data.are_classes, border)
    size = min(batch_size, len(data))
    steps = epochs * (len(data) // size)
    optimizer = _Adam(pupil.variables, learning_rate, steps)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(batch: Any, taught: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(batch, taught, labels)
        optimizer.apply(tape.gradient(loss, pupil.variables))
        return loss

    measure = tf.function(loss_of, reduce_retracing=True)

    def check() -> float:
        total = 0.0
        count = len(next(iter(data.checking.values())))
        for start in range(0, count - size + 1, size) if count >= size else [0]:
            rows = slice(start, start + size)
            batch = {name: array[rows] for name, array in data.checking.items()}
            labels = None if data.checking_labels is None else data.checking_labels[rows]
            total += float(measure(batch, teacher(batch), labels)) * len(next(iter(batch.values())))
        return total / max(count - count % size, min(count, size))

    state = [*pupil.variables, *optimizer.state]
    found = None if checkpoint is None else checkpoint.read(state, pupil.variables)
    if found is None:
        loss = check()
        found = Position(0, 0, loss, loss, [], [each.numpy() for each in pupil.variables])
    for variable, value in zip(state, found.variables, strict=False):
        variable.assign(value)
    before, best, kept, done, waited = (
        found.before, found.best, found.kept, found.done, found.waited,
    )  # fmt: skip
    generator, place, every = np.random.default_rng(seed), 0, max(1, len(data) // size // _CHECKS)
    patience = _PATIENCE * steps / every
    with begin("fine-tuning", steps) as task:
        for _ in range(epochs):
            for batch, labels in data.batches(size, generator.permutation(len(data))):
                place += 1
                if place > done:
                    step(batch, teacher(batch), labels)
                    done += 1
                task.advance()
                if place < done or (done % every and done < steps):
                    continue
                if place == found.done:  # measured before the training was interrupted
                    continue
                loss = check()
                waited += 1
                if np.isfinite(loss) and loss < best:
                    best, waited = loss, 0
                    kept = [variable.numpy() for variable in pupil.variables]
                task.note(f"loss {best:.4g}, at first {before:.4g}")
                if checkpoint is not None:
                    values = [variable.numpy() for variable in state]
                    checkpoint.write(Position(done, waited, before, best, values, kept))
            if place == done and waited > patience:
                break
    for variable, value in zip(pupil.variables, kept, strict=True):
        variable.assign(value)
    return Fitted(before, best, done, size)


class _Adam:
    """Adam over all variables, with a rate that falls to zero as a cosine."""

    def __init__(self, variables: Sequence[Any], rate: float, steps: int) -> None:
        self._variables, self._rate, self._steps = variables, rate, max(steps, 1)
        self._moments = [
            (tf.Variable(tf.zeros_like(each)), tf.Variable(tf.zeros_like(each)))
            for each in variables
        ]
        self._done = tf.Variable(0.0)

    @property
    def state(self) -> list[Any]:
        """All that a step changes beside the variables."""
        return [*(each for pair in self._moments for each in pair), self._done]

    def apply(self, gradients: Sequence[Any]) -> None:
        share = self._done / self._steps
        rate = self._rate * 0.5 * (1 + tf.cos(np.pi * tf.minimum(share, 1.0)))
        self._done.assign_add(1.0)
        for variable, gradient, (first, second) in zip(
            self._variables, gradients, self._moments, strict=True
        ):
            if gradient is None:
                continue
            first.assign(_DECAYS[0] * first + (1 - _DECAYS[0]) * gradient)
            second.assign(_DECAYS[1] * second + (1 - _DECAYS[1]) * tf.square(gradient))
            mean = first / (1 - _DECAYS[0] ** self._done)
            spread = tf.sqrt(second / (1 - _DECAYS[1] ** self._done))
            variable.assign_sub(rate * mean / (spread + _TINY))


class _Loss:
    """The loss of the pupil's answers to a batch, by the teacher's answers and the labels."""

    def __init__(
        self, teacher: Teacher, pupil: Trainable, are_classes: bool, border: float
    ) -> None:
        self._teacher, self._pupil = teacher, pupil
        self._are_classes, self._border = are_classes, border

    def __call__(self, batch: Any, taught: Any, labels: Any) -> Any:
        answers = self._pupil(batch)
        outputs = self._teacher.outputs
        loss = tf.add_n([self._distilled(each, answers, taught) for each in outputs])
        features = [_relative(answers[name], taught[name]) for name in self._teacher.features]
        if features:
            loss += _FEATURES * tf.add_n(features) / len(features)
        if labels is not None:
            loss += self._labelled(outputs[0], answers, labels)
        return loss

    def _distilled(self, output: _Output, answers: Any, taught: Any) -> Any:
        given, wanted = answers[output.compared], taught[output.compared]
        if output.function in _SOFTMAXES:
            shares = tf.nn.softmax(wanted)
            losses = tf.nn.softmax_cross_entropy_with_logits(shares, given)
            least = tf.nn.softmax_cross_entropy_with_logits(shares, wanted)
            return tf.reduce_mean(losses - least)
        if output.function in _SIGMOIDS:
            shares = tf.sigmoid(wanted)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(shares, given)
            least = tf.nn.sigmoid_cross_entropy_with_logits(shares, wanted)
            return tf.reduce_mean(losses - least)
        return _relative(given, wanted)

    def _labelled(self, output: _Output, answers: Any, labels: Any) -> Any:
        given = answers[output.compared]
        if not self._are_classes:
            return _relative(answers[output.name], labels)
        if given.shape[-1] > 1:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, given)
            return tf.reduce_mean(losses)
        targets = tf.cast(labels, tf.float32)[..., None]
        if output.function in _SIGMOIDS or self._border == 0:
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, given))
        return tf.reduce_mean(tf.square(given - targets))


def _relative(given: Any, wanted: Any) -> Any:
    """Return the squared error over the variance of what is wanted."""
    wanted = tf.cast(wanted, tf.float32)
    error = tf.reduce_mean(tf.square(tf.cast(given, tf.float32) - wanted))
    return error / (tf.math.reduce_variance(wanted) + 1e-12)
