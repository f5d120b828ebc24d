"""The network is the recipe's; what changes the samples lies beside it."""

import keras
import numpy as np
import pytest

from edgeport import OptionError
from edgeport_converter.training.data.augmentation import augmentation
from edgeport_converter.training.data.batches import Batches, as_feed
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples
from edgeport_converter.training.fitting.networks import build_network
from edgeport_converter.training.recipe.recipe import read_recipe

CHANCE = np.random.default_rng(11)
X = CHANCE.normal(3, 2, (40, 5)).astype(np.float32)
PIXELS = CHANCE.integers(0, 256, (40, 12, 10, 1), dtype=np.uint8)
Y = np.arange(40) % 3


def recipe_of(**tables):
    return read_recipe({"data": {"source": "-"}, **tables})


def table_data(classes=("a", "b", "c"), x=X, targets=Y, **more):
    samples = TrainingSamples({"features": x, **more}, targets)
    return TrainingData(samples, None, False, tuple(classes))


def image_data(pixels=PIXELS):
    return TrainingData(TrainingSamples({"image": pixels}, Y), None, True, ("a", "b", "c"))


def build(read, **tables):
    return build_network(recipe_of(**tables), read, read.samples)


def test_a_dense_network_computes_what_the_recipe_says():
    model = build(table_data(), model={"layers": [7, 6], "activation": ["tanh", "sigmoid"]})
    k1, b1, k2, b2, k3, b3 = (np.array(w, np.float64) for w in model.trainable_weights)
    x = (X - X.mean(axis=0, dtype=np.float64)) / X.std(axis=0, dtype=np.float64)
    hidden = 1 / (1 + np.exp(-(np.tanh(x @ k1 + b1) @ k2 + b2)))
    scores = np.exp(hidden @ k3 + b3)
    expected = scores / scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, atol=1e-5)


def test_bytes_become_units_inside():
    model = build(image_data(), model={"layers": []})
    kernel, bias = (np.array(w, np.float64) for w in model.trainable_weights)
    scores = np.exp(PIXELS.reshape(40, -1) / 255 @ kernel + bias)
    expected = scores / scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(PIXELS, verbose=0), expected, atol=1e-5)


def test_a_feature_that_never_varied_is_not_blown_up():
    x = X.copy()
    x[:, 2] = 41.25
    model = build(table_data(x=x), model={"layers": [4]})
    moved = x.copy()
    moved[:, 2] += 0.01
    change = model.predict(moved, verbose=0) - model.predict(x, verbose=0)
    assert np.abs(change).max() < 0.01


@pytest.mark.parametrize("unit", [1e-9, 1e20])
def test_a_feature_beyond_float32_s_squares_is_refused(unit):
    x = X.copy()
    x[:, 1] *= np.float32(unit)
    with pytest.raises(OptionError, match=r"feature 1 of 'features' .* in another unit"):
        build(table_data(x=x))
    build(table_data(x=x), model={"normalization": "none"})


