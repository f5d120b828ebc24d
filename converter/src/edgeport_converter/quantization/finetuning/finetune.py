"""From a quantized graph to trained weights, proven against the Keras model that holds them.

Steps of ``Finetuner.finetune``:

1. Find the Keras variables that the graph's weights come from (``keras_links``).
2. Train the graph under quantization (``training``), from the weights as they are rounded already.
3. Put weights, scales and ranges into the float graph, the weights as whole numbers of scales, so
   that quantizing this graph gives the very codes that were trained.
4. Prove the float graph, as any export is proven, against the Keras model that answers with the
   trained weights. The model itself keeps its own.
5. Prove that the graph that int8 runs answers as the trained one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import tensorflow as tf

from edgeport import ConversionError, OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.options import Finetune
from edgeport_converter.progress import say
from edgeport_converter.quantization.calibration.ranges import Ranges
from edgeport_converter.quantization.evaluation.agreement import least_share
from edgeport_converter.quantization.finetuning import keras_links, training
from edgeport_converter.quantization.finetuning.checkpoint import Checkpoint, key_of
from edgeport_converter.quantization.finetuning.operators import UnknownOperatorError
from edgeport_converter.quantization.finetuning.samples import TrainingData
from edgeport_converter.quantization.finetuning.trainable import Trainable
from edgeport_converter.quantization.qdq.pixel_inputs import find_pixel_inputs
from edgeport_converter.quantization.tensors import replace_constant
from edgeport_converter.quantization.weights.gptq import Rounder
from edgeport_converter.verification.runners import run_as_defined

LEAST_AGREEMENT = 0.995
"""Share of best classes in which the trained function and the int8 graph should be equal. Less is
refused where it is beyond chance: by the upper end of Wilson's interval, one-sided, 95 of 100."""

# The same of outputs without classes: their error over their spread, taken from 1. Chosen: a code
# that is rounded the other way by the order of sums costs up to a twentieth in a small network.
_REFUSED = 0.9

# An output that varies by less than this share of its size is a constant; float32 tells seven
# digits.
_CONSTANT = 1e-5


class CannotFinetuneError(Exception):
    """The model cannot be fine-tuned, or not proven; the text says why, as part of a sentence."""


@dataclass(frozen=True, eq=False)
class Finetuned:
    """A float graph with trained weights, and how it is quantized.

    Attributes:
        graph: with the same answers as the fine-tuned Keras model.
        ranges: of its activations.
        rounder: knows the scales of its weights.
        fitted: how the training went.
        agreement: share of best classes that the trained function and the int8 graph have in
            common; of other outputs the error over their spread, taken from 1; the least of all
            outputs.
        values: the Keras variables that change, with their trained values.
        digests: of the model's weights before and after.
        notes: what is to be said of the training, a sentence each.
    """

    graph: ir.Model
    ranges: Ranges
    rounder: Rounder
    fitted: training.Fitted
    agreement: float
    values: list[tuple[Any, Array]]
    digests: tuple[str, str]
    notes: tuple[str, ...] = ()

    def ranges_by(self, method: str) -> Ranges:
        """Return the ranges that were trained, which began with some method."""
        return self.ranges


