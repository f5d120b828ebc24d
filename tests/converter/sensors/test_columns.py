"""The columns of a table: where a card has them from, and what it says of them."""

import csv

import keras
import numpy as np
import pytest

from edgeport import ConversionError, InputError, OptionError, Predictor, TensorSpec
from edgeport.cli.main import main
from edgeport_converter import convert, train
from edgeport_converter.sensors import columns
from edgeport_converter.training.data.csv_tables import columns_of
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples

CHANCE = np.random.default_rng(3)
WIDTH, HEIGHT = CHANCE.uniform(0.5, 5, 240), CHANCE.uniform(10, 200, 240)
X = np.stack([WIDTH, HEIGHT], axis=1).astype(np.float32)


def spec(name, size, dtype=np.float32):
    return TensorSpec(name, np.dtype(dtype), ("N", size), ("N", "F"))


@pytest.fixture(scope="module")
def model():
    """y = 2 width - height / 4, whose answers can be told by hand."""
    layer = keras.layers.Dense(1, name="y")
    made = keras.Sequential([keras.Input((2,), name="x"), layer], name="m")
    layer.set_weights([np.array([[2.0], [-0.25]], np.float32), np.zeros(1, np.float32)])
    return made


def write_table(path, head, *parts):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *zip(*parts, strict=True)])


def test_names_given_by_the_user_are_in_the_card(model, tmp_path):
    convert(model, tmp_path / "m.onnx", feature_names=["width_m", "height_cm"])
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        assert [column.in_words for column in predictor.card.columns] == [
            "width_m: number",
            "height_cm: number",
        ]
        given = {"height_cm": 100.0, "width_m": 3.0}
        assert predictor.predict(given).tolist() == [2 * 3.0 - 100 / 4]


def test_names_of_the_command_line_and_of_a_file(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save("m.keras")
    (tmp_path / "names.txt").write_text("width_m\nheight, in cm\n", encoding="utf-8")
    for names, expected in (
        ("width_m,height_cm", ["width_m", "height_cm"]),
        ("names.txt", ["width_m", "height, in cm"]),
    ):
        assert main(["convert", "m.keras", "-o", "m.onnx", "--feature-names", names]) == 0
        with Predictor.load("m.onnx") as predictor:
            assert [column.name for column in predictor.card.columns] == expected


@pytest.mark.parametrize("form", ["csv", "pandas"])
def test_the_header_of_the_data_names_columns_and_gives_ranges(form, model, tmp_path):
    if form == "csv":
        source = tmp_path / "t.csv"
        write_table(source, ["width_m", "height_cm"], X[:, 0], X[:, 1])
    else:
        pandas = pytest.importorskip("pandas")
        source = pandas.DataFrame({"width_m": X[:, 0], "height_cm": X[:, 1]})
    report = convert(model, tmp_path / "m.onnx", calibration=source, quantize="none")
    found = [(one.name, one.value_range) for one in report.card.columns]
    assert found == [
        ("width_m", (X[:, 0].min(), X[:, 0].max())),
        ("height_cm", (X[:, 1].min(), X[:, 1].max())),
    ]


def test_a_table_without_names_is_an_array_and_labels_are_no_feature(model, tmp_path):
    pandas = pytest.importorskip("pandas")
    report = convert(model, tmp_path / "m.onnx", calibration=pandas.DataFrame(X), quantize="none")
    assert report.card.columns == ()
    table = pandas.DataFrame({"y": X[:, 0], "height_cm": X[:, 1], "width_m": X[:, 0]})
    report = convert(
        model,
        tmp_path / "m.onnx",
        calibration=table,
        feature_names=["width_m", "height_cm"],
        quantize="none",
    )
    assert report.card.columns[0].value_range == (X[:, 0].min(), X[:, 0].max())
    assert not any("left out" in note for note in report.notes)


def test_given_names_put_the_columns_of_the_data_in_order(model, tmp_path):
    """Without the names, a table in another order would calibrate the wrong columns."""
    write_table(tmp_path / "t.csv", ["id", "height_cm", "width_m"], X[:, 0], X[:, 1], X[:, 0])
    report = convert(
        model,
        tmp_path / "m.onnx",
        calibration=tmp_path / "t.csv",
        feature_names=("width_m", "height_cm"),
        quantize="none",
    )
    assert report.card.columns[1].value_range == (X[:, 1].min(), X[:, 1].max())
    assert "columns that the model does not take, which were left out: 'id'" in report.to_text()
    with pytest.raises(OptionError, match=r"no column 'weight', expected the model's columns"):
        convert(
            model,
            tmp_path / "m.onnx",
            calibration=tmp_path / "t.csv",
            feature_names=("width_m", "weight"),
        )


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a"], "there are 1 feature_names, 1 of them for the input 'x', which takes 2"),
        (["a", "b", "c"], "there are 3 feature_names, 3 of them for the input 'x', which takes 2"),
        (["a", "a"], "feature_names has 'a' more than once"),
        ({"z": ["a", "b"]}, "feature_names has the input 'z', expected x"),
    ],
)
def test_names_that_do_not_fit_are_refused(names, sentence):
    with pytest.raises(OptionError, match=sentence):
        columns.from_names(names, [spec("x", 2)])


