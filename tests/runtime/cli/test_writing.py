"""Answers in files: every value comes back, and what a format cannot hold is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_writer as ow
import pytest
from examples import identity, mlp_artifact, sealed, spec

import edgeport
from edgeport import ModelCard
from edgeport.cli.main import main

Capture = pytest.CaptureFixture[str]
TEXT = ["a,b", 'c\r"d\n', "1", ""]


def predict(artifact: bytes, rows: Any, out: Path) -> int:
    """Answer a list, one sample an item, or an array."""
    model, data = out.parent / "m.onnx", out.parent / "x.jsonl"
    model.write_bytes(artifact)
    if isinstance(rows, np.ndarray):
        data = data.with_suffix(".npy")
        np.save(data, rows)
    else:
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return main(["predict", str(model), str(data), "-o", str(out)])


def refusal(capsys: Capture, artifact: bytes, rows: Any, out: Path) -> str:
    assert predict(artifact, rows, out) == edgeport.OptionError.exit_code
    assert not out.exists()
    return capsys.readouterr().err.removeprefix("edgeport: ").removesuffix("\n")


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, strict=True))


def named(name: str) -> bytes:
    """A model that answers two floats with themselves, under this name."""
    shape = ("N", 2)
    onnx = ow.model(
        ow.graph(
            [ow.node("Identity", ["x"], [name])],
            [("x", "float32", shape)],
            [(name, "float32", shape)],
        )
    )
    return sealed(
        onnx, ModelCard("m", (spec("x", "float32", shape),), (spec(name, "float32", shape),))
    )


def test_no_samples_keep_shape_and_dtype(tmp_path: Path) -> None:
    none = np.empty((0, 6), "f4")
    for name in ("y.npy", "y.npz", "y.csv", "y.jsonl"):
        assert predict(mlp_artifact(), none, tmp_path / name) == 0
    array = np.load(tmp_path / "y.npy")
    assert (array.shape, array.dtype) == ((0, 3), np.float32)
    with np.load(tmp_path / "y.npz") as arrays:
        assert (arrays["y"].shape, arrays["y"].dtype) == ((0, 3), np.float32)
    assert table(tmp_path / "y.csv") == [["cat", "dog", "owl"]]
    assert (tmp_path / "y.jsonl").read_text() == ""


def test_no_samples_of_a_free_size_are_refused(tmp_path: Path, capsys: Capture) -> None:
    for name in ("y.npy", "y.csv"):
        sentence = refusal(capsys, identity("float32", ("N", "T")).artifact(), [], tmp_path / name)
        assert sentence == (
            "there are no samples, and without one output 'y' of shape (N, T) has no size to "
            "write: choose a name that ends in .jsonl"
        )


def test_text_comes_back_from_a_table(tmp_path: Path) -> None:
    out = tmp_path / "y.csv"
    assert predict(identity("str", ("N", 4)).artifact(), [TEXT, TEXT[::-1]], out) == 0
    assert table(out) == [["y[0]", "y[1]", "y[2]", "y[3]"], TEXT, TEXT[::-1]]


def test_text_comes_back_from_numpys_files(tmp_path: Path) -> None:
    for name in ("y.npy", "y.npz"):
        assert predict(identity("str", ("N", 4)).artifact(), [TEXT], tmp_path / name) == 0
    assert np.load(tmp_path / "y.npy").tolist() == [TEXT]
    with np.load(tmp_path / "y.npz") as arrays:
        assert arrays["y"].tolist() == [TEXT]


def test_an_output_of_any_name_is_a_column(tmp_path: Path) -> None:
    out = tmp_path / "y.csv"
    assert predict(named('a,"b'), [[1, 2]], out) == 0
    assert table(out) == [['a,"b[0]', 'a,"b[1]'], ["1.0", "2.0"]]


@pytest.mark.parametrize(
    ("width", "labels", "header"),
    [
        (2, ("no", "yes"), ["no", "yes"]),
        (1, ("no", "yes"), ["yes"]),  # a sigmoid, whose one score is that of the second class
        (2, ("7", "8"), ["y[0]", "y[1]"]),  # would be read as a row of numbers
        (2, ("no", "no"), ["y[0]", "y[1]"]),
        (3, ("no", "yes"), ["y[0]", "y[1]", "y[2]"]),
        (2, None, ["y[0]", "y[1]"]),
    ],
)
def test_the_columns_of_a_classifier_are_its_labels(
    width: int, labels: tuple[str, ...] | None, header: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "y.csv"
    artifact = identity("float32", ("N", width)).artifact(labels=labels)
    assert predict(artifact, np.full((1, width), 0.5, "f4"), out) == 0
    assert table(out) == [header, ["0.5"] * width]


@pytest.mark.parametrize("name", ["file", "args", "allow_pickle", "arr_0", "a/b"])
def test_an_output_of_any_name_is_an_array(name: str, tmp_path: Path) -> None:
    out = tmp_path / "y.npz"
    assert predict(named(name), [[1, 2]], out) == 0
    with np.load(out) as arrays:
        assert {key: arrays[key].tolist() for key in arrays.files} == {name: [[1, 2]]}


def test_a_table_is_read_again(tmp_path: Path) -> None:
    model, first, second = (tmp_path / name for name in ("m.onnx", "a.csv", "b.csv"))
    values = np.array([[1e-30, 1 / 3], [-3e38, 16777217]], "f4")
    assert predict(identity("float32", ("N", 2)).artifact(), values, first) == 0
    assert main(["predict", str(model), str(first), "-o", str(second)]) == 0
    assert np.array_equal(np.array(table(second)[1:], "f4"), values)


@pytest.mark.parametrize("name", ["y.npy", "y.npz", "y.csv"])
def test_answers_of_different_lengths_are_refused(
    name: str, tmp_path: Path, capsys: Capture
) -> None:
    artifact = identity("float32", ("N", "T")).artifact()
    assert refusal(capsys, artifact, [[1, 2], [1, 2, 3]], tmp_path / name) == (
        "output 'y' has other shapes for other samples, which one array or table cannot hold: "
        "choose a name that ends in .jsonl"
    )
