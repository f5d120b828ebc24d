"""The fit repeats itself, goes on after a kill as if there had been none, and keeps the best."""

import errno
import math
import os
import signal
import threading

import keras
import numpy as np
import pytest

from edgeport import OptionError
from edgeport_converter.errors import TrainingError
from edgeport_converter.progress import Progress
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples
from edgeport_converter.training.fitting.callbacks import Interrupt, epoch_rates, listening
from edgeport_converter.training.fitting.cross_validation import cross_validate, summarize
from edgeport_converter.training.fitting.fit import fit
from edgeport_converter.training.fitting.lr_range_test import run_range_test, suggest
from edgeport_converter.training.recipe.recipe import read_recipe
from edgeport_converter.training.recipe.tables import ScheduleTable

pytestmark = pytest.mark.slow

CHANCE = np.random.default_rng(2)
X = CHANCE.normal(size=(120, 6)).astype(np.float32)
Y = (X @ CHANCE.normal(size=(6, 3))).argmax(axis=1)
READ = TrainingData(TrainingSamples({"features": X}, Y), None, False, ("a", "b", "c"))
TRAIN, VALIDATION = READ.samples.take(np.arange(90)), READ.samples.take(np.arange(90, 120))
PIXELS = CHANCE.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
IMAGES = TrainingData(
    TrainingSamples({"image": PIXELS}, 2 * (PIXELS[:, :4].mean(axis=(1, 2, 3)) > 127)),
    None,
    True,
    ("a", "b", "c"),
)


def recipe_of(training=None, **tables):
    wanted = {"epochs": 4, "batch_size": 16, "learning_rate": 0.01, **(training or {})}
    return read_recipe({"data": {"source": "-"}, "seed": 3, "training": wanted, **tables})


RICH = {
    "model": {"layers": [8, 8], "dropout": 0.3, "l2": 1e-4},
    "augmentation": {"noise": 0.1, "mixup": 0.3},
    "training": {
        "schedule": {"kind": "plateau", "patience": 1, "warmup": 1.5},
        "early_stopping": {"patience": 50},
    },
}


class KilledError(BaseException):
    pass


def kill_after(epoch):
    def stop(number, logs):
        if number == epoch - 1:
            raise KilledError

    return [keras.callbacks.LambdaCallback(on_epoch_end=stop)]


def run(recipe, read=READ, train=TRAIN, validation=VALIDATION, **options):
    return fit(recipe, read, train, validation, **{"progress": Progress(), **options})


def assert_same_weights(first, second):
    for a, b in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    first, second = run(recipe_of(**RICH)), run(recipe_of(**RICH))
    assert_same_weights(first, second)
    assert first.history == second.history
    other = run(recipe_of(**RICH).with_values({"seed": 4}))
    assert not np.array_equal(other.model.get_weights()[-1], first.model.get_weights()[-1])