@pytest.mark.parametrize("names", ["ab", {"a", "b"}, [], [1, 2], ["a", ""], 3])
def test_what_is_no_list_of_names_is_refused(names, model, tmp_path):
    with pytest.raises(OptionError, match=r"feature_names is .*, expected a list of names"):
        convert(model, tmp_path / "m.onnx", feature_names=names)


def test_names_of_several_inputs_are_in_their_order():
    inputs = [spec("x", 2), spec("kind", 1, object)]
    found = columns.from_names(["a", "b", "c"], inputs)
    assert [(one.name, one.kind, one.input) for one in found] == [
        ("a", "number", "x"),
        ("b", "number", "x"),
        ("c", "category", "kind"),
    ]
    assert columns.from_names({"kind": ["c"], "x": ["a", "b"]}, inputs) == found
    picture = TensorSpec("i", np.dtype(np.float32), ("N", 8, 8, 1), ("N", "H", "W", "C"))
    with pytest.raises(OptionError, match="the input 'i' takes no rows of a fixed number"):
        columns.from_names(["a"], [picture])


def test_answers_that_do_not_fill_missing_values_are_refused():
    one = columns.Column("a", "number", "x", missing=2.0)
    samples = {"x": np.array([[1.0], [5.0]], np.float32)}
    columns.check_fills(
        lambda given: {"y": np.where(np.isnan(given["x"]), 2, given["x"])}, [one], samples, "it"
    )
    with pytest.raises(ConversionError, match="it answers another 'y' to a missing value"):
        columns.check_fills(lambda given: {"y": np.nan_to_num(given["x"])}, [one], samples, "it")


@pytest.mark.parametrize(("rule", "expected"), [("mean", 4.0), ("median", 2.0), (50, 50.0)])
def test_what_a_missing_number_counts_as(rule, expected):
    x = np.array([[1, 1], [np.nan, 5], [2, 6], [9, 7]], np.float32)
    samples = TrainingSamples({"features": x}, np.arange(4))
    table = tuple(columns.Column(name, "number", "features") for name in "ab")
    read = TrainingData(samples, None, False, (), ("a", "b"), table, {"a": rule})
    first, second = columns_of(read, samples)
    assert (first.missing, second.missing) == (expected, None)
    assert first.value_range == (1.0, max(9.0, expected))
    empty = TrainingSamples({"features": x[1:2]}, np.arange(1))
    if rule != 50:
        with pytest.raises(OptionError, match="the column 'a' of the training samples has no val"):
            columns_of(read, empty)


