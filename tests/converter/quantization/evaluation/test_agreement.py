import numpy as np
import pytest
import scipy.stats

from edgeport_converter.quantization.evaluation.agreement import least_share, measure_agreement

GENERATOR = np.random.default_rng(9)
X = {"x": GENERATOR.normal(size=(400, 6))}


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


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_scores_are_compared_where_the_best_class_stays(columns):
    logits = GENERATOR.normal(size=(400, columns))
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if columns == 1:
        wanted = 1 / (1 + np.exp(-logits))
    found = np.clip(wanted + 0.05 * GENERATOR.normal(size=wanted.shape), 0, 1)
    same = (
        (wanted[:, 0] > 0.5) == (found[:, 0] > 0.5)
        if columns == 1
        else wanted.argmax(1) == found.argmax(1)
    )
    moved = np.abs(wanted - found)[same]
    noise = np.mean(np.sum(np.where(moved < 0.005, 0, moved) ** 2, axis=1))
    agreement = compare(wanted, found, classifier=True)
    assert agreement.scores_db == pytest.approx(10 * np.log10(wanted.var(axis=0).sum() / noise))
    assert compare(wanted, found).scores_db is None


@pytest.mark.parametrize(
    ("moved", "shift", "counts"),
    [(0.004, 0.0, False), (0.02, 0.0, True), (0.004, 1.0, True)],
    ids=["unseen", "seen", "no probabilities"],
)
def test_a_probability_that_moves_by_less_than_one_can_see_has_not_moved(moved, shift, counts):
    # Probabilities of two classes, 0.48 to 0.52 and evenly spread: a variance of 0.04² / 12.
    first = np.linspace(0.48, 0.52, 400) + shift
    wanted = np.stack([first, 1 + 2 * shift - first], axis=1)
    away = np.where(wanted > 0.5 + shift, moved, -moved)  # keeps the best class
    agreement = compare(wanted, wanted + away, classifier=True)
    assert agreement.top_1 == 1
    expected = 10 * np.log10(0.04**2 / 12 / moved**2) if counts else np.inf
    assert agreement.scores_db == pytest.approx(expected, abs=0.1)


def test_a_few_changed_classes_do_not_hide_how_close_the_other_scores_are():
    wanted = np.eye(4)[GENERATOR.integers(0, 4, 400)]
    found = wanted.copy()
    found[:4] = np.roll(found[:4], 1, axis=1)
    agreement = compare(wanted, found, classifier=True)
    assert (agreement.top_1, agreement.scores_db) == (0.99, float("inf"))


@pytest.mark.parametrize("candidates", [1, 11])
@pytest.mark.parametrize(("right", "samples"), [(300, 300), (297, 300), (45, 90), (1, 30)])
def test_a_share_is_told_with_what_it_is_at_least(right, samples, candidates):
    wanted = scipy.stats.binomtest(right, samples, alternative="greater").proportion_ci(
        1 - 0.05 / candidates, method="wilson"
    )
    assert least_share(right / samples, samples, candidates) == pytest.approx(wanted.low, abs=1e-6)


def reconstruct(noise, quality=0.3, x=X["x"]):
    """A model's answers to ``x``, each sample reconstructed by its own quality, and the int8's."""
    scale = quality * GENERATOR.uniform(0.2, 1.0, (len(x), 1))
    wanted = x + scale * GENERATOR.normal(size=x.shape)
    return wanted, wanted + noise * GENERATOR.normal(size=x.shape)


@pytest.mark.parametrize("noise", [0.003, 0.05, 0.3])
def test_reconstruction_errors_are_ranked_as_scipy_ranks_them(noise):
    wanted, found = reconstruct(noise)
    errors = [np.mean((X["x"] - y) ** 2, axis=1) for y in (wanted, found)]
    agreement = compare(wanted, found)
    assert agreement.error_ranks == pytest.approx(scipy.stats.spearmanr(*errors).statistic)


@pytest.mark.parametrize(
    "wanted",
    [
        X["x"] * 2 + 1,  # no reconstruction
        np.zeros((400, 6)),  # explains nothing
        GENERATOR.normal(size=(400, 6)),
        X["x"][:, :2],  # of another shape
        X["x"],  # the input itself: errors of zero have no order
    ],
)
def test_what_reconstructs_nothing_ranks_nothing(wanted):
    assert compare(wanted, wanted + 1e-3).error_ranks is None


def test_a_function_of_three_numbers_to_three_is_no_autoencoder():
    x = X["x"][:, :3]
    found = measure_agreement(
        lambda _: {"y": 0.9 * x + 0.01}, lambda _: {"y": 0.9 * x}, [{"x": x}], classifier=False
    )
    assert found.error_ranks is None


def test_images_are_ranked_by_whole_samples_and_two_inputs_are_not():
    x = GENERATOR.normal(size=(50, 4, 4, 2))
    wanted = x + GENERATOR.uniform(0.1, 0.4, (50, 1, 1, 1)) * GENERATOR.normal(size=x.shape)
    found = wanted + 0.2 * GENERATOR.normal(size=x.shape)

    def agree(**batch):
        return measure_agreement(
            lambda _: {"y": found}, lambda _: {"y": wanted}, [batch], classifier=False
        )

    errors = [np.mean((x - y) ** 2, axis=(1, 2, 3)) for y in (wanted, found)]
    expected = scipy.stats.spearmanr(*errors).statistic
    assert agree(x=x).error_ranks == pytest.approx(expected)
    assert agree(x=x, other=x).error_ranks is None
