"""train(): from a recipe to a measured file, its folder, and the card of an artifact made of it."""

import errno
import json
import os
import signal
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

from edgeport import ConversionError, OptionError, Predictor
from edgeport_converter import Signal, TrainingError, convert, provenance, train
from edgeport_converter.conversion.training_run import find_run
from edgeport_converter.progress import Progress
from edgeport_converter.training.results import summary
from edgeport_converter.training.results.report import RUN_FILES
from edgeport_converter.training.train import search

pytestmark = pytest.mark.slow

CHANCE = np.random.default_rng(4)
X = CHANCE.normal(2, 3, (240, 5)).astype(np.float32)
Y = (X @ CHANCE.normal(size=(5, 3))).argmax(axis=1)
RECIPE = """\
name = "small"
seed = 2
[data]
source = "d.npz"
[model]
layers = [8]
[training]
epochs = 3
learning_rate = 0.05
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with d.npz and r.toml."""
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    (tmp_path / "r.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "function", "output", "run_folder"),
    [
        ("data.npz", "", "data.keras", None),  # another name of the data
        ("photos", "", "1.keras", None),  # another name of a picture
        ("data.npz", "model.py:build", "code.keras", None),
        ("data.npz", "", "recipe.keras", None),
        ("run/test.npz", "", "m.keras", "run"),
        ("run/checkpoint.npz", "", "m.keras", "run"),
        ("run/model.keras", "", "m.keras", "run"),
    ],
)
def test_no_file_that_is_read_is_written(source, function, output, run_folder, tmp_path):
    """Each is refused before anything is read, so that none of them has to be whole."""
    links = {
        "data.keras": "data.npz",
        "1.keras": "photos/cat/1.png",
        "code.keras": "model.py",
        "recipe.keras": "r.toml",
    }
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    lines = f'[data]\nsource = "{source}"\nimage_size = [8, 8]\n'
    lines += f'[model]\nfunction = "{function}"\n' if function else ""
    (tmp_path / "r.toml").write_text(lines)
    for name in (
        "data.npz",
        "model.py",
        "photos/cat/1.png",
        *(f"run/{name}" for name in ("test.npz", "checkpoint.npz", "model.keras")),
    ):
        (tmp_path / name).write_bytes(b"precious")
    for name, target in links.items():
        (tmp_path / name).hardlink_to(tmp_path / target)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(OptionError, match=r"would be overwritten, but .* is read by the same"):
        train(
            tmp_path / "r.toml",
            tmp_path / output,
            run_folder=None if run_folder is None else tmp_path / run_folder,
        )
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("output", "run_folder"), [("photos/m.keras", None), ("m.keras", "photos")]
)
def test_a_run_folder_is_no_class_of_images(output, run_folder, tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "r.toml").write_text('[data]\nsource = "photos"\nimage_size = [8, 8]\n')
    with pytest.raises(OptionError, match="lies inside the data folder"):
        train(
            tmp_path / "r.toml",
            tmp_path / output,
            run_folder=None if run_folder is None else tmp_path / run_folder,
        )
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat"]


def test_a_recipe_may_be_trained_again_from_the_folder_of_its_run(folder):
    train(folder / "r.toml", folder / "m.keras", run_folder=folder)
    first = (folder / "m.keras").read_bytes()
    assert (folder / "recipe.toml").read_text(encoding="utf-8") == RECIPE
    train(folder / "recipe.toml", folder / "m.keras", run_folder=folder)
    assert (folder / "m.keras").read_bytes() == first


