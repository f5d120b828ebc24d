"""The quantization stage: which kinds of recipe are tried, and which candidate is taken.

``search`` finds the int8 graph that keeps the budget, ``candidates`` makes each one,
``faster_forms`` proposes faster ones, ``timing`` says how fast each is; here they meet, and
``objective`` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from edgeport import ModelCard
from edgeport_converter import optimizing
from edgeport_converter.errors import QuantizationError
from edgeport_converter.progress import say
from edgeport_converter.quantization.evaluation import budget, timing
from edgeport_converter.quantization.evaluation.agreement import least_share
from edgeport_converter.quantization.evaluation.evaluator import Evaluator
from edgeport_converter.quantization.evaluation.layer_times import LayerTimes
from edgeport_converter.quantization.evaluation.paired import PairedTest
from edgeport_converter.quantization.qdq import quantize
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.quantization.search.candidates import Candidate, CandidateFactory
from edgeport_converter.quantization.search.composition import compose
from edgeport_converter.quantization.search.faster_forms import propose_faster
from edgeport_converter.quantization.search.objective import (
    TIE,
    WORTHWHILE,
    Contender,
    best_of,
    cost,
    explain_choice,
)
from edgeport_converter.quantization.search.search import Attempt, RecipeSearch
from edgeport_converter.targets import Target
from edgeport_converter.verification.runners import Batches

if TYPE_CHECKING:  # they import TensorFlow
    from edgeport_converter.quantization.finetuning.finetune import Finetuned, Finetuner


@dataclass(frozen=True)
class Step:
    """One line of the search's report.

    Attributes:
        recipe: in words.
        loss, allowed: in the unit of the budget: metric, share of changed answers, or minus dB.
        sentence: the same in words.
        holds: whether the budget was kept.
        file_bytes: of the graph without card.
        latency_us: one sample, one thread, None where it was not timed.
        metric: the user's, None without labels.
        top_1: share of samples with the float graph's best class, None for no classifier.
        signal_to_noise_db: to the float graph's answers, in the worst output.
    """

    recipe: str
    loss: float
    allowed: float
    sentence: str
    holds: bool
    file_bytes: int
    latency_us: float | None = None
    metric: float | None = None
    top_1: float | None = None
    signal_to_noise_db: float | None = None

    def describe(self) -> str:
        """Return the line in words."""
        kept = "keeps the budget" if self.holds else "misses the budget"
        time = "" if self.latency_us is None else f", {self.latency_us:.1f} µs"
        return f"{self.recipe}: {self.sentence}, {kept}, {self.file_bytes:,} bytes{time}"


@dataclass(frozen=True, eq=False)
class Selection:
    """What was chosen, its time beside the float graph's, and why it, where that is a question."""

    candidate: Candidate
    latency_us: float | None
    float_latency_us: float | None
    reason: str = ""


