import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeport_converter.quantization.weights.gptq import choose_scales, round_weights

GENERATOR = np.random.default_rng(3)
NOTHING = np.zeros((1, 8))


def correlated_inputs(length, samples=4000):
    """Inputs of few causes, as activations are: rounding errors can cancel."""
    causes = GENERATOR.normal(size=(samples, max(2, length // 4)))
    return causes @ GENERATOR.normal(size=(causes.shape[1], length)) + 0.1 * GENERATOR.normal(
        size=(samples, length)
    )


def round_with(weights, covariance, *, pairs):
    scales = choose_scales(weights, pairs=pairs, least=np.zeros(weights.shape[:2]))
    return round_weights(weights, scales, covariance, pairs=pairs)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    length=st.integers(2, 12),
    power=st.floats(0.2, 6),
    by_data=st.booleans(),
)
def test_no_pair_of_products_exceeds_16_bits(seed, length, power, by_data):
    generator = np.random.default_rng(seed)
    normal = generator.normal(size=(1, 4, length))
    weights = np.sign(normal) * np.abs(normal) ** power  # from alike to a few that dominate
    root = generator.normal(size=(length, length))
    covariance = (root @ root.T)[None] if by_data else None
    codes = round_with(weights, covariance, pairs=True).codes[0].astype(int)
    for channel in codes:
        for one, two in itertools.combinations(channel, 2):
            # The extremes of x1 w1 + x2 w2 over 0 <= x <= 255.
            assert max(one, 0) * 255 + max(two, 0) * 255 <= 2**15 - 1
            assert min(one, 0) * 255 + min(two, 0) * 255 >= -(2**15)


def test_without_the_pair_limit_all_eight_bits_are_used():
    codes = round_with(GENERATOR.normal(size=(1, 8, 30)), None, pairs=False).codes
    assert (np.abs(codes.astype(int)).max(axis=2) == 127).all()


def test_a_dominant_weight_uses_the_eighth_bit_in_spite_of_pairs():
    weights = np.full((1, 1, 20), 0.01)
    weights[..., 7] = 1.0
    assert round_with(weights, None, pairs=True).codes.max() > 120


@pytest.mark.parametrize("pairs", [False, True])
def test_rounding_by_the_data_disturbs_the_outputs_less(pairs):
    x = correlated_inputs(40)
    weights = GENERATOR.normal(size=(1, 8, 40))
    errors = []
    for covariance in (None, np.cov(x.T, bias=True)[None]):
        rounded = round_with(weights, covariance, pairs=pairs)
        off = (rounded.codes * rounded.scales[..., None] - weights)[0] @ (x - x.mean(axis=0)).T
        errors.append(np.mean(off**2))
    assert errors[1] < 0.5 * errors[0]


def test_groups_are_rounded_each_by_its_own_inputs():
    weights = GENERATOR.normal(size=(3, 2, 10))
    covariances = np.stack([np.cov(correlated_inputs(10).T) for _ in range(3)])
    together = round_with(weights, covariances, pairs=True)
    for group in range(3):
        alone = round_with(weights[group : group + 1], covariances[group : group + 1], pairs=True)
        np.testing.assert_array_equal(together.codes[group], alone.codes[0])


def test_a_bias_can_ask_for_larger_scales():
    weights = GENERATOR.normal(size=(1, 8, 10))
    least = np.linspace(0, 1, 8)[None]
    scales = choose_scales(weights, pairs=True, least=least)
    assert (scales >= least).all()
    assert (choose_scales(weights, pairs=True, least=NOTHING) <= scales).all()


@pytest.mark.parametrize("length", [63, 64, 65, 200])
def test_blocks_change_no_code(length):
    """Beside the rule in its plainest form: one weight at a time, its error spread over the rest.

    Source: Frantar et al. (2022), algorithm 1 without blocks: with the inverse of the inputs'
    covariance that is still to come, w -= error / Hinv[0, 0] * Hinv[0].
    """
    x = correlated_inputs(length)
    covariance = np.cov(x.T, bias=True)
    weights = GENERATOR.normal(size=(1, 3, length))
    rounded = round_with(weights, covariance[None], pairs=False)
    order = np.argsort(-np.diag(covariance), kind="stable")
    damped = covariance + 0.01 * np.trace(covariance) / length * np.eye(length)
    for channel, scale, codes in zip(weights[0], rounded.scales[0], rounded.codes[0], strict=True):
        rest, expected = channel.copy(), np.empty(length)
        for place, index in enumerate(order):
            expected[index] = np.clip(np.rint(rest[index] / scale), -127, 127)
            inverse = np.linalg.inv(damped[np.ix_(order[place:], order[place:])])
            error = rest[index] - expected[index] * scale
            rest[order[place:]] -= error / inverse[0, 0] * inverse[0]
        assert np.mean(codes != expected) <= 0.01  # a tie may fall the other way
