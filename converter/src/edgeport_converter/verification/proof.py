"""What makes the parity check a proof: logits, inputs that tell, and weights that are spoiled.

``parity`` compares the answers; everything here runs the graph as ONNX defines it, with weights
that can be replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgeport import ModelCard
from edgeport.artifact.golden import Array
from edgeport_converter.progress import say
from edgeport_converter.verification.differences import (
    NO_FLOORS,
    SMALL_ANSWERS,
    excess_by_sample,
    floors_of,
    largest_excess,
    largest_of,
)
from edgeport_converter.verification.index_limits import IndexLimits
from edgeport_converter.verification.logits import find_logits
from edgeport_converter.verification.macs import count_multiply_accumulates
from edgeport_converter.verification.runners import Run
from edgeport_converter.verification.spoiling import (
    SLIGHT,
    STRONG,
    SpoilableGraph,
    SpoiledTrial,
    has_weights,
    try_spoiling,
)
from edgeport_converter.verification.telling_inputs import nearer_to_uncertain, varied_samples

if TYPE_CHECKING:
    import onnx

# The relative change of inputs that stands for the rounding of float32, two units in its last
# place, and the share of what is allowed that an answer may move by it: samples on which it moves
# by more, such as the logarithm of a difference, tell rounding from errors too badly.
_ROUNDING = 2.0**-22
_MOVED_BY_ROUNDING = 0.25
_CHANGE = 2.0**-12  # relative, well above rounding
_TELLS_ENOUGH = 3.0  # times what is allowed, with slightly spoiled weights
# Multiply-accumulates of the networks that uncertain answers are searched in, which takes some
# hundred runs; and by multiply-accumulates, how many kinds of samples are made up.
_MOST_SEARCHED = 5e7
_KINDS_BY_COST = ((1e8, None), (1e9, 4))
_FEWEST_KINDS = 2


class Proof:
    """One graph, with its logits and with weights that can be spoiled.

    Attributes:
        logits: the names of its logits; none, where no output ends in a bounding function.
    """

    def __init__(self, graph: onnx.ModelProto, card: ModelCard) -> None:
        found = find_logits(graph)
        self._inputs = card.inputs
        self._answers = [spec.name for spec in card.outputs]
        self._tables = IndexLimits(graph, card.inputs)
        self._cost = count_multiply_accumulates(graph)
        self._has_weights = has_weights(graph)
        self._graph: SpoilableGraph | None = None
        self.logits: tuple[str, ...] = ()
        try:
            self._graph = SpoilableGraph(graph, card.inputs, found)
            self.logits = found.names
        except Exception:  # the engine wants some weight to be constant, whatever it raises
            self._graph = None

    def run(self, samples: Mapping[str, Array]) -> dict[str, Array]:
        """Return answers and logits as ONNX defines them."""
        assert self._graph is not None  # noqa: S101 - there are no logits and samples otherwise
        return self._graph.with_weights({})(samples)

    def make_telling(self, batch: Mapping[str, Array]) -> dict[str, Array] | None:
        """Return samples of several kinds that tell, None where there are none.

        Args:
            batch: made-up samples that the model takes.
        """
        most = next(
            (kinds for cost, kinds in _KINDS_BY_COST if self._is_cheap(cost)), _FEWEST_KINDS
        )
        if self._graph is None:
            return None
        rows = self._tables.places(batch)
        samples = varied_samples(self._inputs, batch, most, rows)
        if samples is None:
            return None
        try:
            samples = self._well_behaved(samples)
            near = None if samples is None else self._near_uncertain(samples, rows)
        except Exception:  # the engine refuses such values, whatever it raises
            return None
        if samples is None or near is None:
            return samples
        return {name: np.concatenate([near[name], a]) for name, a in samples.items()}

    def _is_cheap(self, multiply_accumulates: float) -> bool:
        return self._cost is None or self._cost <= multiply_accumulates

    def _well_behaved(self, samples: Mapping[str, Array]) -> dict[str, Array] | None:
        """Return the samples whose answers are finite and do not hang on rounding, None if none."""
        moved = _rounded(samples)
        right, count = self.run(samples), len(next(iter(samples.values())))
        changes = excess_by_sample(right, self.run(moved), count)
        if changes is None:
            return dict(samples)
        finite = [
            np.isfinite(array).reshape(count, -1).all(axis=1)
            for array in right.values()
            if array.dtype.kind == "f"
        ]
        kept = np.all([changes <= _MOVED_BY_ROUNDING, *finite], axis=0)
        return {name: array[kept] for name, array in samples.items()} if kept.any() else None

    def _near_uncertain(
        self, samples: Mapping[str, Array], rows: Mapping[str, Array]
    ) -> dict[str, Array] | None:
        """Return samples with uncertain answers, None where others tell enough."""
        if self._graph is None or not self._is_cheap(_MOST_SEARCHED):
            return None
        spoiled = self._graph.with_spoiled(list(self._graph.weights), SLIGHT)

        def telling(batch: Mapping[str, Array]) -> Array | None:
            right, wrong = self.run(batch), spoiled(batch)
            return excess_by_sample(
                {name: right[name] for name in self._answers},
                wrong,
                len(next(iter(batch.values()))),
            )

        found = telling(samples)
        if found is None or found.max(initial=0.0) >= _TELLS_ENOUGH:
            return None
        near = nearer_to_uncertain(self._inputs, samples, telling, rows)
        return None if near is None else self._well_behaved(near)

    def shared_logits(
        self, keras: Mapping[str, Array], samples: Mapping[str, Array]
    ) -> tuple[str, ...]:
        """Return the names of the logits that Keras' answers on these samples have, too."""
        shared = [name for name in self.logits if name in keras]
        right = self.run(samples) if shared else {}
        return tuple(name for name in shared if keras[name].shape == right[name].shape)

    def find_floors(
        self, optimized: Run, samples: Mapping[str, Array], known: Mapping[str, Array]
    ) -> dict[str, float]:
        """Return the absolute tolerance by name of small answers and logits, none of others.

        An answer whose logits are compared has none: a kernel may compute a squashing function to
        an absolute precision only.

        Args:
            optimized: the graph as the engine runs it.
            samples: by input name.
            known: the answers and the logits that are compared.
        """
        squashed = {name.rpartition(" before ")[0] for name in known}
        names = [
            name
            for name, array in known.items()
            if name not in squashed
            and array.dtype.kind == "f"
            and largest_of(array) < SMALL_ANSWERS
        ]
        if self._graph is None or not names:
            return {}
        right = self.run(samples)
        small = {name: right[name] for name in names}
        every = list(self._graph.weights)
        rounded = self._graph.with_spoiled(every, _ROUNDING)
        changed = self._graph.with_spoiled(every, _CHANGE)
        return floors_of(
            small,
            [right | optimized(samples), self.run(_rounded(samples)), rounded(samples)],
            changed(_rounded(samples, _CHANGE)),
        )

    def try_spoiling(
        self,
        samples: Mapping[str, Array],
        logits: Sequence[str],
        floors: Mapping[str, float] = NO_FLOORS,
    ) -> tuple[SpoiledTrial, ...]:
        """Return what the parity check notices of spoiled weights, by answers and these logits."""
        compared = [*self._answers, *logits]

        def excess(right: Mapping[str, Array], wrong: Mapping[str, Array]) -> float:
            return largest_excess({name: right[name] for name in compared}, wrong, floors)

        if self._graph is not None:
            say("spoil weights, to see whether the comparison notices it")
            return try_spoiling(self._graph, excess, samples, self._cost)
        # Nothing could be tried, which is no better than a check that notices nothing.
        return (SpoiledTrial("graph", STRONG, 1, 0),) if self._has_weights else ()


def _rounded(samples: Mapping[str, Array], share: float = _ROUNDING) -> dict[str, Array]:
    """Return the samples with each float moved by a share, two units in its last place."""
    generator = np.random.default_rng(0)
    return {
        name: (array * (1 + share * generator.choice([-1, 1], array.shape))).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in samples.items()
    }
