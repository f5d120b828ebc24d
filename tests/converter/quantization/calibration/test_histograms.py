import numpy as np
import pytest

from edgeport_converter.quantization.calibration.histograms import Histogram, choose_range


def histogram_of(values, low=None, high=None):
    histogram = Histogram(
        values.min() if low is None else low, values.max() if high is None else high
    )
    histogram.add(values)
    return histogram


def mean_squared_error(values, low, high):
    """What uint8 codes over [low, high] lose, in plain numpy."""
    step = (high - low) / 255
    codes = np.clip(np.rint((values - low) / step), 0, 255)
    return float(np.mean((values - (low + codes * step)) ** 2))


@pytest.fixture
def heavy_tailed():
    """A bell of width 1 and a few values a hundred times larger."""
    generator = np.random.default_rng(0)
    return np.concatenate([generator.normal(size=100_000), [80.0, -60.0, 100.0]])


def test_counts_are_those_of_numpy():
    values = np.random.default_rng(1).uniform(-1, 3, 5000)
    histogram = histogram_of(values)
    expected, _ = np.histogram(values, bins=2048, range=(histogram.low, histogram.high))
    np.testing.assert_array_equal(histogram.counts, expected)


def test_adding_in_parts_is_adding_at_once():
    values = np.random.default_rng(1).uniform(-1, 3, 5000)
    parts = Histogram(values.min(), values.max())
    for part in np.array_split(values, 7):
        parts.add(part)
    np.testing.assert_array_equal(parts.counts, histogram_of(values).counts)


def test_rare_large_values_are_clipped(heavy_tailed):
    low, high = choose_range(histogram_of(heavy_tailed))
    assert -60 < low < -2
    assert 2 < high < 100


def test_the_error_is_no_larger_than_that_of_the_whole_range_and_of_other_shares(heavy_tailed):
    low, high = choose_range(histogram_of(heavy_tailed))
    found = mean_squared_error(heavy_tailed, low, high)
    assert found < 0.9 * mean_squared_error(heavy_tailed, -60, 100)
    for share in (0.5, 2.0):
        other = mean_squared_error(heavy_tailed, max(low * share, -60), min(high * share, 100))
        assert found <= other * 1.05


def test_evenly_spread_values_keep_nearly_their_whole_range():
    values = np.random.default_rng(2).uniform(0, 6, 50_000)
    low, high = choose_range(histogram_of(values))
    assert low == 0.0
    assert high == pytest.approx(6, rel=0.1)


def test_a_constant_tensor_keeps_its_range():
    assert choose_range(histogram_of(np.zeros(10))) == (0.0, 0.0)


def test_zero_stays_inside_for_values_far_from_it():
    values = np.random.default_rng(3).uniform(5, 6, 1000)
    low, high = choose_range(histogram_of(values))
    assert low <= 0 <= high