class Quantizer:
    """All that a search over recipes needs of one model.

    Args:
        float_graph, card, calibration, evaluator, target: as for ``CandidateFactory``.
        max_drop: the budget.
        factory: makes the candidates; by default one by one on this machine.

    Attributes:
        on_step: called with each line of the report when it is known.
        is_stopped: whether Ctrl-C ended the search.
        finetuner: trains weights under quantization, None where that is not wanted.
        notes: why weights were trained, or why not, a sentence.
        gain: how sure it is that the trained weights answer better than int8 before: those of the
            chosen candidate, else of the first one that has them.
    """

    def __init__(
        self,
        float_graph: onnx.ModelProto,
        card: ModelCard,
        calibration: Batches,
        evaluator: Evaluator,
        target: Target,
        max_drop: float,
        factory: Callable[..., CandidateFactory] = CandidateFactory,
    ) -> None:
        self._card, self._calibration, self._evaluator = card, calibration, evaluator
        self._max_drop = max_drop
        self.on_step: Callable[[Step], None] | None = None
        self.is_stopped = False
        self.finetuner: Finetuner | None = None
        self.notes: tuple[str, ...] = ()
        self.gain: PairedTest | None = None
        self._untrained: Candidate | None = None  # int8 before the training
        self._left_out = ""  # why nothing was trained, a sentence, where that was wanted
        self._factory = factory(float_graph, card, calibration, evaluator, target)
        self._latencies: dict[Recipe, float] = {}
        self._search: RecipeSearch[Candidate] = RecipeSearch(
            self._factory.make,
            self._judge,
            self._factory.rank_layers,
            self._factory.has_streams,
            self._tell,
            self._factory.expect,
        )

    def choose(
        self, kind: str, ranges: str, objective: str, float_nodes: frozenset[str]
    ) -> Selection:
        """Return the best candidate of a kind that keeps the budget; of all kinds for ``auto``.

        Raises:
            QuantizationError: none keeps it; the message carries the best one tried.
        """
        attempts: list[Attempt[Candidate]] = []
        likely = ("static", "weights", "none") if kind == "auto" else (kind,)
        self._factory.expect([Recipe.starting(each, ranges, float_nodes) for each in likely])
        for each in self._kinds(kind, float_nodes):
            # Ranges measured at each run depend on all samples of a batch, so the runtime takes
            # them one by one: that is for models that static int8 does not fit.
            is_last_resort = kind == "auto" and each == "dynamic"
            if is_last_resort and any(a.verdict.holds for a in attempts):
                continue
            start = Recipe.starting(each, ranges, float_nodes)
            if start.is_static:
                attempts.append(self._search.with_static_ranges(start))
            else:
                attempts.append(self._search.attempt(start))
        attempts += self._finetuned(float_nodes, objective)
        holding = self._those_that_hold(attempts)
        if objective != "latency":
            holding = [self._with_fewer_bytes(attempt) for attempt in holding]
        # Under a named recipe the same command gives the same file, unless speed is asked for.
        if objective == "latency" or (kind == "auto" and objective != "size"):
            holding += [
                faster for attempt in holding for faster in self._faster_forms(attempt, objective)
            ]
        return self._choose_by_measurement(holding, objective)

    def _finetuned(self, float_nodes: frozenset[str], objective: str) -> list[Attempt[Candidate]]:
        """Return int8 with trained weights, where int8 alone misses the budget and it may pay.

        Where int8 keeps the budget, training could gain neither time nor bytes; where it does so
        with layers in float, int8 throughout has to be worth it by the objective.
        """
        if self.finetuner is None:
            return []
        static = [attempt for attempt in self._search.attempts if attempt.recipe.kind == "static"]
        in_int8 = [attempt for attempt in static if attempt.recipe.float_nodes == float_nodes]
        if not in_int8:
            return self._untuned("int8 finds no layer that it could make smaller")
        if any(attempt.verdict.holds for attempt in in_int8):
            return self._untuned("int8 keeps the budget without it")
        from edgeport_converter.quantization.finetuning.finetune import CannotFinetuneError

        best = min(in_int8, key=lambda attempt: attempt.verdict.excess)
        why = f"fine-tuning was tried, since int8 {best.verdict.sentence}"
        mixed = [attempt for attempt in static if attempt.verdict.holds]
        if mixed:
            fewest = min(mixed, key=lambda attempt: len(attempt.recipe.float_nodes))
            size, time = self._shares_of(best, fewest, objective)
            figures = f"{size:.2f} of the bytes" + (f" and {time:.2f} of the time" if time else "")
            count = len(fewest.recipe.float_nodes - float_nodes)
            layers = f"{count} layer{'s' if count > 1 else ''} in float"
            against = f"{figures} of the graph that keeps it with {layers}"
            if cost(objective, time or 1.0, size) >= 1:
                return self._untuned(f"int8 throughout gains nothing: it takes {against}")
            why += f", and int8 throughout takes {against}"
        try:
            self._factory.finetune(best.recipe, self.finetuner)
        except CannotFinetuneError as cause:
            return self._untuned(str(cause))
        tuned = self._search.attempt(replace(best.recipe, finetuned=True))
        self._untrained = best.built
        self.gain = self._factory.compare(best.built, tuned.built)
        self.notes = (why,)
        return [tuned]

    def _untuned(self, why: str) -> list[Attempt[Candidate]]:
        self._left_out = f"fine-tuning was left out, since {why}"
        self.notes = (self._left_out,)
        return []

    def _shares_of(
        self, one: Attempt[Candidate], other: Attempt[Candidate], objective: str
    ) -> tuple[float, float | None]:
        """Return the bytes and the time of a candidate over another's.

        The time is None where the objective does not count it, and where both take the same within
        the noise of timing, so that the next run decides alike.
        """
        graphs = [attempt.built.graph for attempt in (one, other)]
        recipes = [attempt.recipe for attempt in (one, other)]
        if objective != "latency":  # what is written may have fewer scales, as _with_fewer_bytes
            recipes = [replace(each, stores_rest=True, one_scale=True) for each in recipes]
        first_bytes, second_bytes = (self._factory.draft(each).ByteSize() for each in recipes)
        size = first_bytes / second_bytes
        if objective == "size":
            return size, None
        self._factory.stop()  # times are taken here, of one graph at a time
        sample = next(iter(self._calibration(1)))
        first, second = timing.median_latencies_us(graphs, self._card, sample)
        is_close = abs(first - second) <= TIE["latency"] * second
        return size, None if is_close else first / second

    def close(self) -> None:
        """End what the search has begun; what it found stays."""
        self._factory.close()

    @property
    def notes_on_trying(self) -> tuple[str, ...]:
        """What has to be said of how candidates were tried."""
        return self._factory.notes

    @property
    def finetuned(self) -> Finetuned | None:
        """The trained graph, None where nothing was trained."""
        return self._factory.finetuned

    def compose(
        self, times: LayerTimes, ranges: str, float_nodes: frozenset[str], source: Mapping[str, str]
    ) -> Selection:
        """Return the graph with each layer in the format and the form that are cheaper on a board.

        It is judged like any candidate: where it misses the budget, more layers stay in float.

        Args:
            times: of the board.
            ranges: the method that the search begins with.
            float_nodes: names of nodes that stay in float whatever they take.
            source: where the model came from, as the card says it.

        Raises:
            OptionError: the times are of another model.
            QuantizationError: as ``choose`` does.
        """
        graph = self._factory.float_graph.graph
        times.require_model(source, [node.name or "" for node in quantize.weighted_nodes(graph)])
        found = compose(graph, times, float_nodes)
        if found.int8_layers:
            start = replace(
                Recipe.starting("static", ranges, float_nodes | found.float_nodes),
                in_blocks=found.in_blocks,
                float_swish=found.float_swish,
            )
            attempts = [self._search.with_static_ranges(start)]
        else:
            attempts = [self._search.attempt(Recipe("none"))]
        chosen = self._choose_by_measurement(self._those_that_hold(attempts), "latency")
        return replace(chosen, reason=found.describe(times))

    def _those_that_hold(self, attempts: Sequence[Attempt[Candidate]]) -> list[Attempt[Candidate]]:
        holding = [attempt for attempt in attempts if attempt.verdict.holds]
        if not holding:
            best = min(attempts, key=lambda attempt: attempt.verdict.excess)
            untrained = f", and {self._left_out}" if self._left_out else ""
            raise QuantizationError(
                f"the best of {len(self._search.attempts)} attempts ({best.recipe}) "
                f"{best.verdict.sentence}{untrained}: pass more calibration samples, a larger "
                "max_drop, or quantize='none'",
                measured=best.verdict.loss,
                allowed=best.verdict.allowed,
            )
        return holding

    def choose_unless_stopped(
        self, kind: str, ranges: str, objective: str, float_nodes: frozenset[str]
    ) -> Selection:
        """As ``choose``, but Ctrl-C ends the search with the best of what keeps the budget.

        Raises:
            KeyboardInterrupt: nothing that was tried keeps it, or Ctrl-C came a second time.
        """
        try:
            return self.choose(kind, ranges, objective, float_nodes)
        except KeyboardInterrupt as stop:
            holding = [attempt for attempt in self._search.attempts if attempt.verdict.holds]
            if not holding:
                tried = len(self._search.attempts)
                found = f"none of {tried} candidates kept the budget" if tried else "none was tried"
                raise KeyboardInterrupt(
                    f"the search for candidates was interrupted and {found}: nothing was written"
                ) from stop
        self._stop()
        return self._choose_by_measurement(holding, objective)

    def variants_unless_stopped(
        self, kinds: Sequence[str], ranges: str, float_nodes: frozenset[str]
    ) -> dict[str, Candidate]:
        """As ``variants``; none where Ctrl-C ends the search, now or before.

        Raises:
            KeyboardInterrupt: Ctrl-C, and nothing was chosen before.
        """
        if self.is_stopped:
            return {}
        try:
            return self.variants(kinds, ranges, float_nodes)
        except KeyboardInterrupt:
            if not self._latencies:
                raise
            self._stop()
            return {}

    def _stop(self) -> None:
        self.is_stopped = True
        say("stopped: the best candidate so far is taken; Ctrl-C again stops at once")

    def variants(
        self, kinds: Sequence[str], ranges: str, float_nodes: frozenset[str]
    ) -> dict[str, Candidate]:
        """Return a candidate of each kind for comparison, of those that keep the budget."""
        found = {}
        self._factory.expect([Recipe.starting(kind, ranges, float_nodes) for kind in kinds])
        for kind in kinds:
            if kind != "none" and not self._factory.stores_int8(kind, float_nodes):
                continue
            attempt = self._search.attempt(Recipe.starting(kind, ranges, float_nodes))
            if attempt.verdict.holds:
                found[kind] = attempt.built
        return found

    @property
    def steps(self) -> tuple[Step, ...]:
        """All attempts so far, in order, those of variants included."""
        return tuple(
            replace(_step(attempt), latency_us=self._latencies.get(attempt.recipe))
            for attempt in self._search.attempts
        )

    def _kinds(self, kind: str, float_nodes: frozenset[str]) -> Sequence[str]:
        """Return the kinds to try: those that find something in this graph to store smaller."""
        wanted = ("static", "weights", "dynamic") if kind == "auto" else (kind,)
        found = [
            each
            for each in wanted
            if each == "none" or self._factory.stores_int8(each, float_nodes)
        ]
        if not found and kind != "auto":
            raise QuantizationError(
                f"the model has no layer that the recipe '{kind}' could store smaller, expected a "
                "Dense, convolution or recurrent layer with large weights that is not kept in "
                "float: pass another recipe, or quantize='none'"
            )
        return [*found, "none"] if kind == "auto" else found

    def _with_fewer_bytes(self, attempt: Attempt[Candidate]) -> Attempt[Candidate]:
        """Return the same recipe with int8 for more weights, and with fewer scales, where it holds.

        Each is tried only where it saves a worthwhile share of the file.
        """
        if not attempt.recipe.is_static:
            return attempt
        attempt = self._smaller_of(attempt, replace(attempt.recipe, stores_rest=True))
        if attempt.recipe.equalizes_streams and not attempt.recipe.finetuned:
            # One scale is too coarse for weights that equalizing made uneven, and int8 without it
            # missed the budget.
            return attempt
        return self._smaller_of(attempt, replace(attempt.recipe, one_scale=True))

    def _smaller_of(self, attempt: Attempt[Candidate], recipe: Recipe) -> Attempt[Candidate]:
        worth = (1 - WORTHWHILE) * attempt.built.graph.ByteSize()
        if self._factory.draft(recipe).ByteSize() > worth:
            return attempt
        smaller = self._search.attempt(recipe)
        return smaller if smaller.verdict.holds else attempt

    def _faster_forms(
        self, attempt: Attempt[Candidate], objective: str
    ) -> list[Attempt[Candidate]]:
        """Return the same recipe with layers in faster forms, the best one that holds, if any."""
        if attempt.recipe.kind != "static":
            return []
        self._factory.stop()  # times are taken here, of one graph at a time
        sample = next(iter(self._calibration(1)))
        recipes = propose_faster(attempt.built, self._factory, self._card, sample, objective)
        self._factory.expect(recipes)
        for recipe in recipes:
            faster = self._search.attempt(recipe)
            if faster.verdict.holds:
                return [faster]
        return []

    def _choose_by_measurement(
        self, holding: Sequence[Attempt[Candidate]], objective: str
    ) -> Selection:
        """Time the candidates beside the float graph and weigh time and size."""
        self._factory.stop()
        sample = next(iter(self._calibration(1)))
        graphs = [attempt.built.graph for attempt in holding]
        float_graph = optimizing.compact(ir.to_proto(self._factory.float_graph))
        float_us, *times = timing.median_latencies_us([float_graph, *graphs], self._card, sample)
        contenders = [
            Contender(
                attempt.recipe.kind,
                us / float_us,
                graph.ByteSize() / float_graph.ByteSize(),
                attempt.verdict.excess,
            )
            for attempt, us, graph in zip(holding, times, graphs, strict=True)
        ]
        best = best_of(contenders, objective)
        reason = explain_choice(contenders, [str(a.recipe) for a in holding], best, objective)
        self._latencies |= {attempt.recipe: us for attempt, us in zip(holding, times, strict=True)}
        chosen = self._with_chances(holding[best].built)
        if chosen.recipe.finetuned and self._untrained is not None:
            # Fewer scales, or layers in other forms, have other answers than what was compared.
            self.gain = self._factory.compare(self._untrained, chosen)
        return Selection(chosen, times[best], float_us, reason)

    def _with_chances(self, chosen: Candidate) -> Candidate:
        """Return the candidate with a share of classes that counts how many were judged."""
        seen = chosen.measured.agreement
        judged = sum(attempt.recipe.kind != "none" for attempt in self._search.attempts)
        if seen.top_1 is None or chosen.recipe.kind == "none":
            return chosen
        least = least_share(seen.top_1, seen.samples, judged)
        measured = replace(chosen.measured, agreement=replace(seen, top_1_at_least=least))
        return replace(chosen, measured=measured)

    def _judge(self, candidate: Candidate) -> budget.Verdict:
        measured = candidate.measured
        return budget.judge(
            measured.agreement,
            self._evaluator.float_metric,
            measured.metric,
            self._max_drop,
            smaller_is_better=self._evaluator.smaller_is_better,
        )

    def _tell(self, attempt: Attempt[Candidate]) -> None:
        if self.on_step:
            self.on_step(_step(attempt))


def _step(attempt: Attempt[Candidate]) -> Step:
    verdict, measured = attempt.verdict, attempt.built.measured
    return Step(
        str(attempt.recipe),
        verdict.loss,
        verdict.allowed,
        verdict.sentence,
        verdict.holds,
        attempt.built.graph.ByteSize(),
        metric=measured.metric,
        top_1=measured.agreement.top_1,
        signal_to_noise_db=measured.agreement.signal_to_noise_db,
    )
