"""uint8 inputs beside Keras on scaled floats: exact in float, read as bytes in int8."""

import keras
import numpy as np
import onnx_ir as ir
import pytest

from edgeport import OptionError, Predictor
from edgeport.cli.main import main
from edgeport_converter import convert
from edgeport_converter.exporting import export
from edgeport_converter.loading.load import load_model
from edgeport_converter.loading.pixel_input import take_pixels
from edgeport_converter.optimizing import optimize
from edgeport_converter.quantization.calibration.ranges import collect_ranges
from edgeport_converter.quantization.qdq.quantize import quantize
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.targets import find_target
from edgeport_converter.verification.runners import run_as_defined

layers = keras.layers
RANDOM = {"kernel_initializer": "random_normal", "bias_initializer": "random_normal"}
DEPTHWISE = {"depthwise_initializer": "random_normal", "bias_initializer": "random_normal"}
TORCH_SCALE = [1 / 58.395, 1 / 57.12, 1 / 57.375]
TORCH_MEAN = [123.675, 116.28, 103.53]

# name -> shape, layers, scale, mean, what is left before the first layer of the int8 graph
CASES = {
    "dense on a flat image": (
        (9, 9),
        lambda: [layers.Flatten(), layers.Dense(5, **RANDOM)],
        1 / 255,
        0.0,
        ["Reshape"],
    ),
    "convolution with padding, half a pixel off": (
        (9, 9, 3),
        lambda: [layers.Conv2D(6, 3, padding="same", **RANDOM)],
        1 / 127.5,
        127.5,
        ["Transpose"],
    ),
    "convolution without padding": (
        (9, 9, 3),
        lambda: [layers.Conv2D(6, 3, **RANDOM)],
        1 / 127.5,
        127.5,
        ["Transpose"],
    ),
    "a scale and a mean for each channel": (
        (9, 9, 3),
        lambda: [layers.Conv2D(6, 3, **RANDOM)],
        TORCH_SCALE,
        TORCH_MEAN,
        ["Transpose"],
    ),
    "the same, where padding is another value in each channel": (
        (9, 9, 3),
        lambda: [layers.Conv2D(6, 3, padding="same", **RANDOM)],
        TORCH_SCALE,
        TORCH_MEAN,
        ["Transpose", "Cast", "Expand", "Add", "QuantizeLinear"],
    ),
    "a mean that is no pixel": (
        (9, 9, 1),
        lambda: [layers.Conv2D(6, 3, padding="same", **RANDOM)],
        0.01,
        300.0,
        ["Reshape", "Cast", "Add", "QuantizeLinear"],
    ),
    "depthwise": (
        (9, 9, 4),
        lambda: [layers.DepthwiseConv2D(3, depth_multiplier=2, **DEPTHWISE)],
        [0.01, 0.02, 0.03, 0.04],
        [1.0, 2.0, 3.0, 4.0],
        ["Transpose"],
    ),
    "grouped": (
        (9, 9, 4),
        lambda: [layers.Conv2D(8, 3, groups=2, **RANDOM)],
        [0.01, 0.02, 0.03, 0.04],
        [1.0, 2.0, 3.0, 4.0],
        ["Transpose"],
    ),
    "a table": (
        (4,),
        lambda: [layers.Dense(6, **RANDOM)],
        [0.01, 0.02, 0.03, 0.04],
        [0.0, 9.0, 99.0, 255.0],
        [],
    ),
    "a sequence": (
        (7, 4),
        lambda: [layers.Dense(6, **RANDOM)],
        [0.01, 0.02, 0.03, 0.04],
        10.0,
        [],
    ),
    "its own rescaling": (
        (9, 9, 3),
        lambda: [layers.Rescaling(1 / 127.5, -1), layers.Conv2D(6, 3, padding="same")],
        1.0,
        0.0,
        ["Transpose"],
    ),
    "its own normalization": (
        (9, 9, 3),
        lambda: [
            layers.Normalization(mean=[100.0, 110.0, 120.0], variance=[4e2, 5e2, 6e2]),
            layers.Conv2D(6, 3),
        ],
        1.0,
        0.0,
        ["Transpose"],
    ),
    "a layer without weights first": (
        (8, 8, 3),
        lambda: [layers.MaxPooling2D(), layers.Conv2D(6, 3, **RANDOM)],
        1 / 127.5,
        127.5,
        ["Transpose", "Cast", "Mul", "Add", "MaxPool", "QuantizeLinear"],
    ),
}


def pixels_of(shape, count=40):
    return np.random.default_rng(3).integers(0, 256, (count, *shape), dtype=np.uint8)


def exported(name):
    shape, make, scale, mean, before = CASES[name]
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input(shape, name="image"), *make()])
    loaded = take_pixels(load_model(model), scale, mean)
    graph = optimize(export(loaded, opset=17, ir_version=8).graph)
    scaled = (pixels_of(shape).astype(np.float64) - np.asarray(mean)) * np.asarray(scale)
    return graph, np.asarray(model(scaled.astype(np.float32))), before


def answer(graph, name):
    (found,) = run_as_defined(graph)({"image": pixels_of(CASES[name][0])}).values()
    return found


