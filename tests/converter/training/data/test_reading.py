"""Data becomes samples and targets, or is refused in one sentence; no sample is in two parts."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from edgeport import OptionError
from edgeport_converter.training.data.reading import describe, read_data
from edgeport_converter.training.data.splitting import folds, require_folds, split
from edgeport_converter.training.recipe.recipe import read_recipe

CHANCE = np.random.default_rng(5)
X = CHANCE.normal(size=(60, 4)).astype(np.float32)
Y = np.arange(60) % 3


@pytest.fixture
def read(tmp_path):
    """Return a function that saves arrays and reads them by a recipe."""

    def read(data=None, /, **arrays):
        np.savez(tmp_path / "d.npz", **arrays)
        return read_data(recipe_of(tmp_path / "d.npz", **(data or {})))

    return read


def recipe_of(path, **data):
    return read_recipe({"data": {"source": str(path), **data}})


def test_arrays_are_read_by_their_customary_names(read):
    for x, y in (("x", "y"), ("x_train", "y_train"), ("images", "labels"), ("data", "target")):
        found = read(**{x: X, y: Y})
        np.testing.assert_array_equal(found.samples.inputs["features"], X)
        np.testing.assert_array_equal(found.samples.targets, Y)
        assert found.classes == ("0", "1", "2")
    found = read({"x": "b", "y": "a"}, a=Y, b=X)
    np.testing.assert_array_equal(found.samples.inputs["features"], X)


def test_a_test_set_of_its_own_is_kept(read):
    found = read(x_train=X[:40], y_train=Y[:40], x_test=X[40:], y_test=Y[40:])
    np.testing.assert_array_equal(found.test.inputs["features"], X[40:])


def test_bytes_of_three_axes_are_images_with_a_channel_axis(read):
    pixels = CHANCE.integers(0, 256, (60, 5, 6), dtype=np.uint8)
    found = read(x=pixels, y=Y)
    assert found.is_images
    np.testing.assert_array_equal(found.samples.inputs["image"], pixels[..., None])
    assert found.samples.inputs["image"].dtype == np.uint8
    assert not read({"kind": "table"}, x=pixels, y=Y).is_images


def test_a_target_of_one_column_is_a_target(read):
    np.testing.assert_array_equal(read(x=X, y=Y[:, None]).samples.targets, Y)


def with_nan(at):
    wrong = X.copy()
    wrong[at, 1] = np.nan
    return wrong


@pytest.mark.parametrize(
    ("arrays", "data", "sentence"),
    [
        (
            {"x": with_nan(7), "y": Y},
            {},
            r"has NaN or infinity in features, sample 7, expected numbers",
        ),
        ({"x": X.astype(float) * 1e300, "y": Y}, {}, r"has NaN or infinity .* float32's range"),
        ({"x": X, "y": Y - 1}, {}, r"has the label -1 at sample 0, expected whole numbers from 0"),
        ({"x": X, "y": Y + 0.5}, {}, r"has the label 0\.5 at sample 0, expected whole numbers"),
        ({"x": X, "y": Y}, {"classes": 2}, r"has the label 2 at sample 2, expected 0 to 1"),
        (
            {"x": X, "y": Y * 10**9},
            {},
            r"has labels up to 2000000000 and none is 1, expected every",
        ),
        ({"x": X, "y": Y}, {"classes": 1000}, r"has 60 samples for 1000 classes, expected several"),
        ({"x": X, "y": Y * 0}, {}, r"has samples of one class only, expected two or more"),
        ({"x": X, "y": Y[:50]}, {}, r"has 60 in 'x', 50 in 'y', expected as many samples in each"),
        ({"x": X[:0], "y": Y[:0]}, {}, r"has no sample in 'x', expected some hundred"),
        ({"x": X[:, :0], "y": Y}, {}, r"x of shape \(60, 0\), expected no axis of length 0"),
        ({"x": X[:, 0], "y": Y}, {}, r"x of shape \(60,\), expected \(N, features\)"),
        (
            {"x": X, "y": np.eye(3)[Y]},
            {},
            r"targets of shape \(60, 3\), expected one number .*argmax",
        ),
        ({"x": X.astype(str), "y": Y}, {}, r"has <U\d+ for x, expected numbers"),
        ({"a": X, "b": Y}, {}, r"has the arrays a, b, expected x and y, or x_train and y_train"),
        ({"x": X}, {}, r"has no array 'y', it has x: name the right one with data\.y"),
        ({"x": X, "y": Y}, {"x": "z"}, r"has no array 'z', it has x, y"),
        ({"x": X, "y": Y}, {"kind": "images"}, r"data\.kind is 'images', expected 'table'"),
        (
            {"x": X, "y": Y},
            {"task": "regression", "classes": 3},
            r"data\.classes is 3, expected none",
        ),
        ({"x": X, "y": Y}, {"x_test": "x", "y_test": "q"}, r"has no array 'q'"),
        ({"x": X, "y": Y.astype(object)}, {}, r"holds Python objects, expected numbers"),
        ({}, {}, r"has the arrays none, expected"),
    ],
)
def test_arrays_nothing_can_be_learned_from_are_refused(read, arrays, data, sentence):
    with pytest.raises(OptionError, match=sentence) as refused:
        read(data, **arrays)
    assert "\n" not in str(refused.value)


def test_sources_of_no_known_kind_are_refused(tmp_path):
    (tmp_path / "d.txt").write_text("1")
    (tmp_path / "d.npz").write_text("1")
    with pytest.raises(
        OptionError, match=r"data\.source is 'no\.npz', expected a file or folder that"
    ):
        read_data(recipe_of("no.npz"))
    with pytest.raises(OptionError, match=r"expected a \.npz or \.csv file or a folder of images"):
        read_data(recipe_of(tmp_path / "d.txt"))
    with pytest.raises(OptionError, match=r"cannot be read as \.npy or \.npz"):
        read_data(recipe_of(tmp_path / "d.npz"))


TABLE = "length,color,kind\n1.5,red,b\n2.5,blue,a\n3,red,10\n"


def table(tmp_path, text=TABLE, **data):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    columns = {"color": "category"}
    return read_data(
        recipe_of(tmp_path / "t.csv", **{"target": "kind", "columns": columns, **data})
    )


def test_a_table_is_read_by_its_types(tmp_path):
    found = table(tmp_path)
    np.testing.assert_array_equal(found.samples.inputs["features"], [[1.5], [2.5], [3]])
    assert found.samples.inputs["color"].tolist() == [["red"], ["blue"], ["red"]]
    assert found.classes == ("10", "a", "b")
    np.testing.assert_array_equal(found.samples.targets, [2, 1, 0])
    numbers = table(tmp_path, "a,kind\n1,2\n1,10\n1,2\n", columns={})
    assert numbers.classes == ("2", "10")
    spaced = table(tmp_path, "a b,kind\nx,p\ny,q\n", columns={"a b": "category"})
    assert list(spaced.samples.inputs) == ["a_b"]
    for text in ("a,kind\n1,2.5\n1,10\n", "a;kind\r\n1;2,5\r\n1;10\r\n"):
        heights = table(tmp_path, text, columns={}, task="regression")
        np.testing.assert_array_equal(heights.samples.targets, [2.5, 10])
    semicolons = table(tmp_path, TABLE.replace(",", ";").replace(".", ","))
    np.testing.assert_array_equal(semicolons.samples.inputs["features"], [[1.5], [2.5], [3]])
    assert semicolons.classes == ("10", "a", "b")


@pytest.mark.parametrize(
    ("text", "data", "sentence"),
    [
        (
            TABLE,
            {"columns": {}},
            r"has 'red' in line 2, column .color., .*: declare it in \[data\.columns\]",
        ),
        (TABLE, {"target": "kin"}, r"data\.target is 'kin', .* did you mean 'kind'\?"),
        (TABLE, {"target": None}, r"no key 'data\.target'"),
        (
            TABLE,
            {"columns": {"colour": "category"}},
            r"data\.columns\.colour .* did you mean 'color'",
        ),
        (TABLE, {"columns": {"kind": "category"}}, r"expected no type, since it is the target"),
        (TABLE, {"columns": {"color": "ignore", "length": "ignore"}}, r"no column to learn from"),
        ("length,color,kind\n1,,a\n", {}, r"has an empty cell in line 2, column 'color'"),
        (
            "length,color,kind\n,red,a\n",
            {},
            r"empty cell .* column 'length', .* declare \"length\" = { missing = \"median\" }",
        ),
        ("length,color,kind\n1,red,\n", {}, r"has an empty cell in line 2, column 'kind'"),
        (
            "a,features,kind\n1,2,b\n",
            {"columns": {"features": "category"}},
            r"would name the model's input",
        ),
        (
            "a b,a/b,kind\n1,2,b\n",
            {"columns": {"a b": "category", "a/b": "category"}},
            r"category 'a/b', which would name the model's input 'a_b', expected .*, a_b: rename",
        ),
        ("length,color,kind\n1,red\n", {}, r"has 2 cells in line 2, expected 3 as in the header"),
        (
            "length,color,kind\nnan,red,a\n1,red,b\n",
            {},
            r"has NaN or infinity in features, sample 0",
        ),
        ("length,length,kind\n1,2,a\n", {"columns": {}}, r"has the column 'length' more than once"),
        ("length,color,kind\n", {}, r"has a header and no row"),
        ("", {}, r"is empty, expected a header and rows"),
        ('length,color,kind\n1,"re"d,a\n', {}, r"cannot be read as \.csv"),
        ("length,color,kind\n1,red,a\n2,red,a\n", {}, r"samples of one class only"),
        (
            "length;color;kind\n1,5;red;a\n2.5;red;b\n",
            {},
            r"numbers with a decimal comma \(line 2\) and with a point \(line 3\)",
        ),
        (
            "length;color;kind\n1.234;red;a\n567;red;b\n",
            {},
            r"has '1\.234' in line 2, column 'length', which may be 1\.234 or 1234, since",
        ),
        (TABLE, {"task": "regression"}, r"has 'b' in line 2, column 'kind', expected a number"),
    ],
)
def test_a_wrong_table_is_refused_with_line_and_column(tmp_path, text, data, sentence):
    data = {"target": "kind", "columns": {"color": "category"}, **data}
    data = {name: value for name, value in data.items() if value is not None}
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match=sentence) as refused:
        read_data(recipe_of(tmp_path / "t.csv", **data))
    assert "\n" not in str(refused.value)


def test_a_folder_of_images_has_a_class_for_each_folder(tmp_path):
    for name, color in (("cats", 255), ("dogs", 0)):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("L", (8, 6), color).save(tmp_path / name / f"{number}.png")
    found = read_data(recipe_of(tmp_path, image_size=[6, 8], channels=1))
    assert found.classes == ("cats", "dogs")
    assert found.samples.inputs["image"].shape == (6, 6, 8, 1)
    np.testing.assert_array_equal(found.samples.inputs["image"][:, 0, 0, 0], [255] * 3 + [0] * 3)
    with pytest.raises(OptionError, match=r"no key 'data\.image_size', expected height and width"):
        read_data(recipe_of(tmp_path))
    (tmp_path / "birds").mkdir()
    with pytest.raises(
        OptionError, match=r"has no image in its folder 'birds', expected images in each"
    ):
        read_data(recipe_of(tmp_path, image_size=[6, 8]))
    Image.new("L", (8, 6)).save(tmp_path / "loose.png")
    with pytest.raises(OptionError, match=r"the image 'loose\.png' beside the folder 'cats'"):
        read_data(recipe_of(tmp_path, image_size=[6, 8]))


def test_files_of_a_folder_that_are_no_images_are_told(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", (8, 6)).save(tmp_path / name / f"{number}.png")
    (tmp_path / "cats" / "phone.heic").write_bytes(b"no image")
    found = read_data(recipe_of(tmp_path, image_size=[6, 8]))
    (note,) = describe(found)["notes"]
    assert note.startswith(f"1 file in '{tmp_path}' left out, cats/phone.heic: convert what ")
    Image.new("RGBA", (8, 6), (0, 0, 0, 9)).save(tmp_path / "cats" / "glass.png")
    with pytest.raises(OptionError, match=r"image '.*glass\.png' has transparent pixels, expected"):
        read_data(recipe_of(tmp_path, image_size=[6, 8]))


def test_a_folder_is_resized_by_the_call_that_the_recipe_names(tmp_path):
    chance, pixels = np.random.default_rng(8), {}
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        for number in range(2):
            pixels[name, number] = chance.integers(0, 256, (20 + number, 31, 3), np.uint8)
            Image.fromarray(pixels[name, number]).save(tmp_path / name / f"{number}.png")
    found = read_data(recipe_of(tmp_path, image_size=[6, 8]))
    expected = tf.image.resize(pixels["cats", 1], (6, 8)).numpy()
    np.testing.assert_array_equal(found.samples.inputs["image"][1], np.rint(expected))
    assert describe(found)["frames"] == "keras-bilinear"
    found = read_data(recipe_of(tmp_path, image_size=[6, 8], resize="pillow-lanczos", fit="crop"))
    image = Image.fromarray(pixels["dogs", 0])
    expected = np.asarray(ImageOps.fit(image, (8, 6), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(found.samples.inputs["image"][2], expected)
    with pytest.raises(OptionError, match=r"data\.resize or data\.fit: .*did you mean 'keras'"):
        read_data(recipe_of(tmp_path, image_size=[6, 8], resize="kera"))
    with pytest.raises(
        OptionError, match=r"data\.channels is 4, expected 1 or 3 with data\.resize"
    ):
        read_data(recipe_of(tmp_path, image_size=[6, 8], channels=4, fit="crop"))
    assert read_data(recipe_of(tmp_path, image_size=[6, 8], channels=4)).frames is None


@pytest.mark.parametrize("kind", ["bicubic", "lanczos3-antialias", "mitchellcubic"])
def test_pixels_that_a_filter_brings_above_white_or_below_black_are_kept(kind, tmp_path):
    edge = np.zeros((12, 16, 3), np.uint8)
    edge[:, 8:] = 255
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        Image.fromarray(edge).save(tmp_path / name / "edge.png")
    found = read_data(recipe_of(tmp_path, image_size=[18, 23], resize=f"keras-{kind}"))
    method, _, antialias = kind.partition("-")
    expected = tf.image.resize(edge, (18, 23), method=method, antialias=bool(antialias)).numpy()
    assert expected.min() < -1
    assert expected.max() > 256
    np.testing.assert_array_equal(found.samples.inputs["image"][0], expected)


def marked(samples):
    """The samples' own numbers, which each carries as its first feature."""
    return samples.inputs["features"][:, 0].astype(int).tolist()


