"""Columns of tables: matched by name, labels by their column, text numbered by the class names."""

import numpy as np
import pytest

from edgeport import InputError, OptionError, TensorSpec
from edgeport_converter import convert
from edgeport_converter.data.datasets import read_dataset
from edgeport_converter.data.tables import read_frame
from edgeport_converter.data.user_data import read_user_data

SPEC = (TensorSpec("x", np.dtype(np.float32), ("N", 2), ("N", "F")),)
SCORES = (TensorSpec("y", np.dtype(np.float32), ("N", 3), ("N", "F")),)


def table(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def both(tmp_path, calibration, evaluation, **options):
    return read_user_data(
        table(tmp_path / "c.csv", calibration),
        table(tmp_path / "e.csv", evaluation),
        SPEC,
        SCORES,
        needs_classes=True,
        image_range=(0.0, 255.0),
        **options,
    )


@pytest.mark.parametrize(
    "evaluation",
    ["wide,high\n1,2\n3,4\n", "high,wide\n2,1\n4,3\n", "high,label,wide\n2,0,1\n4,1,3\n"],
)
def test_columns_in_another_order_are_matched_by_name(evaluation, tmp_path):
    user = both(tmp_path, "wide,high\n5,6\n7,8\n", evaluation)
    np.testing.assert_array_equal(user.measured.first(9)["x"], [[1, 2], [3, 4]])
    assert user.measured.columns == user.calibration.columns == ("wide", "high")


@pytest.mark.parametrize(
    ("evaluation", "found"),
    [
        ("wide,height\n1,2\n3,4\n", r"no column 'high' and the column 'height' more"),
        ("wide\n1\n3\n", r"no column 'high'"),
        ("wide,high,deep\n1,2,3\n3,4,5\n", r"the column 'deep' more"),
        ("wide,high,high\n1,2,3\n3,4,5\n", r"the column 'high' more than once"),
    ],
)
def test_other_columns_are_refused_by_name(evaluation, found, tmp_path):
    with pytest.raises(OptionError, match=rf"e.csv' has {found}, expected"):
        both(tmp_path, "wide,high\n5,6\n7,8\n", evaluation)


NAMES = ["setosa", "versicolor", "virginica"]


@pytest.mark.parametrize(
    ("text", "names", "labels"),
    [
        ("species,a,b\nvirginica,1,2\nsetosa,3,4\n", NAMES, [2, 0]),
        ("a,species,b\n1,2,2\n3,0,4\n", NAMES, [2, 0]),
        ("a,b,species\n1,2,8\n3,4,3\n", ["3", "5", "8"], [2, 0]),
        ("a,b,species\n1,2,2.0\n3,4,0.0\n", None, [2, 0]),
        ('a,b,species\n1,2," zo\u00eb, x "\n3,4,b\n', ["a", "b", "zo\u00eb, x"], [2, 1]),
    ],
)
def test_the_column_of_the_labels_may_be_named(text, names, labels, tmp_path):
    user = both(tmp_path, "a,b\n5,6\n7,8\n", text, class_names=names, label_column="species")
    np.testing.assert_array_equal(user.measured.first(9)["x"], [[1, 2], [3, 4]])
    assert user.labels.tolist() == labels


@pytest.mark.parametrize(
    ("text", "names", "found"),
    [
        ("a,b,specie\n1,2,0\n", None, r"no column 'species', .*: did you mean 'specie'"),
        ("a,b,c\n1,2,0\n", None, r"no column 'species', .*: it has a, b, c"),
        ("a,b,species\n1,2,setosa\n", None, r"'setosa' in line 2, column 'species', .*labels=\["),
        ("a,b,species\n1,2,setosa\n1,3,rose\n", NAMES, r"the label 'rose' in line 3, expected one"),
        ("a,b,species\n1,2,0\n1,3,rose\n", NAMES, r"'rose' in line 3, column 'species'"),
        ("a,b,species\n1,2,0\n1,3,\n", NAMES, r"'' in line 3, column 'species'"),
    ],
)
def test_labels_that_cannot_be_read_are_named_with_their_line(text, names, found, tmp_path):
    with pytest.raises(OptionError, match=rf"e.csv' has {found}"):
        both(tmp_path, "a,b\n5,6\n7,8\n", text, class_names=names, label_column="species")


def test_labels_of_the_calibration_are_not_read(tmp_path):
    user = both(tmp_path, "label,a,b\nred,5,6\n,7,8\n", "a,b\n1,2\n3,4\n")
    assert user.calibration.columns == ("a", "b")
    np.testing.assert_array_equal(user.calibration.first(9)["x"], [[5, 6], [7, 8]])


def test_a_column_too_many_gets_a_hint_at_the_labels(tmp_path):
    path = table(tmp_path / "t.csv", "a,b,species\n1,2,0\n3,4,1\n")
    with pytest.raises(InputError, match=r"t.csv': .*named y or label, or by label_column="):
        read_dataset(path, SPEC, "evaluation")


def test_the_label_column_needs_a_table(two_layer_model, samples, tmp_path):
    with pytest.raises(OptionError, match=r"label_column was given and no data is a \.csv file"):
        convert(two_layer_model, tmp_path / "m.onnx", evaluation=samples, label_column="kind")
    with pytest.raises(OptionError, match=r"label_column is '', expected the name of a column"):
        convert(two_layer_model, tmp_path / "m.onnx", evaluation="t.csv", label_column="")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.array(["2024-01-01", "2024-01-02"], "M8[s]"), "dates"),
        (np.array([1, 2], "m8[s]"), "time differences"),
        (np.array([1 + 2j, 2]), "complex numbers"),
    ],
)
def test_what_is_no_number_in_a_frame_is_refused(values, found):
    """numpy turns dates into counts of seconds, and drops imaginary parts."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": values, "b": [1.0, 2.0]})
    with pytest.raises(OptionError, match=f"has {found} in the column 'a', expected numbers"):
        read_frame(frame, "calibration")


def test_two_columns_of_one_name_in_a_frame_are_refused():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.zeros((2, 3)), columns=["a", "b", "a"])
    with pytest.raises(OptionError, match="data has the column 'a' more than once"):
        read_frame(frame, "calibration")