def in_int8(graph, name):
    model = ir.from_proto(graph)
    ranges = collect_ranges(model, lambda size: [{"image": pixels_of(CASES[name][0])}])
    return ir.to_proto(quantize(model, Recipe("static"), ranges, find_target("any")).graph)


@pytest.mark.parametrize("name", CASES)
def test_the_float_graph_scales_as_keras_was_fed(name):
    graph, expected, _ = exported(name)
    np.testing.assert_allclose(answer(graph, name), expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_an_int8_graph_reads_the_bytes_as_its_first_codes_where_that_is_exact(name):
    graph, expected, before = exported(name)
    quantized = in_int8(graph, name)
    kinds = [node.op_type for node in quantized.graph.node if node.op_type != "DequantizeLinear"]
    first = next(place for place, kind in enumerate(kinds) if kind in ("Conv", "Gemm", "MatMul"))
    assert kinds[:first] == before
    noise = np.mean((answer(quantized, name) - expected) ** 2) / np.var(expected)
    assert 10 * np.log10(1 / noise) > 30


def test_black_and_white_images_are_no_further_off_than_others():
    """The bias has to make up for half a pixel everywhere."""
    name = "convolution with padding, half a pixel off"
    graph, _, _ = exported(name)
    quantized = in_int8(graph, name)
    for shade in (0, 128, 255):
        image = np.full((1, 9, 9, 3), shade, np.uint8)
        (want,), (got,) = (run_as_defined(g)({"image": image}).values() for g in (graph, quantized))
        step = np.ptp(want) / 255 + 0.02
        inner = (slice(None), slice(1, -1), slice(1, -1))
        assert np.abs(want - got)[inner].max() < step


def make_model():
    keras.utils.set_random_seed(6)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(16, 3, activation="relu", **RANDOM),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, activation="softmax", kernel_initializer="random_normal"),
        ]
    )


def test_a_converted_model_takes_pixels_and_says_so(tmp_path, capsys):
    model, images = make_model(), pixels_of((8, 8, 3), 300)
    expected = np.asarray(model((images.astype(np.float32) - 127.5) / 127.5))
    report = convert(
        model,
        tmp_path / "m.onnx",
        calibration=images,
        quantize="static",
        input_uint8=True,
        scale=1 / 127.5,
        mean=127.5,
        max_drop=0.1,
        evaluation=(images, expected.argmax(axis=1)),
    )
    (spec,) = report.card.inputs
    assert (spec.dtype, spec.shape, spec.value_range) == (np.uint8, ("N", 8, 8, 3), (0, 255))
    assert report.card.preprocessing == ("'image': uint8 pixels, (pixel - 127.5) * 0.00784314",)
    assert main(["info", str(tmp_path / "m.onnx")]) == 0
    assert "inside       'image': uint8 pixels, (pixel - 127.5) *" in capsys.readouterr().out
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        np.testing.assert_allclose(predictor.predict(images), expected, atol=0.02)
        with pytest.raises(Exception, match="would change"):
            predictor.predict(images / 255)


def test_a_model_that_scales_by_itself_names_its_layers_in_the_card(tmp_path):
    model = keras.Sequential(
        [keras.Input((4,), name="x"), layers.Rescaling(0.5, 1.0, name="half"), layers.Dense(3)]
    )
    report = convert(model, tmp_path / "m.onnx", quantize="none")
    assert report.card.preprocessing == ("Rescaling 'half': scale 0.5, offset 1.0",)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scale": 0.1}, "scale was given without input_uint8"),
        ({"mean": 0.1}, "mean was given without input_uint8"),
        ({"input_uint8": True, "scale": [1.0, 2.0]}, r"one for each of the 3 channels of 'image'"),
        ({"input_uint8": True, "scale": 0.0}, "expected numbers above zero"),
        ({"input_uint8": True, "mean": float("nan")}, "mean is nan, expected a finite number"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(options, sentence, tmp_path):
    with pytest.raises(OptionError, match=sentence):
        convert(make_model(), tmp_path / "m.onnx", quantize="none", **options)


def test_a_model_without_one_image_is_refused(regression_model, tmp_path):
    with pytest.raises(OptionError, match="found 0 float images among the inputs 'zeta'"):
        convert(regression_model, tmp_path / "m.onnx", quantize="none", input_uint8=True)


@pytest.mark.parametrize("quantize_as", ["none", "static"])
def test_a_first_layer_without_bias_that_is_the_output_keeps_its_offset(quantize_as, tmp_path):
    keras.utils.set_random_seed(9)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Flatten(),
            layers.Dense(12, use_bias=False, name="answer"),
        ]
    )
    images = pixels_of((8, 8, 3), 60)
    convert(
        model,
        tmp_path / "m.onnx",
        input_uint8=True,
        scale=1 / 127.5,
        mean=127.5,
        calibration=images,
        quantize=quantize_as,
    )
    expected = np.asarray(model((images.astype(np.float32) - 127.5) / 127.5))
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        found = predictor.predict(images)
    assert np.abs(found - expected).max() < 0.05 * np.ptp(expected)