def test_a_cnn_with_moved_images_repeats_itself_too():
    recipe = recipe_of(
        model={"kind": "cnn", "filters": [4], "layers": [8], "batch_normalization": True},
        augmentation={"shift": 0.1, "rotate": 10, "zoom": 0.1, "noise": 0.02},
        training={"epochs": 2, "batch_size": 16},
    )
    parts = IMAGES.samples.take(np.arange(48)), IMAGES.samples.take(np.arange(48, 60))
    assert_same_weights(run(recipe, IMAGES, *parts), run(recipe, IMAGES, *parts))


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_killed_training_ends_as_one_that_never_was(tmp_path, epoch):
    recipe = recipe_of(**RICH)
    whole = run(recipe)
    with pytest.raises(KilledError):
        run(recipe, checkpoint=tmp_path / "c.npz", callbacks=kill_after(epoch))
    resumed = run(recipe, checkpoint=tmp_path / "c.npz")
    assert resumed.resumed_after == epoch
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    assert_same_weights(resumed, whole)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "c.npz"
    with pytest.raises(KilledError):
        run(recipe_of(), checkpoint=path, callbacks=kill_after(1))
    with pytest.raises(
        OptionError, match=r"c\.npz' is of another recipe, expected the state of this"
    ):
        run(recipe_of({"epochs": 5}), checkpoint=path)
    other = TrainingData(TrainingSamples({"features": X + 1}, Y), None, False, READ.classes)
    with pytest.raises(OptionError, match=r"is of another data"):
        run(recipe_of(), other, checkpoint=path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(OptionError, match=r"cannot be read .* begin again with restart=True"):
        run(recipe_of(), checkpoint=path)
    path.write_bytes(b"")
    with pytest.raises(OptionError, match=r"cannot be read"):
        run(recipe_of(), checkpoint=path)


def test_a_failed_checkpoint_leaves_the_former_one(tmp_path, monkeypatch):
    path = tmp_path / "c.npz"

    def fail(*_):
        raise OSError(errno.ENOSPC, "disk full")

    with pytest.raises(KilledError):
        run(recipe_of(), checkpoint=path, callbacks=kill_after(1))
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OptionError, match=r"c\.npz' cannot be written \(disk full\)"):
        run(recipe_of(), checkpoint=path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["c.npz"]


def test_early_stopping_keeps_the_best_weights():
    noise = TrainingSamples(
        {"features": X[90:]}, CHANCE.integers(0, 3, 30)
    )  # nothing to be learned
    recipe = recipe_of({"epochs": 60, "early_stopping": {"patience": 3}}, model={"layers": [64]})
    fitted = run(recipe, validation=noise)
    losses = [entry["val_loss"] for entry in fitted.history]
    assert fitted.stopped_early
    assert fitted.kept_epoch == fitted.best_epoch == 1 + int(np.argmin(losses))
    assert len(losses) == fitted.best_epoch + 3
    scores = fitted.model.predict(noise.inputs["features"], verbose=0)
    measured = -np.log(scores[np.arange(30), noise.targets]).mean()
    assert measured == pytest.approx(min(losses), rel=1e-4)


def test_a_metric_may_tell_the_best_epoch_and_a_wrong_one_is_named():
    stopping = {"monitor": "val_accuracy", "patience": 2}
    fitted = run(recipe_of({"epochs": 30, "early_stopping": stopping}))
    values = [entry["val_accuracy"] for entry in fitted.history]
    assert fitted.best_epoch == 1 + int(np.argmax(values))
    with pytest.raises(
        OptionError, match=r"monitor is 'val_acc', .* did you mean 'val_accuracy'\?"
    ):
        run(recipe_of({"early_stopping": {"monitor": "val_acc"}}))


def test_without_early_stopping_the_last_weights_are_kept():
    fitted = run(recipe_of({"epochs": 3}))
    assert (fitted.kept_epoch, len(fitted.history), fitted.stopped_early) == (3, 3, False)


def test_an_interrupt_ends_between_two_batches_with_the_best_weights(tmp_path):
    interrupt = Interrupt()
    seen = []

    class Impatient(Progress):
        def batch(self, epoch, epochs, step, steps, loss):
            seen.append((epoch, step))
            interrupt.asked = (epoch, step) == (3, 2)

    path = tmp_path / "c.npz"
    fitted = run(recipe_of(), progress=Impatient(), interrupt=interrupt, checkpoint=path)
    assert fitted.interrupted
    assert seen[-1] == (3, 2)
    assert len(fitted.history) == 2
    assert fitted.kept_epoch == fitted.best_epoch
    assert_same_weights(run(recipe_of(), checkpoint=path), run(recipe_of()))


def test_the_first_ctrl_c_is_a_wish_and_the_second_one_is_not():
    former = signal.getsignal(signal.SIGINT)
    with listening() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is former

    def elsewhere():
        with listening() as interrupt:
            assert not interrupt.asked

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is former


def test_a_loss_that_diverges_is_one_sentence():
    read = TrainingData(TrainingSamples({"features": X}, X[:, 0] * 1.0), None, False, ())
    recipe = read_recipe(
        {
            "data": {"source": "-", "task": "regression"},
            "training": {"optimizer": "sgd", "learning_rate": 1e12, "epochs": 5, "batch_size": 8},
        }
    )
    train = read.samples.take(np.arange(90))
    with pytest.raises(
        TrainingError, match=r"became (nan|inf) in epoch \d .* lower training\.learn"
    ):
        run(recipe, read, train, train)


def test_metrics_that_do_not_fit_are_one_sentence():
    with pytest.raises(
        TrainingError, match=r"Keras cannot train 'model' .* check \[model\] and"
    ) as e:
        run(recipe_of({"metrics": ["F1Score"]}))
    assert "\n" not in str(e.value)


def test_a_rate_that_moves_is_the_rate_that_trains():
    still = run(recipe_of({"schedule": {"kind": "exponential", "factor": 1.0}}))
    assert_same_weights(still, run(recipe_of()))
    frozen = run(recipe_of({"schedule": {"kind": "step", "factor": 1e-30, "every": 1}}))
    once = run(recipe_of({"epochs": 1}))
    for a, b in zip(frozen.model.get_weights(), once.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert [entry["learning_rate"] for entry in frozen.history[:2]] == pytest.approx([0.01, 1e-32])


def schedule(epochs=10, steps=4, **keys):
    plan = ScheduleTable(**keys)
    return np.concatenate([epoch_rates(plan, 0.8, steps, epochs, i) for i in range(epochs)])


def test_schedules_are_their_formulas():
    steps = np.arange(40)
    assert len(schedule()) == 0  # the optimizer's own
    np.testing.assert_allclose(
        schedule(kind="step", every=3, factor=0.5), 0.8 * 0.5 ** (steps // 12), rtol=1e-6
    )
    np.testing.assert_allclose(
        schedule(kind="exponential", factor=0.9), 0.8 * 0.9 ** (steps / 4), rtol=1e-6
    )
    np.testing.assert_allclose(
        schedule(kind="cosine"), 0.4 * (1 + np.cos(np.pi * steps / 40)), atol=1e-6
    )
    warm = schedule(kind="cosine", warmup=2.0, final=0.25)
    np.testing.assert_allclose(warm[:8], 0.8 * np.arange(1, 9) / 8)
    np.testing.assert_allclose(warm[8], 0.8)
    np.testing.assert_allclose(warm[24], 0.8 * (0.25 + 0.75 * 0.5))
    np.testing.assert_allclose(schedule(kind="plateau", warmup=1.5), 0.8 * np.arange(1, 7) / 6)


def test_a_plateau_lowers_the_rate_after_its_patience():
    noise = TrainingSamples(
        {"features": X[90:]}, CHANCE.integers(0, 3, 30)
    )  # nothing to be learned
    recipe = recipe_of(
        {"epochs": 12, "schedule": {"kind": "plateau", "factor": 0.1, "patience": 2}}
    )
    history = run(recipe, validation=noise).history
    rate, best, waited, expected = 0.01, math.inf, 0, []
    for loss in (entry["val_loss"] for entry in history):
        expected.append(rate)
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        rate, waited = (rate * 0.1, 0) if waited == 2 else (rate, waited)
    assert expected[-1] < 0.01
    assert [entry["learning_rate"] for entry in history] == pytest.approx(expected)


def test_the_state_of_a_training_that_had_stopped_early_is_its_end(tmp_path):
    noise = TrainingSamples({"features": X[90:]}, CHANCE.integers(0, 3, 30))
    recipe = recipe_of({"epochs": 60, "early_stopping": {"patience": 3}})
    whole = run(recipe, validation=noise, checkpoint=tmp_path / "c.npz")
    resumed = run(recipe, validation=noise, checkpoint=tmp_path / "c.npz")
    assert resumed.resumed_after == len(resumed.history) == len(whole.history) < 60
    assert (resumed.stopped_early, resumed.kept_epoch) == (True, whole.best_epoch)
    assert_same_weights(resumed, whole)


def test_the_range_test_suggests_the_steepest_fall():
    rates = np.logspace(-5, 0, 101)
    losses = 2 - 1 / (1 + np.exp(-4 * (np.log10(rates) + 2.5))) + 5 * np.maximum(rates - 0.3, 0)
    found = suggest(list(rates), list(losses))
    # Smoothing lags by some steps of a twentieth of a decade.
    assert -2.6 < math.log10(found.suggested) < -1.6
    plan = recipe_of(range_test={"steps": 40, "low": 1e-5, "high": 10.0}).range_test
    measured = run_range_test(recipe_of(), READ, TRAIN, plan)
    np.testing.assert_allclose(measured.rates, np.logspace(-5, 1, 40)[: len(measured.rates)])
    assert 1e-5 < measured.suggested < 10


def test_folds_are_trained_apart_and_summarized_by_student_s_t(tmp_path):
    recipe = recipe_of(cross_validation={"folds": 3}, training={"epochs": 2})
    store = tmp_path / "folds.json"
    found = cross_validate(recipe, READ, READ.samples, progress=Progress(), store=store)
    assert len(found.values) == 3
    assert found.mean == pytest.approx(np.mean(found.values))
    assert found.spread == pytest.approx(np.std(found.values, ddof=1))
    known = []

    class Watching(Progress):
        def stage(self, text):
            known.append(text)

    again = cross_validate(recipe, READ, READ.samples, progress=Watching(), store=store)
    assert again == found
    assert known == []  # a killed run's folds are not trained again
    # 95 % quantile of Student's t with 4 degrees of freedom: 2.776445, from any table.
    five = summarize("accuracy", [0.9, 0.92, 0.94, 0.91, 0.93])
    reach = 2.776445 * math.sqrt(0.00025) * math.sqrt(1.2)
    assert (five.low, five.high) == pytest.approx((0.92 - reach, 0.92 + reach), rel=1e-6)


def test_the_interval_of_a_further_fold_ends_where_the_metric_does():
    # 95 % quantile of Student's t with 1 degree of freedom: 12.7062, from any table.
    reach = 12.7062 * math.sqrt(0.00005) * math.sqrt(1.5)
    best = summarize("accuracy", [0.98, 0.99])
    assert (best.low, best.high) == (pytest.approx(0.985 - reach, rel=1e-5), 1.0)
    worst = summarize("accuracy", [0.01, 0.02])
    assert (worst.low, worst.high) == (0.0, pytest.approx(0.015 + reach, rel=1e-5))
    r2 = summarize("r2", [0.01, 0.02])
    assert r2.low == pytest.approx(0.015 - reach, rel=1e-5)
