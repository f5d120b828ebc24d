import numpy as np
import pytest

from edgeport_converter.quantization.evaluation.agreement import measure_agreement

GENERATOR = np.random.default_rng(9)
X = {"x": GENERATOR.normal(size=(400, 3))}


def constant(answer):
    """A model that gives the rows of ``answer`` whatever it is fed, batch by batch."""
    position = 0

    def run(batch):
        nonlocal position
        start, position = position, (position + len(batch["x"])) % len(answer)
        return {"y": answer[start : start + len(batch["x"])]}

    return run


def compare(wanted, found, *, classifier=False, size=64):
    batches = [{"x": X["x"][i : i + size]} for i in range(0, 400, size)]
    return measure_agreement(constant(found), constant(wanted), batches, classifier=classifier)


def test_the_ratio_is_variance_over_squared_error():
    wanted = GENERATOR.normal(size=(400, 2)) * [1.0, 30.0]
    found = wanted + GENERATOR.normal(size=(400, 2)) * [0.1, 0.3]
    agreement = compare(wanted, found)
    ratios = np.mean((wanted - found) ** 2, axis=0) / np.var(wanted, axis=0)
    assert agreement.signal_to_noise_db == pytest.approx(-10 * np.log10(ratios.mean()), abs=0.01)
    assert agreement.worst_channel_db == pytest.approx(-10 * np.log10(ratios.max()), abs=0.01)
    assert agreement.largest_difference == pytest.approx(np.abs(wanted - found).max())


def test_a_lost_variation_shows_however_large_the_mean():
    wanted = 1000 + GENERATOR.normal(size=(400, 1))
    assert compare(wanted, np.full((400, 1), 1000.0)).signal_to_noise_db < 3


def test_a_lost_channel_shows_however_large_its_neighbour():
    wanted = GENERATOR.normal(size=(400, 2)) * [1000.0, 1.0]
    found = wanted * [1.0, 0.0]
    assert compare(wanted, found).worst_channel_db < 1


def test_a_channel_that_never_varies_tolerates_negligible_noise():
    wanted = np.full((400, 1), 5.0)
    assert compare(wanted, wanted + 1e-5).worst_channel_db > 30
    assert compare(wanted, wanted + 0.5).worst_channel_db < 0


@pytest.mark.parametrize("size", [1, 7, 400])
def test_any_split_into_batches_gives_the_same_figures(size):
    wanted = GENERATOR.normal(size=(400, 5))
    found = wanted + 0.05 * GENERATOR.normal(size=(400, 5))
    whole, parts = compare(wanted, found, size=400), compare(wanted, found, size=size)
    assert parts.signal_to_noise_db == pytest.approx(whole.signal_to_noise_db)


def test_equal_outputs_have_no_noise():
    wanted = GENERATOR.normal(size=(400, 4))
    agreement = compare(wanted, wanted, classifier=True)
    assert agreement.signal_to_noise_db == float("inf")
    assert agreement.top_1 == 1.0


def test_top_1_counts_changed_classes():
    wanted = np.eye(4)[GENERATOR.integers(0, 4, 400)]
    found = wanted.copy()
    found[:40] = np.roll(found[:40], 1, axis=1)
    assert compare(wanted, found, classifier=True).top_1 == pytest.approx(0.9)


def test_counted_answers_are_equal_or_not():
    wanted = {"scores": np.eye(4)[[0, 1, 2, 3]], "best": np.array([500, 501, 502, 503])}
    found = {"scores": np.eye(4)[[0, 1, 2, 3]], "best": np.array([500, 501, 502, 504])}
    batches = [{"x": np.zeros((4, 1))}]
    agreement = measure_agreement(
        lambda batch: found, lambda batch: wanted, batches, classifier=False
    )
    assert agreement.changed == agreement.others_changed == 0.25
    assert agreement.signal_to_noise_db == float("inf")  # of the scores alone
    assert agreement.others_db is None


def test_pixels_may_be_off_by_one():
    wanted = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
    agreement = measure_agreement(
        lambda batch: {"y": wanted ^ 1},
        lambda batch: {"y": wanted},
        [{"x": np.zeros((1, 1))}],
        classifier=False,
    )
    assert agreement.changed is None
    assert agreement.signal_to_noise_db > 30
