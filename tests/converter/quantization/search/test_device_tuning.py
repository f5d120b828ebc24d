"""What `--also` writes is what `edgeport tune` measures; loading takes none of it."""

import json

import keras
import numpy as np
import pytest

from edgeport import Predictor
from edgeport.cli.main import main
from edgeport_converter import convert

X = np.random.default_rng(5).normal(size=(200, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    keras.utils.set_random_seed(5)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((32,)), layers.Dense(64, "relu"), layers.Dense(4, "softmax")]
    )
    output = tmp_path_factory.mktemp("also") / "m.onnx"
    report = convert(
        model, output, calibration=X, quantize="static", also=["none", "dynamic"], max_drop=0.5
    )
    return output, report.variants, model


def test_variants_of_one_conversion_are_measured_side_by_side(files, capsys):
    output, variants, _ = files
    assert set(variants) == {"none", "dynamic"}
    paths = [str(path) for path in variants.values()]
    assert main(["tune", str(output), *paths, "--seconds", "0.05", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {row["file"] for row in shown["measured"]} == {str(output), *paths}
    assert not any("refused" in row for row in shown["measured"])


def test_loading_stays_with_the_artifact_whichever_file_is_faster(files):
    output, variants, model = files
    assert main(["tune", str(output), str(variants["none"]), "--seconds", "0.05"]) == 0
    with Predictor.load(output) as predictor:
        assert predictor.tuning is not None
        assert predictor.card.quantization.recipe == "static"
    output.write_bytes(variants["none"].read_bytes())  # as whoever deploys copies it
    with Predictor.load(output) as predictor:
        assert predictor.card.quantization is None
        np.testing.assert_allclose(predictor.predict(X), np.asarray(model(X)), atol=1e-5)