@pytest.mark.slow
def test_a_recipe_hands_its_columns_to_the_device(tmp_path, capsys):
    """Train, convert and predict on the training's own file: missing, text, further columns."""
    region = CHANCE.choice(["north", "south"], 240)
    label = np.where(WIDTH * 50 + HEIGHT + 40 * (region == "north") > 240, "yes", "no")
    lacking = np.arange(240) % 7 == 0
    cells = [
        f"{height:.1f}" if there else "" for height, there in zip(HEIGHT, ~lacking, strict=True)
    ]
    texts = [name if at % 11 else "" for at, name in enumerate(region)]
    table = tmp_path / "t.csv"
    write_table(table, ["region", "width_m", "big", "height"], texts, WIDTH, label, cells)
    declared = {
        "region": {"kind": "category", "missing": "unknown"},
        "height": {"unit": "cm", "missing": "median"},
    }
    recipe = {
        "data": {"source": str(table), "target": "big", "columns": declared},
        "model": {"layers": [8]},
        "augmentation": {"noise": 0.05},
        "training": {"epochs": 3, "learning_rate": 0.05},
    }
    train(recipe, tmp_path / "m.keras")
    report = convert(
        tmp_path / "m.keras",
        tmp_path / "m.onnx",
        calibration=table,
        evaluation=table,
        label_column="big",
        labels=["no", "yes"],
        quantize="static",
    )
    width, height, place = report.card.columns
    assert (width.name, width.missing, height.unit) == ("width_m", None, "cm")
    assert place.categories == ("north", "south", "unknown")
    present = np.array([float(cell) for cell in cells if cell])
    assert abs(height.missing - np.median(present)) < 12  # seven in ten are training samples
    keras_model = keras.models.load_model(tmp_path / "m.keras")
    filled = np.where(lacking, height.missing, HEIGHT.round(1))
    numbers = np.stack([WIDTH, filled], axis=1).astype(np.float32)
    names = keras.ops.convert_to_tensor([[name or "unknown"] for name in texts], dtype="string")
    expected = np.asarray(keras_model([keras.ops.convert_to_tensor(numbers), names]))
    assert (
        main(["predict", str(tmp_path / "m.onnx"), str(table), "-o", str(tmp_path / "y.npy")]) == 0
    )
    assert "has the column 'big', which the model does not take" in capsys.readouterr().err
    assert np.abs(np.load(tmp_path / "y.npy") - expected).max() < 0.1  # of int8
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        row = {"height": None, "region": "north", "width_m": 1.0}
        same = predictor.predict(row | {"height": height.missing})
        assert predictor.predict(row).tolist() == same.tolist()
        with pytest.raises(InputError, match="the column 'width_m' has no value"):
            predictor.predict(row | {"width_m": None})


@pytest.mark.parametrize("missing", [None, "mean"])
def test_digits_in_groups_are_no_number_for_the_training_either(missing, tmp_path):
    """The device refuses such a cell, so a model that learned from it could not be evaluated."""
    table = tmp_path / "t.csv"
    write_table(table, ["height", "big"], ["1", "1_000"], ["yes", "no"])
    columns = {"height": {"missing": missing}} if missing else {}
    recipe = {"data": {"source": str(table), "target": "big", "columns": columns}}
    with pytest.raises(OptionError, match=r"has '1_000' in line 3, column 'height', expected a nu"):
        train(recipe, tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        (
            {"height": {"missing": "mode"}},
            r"missing is 'mode', expected 'mean', 'median' or a numb",
        ),
        ({"height": {"kind": "category", "missing": 3}}, r"missing is 3, expected a text for a ca"),
        ({"height": {"missing": 1e39}}, r"missing is 1e\+39, expected a number within float32"),
        ({"height": {"missing": -(10**400)}}, r"missing is -10*…, expected a number within"),
        ({"height": {"kind": "number"}}, r"data.columns"),
        ({"height": {"colour": "red"}}, r"data.columns"),
    ],
)
def test_a_recipe_with_a_wrong_column_is_refused(declared, sentence, tmp_path):
    table = tmp_path / "t.csv"
    write_table(table, ["height", "big"], ["1", "2"], ["yes", "no"])
    recipe = {"data": {"source": str(table), "target": "big", "columns": declared}}
    with pytest.raises(OptionError, match=sentence):
        train(recipe, tmp_path / "m.keras")