def test_a_category_is_looked_up_inside_and_an_unknown_one_has_its_own_place():
    colors = np.array([["red"], ["blue"]] * 20, dtype=object)
    read = table_data(color=colors)
    model = build(read, model={"layers": []})
    kernel, bias = (np.array(w, np.float64) for w in model.trainable_weights)
    assert kernel.shape == (5 + 3, 3)
    codes = np.zeros((40, 3))  # unknown, blue, red
    codes[np.arange(40), [2, 1] * 20] = 1
    x = (X - X.mean(axis=0, dtype=np.float64)) / X.std(axis=0, dtype=np.float64)
    scores = np.exp(np.concatenate([x, codes], axis=1) @ kernel + bias)
    expected = scores / scores.sum(axis=1, keepdims=True)
    found = model.predict(as_feed(read.samples), verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    unknown = TrainingSamples(
        {**read.samples.inputs, "color": np.array([["mauve"]] * 40, object)}, Y
    )
    assert np.isfinite(model.predict(as_feed(unknown), verbose=0)).all()


def test_a_cnn_has_a_convolution_and_a_pooling_for_each_number_of_filters():
    model = build(
        image_data(),
        model={
            "kind": "cnn",
            "filters": [3, 4],
            "layers": [6],
            "batch_normalization": True,
            "dropout": 0.5,
            "l2": 0.01,
            "activation": ["relu", "elu", "silu"],
        },
    )
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("Conv2D") == kinds.count("MaxPooling2D") == 2
    assert kinds.count("BatchNormalization") == 2
    assert kinds.count("Dropout") == 2
    assert model.get_layer("flat").output.shape == (None, 3 * 2 * 4)
    assert model.get_layer("hidden_1").kernel_regularizer.l2 == pytest.approx(0.01)
    assert len(model.losses) == 3


def test_heads_fit_the_task():
    two = build(table_data(("no", "yes"), targets=Y % 2))
    assert two.output_shape == (None, 1)
    values = build(table_data((), targets=Y * 1e6 + 5e6))
    # Untrained, it answers in the target's own unit already.
    assert 4e6 < values.predict(X, verbose=0).mean() < 8e6


def own_model(folder, body):
    path = folder / "own.py"
    path.write_text(f"import keras\n\ndef build():\n    return {body}\n")
    return f"{path}:build"


def test_a_model_of_the_user_s_own_is_taken_where_it_fits(tmp_path):
    fits = "keras.Sequential([keras.layers.Dense(3, activation='softmax')])"
    model = build(table_data(), model={"function": own_model(tmp_path, fits)})
    assert model.output_shape == (None, 3)
    wide = "keras.Sequential([keras.layers.Dense(4)])"
    with pytest.raises(
        OptionError, match=r"model\.function: the model answers with \(None, 4\), exp"
    ):
        build(table_data(), model={"function": own_model(tmp_path, wide)})
    flat = "keras.Sequential([keras.Input((9,)), keras.layers.Dense(3)])"
    with pytest.raises(OptionError, match=r"the model does not take samples of shape \(5,\)"):
        build(table_data(), model={"function": own_model(tmp_path, flat)})
    with pytest.raises(OptionError, match=r"expected a Keras model from it, not int"):
        build(table_data(), model={"function": own_model(tmp_path, "7")})
    with pytest.raises(OptionError, match=r"model\.function: there is no Python file"):
        build(table_data(), model={"function": "nowhere.py:build"})


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        (
            {"model": {"activation": "rellu"}},
            r"model\.activation is 'rellu', .* did you mean 'relu'\?",
        ),
        ({"training": {"optimizer": "adaam"}}, r"training\.optimizer is 'adaam', .* mean 'adam'\?"),
        (
            {"training": {"optimizer": {"name": "sgd", "momentun": 1}}},
            r"Keras refuses these options",
        ),
        ({"training": {"optimizer": {"name": "sgd", "learning_rate": 1}}}, r"move it there"),
        ({"training": {"loss": "mean_sqared_error"}}, r"did you mean 'mean_squared_error'\?"),
        ({"training": {"loss": "binary_crossentropy"}}, r"expected one for 3 classes"),
        (
            {"training": {"metrics": ["acuracy"]}},
            r"training\.metrics is 'acuracy', expected Keras metr",
        ),
        (
            {"model": {"kind": "cnn"}},
            r"model\.kind is 'cnn', expected 'dense' for data that is no im",
        ),
        ({"name": "a b"}, r"name is 'a b', expected a name of letters from A to Z, digits"),
    ],
)
def test_what_keras_does_not_know_is_refused(tables, sentence):
    with pytest.raises(OptionError, match=sentence) as refused:
        build(table_data(), **tables)
    assert "\n" not in str(refused.value)


def test_too_many_poolings_are_refused():
    model = {"kind": "cnn", "filters": [2, 2, 2, 2]}
    with pytest.raises(OptionError, match=r"expected at most 3 for images of 12 × 10"):
        build(image_data(), model=model)


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        (name, getattr(keras.activations, name))
        for name in ("relu", "gelu", "celu", "mish", "softsign")
    ],
)
def test_any_activation_of_keras_may_be_named(name, activation):
    model = build(table_data(), model={"layers": [4], "activation": name})
    assert model.get_layer("hidden_1").activation is activation


