"""The search's decisions, on made-up losses."""

import numpy as np
import pytest

from edgeport_converter.quantization.evaluation.budget import Verdict
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.quantization.search.search import RecipeSearch

LAYERS = tuple(f"layer{number}" for number in range(10))
EVEN = dict.fromkeys(LAYERS, 1.0)


def make_search(loss, allowed=0.5, noise=None, has_streams=False):
    """A search whose graphs are the recipes themselves and lose ``loss(recipe)``."""
    return RecipeSearch(
        lambda recipe: recipe,
        lambda recipe: Verdict(loss(recipe), allowed, ""),
        lambda recipe: noise or EVEN,
        has_streams,
    )


def test_the_first_recipe_that_keeps_the_budget_ends_the_search():
    search = make_search(lambda recipe: 0.1)
    found = search.with_static_ranges(Recipe("static"))
    assert found.recipe == Recipe("static")
    assert len(search.attempts) == 1


def test_other_ranges_come_before_layers_in_float():
    losses = {"minmax": 0.9, "mse": 0.3}
    search = make_search(lambda recipe: losses[recipe.ranges])
    assert search.with_static_ranges(Recipe("static")).recipe == Recipe("static", ranges="mse")
    assert [a.recipe.ranges for a in search.attempts] == ["minmax", "mse"]


def test_equalizing_through_additions_comes_before_layers_in_float():
    search = make_search(lambda recipe: 0.1 if recipe.equalizes_streams else 0.9, has_streams=True)
    found = search.with_static_ranges(Recipe("static"))
    assert found.recipe == Recipe("static", equalizes_streams=True)
    assert len(search.attempts) == 3


def test_equalizing_through_additions_begins_with_the_better_ranges():
    losses = {"minmax": 0.9, "mse": 0.8}
    search = make_search(lambda r: losses[r.ranges] - 0.4 * r.equalizes_streams, has_streams=True)
    assert search.with_static_ranges(Recipe("static")).recipe == Recipe(
        "static", ranges="mse", equalizes_streams=True
    )


@pytest.mark.parametrize("gain", [0.1, -0.1])
def test_layers_stay_in_float_on_top_of_what_loses_less(gain):
    search = make_search(
        lambda r: 0.9 - gain * r.equalizes_streams - 0.1 * len(r.float_nodes), has_streams=True
    )
    found = search.with_static_ranges(Recipe("static"))
    assert found.recipe.equalizes_streams == (gain > 0)
    assert len(found.recipe.float_nodes) == (3 if gain > 0 else 4)


@pytest.mark.parametrize("needed", range(1, 10))
def test_the_fewest_layers_stay_in_float(needed):
    search = make_search(lambda recipe: 0.9 - 0.41 * (len(recipe.float_nodes) >= needed))
    found = search.with_static_ranges(Recipe("static"))
    assert found.verdict.holds
    assert found.recipe.float_nodes == set(LAYERS[:needed])


@pytest.mark.parametrize("needed", range(1, 10))
@pytest.mark.parametrize("decay", [1.0, 0.8, 0.3])
def test_where_the_noise_of_layers_adds_up_the_search_begins_at_its_end(needed, decay):
    """In decibels: the noise that is left over a signal of 1, as the definition has it."""
    noise = {name: 0.01 * decay**place for place, name in enumerate(LAYERS)}

    def loss(recipe):
        return 10 * np.log10(sum(n for name, n in noise.items() if name not in recipe.float_nodes))

    allowed = loss(Recipe("static", float_nodes=frozenset(LAYERS[:needed]))) + 1e-6
    search = make_search(loss, allowed, noise)
    found = search.with_static_ranges(Recipe("static"))
    assert found.recipe.float_nodes == set(LAYERS[:needed])
    layers_in_float = [len(attempt.recipe.float_nodes) for attempt in search.attempts]
    assert layers_in_float[2] == needed  # after both methods of ranges
    assert len(layers_in_float) <= 3 + np.ceil(np.log2(needed))


def test_a_hopeless_search_ends_with_the_best_attempt():
    search = make_search(lambda recipe: 0.9 - 0.01 * len(recipe.float_nodes))
    found = search.with_static_ranges(Recipe("static"))
    assert not found.verdict.holds
    assert found.verdict.loss == min(attempt.verdict.loss for attempt in search.attempts)


def test_layers_kept_on_request_stay_kept():
    search = make_search(lambda recipe: 0.9 if len(recipe.float_nodes) < 4 else 0.1)
    found = search.with_static_ranges(Recipe("static", float_nodes=frozenset({"layer7"})))
    assert "layer7" in found.recipe.float_nodes
    assert len(found.recipe.float_nodes) == 4


def test_the_same_recipe_is_built_once():
    built = []
    search = RecipeSearch(lambda r: built.append(r) or r, lambda r: Verdict(0, 1, ""), dict)
    search.attempt(Recipe("weights"))
    search.attempt(Recipe("weights"))
    assert built == [Recipe("weights")]
