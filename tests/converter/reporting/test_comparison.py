"""The comparison of forms of a model, against what numpy computes of all answers at once."""

import numpy as np
import pytest

from edgeport import ModelCard, TensorSpec
from edgeport_converter.reporting import comparison, words
from edgeport_converter.reporting.comparison import ARTIFACT, FLOAT, KERAS, compare

F32 = np.dtype(np.float32)
SAMPLES = 500


def card_of(outputs, labels=None):
    return ModelCard(
        "m", (TensorSpec("x", F32, ("N", 3), ("N", "F")),), tuple(outputs), labels=labels
    )


def batches(x, size=64):
    return ({"x": x[start : start + size]} for start in range(0, len(x), size))


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(SAMPLES, 3)).astype(np.float32)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return (e / e.sum(axis=-1, keepdims=True)).astype(np.float32)


SCORES = TensorSpec("scores", F32, ("N", 3), ("N", "C"), (0.0, 1.0))


def exact(arrays):
    return {"scores": softmax(2 * arrays["x"])}


def coarse(arrays):
    return {"scores": softmax(np.round(2 * arrays["x"]))}


def test_classes_are_counted_as_a_confusion_matrix(x):
    labels = np.random.default_rng(1).integers(0, 3, SAMPLES)
    found = compare(
        {ARTIFACT: coarse, KERAS: exact, FLOAT: exact},
        batches(x),
        card_of([SCORES], ("a", "b", "c")),
        labels=labels,
        has_classes=True,
    )
    best = {"float32": exact({"x": x})["scores"], "artifact": coarse({"x": x})["scores"]}
    said = {name: scores.argmax(axis=1) for name, scores in best.items()} | {"label": labels}
    assert [(one.rows, one.columns) for one in found.class_pairs] == [
        ("label", "float32"),
        ("label", "artifact"),
        ("float32", "artifact"),
    ]
    for one in found.class_pairs:
        expected = np.zeros((3, 3), int)
        np.add.at(expected, (said[one.rows], said[one.columns]), 1)
        np.testing.assert_array_equal(one.counts, expected)
        assert (one.equal, one.total) == (np.trace(expected), SAMPLES)
        assert one.names == ("a", "b", "c")
    assert found.accuracy["artifact"] == np.mean(said["artifact"] == labels)


def test_many_classes_are_listed_by_pairs_that_differ(x):
    classes = 1000
    spec = TensorSpec("scores", F32, ("N", classes), ("N", "C"), (0.0, 1.0))
    labels = np.arange(SAMPLES) % classes
    answers = np.where(labels % 10 == 0, (labels + 1) % classes, labels)
    answers[labels == 20] = 7

    def run(arrays):
        start = int(np.flatnonzero((x == arrays["x"][0]).all(axis=1))[0])
        return {"scores": np.eye(classes, dtype=F32)[answers[start : start + len(arrays["x"])]]}

    found = compare({ARTIFACT: run}, batches(x), card_of([spec]), labels=labels, has_classes=True)
    (pairs,) = found.class_pairs
    assert pairs.counts == ()
    assert ("class 10", "class 11", 1) in pairs.pairs
    assert ("class 20", "class 7", 1) in pairs.pairs
    assert pairs.differing == len({(a, b) for a, b in zip(labels, answers, strict=True) if a != b})
    assert found.pairs == found.worst == ()


def test_the_calibration_error_is_that_of_the_source(x):
    labels = np.random.default_rng(1).integers(0, 3, SAMPLES)
    found = compare(
        {ARTIFACT: exact}, batches(x), card_of([SCORES]), labels=labels, has_classes=True
    )
    scores = exact({"x": x})["scores"].astype(np.float64)
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    (one,) = found.reliability
    assert one.error == pytest.approx(error, rel=1e-9)
    assert sum(each.count for each in one.bins) == SAMPLES


def test_one_probability_is_as_sure_as_its_distance_from_a_half(x):
    spec = TensorSpec("yes", F32, ("N", 1), ("N", "C"), (0.0, 1.0))

    def run(arrays):
        return {"yes": (1 / (1 + np.exp(-arrays["x"][:, :1]))).astype(np.float32)}

    labels = (x[:, 0] > 0).astype(np.int64)
    found = compare({ARTIFACT: run}, batches(x), card_of([spec]), labels=labels, has_classes=True)
    p = run({"x": x})["yes"][:, 0].astype(np.float64)
    assert found.accuracy == {"artifact": 1.0}
    mean = sum(each.count * each.score for each in found.reliability[0].bins) / SAMPLES
    assert mean == pytest.approx(np.maximum(p, 1 - p).mean(), rel=1e-6)


