"""Occlusion finds what an answer hangs on, in models where that is known by construction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from examples import Array, camera, identity, int8, mlp, sealed, spec, two_inputs
from explained_models import QUADRANT, RATE, SIDE, quadrant, second_second, weighing

from edgeport import InputError, OptionError, Predictor, explain
from edgeport.explaining.occlusion import OcclusionMap, check_sizes, default_patch

RNG = np.random.default_rng(4)
PICTURE = RNG.uniform(1, 2, (SIDE, SIDE, 1)).astype("f4")


def occlude(artifact: bytes, x: Array, **options: object) -> OcclusionMap:
    with Predictor.load(artifact) as predictor:
        found = explain(predictor, x, **options)  # type: ignore[arg-type]
    assert isinstance(found, OcclusionMap)
    return found


def test_heat_is_the_drop_that_the_formula_gives_for_patches_side_by_side() -> None:
    found = occlude(quadrant().artifact(), PICTURE, patch=4, stride=4)
    lost = PICTURE[:4, :4, 0].sum() - 16 * PICTURE.mean()
    expected = np.zeros((SIDE, SIDE))
    expected[:4, :4] = lost
    np.testing.assert_allclose(found.heat, expected, atol=1e-5)
    np.testing.assert_allclose(found.drops, [[lost, 0], [0, 0]], atol=1e-5)
    assert found.score == pytest.approx(PICTURE[:4, :4].sum(), rel=1e-6)


def test_heat_is_the_mean_drop_of_the_patches_over_a_pixel() -> None:
    found = occlude(quadrant().artifact(), PICTURE, patch=3, stride=2, baseline=0.5)
    lost = QUADRANT * (PICTURE[..., 0] - 0.5)
    begins = [0, 2, 4, 5]  # the last patch ends with the picture
    for row in range(SIDE):
        for column in range(SIDE):
            over = [
                lost[top : top + 3, left : left + 3].sum()
                for top in begins
                for left in begins
                if top <= row < top + 3 and left <= column < left + 3
            ]
            assert found.heat[row, column] == pytest.approx(np.mean(over), abs=1e-5)


def test_the_quadrant_that_is_summed_is_the_region() -> None:
    found = occlude(quadrant().artifact(), PICTURE, baseline=0)
    assert found.region is not None
    assert (found.region.start, found.region.stop, found.region.share) == ((0, 0), (4, 4), 0.25)
    assert "the top left, rows 0 to 3, columns 0 to 3" in found.summary()


def test_frames_are_occluded_as_the_user_sees_them() -> None:
    frame = RNG.integers(0, 256, (10, 14, 3)).astype(np.uint8)
    found = occlude(camera().artifact(), frame, patch=(5, 7), stride=(5, 7), class_name="0")
    red = frame[..., 0].astype(float)
    lost = (red - np.rint(red.mean())).reshape(2, 5, 2, 7).sum(axis=(1, 3)) / red.size
    np.testing.assert_allclose(found.drops, lost, atol=1e-4)
    assert found.heat.shape == (10, 14)
    assert found.answer == "the score of class '0'"


def test_channels_may_stand_first() -> None:
    weights = np.stack([QUADRANT, np.zeros((SIDE, SIDE))]).reshape(-1, 1)
    shape = ("N", 2, SIDE, SIDE)
    artifact = weighing(weights, shape, ("N", "C", "H", "W")).artifact()
    found = occlude(artifact, np.ones((2, SIDE, SIDE), "f4"), patch=4, stride=4, baseline=0)
    np.testing.assert_allclose(found.drops, [[16, 0], [0, 0]], atol=1e-5)


def test_a_signal_that_is_heard_in_its_second_second_alone() -> None:
    x = np.full(3 * RATE, 100, np.int16)
    found = occlude(second_second().artifact(), x, patch=4, stride=4, baseline=0)
    np.testing.assert_allclose(found.drops, [0, 0, 400, 400, 0, 0])
    assert (found.rate, found.heat.shape) == (RATE, (24,))
    assert "1.000 s to 2.000 s (33% of it) carried the answer" in found.summary()


def test_a_signal_without_a_rate_counts_samples() -> None:
    plain = second_second("float32")
    artifact = sealed(plain.onnx, replace(plain.card, signal=None))
    found = occlude(artifact, np.ones(3 * RATE, "f4"), patch=8, stride=8, baseline=0)
    assert found.rate is None
    assert "samples 8 to 15" in found.summary()


def test_features_that_are_a_picture() -> None:
    weights = QUADRANT.reshape(-1, 1)
    artifact = weighing(weights, ("N", SIDE * SIDE), ("N", "F")).artifact()
    row = np.ones(SIDE * SIDE, "f4")
    found = occlude(artifact, row, picture=(SIDE, SIDE), patch=4, stride=4, baseline=0)
    np.testing.assert_allclose(found.drops, [[16, 0], [0, 0]], atol=1e-5)
    with pytest.raises(OptionError, match="picture is 3 x 8, expected the sizes of one row of 64"):
        occlude(artifact, row, picture=(3, 8))


def test_the_score_of_another_class_falls_where_its_own_does() -> None:
    left, right = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    left[:, :4], right[:, 4:] = 2, 1
    weights = np.stack([left.ravel(), right.ravel()], axis=1)
    plain = weighing(weights, ("N", SIDE, SIDE, 1), ("N", "H", "W", "C"))
    artifact = sealed(plain.onnx, replace(plain.card, labels=("left", "right")))
    x = np.ones((SIDE, SIDE, 1), "f4")
    best = occlude(artifact, x, patch=4, stride=4, baseline=0)
    assert best.answer == "the score of class 'left'"
    np.testing.assert_allclose(best.drops, [[32, 0], [32, 0]], atol=1e-5)
    other = occlude(artifact, x, class_name="right", patch=4, stride=4, baseline=0)
    np.testing.assert_allclose(other.drops, [[0, 16], [0, 16]], atol=1e-5)
    with pytest.raises(OptionError, match="there is no class 'up', the model has left, right"):
        occlude(artifact, x, class_name="up")


def test_baselines_are_what_they_are_called() -> None:
    gray = camera("gray").artifact()
    frame = np.zeros((12, 12, 1), np.uint8)
    frame[:, 6:] = 200
    for baseline, level in (("mean", 100), ("gray", 128), (7, 7)):
        found = occlude(
            gray, frame, class_name="0", baseline=baseline, patch=12, stride=12
        )  # the mean of the frame
        assert found.drops.item() == pytest.approx(100 - level, abs=1e-4)
        assert found.baseline == str(baseline)
    ones = np.full((12, 12, 1), 50, np.uint8)
    assert "nothing was occluded" in occlude(gray, ones, class_name="0", baseline="blur").notes[-1]
    with pytest.raises(OptionError, match="nothing says from where to where"):
        occlude(quadrant().artifact(), PICTURE, baseline="gray")
    with pytest.raises(OptionError, match="expected mean, gray, blur or a number"):
        occlude(quadrant().artifact(), PICTURE, baseline="black")
    with pytest.raises(OptionError, match="0 to 255, which uint8 holds"):
        occlude(gray, frame, class_name="0", baseline=256)


def test_blur_keeps_the_mean_of_a_slope() -> None:
    """A box filter leaves a straight line as it is, away from the borders."""
    slope = np.broadcast_to(np.arange(40.0), (40, 40)).astype("f4")
    weights = np.zeros((40, 40))
    weights[16:24, 16:24] = 1
    artifact = weighing(weights.reshape(-1, 1), ("N", 40, 40), ("N", "H", "W")).artifact()
    found = occlude(artifact, slope, baseline="blur", patch=4, stride=4)
    assert np.abs(found.drops).max() < 1e-3


def test_a_baseline_outside_of_the_calibrated_range_is_refused() -> None:
    x = np.linspace(0, 1, 6, dtype="f4")
    with pytest.raises(OptionError, match="from 0 to 1, for which the model was calibrated"):
        occlude(int8().artifact(), x, picture=(2, 3), baseline=2, patch=1)
    found = occlude(int8().artifact(), x, picture=(2, 3), baseline="gray", patch=1)
    assert found.notes == ()


def test_a_sample_outside_of_the_calibrated_range_is_told() -> None:
    x = np.linspace(-0.5, 1.5, 6, dtype="f4")
    with Predictor.load(int8().artifact()) as predictor:
        found = explain(predictor, x, picture=(2, 3), baseline=0.5, patch=1)
        assert predictor.out_of_range == {"x": 0}  # the caller's own count stays
    assert "the sample itself has values outside" in found.notes[-1]


def test_a_constant_answer_has_no_region() -> None:
    weights = np.zeros((SIDE * SIDE, 1))
    artifact = weighing(weights, ("N", SIDE, SIDE, 1), ("N", "H", "W", "C")).artifact()
    found = occlude(artifact, PICTURE)
    assert found.region is None
    assert found.notes[0].startswith("no occlusion changes the answer: it may be constant")
    assert found.summary().endswith("no part of the sample carried it")


def test_what_speaks_against_an_answer_alone_has_no_region() -> None:
    weights = -QUADRANT.reshape(-1, 1)
    artifact = weighing(weights, ("N", SIDE, SIDE, 1), ("N", "H", "W", "C")).artifact()
    found = occlude(artifact, PICTURE, patch=4, stride=4, baseline=0)
    assert found.region is None
    assert "spoke against it" in found.notes[-1]


def test_an_undecided_answer_is_told() -> None:
    plain = mlp()
    x = np.zeros(6, "f4")
    first, second = np.sort(plain.formula(x))[:-3:-1]
    with Predictor.load(plain.artifact()) as predictor:
        found = explain(predictor, x, picture=(2, 3), baseline=1, patch=1)
    assert any("undecided" in note for note in found.notes) == (first - second < 0.1)


def test_the_same_call_gives_the_same_map() -> None:
    first, second = (occlude(quadrant().artifact(), PICTURE) for _ in range(2))
    assert first.heat.tobytes() == second.heat.tobytes()


def test_default_patches() -> None:
    assert default_patch((224, 224)) == (28, 28)
    assert default_patch((28, 28)) == (4, 4)
    assert default_patch((8, 8)) == (2, 2)
    assert default_patch((300, 451)) == (38, 38)
    assert default_patch((16000,)) == (2000,)
    assert default_patch((1, 5)) == (1, 2)


@pytest.mark.parametrize(
    ("patch", "stride", "message"),
    [
        ((9, 2), (1, 1), "the patch is 9, expected at most 8"),
        ((2, 2), (3, 1), "the stride is 3, expected at most the patch's 2"),
    ],
)
def test_patches_that_do_not_fit_are_refused(
    patch: tuple[int, int], stride: tuple[int, int], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        check_sizes((8, 8), patch, stride)


def test_too_many_patches_are_refused() -> None:
    with pytest.raises(OptionError, match="4,000,000 patches"):
        check_sizes((2000, 2000), (1, 1), (1, 1))


def test_what_no_method_fits_is_refused() -> None:
    shape: tuple[int | str, ...] = ("N", "T")
    tokens = replace(
        identity("int64", shape).card, inputs=(spec("x", "int64", shape, axes=("N", "T")),)
    )
    cases = [
        (two_inputs().artifact(), "the model takes 2 inputs"),
        (sealed(identity("int64", shape).onnx, tokens), "whole numbers, such as tokens"),
        (identity("str", ("N", 3)).artifact(), "input 'x' is text"),
        (mlp().onnx, "nothing says what the axes"),
        (mlp().artifact(samples_interact=True, format_version=2), "depend on the whole batch"),
    ]
    for artifact, message in cases:
        with Predictor.load(artifact) as predictor, pytest.raises(OptionError, match=message):
            explain(predictor, np.zeros((4, 3)))


def test_answers_of_another_shape_are_refused() -> None:
    shape = ("N", SIDE, SIDE, 1)
    plain = identity("float32", shape)
    axes = ("N", "H", "W", "C")
    card = replace(plain.card, inputs=(spec("x", "float32", shape, axes=axes),))
    with (
        Predictor.load(sealed(plain.onnx, card)) as predictor,
        pytest.raises(OptionError, match=r"expected one output of class scores \(N, classes\)"),
    ):
        explain(predictor, PICTURE)


def test_a_batch_is_no_sample() -> None:
    with pytest.raises(InputError, match="a batch of 2, expected one sample"):
        occlude(quadrant().artifact(), np.stack([PICTURE, PICTURE]))


def test_options_of_tables_are_refused() -> None:
    with pytest.raises(OptionError, match="labels was given for a picture"):
        occlude(quadrant().artifact(), PICTURE, labels=[1])