def test_the_samples_of_a_run_on_gray_photos_are_frames_that_convert_takes(tmp_path):
    for name, level in (("dark", 60), ("light", 190)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = CHANCE.normal(level, 40, (20, 17 + number)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number:02}.png")
    recipe = """
        seed = 3
        data = { source = "photos", image_size = [8, 9], channels = 1, resize = "keras-bicubic" }
        model = { kind = "dense", layers = [4] }
        training = { epochs = 12, learning_rate = 0.05 }
    """
    (tmp_path / "r.toml").write_text(recipe, encoding="utf-8")
    report = train(tmp_path / "r.toml", tmp_path / "m.keras")
    run = tmp_path / "m.run"
    converted = convert(
        tmp_path / "m.keras",
        tmp_path / "m.onnx",
        calibration=run / "calibration.npz",
        evaluation=run / "test.npz",
        labels=["dark", "light"],
        quantize="none",
    )
    assert converted.accuracy.keras == pytest.approx(report.evaluation.value)
    with np.load(run / "test.npz") as test:
        gray = test["image"][..., :1].astype(np.float32)
        scores = keras.saving.load_model(tmp_path / "m.keras").predict(gray, verbose=0)
        assert test["image"].shape[3] == 3
    with Predictor.load(tmp_path / "m.onnx") as predictor, np.load(run / "test.npz") as test:
        assert predictor.predict(test["image"][0]) == pytest.approx(scores[0], abs=1e-3)
    told = "trained on pictures prepared by 'keras-bicubic': leave frames out"
    other = convert(tmp_path / "m.keras", tmp_path / "n.onnx", frames="pillow")
    assert any(told in note for note in other.notes)
    same = convert(tmp_path / "m.keras", tmp_path / "n.onnx", frames="keras-bicubic order=gray")
    assert not any(told in note for note in same.notes)
    with pytest.raises(OptionError, match="image_range was given with frames"):
        convert(tmp_path / "m.keras", tmp_path / "n.onnx", image_range=(0, 1))


def test_an_empty_path_is_no_run_folder(folder):
    with pytest.raises(OptionError, match="the run folder is an empty path"):
        train(folder / "r.toml", folder / "m.keras", run_folder="")


def test_a_search_needs_a_place_for_its_study_and_a_study_needs_a_search(folder):
    plan = {"parameters": {"training.learning_rate": [0.1, 0.2]}}
    with pytest.raises(OptionError, match="neither a storage nor a run folder was given"):
        search({"data": {"source": str(folder / "d.npz")}, "search": plan})
    with pytest.raises(OptionError, match=r"study_name was given, and .* has no table \[search\]"):
        train(folder / "r.toml", folder / "m.keras", study_name="mine")
    with pytest.raises(OptionError, match="storage is empty"):
        train(folder / "r.toml", folder / "m.keras", storage=" ")
    plan["storage"] = "host=h user=u password=s3cret"
    with pytest.raises(OptionError, match=r"but no '://', expected a URL"):
        search({"data": {"source": str(folder / "d.npz")}, "search": plan})


def test_restart_is_true_or_false(folder):
    with pytest.raises(OptionError, match="restart is 'no', expected True or False"):
        train(folder / "r.toml", folder / "m.keras", restart="no")


def test_what_is_reported_is_what_the_written_model_does(folder):
    report = train(folder / "r.toml", folder / "m.keras")
    run = folder / "m.run"
    with np.load(run / "test.npz") as test:
        x, y = test["features"], test["y"]
    scores = keras.saving.load_model(folder / "m.keras").predict(x, verbose=0)
    assert report.evaluation.value == pytest.approx((scores.argmax(axis=1) == y).mean())
    assert report.evaluation.value > 0.6
    assert report.samples == {"train": 172, "validation": 20, "test": 48}
    assert report.weights == 5 * 8 + 8 + 8 * 3 + 3
    assert sorted(path.name for path in run.iterdir()) == [
        "calibration.npz",
        "labels.txt",
        "learning_curve.png",
        "metrics.json",
        "model.keras",
        "recipe.toml",
        "summary.md",
        "test.npz",
    ]
    assert {path.name for path in run.iterdir()} <= set(RUN_FILES)
    assert json.loads((run / "metrics.json").read_text()) == json.loads(
        json.dumps(report.to_dict())
    )
    assert (run / "recipe.toml").read_text() == RECIPE
    with Image.open(run / "learning_curve.png") as picture:
        assert picture.size[0] > 500
    assert f"accuracy {report.evaluation.value:.4f}" in (run / "summary.md").read_text()
    assert "accuracy" in report.to_text()


def test_the_same_recipe_gives_the_same_bytes(folder):
    for name in ("a", "b"):
        train(folder / "r.toml", folder / f"{name}.keras")
    assert (folder / "a.keras").read_bytes() == (folder / "b.keras").read_bytes()


def test_the_facts_travel_into_the_card(folder):
    report = train(folder / "r.toml", folder / "m.keras")
    run = report.run_folder
    convert(
        report.output,
        folder / "m.onnx",
        calibration=run / "calibration.npz",
        evaluation=run / "test.npz",
        quantize="none",
        expected_metric=report.evaluation.value,
        labels=(run / "labels.txt").read_text().split(),
    )
    with Predictor.load(folder / "m.onnx") as predictor:
        told = predictor.card.provenance
    assert told["training_data_sha256"] == report.data["sha256"]
    assert told["training_recipe_sha256"] == report.recipe_sha256
    assert told["training_test"].startswith(f"accuracy {report.evaluation.value:.6g}, expected_cal")
    assert told["source"] == "m.keras"


def test_a_conversion_without_data_takes_that_of_the_training(folder):
    trained = train(folder / "r.toml", folder / "m.keras")
    assert f"next       edgeport convert {folder / 'm.keras'}" in trained.to_text()
    card = convert(folder / "m.keras", folder / "m.onnx").card
    assert card.calibration.samples == trained.samples["train"]
    assert card.accuracy.samples == trained.samples["test"]
    assert card.accuracy.keras == pytest.approx(trained.evaluation.value)
    assert card.labels == ("0", "1", "2")
    recordings = Signal(rate=100, window=5, hop=5)  # of int16, and the training's data is floats
    report = convert(folder / "m.keras", folder / "m.onnx", signal=recordings)
    assert "no calibration data" in report.to_text()
    assert report.card.labels == ("0", "1", "2")
    (folder / "m.run" / "labels.txt").write_bytes("Grün\n".encode("latin-1"))
    with pytest.raises(OptionError, match=r"the labels file '.*labels\.txt' is no UTF-8 text"):
        convert(folder / "m.keras", folder / "m.onnx")
    (folder / "m.run" / "model.keras").write_bytes(b"of another training")
    report = convert(folder / "m.keras", folder / "m.onnx")
    assert "no calibration data" in report.to_text()
    assert report.card.labels is None


def test_a_regression_after_a_classifier_leaves_no_class_names(folder):
    train(folder / "r.toml", folder / "m.keras")
    np.savez(folder / "d.npz", x=X, y=X[:, 0])
    regression = RECIPE.replace("[model]", 'task = "regression"\n[model]')
    (folder / "r.toml").write_text(regression, encoding="utf-8")
    trained = train(folder / "r.toml", folder / "m.keras")
    card = convert(folder / "m.keras", folder / "m.onnx").card
    assert card.labels is None
    assert card.calibration.samples == trained.samples["train"]


def test_a_model_gets_no_samples_of_a_later_training_that_failed_while_writing(folder, monkeypatch):
    train(folder / "r.toml", folder / "m.keras")
    former = (folder / "m.keras").read_bytes()

    write_text = summary._write_text

    def fill_the_disk(path, text):
        if path.name == "labels.txt":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        write_text(path, text)

    monkeypatch.setattr(summary, "_write_text", fill_the_disk)
    (folder / "r.toml").write_text(RECIPE.replace("seed = 2", "seed = 3"), encoding="utf-8")
    with pytest.raises(OSError, match="No space left"):
        train(folder / "r.toml", folder / "m.keras")
    assert (folder / "m.keras").read_bytes() == former
    assert find_run(folder / "m.keras") is None


def test_facts_that_are_none_are_refused(folder):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(folder / "m.keras")
    assert provenance.read(folder / "m.keras") == {}
    with zipfile.ZipFile(folder / "m.keras", "a") as archive:
        archive.writestr("edgeport.json", '{"a": 1}')
    with pytest.raises(
        ConversionError, match=r"facts 'edgeport\.json' in .* no JSON object of tex"
    ):
        convert(folder / "m.keras", folder / "m.onnx", quantize="none")


# numpy.savez takes names as keywords, and `file` is one of its own.
@pytest.mark.parametrize("column", ["color", "file", "allow_pickle"])
def test_a_table_with_text_becomes_an_artifact_that_takes_text(column, tmp_path):
    colors = np.array(["red", "green", "blue"])[CHANCE.integers(0, 3, 200)]
    widths = CHANCE.uniform(0, 100, 200)
    prices = 1e5 + 2e3 * widths + np.where(colors == "red", 5e4, 0)
    rows = [f"{w},{c},{p}" for w, c, p in zip(widths, colors, prices, strict=True)]
    (tmp_path / "t.csv").write_text(f"width,{column},price\n" + "\n".join(rows), encoding="utf-8")
    report = train(
        {
            "data": {
                "source": str(tmp_path / "t.csv"),
                "task": "regression",
                "target": "price",
                "columns": {column: "category"},
            },
            "model": {"layers": [16]},
            "training": {"epochs": 60, "learning_rate": 0.02, "batch_size": 16},
        },
        tmp_path / "m.keras",
    )
    assert report.evaluation.metric == "r2"
    assert report.evaluation.value > 0.97
    run = report.run_folder
    assert (run / "recipe.json").exists()
    convert(report.output, tmp_path / "m.onnx", evaluation=run / "test.npz", quantize="none")
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        feed = {"features": np.float32([[50], [50]]), column: np.array([["red"], ["blue"]])}
        red, blue = predictor.predict(feed)[:, 0]
    assert red == pytest.approx(2.5e5, rel=0.1)
    assert 2.5e4 < red - blue < 7.5e4


def test_search_folds_and_range_test_come_before_the_fit(folder):
    extra = (
        "[cross_validation]\nfolds = 2\n[range_test]\nsteps = 20\n[search]\nsampler = 'grid'\n"
        "trials = 2\nepochs = 2\n[search.parameters]\ntraining.learning_rate = [1e-7, 0.05]\n"
    )
    (folder / "r.toml").write_text(RECIPE + extra, encoding="utf-8")
    report = train(folder / "r.toml", folder / "m.keras")
    assert report.search.best == {"training.learning_rate": 0.05}
    assert report.search.own_value == report.search.value
    assert [trial.state for trial in report.search.trials] == ["complete", "complete"]
    assert report.learning_rate == pytest.approx(0.05)
    assert len(report.cross_validation.values) == 2
    assert len(report.range_test.rates) <= 20
    assert "| 0 | 0.05 |" in (folder / "m.run" / "summary.md").read_text()
    again = train(folder / "r.toml", folder / "m.keras")  # the study is there already
    assert again.search.resumed == 2
    assert again.evaluation == report.evaluation


def test_after_ctrl_c_the_best_is_written_and_the_same_call_goes_on(folder):
    class Impatient(Progress):
        def epoch(self, epoch, epochs, figures):
            if epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    whole = train(folder / "r.toml", folder / "whole.keras")
    report = train(folder / "r.toml", folder / "m.keras", progress=Impatient())
    assert report.interrupted
    assert len(report.history) == 2
    assert (folder / "m.run" / "checkpoint.npz").exists()
    assert "Interrupted after epoch 2" in (folder / "m.run" / "summary.md").read_text()
    assert keras.saving.load_model(folder / "m.keras").count_params() == report.weights
    resumed = train(folder / "r.toml", folder / "m.keras")
    assert (resumed.resumed_after, resumed.interrupted) == (2, False)
    assert (folder / "m.keras").read_bytes() == (folder / "whole.keras").read_bytes()
    assert whole.history == resumed.history
    assert not (folder / "m.run" / "checkpoint.npz").exists()


def test_a_failed_training_leaves_the_output_as_it_was(folder):
    (folder / "m.keras").write_text("as it was")
    text = RECIPE.replace("0.05", "1e30").replace("epochs = 3", "epochs = 3\noptimizer = 'sgd'")
    (folder / "r.toml").write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match=r"lower training\.learning_rate"):
        train(folder / "r.toml", folder / "m.keras")
    assert (folder / "m.keras").read_text() == "as it was"


def test_impossible_outputs_are_refused(folder):
    with pytest.raises(OptionError, match=r"does not end in \.keras"):
        train(folder / "r.toml", folder / "m.h5")
    with pytest.raises(OptionError, match=r"there is no folder"):
        train(folder / "r.toml", folder / "no" / "m.keras")
    (folder / "file").touch()
    with pytest.raises(OptionError, match=r"run folder .* cannot be made"):
        train(folder / "r.toml", folder / "m.keras", run_folder=folder / "file")