def test_differences_are_those_over_all_values(x):
    spec = TensorSpec("y", F32, ("N", 3), ("N", "F"))

    def shifted(arrays):
        return {"y": arrays["x"] + np.float32(0.25) * (arrays["x"] > 1)}

    found = compare(
        {KERAS: lambda arrays: {"y": arrays["x"]}, ARTIFACT: shifted}, batches(x), card_of([spec])
    )
    (pair,) = found.pairs
    error = shifted({"x": x})["y"].astype(np.float64) - x
    assert pair.largest == pytest.approx(np.abs(error).max())
    assert pair.typical == pytest.approx(np.sqrt(np.mean(error**2)))
    assert pair.spread == pytest.approx(x.std(), rel=1e-6)
    assert len(pair.points) == 1500
    assert {float(value) for value, _ in pair.points} <= set(x.reshape(-1).tolist())


def test_samples_of_another_class_are_the_worst(x):
    found = compare(
        {KERAS: exact, ARTIFACT: coarse}, batches(x), card_of([SCORES]), has_classes=True
    )
    a, b = exact({"x": x})["scores"].astype(float), coarse({"x": x})["scores"].astype(float)
    changed, gap = a.argmax(1) != b.argmax(1), np.abs(a - b).max(1)
    order = np.lexsort((gap, changed))[::-1][:12]
    assert [one.number for one in found.worst] == order.tolist()
    assert [one.difference for one in found.worst] == pytest.approx(gap[order].tolist())
    assert [one.is_changed for one in found.worst] == changed[order].tolist()


def test_answers_that_differ_by_rounding_alone_have_no_worst_samples(x):
    def rounded(arrays):
        return {"scores": exact(arrays)["scores"] * np.float32(1 + 2e-7)}

    found = compare(
        {KERAS: exact, ARTIFACT: rounded}, batches(x), card_of([SCORES]), has_classes=True
    )
    assert found.worst == ()


@pytest.mark.parametrize("scale", [1e-12, 1e9])
def test_what_is_rounding_depends_on_the_size_of_the_answers(x, scale):
    spec = TensorSpec("y", F32, ("N", 3), ("N", "F"))

    def run_with(error):
        return lambda arrays: {"y": arrays["x"] * np.float32(scale) * np.float32(1 + error)}

    for error, is_shown in ((0.02, True), (2e-7, False)):
        found = compare(
            {KERAS: run_with(0), ARTIFACT: run_with(error)}, batches(x), card_of([spec])
        )
        assert bool(found.worst) is is_shown, error


def test_one_answer_to_all_samples_may_differ_by_rounding_alone(x):
    spec = TensorSpec("y", F32, ("N", 1), ("N", "F"))

    def constant(value):
        return lambda arrays: {"y": np.full((len(arrays["x"]), 1), value, F32)}

    card = card_of([spec])
    same = compare({KERAS: constant(500), ARTIFACT: constant(500.00006)}, batches(x), card)
    other = compare({KERAS: constant(500), ARTIFACT: constant(501)}, batches(x), card)
    assert (len(same.worst), len(other.worst)) == (0, 12)


def test_of_a_large_output_the_worst_value_is_shown_with_its_place(x):
    def run_with(error):
        def run(arrays):
            answer = np.repeat(arrays["x"][:, :, None], 4, axis=2)
            answer[:, 2, 1] += error
            return {"other": answer[:, :1, 0], "map": answer}

        return run

    card = card_of(
        [TensorSpec("other", F32, ("N", 1)), TensorSpec("map", F32, ("N", 3, 4), ("N", "H", "W"))]
    )
    found = compare({KERAS: run_with(0), ARTIFACT: run_with(np.float32(0.5))}, batches(x), card)
    value = x[found.worst[0].number, 2]
    assert found.worst[0].wanted == f"map [2, 1] {words.number(float(value))}"
    assert found.worst[0].found == f"map [2, 1] {words.number(float(value + np.float32(0.5)))}"


def test_classes_without_names_are_numbered():
    assert comparison.name_of_class(card_of([SCORES]), 2) == "class 2"
    assert comparison.name_of_class(card_of([SCORES], ("a", "b", "c")), 2) == "c"
