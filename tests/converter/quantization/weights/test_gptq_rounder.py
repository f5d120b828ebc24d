import numpy as np
import pytest

from edgeport_converter.quantization.weights import gptq as module
from edgeport_converter.quantization.weights.gptq import Rounder, choose_scales, round_weights
from edgeport_converter.quantization.weights.moments import Moments

GENERATOR = np.random.default_rng(11)
WEIGHTS = GENERATOR.normal(size=(1, 5, 12))
SCALES = choose_scales(WEIGHTS, pairs=False, least=np.zeros((1, 5)))


def moments_of(x):
    return Moments(x.mean(axis=0)[None], np.cov(x.T, bias=True)[None])


def inputs():
    return 2 + GENERATOR.normal(size=(400, 4)) @ GENERATOR.normal(size=(4, 12))


def mean_square(x, codes):
    off = (codes[0] * SCALES[0][:, None] - WEIGHTS[0]) @ x.T
    return np.mean(off**2)


@pytest.fixture
def count_roundings(monkeypatch):
    calls = []

    def round_and_count(*arguments, **options):
        calls.append(options)
        return round_weights(*arguments, **options)

    monkeypatch.setattr(module, "round_weights", round_and_count)
    return calls


def test_the_same_weights_are_rounded_once(count_roundings):
    rounder = Rounder({"layer": moments_of(inputs())})
    first = rounder.round(WEIGHTS, SCALES, {"layer": True}, pairs=True)
    again = rounder.round(WEIGHTS.copy(), SCALES.copy(), {"layer": True}, pairs=True)
    np.testing.assert_array_equal(first.codes, again.codes)
    assert len(count_roundings) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"weights": WEIGHTS + 0.01},
        {"scales": 2 * SCALES},
        {"readers": {"layer": False}},
        {"readers": {"other": True}},
        {"readers": {"layer": True, "other": True}},
        {"pairs": False},
    ],
    ids=str,
)
def test_whatever_changes_the_codes_is_rounded_again(change, count_roundings):
    known = {"layer": moments_of(inputs()), "other": moments_of(inputs())}
    rounder = Rounder(known)
    call = {"weights": WEIGHTS, "scales": SCALES, "readers": {"layer": True}, "pairs": True}
    rounder.round(**call)
    found = rounder.round(**(call | change))
    assert len(count_roundings) == 2
    alone = Rounder(known).round(**(call | change))
    np.testing.assert_array_equal(found.codes, alone.codes)


def test_without_a_bias_the_mean_counts_too():
    """Of inputs far from zero; a bias could take the mean of the error out."""
    x = 50 + inputs()
    rounder = Rounder({"layer": moments_of(x)})
    codes = {
        has_bias: rounder.round(WEIGHTS, SCALES, {"layer": has_bias}, pairs=False).codes
        for has_bias in (True, False)
    }
    assert mean_square(x, codes[False]) < 0.5 * mean_square(x, codes[True])


def test_one_unknown_reader_leaves_the_nearest_codes():
    rounder = Rounder({"layer": moments_of(inputs())})
    readers = {"layer": True, "unknown": True}
    assert rounder.covariance(readers) is None
    assert rounder.mean("unknown") is None
    found = rounder.round(WEIGHTS, SCALES, readers, pairs=False)
    np.testing.assert_array_equal(found.codes, np.rint(WEIGHTS / SCALES[..., None]))
