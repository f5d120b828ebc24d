"""The search: the smallest change of a static recipe that keeps the budget.

The order of attempts is from what costs nothing to what costs speed:

1. int8 with the whole range of each activation, then with ranges that clip rare large values;
2. the better of these with channels equalized through additions, in residual networks; where ranges
   differ little between channels that loses some accuracy, so it is not done in every graph;
3. the fewest layers in float: those whose quantization alone disturbs the outputs most;
4. other kinds of recipe.

What costs nothing at all is no attempt: every static graph has its channels equalized, its weights
rounded by GPTQ, and its biases corrected.

The search knows neither graphs nor data: the caller builds, judges and ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from edgeport_converter.options import RANGE_METHODS
from edgeport_converter.quantization.evaluation.budget import Verdict
from edgeport_converter.quantization.recipe import Recipe

Built = TypeVar("Built")


@dataclass(frozen=True, eq=False)
class Attempt(Generic[Built]):
    """One recipe tried, what came of it, and how it was judged."""

    recipe: Recipe
    built: Built
    verdict: Verdict


class RecipeSearch(Generic[Built]):
    """A search under one budget.

    Args:
        build: a recipe to a finished graph.
        judge: a finished graph to its verdict.
        rank_layers: from a recipe, the nodes that can stay in float and the noise of each, the most
            disturbing first; it is called only when layers have to stay in float.
        has_streams: whether additions tie channels together, so that equalizing through them
            changes the graph.
        on_attempt: called with each attempt when it is done.
        expect: called with the recipes that may be built next, the likeliest first.

    Attributes:
        attempts: all of them, in order.
    """

    def __init__(
        self,
        build: Callable[[Recipe], Built],
        judge: Callable[[Built], Verdict],
        rank_layers: Callable[[Recipe], Mapping[str, float]],
        has_streams: bool = False,
        on_attempt: Callable[[Attempt[Built]], None] | None = None,
        expect: Callable[[Sequence[Recipe]], None] = lambda _: None,
    ) -> None:
        self._build, self._judge, self._rank_layers = build, judge, rank_layers
        self._has_streams = has_streams
        self._on_attempt, self._expect = on_attempt, expect
        self.attempts: list[Attempt[Built]] = []

    def attempt(self, recipe: Recipe) -> Attempt[Built]:
        """Build and judge one recipe; the same one twice is built once."""
        for done in self.attempts:
            if done.recipe == recipe:
                return done
        built = self._build(recipe)
        found = Attempt(recipe, built, self._judge(built))
        self.attempts.append(found)
        if self._on_attempt:
            self._on_attempt(found)
        return found

    def with_static_ranges(self, start: Recipe) -> Attempt[Built]:
        """Return the first attempt that keeps the budget, or the best of all of them.

        Args:
            start: a static recipe; its range method and its float nodes are where the search
                begins, and nodes that it keeps in float stay there.
        """
        methods = (start.ranges, *(each for each in RANGE_METHODS if each != start.ranges))
        recipes = [replace(start, ranges=method) for method in methods]
        self._expect(recipes)
        tried: list[Attempt[Built]] = []
        for recipe in recipes:
            tried.append(self.attempt(recipe))
            if tried[-1].verdict.holds:
                return tried[-1]
        if self._has_streams:
            tried.append(self.attempt(replace(_best(tried).recipe, equalizes_streams=True)))
            if tried[-1].verdict.holds:
                return tried[-1]
        return self._with_layers_in_float(_best(tried))

    def _with_layers_in_float(self, best: Attempt[Built]) -> Attempt[Built]:
        """Return the attempt with the fewest layers in float, of those in the order of their noise.

        1. Begin with as many as would keep the budget if the noise of layers added up.
        2. Double the number until the budget is kept, then bisect.
        """
        fixed = best.recipe.float_nodes
        noise = {
            name: each for name, each in self._rank_layers(best.recipe).items() if name not in fixed
        }
        names = list(noise)

        start = best.recipe

        def keeping(count: int) -> Recipe:
            nodes = fixed.union(names[:count])
            return replace(start, float_nodes=nodes, in_blocks=start.in_blocks - nodes)

        def keep(count: int, *maybe_next: int) -> Attempt[Built]:
            self._expect([keeping(each) for each in (count, *maybe_next) if 0 < each < len(names)])
            return self.attempt(keeping(count))

        count, too_few = _first_guess(list(noise.values()), best.verdict.noise_to_keep), 0
        found = best
        while count < len(names):  # all of them in float would be no static recipe
            found = keep(count, 2 * count, (too_few + count) // 2, 4 * count)
            if found.verdict.holds:
                break
            if found.verdict.excess < best.verdict.excess:
                best = found
            too_few, count = count, min(2 * count, max(len(names) - 1, count + 1))
        if not found.verdict.holds:
            return best
        enough = count
        while enough - too_few > 1:
            middle = (enough + too_few) // 2
            tried = keep(middle, (too_few + middle) // 2, (middle + enough) // 2)
            if tried.verdict.holds:
                enough, found = middle, tried
            else:
                too_few = middle
        return found


def _first_guess(noise: Sequence[float], share: float) -> int:
    """Return how many layers have to go so that this share of their noise is left, 1 at least."""
    allowed = share * sum(noise)
    for count in range(1, len(noise)):
        if sum(noise[count:]) <= allowed:
            return count
    return max(1, len(noise) - 1)


def _best(tried: Sequence[Attempt[Built]]) -> Attempt[Built]:
    return min(tried, key=lambda attempt: attempt.verdict.excess)
