"""Whether parity can fail: logits, inputs that tell, and weights that are spoiled."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx.numpy_helper import from_array, to_array

from edgeport import ModelCard
from edgeport_converter import AgreementError, exporting, optimizing
from edgeport_converter.data.datasets import read_dataset
from edgeport_converter.loading.load import load_model
from edgeport_converter.verification.parity import check_parity
from edgeport_converter.verification.runners import in_fixed_batches
from edgeport_converter.verification.spoiling import spoil
from edgeport_converter.verification.trial_inputs import prepare_batches

layers = keras.layers
SURE = 60.0
"""A logit of which the softmax and the sigmoid are 1, whatever the weights are."""


def dense(units: int, activation: Any = None, sure: float = SURE) -> Any:
    """Return a layer whose first answer is sure and whose others are its opposite."""
    bias = [sure] + [-sure] * (units - 1)
    return layers.Dense(units, activation, bias_initializer=lambda *_, **__: np.array(bias, "f4"))


@keras.saving.register_keras_serializable("proofs")
class OwnSoftmax(layers.Layer):
    """A head that keeps its softmax to itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner = dense(3)

    def call(self, x: Any) -> Any:
        return keras.ops.reshape(keras.ops.softmax(self.inner(x)), (-1, 3, 1))


def classifier() -> Any:
    return dense(3, "softmax")


def one_sigmoid() -> Any:
    return dense(1, "sigmoid")


def multi_label() -> Any:
    return dense(5, "sigmoid")


def policy() -> Any:
    return keras.Sequential([dense(2, "tanh"), layers.Rescaling(2.0, 0.5)])


def hard_sigmoid() -> Any:
    return dense(2, "hard_sigmoid")


def relu6_of_dead_units() -> Any:
    return dense(3, "relu6", sure=-50.0)


def softmax_over_another_axis() -> Any:
    return keras.Sequential([dense(6), layers.Reshape((3, 2)), layers.Softmax(axis=1)])


def tempered() -> Any:
    return keras.Sequential([dense(3), layers.Rescaling(0.5), layers.Softmax()])


def a_class_ruled_out() -> Any:
    bias = np.array([-1e9, SURE, -SURE], "f4")
    return layers.Dense(3, "softmax", bias_initializer=lambda *_, **__: bias)


HEADS = (
    *(classifier, one_sigmoid, multi_label, policy, hard_sigmoid, relu6_of_dead_units),
    *(softmax_over_another_axis, tempered, a_class_ruled_out, OwnSoftmax),
)


def network(*heads: Any) -> Any:
    """Return a model of 40 inputs and a hidden layer, which ends in each of the heads."""
    keras.utils.set_random_seed(0)
    x = keras.Input((40,), name="x")
    hidden = layers.Dense(32, "relu")(x)
    answers = [head()(hidden) for head in heads]
    return keras.Model(x, answers if len(heads) > 1 else answers[0])


def exported_of(model: Any) -> Any:
    exported = exporting.export(load_model(model), opset=17, ir_version=8)
    return exported, optimizing.compact(optimizing.optimize(exported.graph))


def check(exported: Any, graph: onnx.ModelProto, samples: Any = None) -> Any:
    card = ModelCard("m", exported.inputs, exported.outputs)
    runs = [in_fixed_batches(run, card.inputs) for run in (exported.reference, exported.logits)]
    data = None if samples is None else read_dataset(samples, card.inputs, "evaluation")
    return check_parity(graph, card, prepare_batches(graph, card, *runs, data), runs[1])[0]


@pytest.mark.parametrize("head", HEADS)
def test_parity_notices_wrong_weights_before_the_last_function(head: Any) -> None:
    exported, graph = exported_of(network(head))
    right = check(exported, graph)
    assert len(right.logits) == 1
    assert all(trial.noticed for trial in right.trials)
    for noise in (0.05, 0.3):
        with pytest.raises(AgreementError, match="report this model"):
            check(exported, spoil(graph, noise, seed=7))


def test_each_output_of_several_has_its_own_logits() -> None:
    exported, graph = exported_of(network(classifier, multi_label, policy))
    parity = check(exported, graph)
    assert [name.split(" before ")[1] for name in parity.logits] == ["softmax", "sigmoid", "tanh"]


@pytest.mark.parametrize(
    ("activation", "kind"),
    [("softmax", "softmax"), ("sigmoid", "sigmoid"), ("tanh", "tanh"), ("relu", "clip")],
)
def test_logits_are_what_keras_gives_without_the_activation(activation: str, kind: str) -> None:
    model = network(lambda: dense(3, activation))
    exported, _ = exported_of(model)
    x = np.random.default_rng(0).normal(size=(4, 40)).astype("f4")
    found = exported.logits({"x": x})
    (name,) = (spec.name for spec in exported.outputs)
    model.layers[-1].activation = None
    np.testing.assert_allclose(found[f"{name} before {kind}"], model(x), rtol=1e-5, atol=1e-4)


def test_logits_of_a_saved_model_are_found_inside_its_functions(tmp_path: Any) -> None:
    model = network(classifier)
    model.export(tmp_path / "saved", verbose=False)
    exported, graph = exported_of(tmp_path / "saved")
    assert [name.split(" before ")[1] for name in check(exported, graph).logits] == ["softmax"]
    with pytest.raises(AgreementError, match="before softmax"):
        check(exported, spoil(graph, 0.3))