def batch_of(read, recipe, epoch=0):
    targets = np.eye(len(read.classes), dtype=np.float32)[read.samples.targets]
    augment = augmentation(recipe, read, read.samples)
    batches = Batches(read.samples, targets, 16, recipe.seed, augment)
    batches.set_epoch(epoch)
    parts = list(batches.dataset)
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def test_every_epoch_has_every_sample_in_an_order_of_its_own():
    recipe = recipe_of()
    first, second = (batch_of(table_data(), recipe, epoch)[0] for epoch in (0, 1))
    assert not np.array_equal(first, second)
    for x in (first, second):
        np.testing.assert_array_equal(np.sort(x[:, 0]), np.sort(X[:, 0]))
    np.testing.assert_array_equal(batch_of(table_data(), recipe, 1)[0], second)


def test_shifted_images_are_the_images_elsewhere():
    image = np.zeros((1, 21, 21, 1), np.uint8)
    image[0, 10, 10] = 200
    read = image_data(np.repeat(image, 40, axis=0))
    x, _ = batch_of(read, recipe_of(augmentation={"shift": 0.3}))
    np.testing.assert_allclose(x.sum(axis=(1, 2, 3)), 200, rtol=1e-3)
    rows, columns = (x.sum(axis=axis)[..., 0] for axis in ((2,), (1,)))
    centers = np.stack([rows @ np.arange(21), columns @ np.arange(21)]) / 200 - 10
    assert np.abs(centers).max() <= 0.3 * 21
    assert centers.std(axis=1).min() > 1  # either way, each by its own draw


def test_turned_and_zoomed_images_keep_the_middle_and_move_the_rest():
    image = np.zeros((1, 21, 21, 1), np.uint8)
    image[0, 10, 10], image[0, 10, 16] = 100, 200
    read = image_data(np.repeat(image, 40, axis=0))
    turned, _ = batch_of(read, recipe_of(augmentation={"rotate": 90}))
    np.testing.assert_allclose(turned[:, 10, 10, 0], 100, rtol=1e-3)
    where = np.argmax(np.where(turned > 110, turned, 0).reshape(40, -1), axis=1)
    distance = np.hypot(where // 21 - 10, where % 21 - 10)
    found = turned.reshape(40, -1).max(axis=1) > 110
    np.testing.assert_allclose(distance[found], 6, atol=1)
    zoomed, _ = batch_of(read, recipe_of(augmentation={"zoom": 0.3}))
    at = zoomed[:, 10, 12:, 0] @ np.arange(2, 11) / zoomed[:, 10, 12:, 0].sum(axis=1)
    assert 6 * 0.65 < at.min() < 5.5
    assert 6.5 < at.max() < 6 * 1.35


def test_noise_is_of_each_feature_s_own_size():
    scaled = X * np.array([1, 10, 100, 1000, 1e-3], np.float32)
    read = table_data(x=np.repeat(scaled, 50, axis=0), targets=np.repeat(Y, 50))
    clean, _ = batch_of(read, recipe_of())
    noisy, _ = batch_of(read, recipe_of(augmentation={"noise": 0.1}))
    np.testing.assert_allclose((noisy - clean).std(axis=0), scaled.std(axis=0) * 0.1, rtol=0.1)
    bright, _ = batch_of(image_data(), recipe_of(augmentation={"noise": 0.5}))
    assert bright.min() >= PIXELS.min()
    assert bright.max() <= PIXELS.max()


def test_mixed_samples_have_the_same_share_in_input_and_target():
    one_hot = np.eye(3, dtype=np.float32)[Y]  # inputs that are their own targets
    x, y = batch_of(table_data(x=one_hot), recipe_of(augmentation={"mixup": 0.5}))
    np.testing.assert_allclose(x, y, atol=1e-6)
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-6)
    assert ((y > 0.01) & (y < 0.99)).any()


def test_what_the_data_cannot_have_is_refused():
    def refuse(read, sentence, **wanted):
        with pytest.raises(OptionError, match=sentence):
            augmentation(recipe_of(augmentation=wanted), read, read.samples)

    refuse(table_data(), r"augmentation\.shift is 0\.1, expected images to move", shift=0.1)
    colors = table_data(color=np.array([["red"]] * 40, object))
    refuse(colors, r"expected numbers only, and 'color' is a category", mixup=0.2)
