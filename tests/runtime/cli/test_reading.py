"""Data files for the command line: what is read, and what is refused rather than guessed."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import identity, sealed, spec, two_inputs
from PIL import Image

import edgeport
from edgeport import InputError, ModelCard
from edgeport.cli import reading
from edgeport.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A model that answers two integers with themselves."""
    path = tmp_path / "pairs.onnx"
    path.write_bytes(identity("int64", ("N", 2)).artifact())
    return path


def answers(capsys: Capture, artifact: Path, *data: Path) -> list[Any]:
    assert main(["predict", str(artifact), *map(str, data), "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    rows = map(json.loads, shown.out.splitlines())
    return [row.get("outputs", row)["y"] for row in rows]  # of a photo beside its file's name


def refusal(capsys: Capture, *arguments: object) -> str:
    code = main(["predict", *map(str, arguments)])
    assert code in (edgeport.InputError.exit_code, edgeport.OptionError.exit_code)
    return capsys.readouterr().err.removeprefix("edgeport: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        ('"a","b"\n"1","2"\n\n3,4\n', [[1, 2], [3, 4]]),
        ('"a,b","c\nd"\n1,2\n', [[1, 2]]),
        ("\n\na,b\n3,4\n", [[3, 4]]),
        ("\ufeffa,b\n3,4\n", [[3, 4]]),
        ("0,1\n3,4\n", [[0, 1], [3, 4]]),
        ("9007199254740993,1\n", [[2**53 + 1, 1]]),
        ("1.0,2e0\n", [[1, 2]]),
        ("", []),
    ],
)
def test_a_table_is_read(
    text: str, wanted: list[Any], pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "x.csv"
    table.write_text(text, encoding="utf-8")
    assert answers(capsys, pairs, table) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,,2\n3,4\n", "line 1: '' is no number: repair the line"),
        ("a,1\n3,4\n", "line 1: 'a' is no number: repair the line"),
        ("a,b\nc,d\n1,2\n", "line 2: 'c' is no number: repair the line"),
        ("1_0,4\n", "line 1: '1_0' is no number: repair the line"),
        ("4,1e999\n", "line 1: '1e999' is beyond every float: repair the line"),
        ("1 2\n", "line 1: '1 2' is no number: repair the line, or check that commas part"),
        ("a b\n", "has a header and no numbers: check that commas part its columns"),
        ("9007199254740993,1.0\n", "a list of floats with the integer 9007199254740993"),
        ('1,"2\n', "cannot be read as .csv"),
        ("1,2\n3\n", "sample 1 of the stream cannot be used: input 'x' has shape (1,)"),
    ],
)
def test_a_table_is_refused(
    text: str, words: str, pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "x.csv"
    table.write_text(text, encoding="utf-8")
    assert words in refusal(capsys, pairs, table)


def test_json_lines_may_start_with_a_byte_order_mark(
    pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    lines = tmp_path / "x.jsonl"
    lines.write_text("\ufeff[1,2]\n", encoding="utf-8")
    assert answers(capsys, pairs, lines) == [[1, 2]]


def test_a_name_given_twice_is_refused(pairs: Path, tmp_path: Path, capsys: Capture) -> None:
    lines, archive = tmp_path / "x.jsonl", tmp_path / "x.npz"
    lines.write_text('{"x": [1, 2], "x": [3, 4]}\n', encoding="utf-8")
    assert "line 1 is no JSON (a name occurs twice)" in refusal(capsys, pairs, lines)
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("x", "x.npy"):  # both of which numpy calls "x"
            file.writestr(name, _npy([1, 2]))
    assert refusal(capsys, pairs, archive) == (
        f"'{archive}' has two arrays of one name: save it again"
    )


def test_an_archive_that_holds_more_than_arrays_is_refused(
    pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    archive = tmp_path / "x.npz"
    for array in ([], [("x.npy", _npy([1, 2]))]):
        with zipfile.ZipFile(archive, "w") as file:
            for name, content in [("notes.txt", b"calibrated in May"), *array]:
                file.writestr(name, content)
        assert refusal(capsys, pairs, archive) == (
            f"'{archive}' holds 'notes.txt', expected arrays alone: save it again"
        )


@pytest.mark.parametrize("labels", ["y", "labels", "y_test"])
@pytest.mark.parametrize("name", ["x", "arr_0", "images"])
def test_labels_beside_the_input_are_left_out(
    name: str, labels: str, pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    archive = tmp_path / "x.npz"
    np.savez(archive, **{labels: np.array([7, 8, 9]), name: np.array([[1, 2], [3, 4], [5, 6]])})
    assert answers(capsys, pairs, archive) == [[1, 2], [3, 4], [5, 6]]


def test_labels_beside_several_inputs_are_left_out(tmp_path: Path, capsys: Capture) -> None:
    artifact, archive = tmp_path / "two.onnx", tmp_path / "two.npz"
    artifact.write_bytes(two_inputs().artifact())
    pair = {"left": np.ones((2, 4), "f4"), "right": np.full((2, 4), 2, "f4")}
    np.savez(archive, **pair)
    assert main(["predict", str(artifact), str(archive), "--json"]) == 0
    wanted = capsys.readouterr().out
    np.savez(archive, **pair, y=np.zeros(2))
    assert main(["predict", str(artifact), str(archive), "--json"]) == 0
    assert capsys.readouterr().out == wanted


def test_two_arrays_of_which_either_may_be_the_input_are_refused(
    pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    archive = tmp_path / "x.npz"
    np.savez(archive, a=np.array([[1, 2]]), b=np.array([[3, 4]]), y=np.array([1]))
    assert "'x'" in refusal(capsys, pairs, archive)


def _npy(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.png"])
def test_a_pipe_is_refused_where_no_pipe_can_be_read(
    name: str, pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    os.mkfifo(tmp_path / name)  # opening it would wait for a writer for ever
    assert refusal(capsys, pairs, tmp_path / name) == (
        f"'{tmp_path / name}' is a pipe or a device, expected a file, since only .csv and .jsonl "
        "are read from first to last: pass a file"
    )


@pytest.mark.parametrize("name", ["photos", "photos.jpg", "table.csv"])
def test_a_folder_without_photos_is_refused(
    name: str, pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "rows.csv").write_text("1,2\n")
    sentence = refusal(capsys, pairs, tmp_path / name)
    assert sentence.startswith(f"the folder '{tmp_path / name}' holds no photo, expected .png, ")


def test_a_folder_is_no_sample_to_measure(pairs: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["bench", str(pairs), "--data", str(tmp_path)]) == edgeport.InputError.exit_code
    assert f"'{tmp_path}' is a folder, expected a file: pass one" in capsys.readouterr().err


def test_a_file_of_numpys_other_kind_is_named_as_that(
    pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    array, archive = tmp_path / "a.npy", tmp_path / "b.npz"
    with archive.open("wb") as file:
        np.save(file, [[1, 2]])
    with array.open("wb") as file:
        np.savez(file, x=[[1, 2]])
    assert "cannot be read as .npz (File is not a zip file)" in refusal(capsys, pairs, archive)
    assert "cannot be read as .npy (the magic string is not" in refusal(capsys, pairs, array)


def test_a_name_that_no_file_can_have_is_refused(
    pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    data, long = tmp_path / "x.npy", "x" * 300 + ".npy"
    np.save(data, [[1, 2]])
    assert "there is no file" in refusal(capsys, pairs, tmp_path / long)
    assert "cannot be written" in refusal(capsys, pairs, data, "-o", tmp_path / long)
    assert "the output is '', expected a name" in refusal(capsys, pairs, data, "-o", "")


def test_a_batch_and_a_single_sample_in_one_file_are_refused(
    tmp_path: Path, capsys: Capture
) -> None:
    artifact, pair = tmp_path / "two.onnx", tmp_path / "pair.npz"
    artifact.write_bytes(two_inputs().artifact())
    for samples, words in (
        (1, "input 'right' is one sample of shape (4,) but input 'left' is a batch"),
        (2, "input 'right' has 1 along axis N and input 'left' has 2"),
    ):
        np.savez(pair, left=np.zeros((samples, 4), "f4"), right=np.ones(4, "f4"))
        assert words in refusal(capsys, artifact, pair)


HEADERS = [
    "a,b",
    "x1,x2",
    "NA,potassium",  # one name is enough
    ",b",
    "Größe,面積",
    "_0,_1",
    "(0),(1)",
    '"y[0]","y[1]"',
    '"0[0]","0[1]"',  # as the command line itself writes an output that is named 0
    "# time,value",
    "mean,std",
]


@pytest.mark.parametrize("header", HEADERS)
def test_a_line_of_names_is_skipped(header: str, tmp_path: Path, capsys: Capture) -> None:
    table = tmp_path / "x.csv"
    table.write_text(f"{header}\n1,2\n3,4\n", encoding="utf-8")
    card = identity("int64", ("N", 2)).card
    samples = list(reading.read_samples([str(table)], card).items)
    assert samples == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("line", "cell"),
    [
        ("NA,", "NA"),
        ("NA,nan", "NA"),
        (",", ""),
        (" , ", " "),
        ('"",""', ""),
        ("n/a,NULL", "n/a"),
        ("None,<NA>", "None"),
        ("#N/A,-1.#IND", "#N/A"),
        ("?,-", "?"),
        ("--,...", "--"),
        ("NaN,NaT", "NaT"),
        ("1.5.2,2.5.1", "1.5.2"),
        ("12%,15%", "12%"),
        ("$5,€6", "$5"),
        ("0x1F,0x2A", "0x1F"),
        ("1_000,2_000", "1_000"),
        ("2024-01-01,12:30", "2024-01-01"),
        ("1;2,3;4", "1;2"),
        ("<5,>9", "<5"),
        ("1e,2e", "1e"),
        ("a,2", "a"),
        ("n.a.,N.A", "n.a."),
        ("#DIV/0!,#VALUE!", "#DIV/0!"),
        ("#REF!,#NAME?", "#REF!"),
        ("true,False", "true"),
        ("yes,no", "yes"),
        ("void,void", "void"),  # no two columns have one name
        ("unk,unk", "unk"),
        ("error,", "error"),
        ("undefined,NA", "undefined"),
    ],
)
def test_a_first_line_that_lost_its_values_is_no_header(
    line: str, cell: str, tmp_path: Path
) -> None:
    """Skipped as a header, it would move every answer up by one sample."""
    table = tmp_path / "x.csv"
    table.write_text(f"{line}\n1,2\n3,4\n", encoding="utf-8")
    card = identity("float32", ("N", 2)).card
    with pytest.raises(
        InputError, match=re.escape(f"line 1: '{cell}' is no number: repair the line")
    ):
        list(reading.read_samples([str(table)], card).items)


def test_a_missing_value_in_a_later_line_is_named(tmp_path: Path) -> None:
    table = tmp_path / "x.csv"
    table.write_text("a,b\n1,2\nNA,4\n")
    samples = reading.read_samples([str(table)], identity("float32", ("N", 2)).card).items
    assert next(samples) == [1, 2]
    with pytest.raises(InputError, match="line 3: 'NA' is no number: repair the line"):
        next(samples)


def test_two_headers_are_one_too_many(tmp_path: Path) -> None:
    table = tmp_path / "x.csv"
    table.write_text("a,b\nm,s\n1,2\n")
    samples = reading.read_samples([str(table)], identity("float32", ("N", 2)).card).items
    with pytest.raises(InputError, match="line 2: 'm' is no number"):
        next(samples)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("b,a", "'b' as column 1, expected 'a'"),
        ("a", "no column 2, expected 'b'"),
        ("a,b,", "'' as column 3, expected none"),
    ],
)
def test_files_with_other_headers_are_refused(
    header: str, words: str, tmp_path: Path, pairs: Path, capsys: Capture
) -> None:
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    first.write_text("a,b\n1,2\n")
    second.write_text(f"{header}\n4,3\n")
    output = tmp_path / "y.npy"
    said = refusal(capsys, pairs, first, second, "-o", output)
    assert said.startswith(f"'{second}' has {words} as in '{first}', since the model takes columns")
    assert not output.exists()
    second.write_text("3,4\n")  # the rest of a file that was cut by its lines
    assert answers(capsys, pairs, first, second, first) == [[1, 2], [3, 4], [1, 2]]


def _image_model(folder: Path, *sizes: int, axes: str = "HWC") -> Path:
    port = spec("x", "uint8", ("N", *sizes), axes=("N", *axes))
    path = folder / f"{'x'.join(map(str, sizes))}.onnx"
    card = ModelCard("image", (port,), (replace(port, name="y"),))
    path.write_bytes(sealed(identity("uint8", ("N", *sizes)).onnx, card))
    return path


RGB = np.arange(12, dtype="u1").reshape(2, 2, 3)
GRAY_16 = np.array([[0, 1000], [30000, 65535]], "u2")


def _png(depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of 2 x 2 pixels, written by the format's own rules."""
    header = (b"IHDR", struct.pack(">IIBBBBB", 2, 2, depth, colour, 0, 0, 0))
    body = (header, *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in body
    )


@pytest.mark.parametrize(
    ("name", "make", "channels", "words"),
    [
        ("a.png", lambda: Image.fromarray(GRAY_16), 1, "convert it to mode L first"),
        ("a.tif", lambda: Image.fromarray(GRAY_16.astype("f4")), 1, "has the mode F"),
        ("a.png", lambda: Image.fromarray(RGB), 1, "has the mode RGB, expected L"),
        ("a.png", lambda: Image.fromarray(RGB[..., 0]), 3, "has the mode L, expected RGB"),
        ("a.png", lambda: Image.new("RGBA", (2, 2)), 3, "has the mode RGBA, expected RGB"),
        ("a.png", lambda: Image.new("1", (2, 2)), 1, "has the mode 1"),
        ("a.gif", lambda: Image.fromarray(RGB), 3, "has the mode P, expected RGB"),
        ("a.jpg", lambda: Image.new("CMYK", (2, 2)), 3, "has the mode CMYK, expected RGB"),
    ],
)
def test_an_image_of_another_mode_is_refused(
    name: str, make: Any, channels: int, words: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / name
    make().save(path)
    sentence = refusal(capsys, _image_model(tmp_path, 2, 2, channels), path)
    assert words in sentence
    assert sentence.startswith(f"'{path}' has the mode ")


@pytest.mark.parametrize(
    ("png", "channels", "words"),
    [
        (_png(16, 2, bytes(26)), 3, "has channels of other than 8 bits (RGB;16B)"),
        (_png(2, 0, bytes(4)), 1, "has channels of other than 8 bits (L;2)"),
        (_png(8, 2, bytes(14), (b"tRNS", bytes(6))), 3, "has a transparent colour"),
    ],
)
def test_what_pillow_would_convert_unseen_is_refused(
    png: bytes, channels: int, words: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png)
    assert words in refusal(capsys, _image_model(tmp_path, 2, 2, channels), path)


@pytest.mark.parametrize("name", ["x.tiff", "x.png", "x.gif"])
def test_an_image_of_several_pages_is_refused(name: str, tmp_path: Path, capsys: Capture) -> None:
    pages = [Image.fromarray(RGB[..., 0]), Image.fromarray(255 - RGB[..., 0])]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    sentence = refusal(capsys, _image_model(tmp_path, 2, 2, 1), tmp_path / name)
    assert sentence.endswith("holds 2 pages, expected one image: save each as a file of its own")


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_an_image_of_the_models_mode_comes_bit_by_bit(
    name: str, channels: int, tmp_path: Path, capsys: Capture
) -> None:
    pixels = np.arange(4 * channels, dtype="u1").reshape(2, 2, channels)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(tmp_path / name)
    artifact = _image_model(tmp_path, 2, 2, channels)
    assert answers(capsys, artifact, tmp_path / name) == [pixels.tolist()]


def test_a_file_is_read_only_when_its_turn_comes(tmp_path: Path) -> None:
    card = identity("float32", ("N", 2)).card
    np.savez(tmp_path / "a.npz", np.ones((2, 2), "f4"))
    (tmp_path / "b.npz").write_text("nonsense")
    samples = reading.read_samples([str(tmp_path / "a.npz"), str(tmp_path / "b.npz")], card)
    assert [next(samples.items).tolist() for _ in range(2)] == [[1, 1], [1, 1]]
    with pytest.raises(edgeport.InputError, match=r"b\.npz' cannot be read as \.npz"):
        next(samples.items)


def test_images_are_decoded_one_by_one(tmp_path: Path) -> None:
    port = spec("x", "uint8", ("N", 2, 2, 3), axes=("N", "H", "W", "C"))
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("nonsense")
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    samples = reading.read_samples(paths, ModelCard("image", (port,), (port,)))
    assert samples.total == 2
    np.testing.assert_array_equal(next(samples.items), RGB)
    with pytest.raises(edgeport.InputError, match=r"b\.png' cannot be read as \.png"):
        next(samples.items)


def test_a_missing_file_is_named_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("nonsense")
    paths = [str(tmp_path / name) for name in ("a.npz", "b.npz")]
    with pytest.raises(edgeport.InputError, match=r"there is no file '.*b\.npz'"):
        reading.read_samples(paths, identity().card)