def test_functions_of_the_user_are_opened() -> None:
    @tf.function
    def inner(x: Any) -> Any:
        return tf.nn.softmax(x)

    class Calls(layers.Layer):
        def call(self, x: Any) -> Any:
            return inner(x)

    exported, graph = exported_of(network(lambda: keras.Sequential([dense(3), Calls()])))
    assert len(check(exported, graph).logits) == 1


def test_where_no_logits_are_found_the_doubts_say_so() -> None:
    """A softmax that is written out is no node that could be left out."""

    class WrittenOut(layers.Layer):
        def call(self, x: Any) -> Any:
            powers = keras.ops.exp(x - keras.ops.max(x, axis=-1, keepdims=True))
            return powers / keras.ops.sum(powers, axis=-1, keepdims=True)

    surest = lambda: keras.Sequential([dense(3, sure=3e4), WrittenOut()])  # noqa: E731
    exported, graph = exported_of(network(surest))
    parity = check(exported, graph)
    assert parity.logits == ()
    (doubt,) = parity.doubts()
    assert "answers are saturated on made-up inputs" in doubt
    assert "pass data" in doubt


def test_uncertain_answers_are_looked_for_where_there_are_no_logits() -> None:
    """Two classes, each sure of itself: between them the answer depends on the weights."""

    class WrittenOut(layers.Layer):
        def call(self, x: Any) -> Any:
            powers = keras.ops.exp(x - keras.ops.max(x, axis=-1, keepdims=True))
            return powers / keras.ops.sum(powers, axis=-1, keepdims=True)

    keras.utils.set_random_seed(1)
    kernel = np.random.default_rng(1).normal(size=(40, 2)).astype("f4") * 300
    model = keras.Sequential(
        [
            keras.Input((40,), name="x"),
            layers.Dense(2, kernel_initializer=lambda *_, **__: kernel),
            WrittenOut(),
        ]
    )
    exported, graph = exported_of(model)
    check(exported, graph)
    with pytest.raises(AgreementError):
        check(exported, spoil(graph, 0.05, seed=3))


def test_a_model_without_doubts_has_none() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, "tanh"), layers.Dense(2)])
    parity = check(*exported_of(model))
    assert parity.doubts() == ()
    assert all(trial.noticed == trial.tried for trial in parity.trials)


def test_a_model_without_weights_has_nothing_to_spoil() -> None:
    model = keras.Sequential([keras.Input((8,)), layers.Activation("tanh")])
    parity = check(*exported_of(model))
    assert (parity.trials, parity.doubts()) == ((), ())


DATA = np.random.default_rng(0).normal(size=(40, 8)).astype("f4")


def ends_in(*last: Any) -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((8,), name="x"), layers.Dense(16, "relu"), layers.Dense(3), *last]
    )


SMALL = {
    "rescaled": lambda: ends_in(layers.Rescaling(1e-6)),
    "rescaled far": lambda: ends_in(layers.Rescaling(1e-20)),
    "rescaled and bounded": lambda: ends_in(layers.Rescaling(1e-6), layers.Activation("tanh")),
    "small kernel": lambda: ends_in(
        layers.Dense(2, kernel_initializer=keras.initializers.RandomNormal(stddev=1e-7))
    ),
    "one part of two": lambda: keras.Model(
        (x := keras.Input((8,), name="x")), [layers.Dense(2)(x) * 1e-7, layers.Dense(2)(x)]
    ),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("samples", [None, DATA], ids=["made up", "data"])
def test_parity_notices_wrong_weights_where_answers_are_far_below_1(
    name: str, samples: Any
) -> None:
    exported, graph = exported_of(SMALL[name]())
    parity = check(exported, graph, samples)
    assert all(trial.noticed for trial in parity.trials)
    wrong = spoil(graph, 0.3, seed=7)
    if name == "one part of two":  # its other part would be noticed anyway
        wrong = onnx.ModelProto()
        wrong.CopyFrom(graph)
        small = min(wrong.graph.initializer, key=lambda each: np.abs(to_array(each)).max())
        small.CopyFrom(from_array(to_array(small) * 1.3, small.name))
    next_step = "pass data like the device's, .* report" if samples is None else "allowed: report"
    with pytest.raises(AgreementError, match=f"{next_step} this model"):
        check(exported, wrong, samples)


def test_small_differences_of_large_sums_are_no_wrong_weights() -> None:
    """What is left of the mean after it was taken off is rounding, which differs by kernel."""

    def rest(x: Any) -> Any:
        mean = keras.ops.mean(x, axis=-1, keepdims=True)
        return keras.ops.mean(x - mean, axis=-1, keepdims=True)

    model = ends_in(layers.Lambda(rest))
    parity = check(*exported_of(model), DATA)
    assert parity.floors == {}
    (doubt,) = parity.doubts()
    assert "answers on the data are at most" in doubt
    assert "scale the outputs" in doubt
    assert "saturated" not in doubt


def test_what_cancelling_leaves_is_too_coarse_to_be_held_to_its_size() -> None:
    """1 - cos(x) near 0 has some dozen steps of 6e-8: one kernel may be a step off another."""
    coarse = layers.Lambda(lambda x: (1 - keras.ops.cos(x * 1e-3)) * 0.1)
    exported, graph = exported_of(ends_in(coarse))
    assert check(exported, graph, DATA).floors == {}
