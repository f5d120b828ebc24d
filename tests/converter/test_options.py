"""The option records: one list for ``convert``, its records and the command line."""

import argparse
import inspect
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from edgeport import OptionError
from edgeport_converter import (
    BudgetOptions,
    DeviceOptions,
    LoadingOptions,
    PixelOptions,
    QuantizationOptions,
    convert,
)
from edgeport_converter.commands import add_convert
from edgeport_converter.options import RECORDS, OptionKeywords, gather_options
from edgeport_converter.paths import find_destination

NOTHING = dict.fromkeys(RECORDS)
NAMES = [option.name for record in RECORDS.values() for option in fields(record)]


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    add_convert(parser.add_subparsers())
    return parser.parse_args(["convert", "m.keras", "-o", "m.onnx", *arguments])


def test_no_two_records_share_a_name():
    assert len(set(NAMES)) == len(NAMES)


def test_type_checkers_know_every_option():
    assert list(get_type_hints(OptionKeywords)) == NAMES


def test_the_docstring_of_convert_explains_every_option():
    text = inspect.getdoc(convert)
    assert [name for name in NAMES if f"- ``{name}``: " not in text] == []


def test_the_command_line_has_every_option():
    arguments = []
    for option in (option for record in RECORDS.values() for option in fields(record)):
        choices = option.metadata.get("choices", ())
        value = [] if option.default is False else [choices[0] if choices else "7"]
        arguments += ["--" + option.name.replace("_", "-"), *value]
    assert set(NAMES) <= set(vars(parsed(*arguments)))


def test_what_is_not_given_on_the_command_line_is_the_records_default():
    assert not set(NAMES) & set(vars(parsed()))


def test_a_record_and_its_keywords_write_the_same_file(two_layer_model, samples, tmp_path):
    convert(
        two_layer_model,
        tmp_path / "a.onnx",
        calibration=samples,
        quantize="static",
        ranges="mse",
        max_drop=0.1,
        target="arm64",
    )
    convert(
        two_layer_model,
        tmp_path / "b.onnx",
        calibration=samples,
        quantization=QuantizationOptions(quantize="static", ranges="mse"),
        budget=BudgetOptions(max_drop=0.1),
        device=DeviceOptions(target="arm64"),
    )
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_record_beside_its_own_keyword_is_refused(two_layer_model, tmp_path):
    with pytest.raises(OptionError, match="quantization and its option quantize were both given"):
        convert(
            two_layer_model,
            tmp_path / "m.onnx",
            quantize="none",
            quantization=QuantizationOptions(),
        )
    both = gather_options(NOTHING | {"pixels": PixelOptions(image_range=(0, 1))}, {"max_drop": 0.1})
    assert (both.pixels.image_range, both.budget.max_drop) == ((0.0, 1.0), 0.1)


def test_a_record_in_the_wrong_place_is_refused():
    with pytest.raises(OptionError, match="pixels is a BudgetOptions, expected PixelOptions"):
        gather_options(NOTHING | {"pixels": BudgetOptions()}, {})


def test_an_option_that_does_not_exist_is_an_error_like_pythons_own(two_layer_model, tmp_path):
    with pytest.raises(TypeError, match="unexpected keyword argument 'quantise': did you mean"):
        convert(two_layer_model, tmp_path / "m.onnx", quantise="none")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: QuantizationOptions(quantize="int4"), "quantize is 'int4', expected one of auto"),
        (lambda: QuantizationOptions(quantize=["none"]), r"quantize is \['none'\], expected one"),
        (lambda: QuantizationOptions(keep_float=[1]), "keep_float holds 1, expected words"),
        (lambda: QuantizationOptions(keep_float=1), "keep_float is 1, expected a list of words"),
        (lambda: QuantizationOptions(also=3), "also is 3, expected a list of words"),
        (lambda: PixelOptions(input_uint8="no"), "input_uint8 is 'no', expected True or False"),
        (lambda: LoadingOptions(allow_code="no"), "allow_code is 'no', expected True or False"),
        (lambda: BudgetOptions(max_drop=True), "max_drop is True, expected a share"),
        (lambda: PixelOptions(scale=2), "scale was given without input_uint8"),
        (lambda: DeviceOptions(target="z80"), "the target is 'z80'"),
        (lambda: DeviceOptions(target=["any"]), r"the target is \['any'\]"),
        (lambda: DeviceOptions(onnxruntime="old"), "the onnxruntime version is 'old'"),
    ],
)
def test_a_record_refuses_what_it_cannot_hold(make, sentence):
    with pytest.raises(OptionError, match=sentence):
        make()


@pytest.mark.parametrize("labels", [{"cat", "dog"}, {"cat": 0, "dog": 1}, 2, Path("names.txt")])
def test_class_names_without_an_order_are_refused(labels, two_layer_model, tmp_path):
    with pytest.raises(
        OptionError, match=r"labels are a \w+, expected a list of names in the order"
    ):
        convert(two_layer_model, tmp_path / "m.onnx", labels=labels)


@pytest.mark.parametrize("options", [{"scale": 1e39}, {"scale": 1e-60}, {"mean": -1e39}])
def test_a_scale_that_float32_cannot_hold_is_refused(options, two_layer_model, tmp_path):
    with pytest.raises(OptionError, match=r"expected (a finite number|numbers above zero)"):
        convert(two_layer_model, tmp_path / "m.onnx", input_uint8=True, **options)


@pytest.mark.parametrize("given", ["dense", ["dense"], ("dense",)])
def test_one_layer_is_a_list_of_one(given):
    assert QuantizationOptions(keep_float=given).keep_float == ("dense",)
    assert QuantizationOptions(keep_float=None).keep_float == ()


def test_a_training_writes_a_keras_file_and_a_conversion_an_onnx_file(tmp_path):
    output = tmp_path / "m.keras"
    assert find_destination(output, (), is_artifact=False) == output
    with pytest.raises(
        OptionError, match=r"ends in '\.keras', expected a name that ends in \.onnx"
    ):
        find_destination(output, ())