def numbered(count, labels):
    return {"x": np.arange(count)[:, None].astype(float), "y": np.array(labels)}


def test_the_parts_share_no_sample_and_each_has_its_share_of_every_class(read):
    found = read(**numbered(200, [0] * 150 + [1] * 50))
    recipe = recipe_of("-", test=0.2, validation=0.25)
    parts = split(recipe, found)
    assert sorted(marked(parts.train) + marked(parts.validation) + marked(parts.test)) == [
        *range(200)
    ]
    assert parts.sizes() == {"train": 120, "validation": 40, "test": 40}
    for part in (parts.train, parts.validation, parts.test):
        assert np.mean(part.targets) == 0.25
    again = split(recipe, found)
    assert marked(again.train) == marked(parts.train)
    other = split(recipe_of("-", test=0.2, validation=0.25).with_values({"seed": 1}), found)
    assert marked(other.train) != marked(parts.train)


def test_fewer_training_samples_leave_the_test_set_as_it_is(read):
    found = read(**numbered(200, [0, 1] * 100))
    whole, few = split(recipe_of("-"), found), split(recipe_of("-", samples=40), found)
    assert marked(few.test) == marked(whole.test)
    assert len(few.train) + len(few.validation) == 40
    assert set(marked(few.train)).isdisjoint(marked(few.test))
    with pytest.raises(OptionError, match=r"data\.samples is 500, expected at most the 160"):
        split(recipe_of("-", samples=500), found)


def test_folds_hold_each_sample_out_once(read):
    found = read(**numbered(30, [0, 1, 2] * 10))
    held = [outside for _, outside in folds(recipe_of("-"), found, found.samples, 5)]
    assert sorted(np.concatenate(held).tolist()) == [*range(30)]
    for outside in held:
        assert np.bincount(found.samples.targets[outside]).tolist() == [2, 2, 2]


def test_splits_too_small_are_refused(read):
    lonely = read(**numbered(30, [0] * 29 + [1]))
    with pytest.raises(
        OptionError, match=r"one sample of class '1' left for data\.test, expected two"
    ):
        split(recipe_of("-"), lonely)
    tiny = read(**numbered(4, [0, 0, 1, 1]))
    with pytest.raises(OptionError, match=r"data\.test: 4 samples cannot be split so"):
        split(recipe_of("-", test=0.1), tiny)
    few = read(**numbered(40, [0] * 34 + [1] * 6))
    recipe = recipe_of("-")
    with pytest.raises(
        OptionError, match=r"folds is 10, expected at most 5, since class '1' has no"
    ):
        require_folds(recipe, few, split(recipe, few), 10)