@dataclass(frozen=True, eq=False)
class Finetuner:
    """Fine-tunes the graphs of one model.

    Attributes:
        wanted: the options.
        model: the Keras model, None for a SavedModel.
        data: what to train on.
        prove: raises ConversionError where a float graph does not answer as the Keras model does.
        batch_size: samples a step, the size that the model insists on where it does.
        border: of a score that stands alone.
        is_fixed: whether the model takes batches of that size alone.
        state_file: where the state of an interrupted training is kept, None for nowhere.
    """

    wanted: Finetune
    model: Any
    data: TrainingData
    prove: Callable[[onnx.ModelProto], None]
    batch_size: int
    border: float = 0.5
    is_fixed: bool = False
    state_file: Path | None = None

    def finetune(
        self,
        source: ir.Model,
        ranges: Ranges,
        rounder: Rounder,
        quantize: Callable[[ir.Model, Ranges, Rounder], ir.Model],
        *,
        pairs: bool,
    ) -> Finetuned:
        """Return the trained graph.

        Args:
            source: the float graph that the recipe quantizes.
            ranges: of its activations.
            rounder: of its weights.
            quantize: makes the recipe's graph of a float graph.
            pairs: whether two codes of one sign add up to 128 at most.

        Raises:
            CannotFinetuneError: the model has no form here, or is not what was trained.
        """
        if self.model is None:
            raise CannotFinetuneError("a SavedModel has no Keras variables that could be changed")
        least = min(len(self.data), len(next(iter(self.data.checking.values()))))
        if self.is_fixed and least < self.batch_size:
            raise CannotFinetuneError(
                f"the model takes {self.batch_size} samples at a time, and only {least} are there "
                "to train on or to end the training"
            )
        links = keras_links.find_links(self.model, source.graph)
        if not links:
            raise CannotFinetuneError(
                "no weights of int8 layers belong to a Keras variable that is trainable"
            )
        checkpoint: Checkpoint | None = None
        try:
            pupil = Trainable(
                quantize(source, ranges, rounder),
                source.graph,
                ranges,
                {link.weights for link in links},
                {link.bias for link in links if link.bias is not None},
                pairs=pairs,
                fixed={each.value.name or "" for each in find_pixel_inputs(source.graph)},
            )
            if self.state_file is not None:
                settings = self.wanted.epochs, self.wanted.learning_rate, self.wanted.seed
                key = key_of(
                    (pupil.graph, source.graph),
                    pupil.variables,
                    self.data,
                    (*settings, self.batch_size, self.border, pairs, tf.__version__),
                )
                checkpoint = Checkpoint(self.state_file, key)
            fitted = training.train(
                pupil,
                source,
                self.data,
                epochs=self.wanted.epochs,
                learning_rate=self.wanted.learning_rate,
                batch_size=self.batch_size,
                border=self.border,
                seed=self.wanted.seed,
                checkpoint=checkpoint,
            )
        except UnknownOperatorError as cause:
            raise CannotFinetuneError(f"training knows no form of {cause}") from cause
        trained = pupil.trained()
        values = keras_links.values_for(links, source.graph, trained.weights, trained.biases)
        graph = source.clone()
        for name, array in {**trained.weights, **trained.biases}.items():
            replace_constant(graph.graph.initializers[name], array)
        tuned_rounder = rounder.with_scales(trained.scales)
        agreement = self._agreement(pupil, quantize(graph, trained.ranges, tuned_rounder))
        before = _digest(self.model)
        with keras_links.with_values(values):
            after = _digest(self.model)
            try:
                self.prove(ir.to_proto(graph))
            except OptionError:
                raise
            except ConversionError as cause:
                raise CannotFinetuneError(
                    f"the trained weights could not be put back into the Keras model ({cause})"
                ) from cause
        say(
            f"fine-tuning: {fitted.steps} steps, loss {fitted.before:.4g} to {fitted.after:.4g} on "
            f"samples that were not trained on; {agreement:.2%} of the answers as trained"
        )
        notes = () if checkpoint is None else checkpoint.notes
        return Finetuned(
            graph, trained.ranges, tuned_rounder, fitted, agreement, values, (before, after), notes
        )

    def _agreement(self, pupil: Trainable, made: ir.Model) -> float:
        """Return how far the trained function and the int8 graph agree; refuse too little.

        Each output is judged by itself, so that none hides behind another; the least is returned.
        """
        run, trained = run_as_defined(ir.to_proto(made)), tf.function(pupil, reduce_retracing=True)
        count, size = len(next(iter(self.data.checking.values()))), self.batch_size
        found: dict[str, _Compared] = {}
        for start in range(0, count - size + 1, size) if count >= size else [0]:
            batch = {k: array[start : start + size] for k, array in self.data.checking.items()}
            expected = trained(batch)
            for name, array in run(batch).items():
                found.setdefault(name, _Compared(name)).add(expected[name].numpy(), array)
        return min(each.agreement() for each in found.values())


class _Compared:
    """One output of the trained function and of the int8 graph, batch after batch."""

    def __init__(self, name: str) -> None:
        self._name, self._samples, self._largest = name, 0, 0.0
        self._shares: list[float] = []  # of equal best classes, of batches of one size
        self._moments: list[tuple[float, float, float]] = []  # mean, of the square, of the error

    def add(self, wanted: Array, given: Array) -> None:
        self._samples += len(wanted)
        if wanted.ndim > 1 and wanted.shape[-1] > 1 and wanted.dtype.kind == "f":
            self._shares.append(float(np.mean(wanted.argmax(-1) == given.argmax(-1))))
            return
        wide = wanted.astype(np.float64)
        squares = float(np.mean(wide**2)), float(np.mean((wide - given) ** 2))
        self._moments.append((float(np.mean(wide)), *squares))
        self._largest = max(self._largest, float(np.abs(wide).max()))

    def agreement(self) -> float:
        """Return the share of equal best classes, else the error over the spread, taken from 1.

        Raises:
            CannotFinetuneError: it is too small.
        """
        if self._shares:
            share, least = float(np.mean(self._shares)), LEAST_AGREEMENT
            # Places of one sample are no samples of their own.
            highest = 1 - least_share(1 - share, self._samples)
        else:
            mean, square, error = np.mean(self._moments, axis=0)
            spread = max(math.sqrt(max(square - mean**2, 0)), _CONSTANT * self._largest, 1e-9)
            share, least = 1 - math.sqrt(error) / spread, _REFUSED
            highest = share
        if not highest >= least:
            raise CannotFinetuneError(
                f"what was trained and the int8 graph agree to {share:.2%} on {self._samples} "
                f"samples in the output '{self._name}', at most {highest:.2%} by Wilson's bound, "
                f"expected at least {least:.1%}, as what was trained should be what runs"
            )
        return share


def _digest(model: Any) -> str:
    """Return the SHA-256 of a Keras model's weights in their order."""
    digest = hashlib.sha256()
    for variable in model.weights:
        digest.update(np.ascontiguousarray(_array(variable)).tobytes())
    return digest.hexdigest()


def _array(variable: Any) -> Array:
    found: Array = np.asarray(variable.numpy())
    return found
