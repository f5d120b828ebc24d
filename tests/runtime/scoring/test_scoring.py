"""`edgeport score`: what comes out of each kind of input, and that a run ends where it should."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import column_models
import numpy as np
import pytest
from commands import Capture, fails
from examples import Array, doubler, mlp, needs_fork

from edgeport import InputError, OptionError, Predictor
from edgeport.cli.main import main

pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")

import pyarrow as pa
import pyarrow.parquet as pq

LABELS = np.array(["cat", "dog", "owl"])


def values(rows: int) -> Array:
    return np.random.default_rng(5).normal(size=(rows, 6)).astype("f4")


def score(capsys: Capture, *arguments: object) -> tuple[dict[str, int], str]:
    """Run a command that must succeed; return its facts and what it said."""
    code = main(["score", *map(str, arguments), "--workers", "1", "--json"])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return json.loads(shown.out), shown.err


def table(out: Path) -> Any:
    return pa.concat_tables(pq.read_table(path) for path in sorted((out / "scores").iterdir()))


def rejected(out: Path) -> list[dict[str, Any]]:
    lines = [path.read_text().splitlines() for path in sorted((out / "rejected").iterdir())]
    return [json.loads(line) for part in lines for line in part]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, values(1000))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def write(kind: str, folder: Path, x: Array) -> Path:
    path = folder / f"rows.{kind}"
    if kind == "npy":
        np.save(path, x)
    elif kind == "npz":
        np.savez(path, x=x)
    elif kind == "csv":
        lines = [",".join(repr(float(value)) for value in row) for row in x]
        path.write_text("a,b,c,d,e,f\n" + "\n".join(lines) + "\n")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"x": row.tolist()}) + "\n" for row in x))
    else:
        lists = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), 6)
        columns = {"x": lists if kind == "fixed.parquet" else lists.cast(pa.list_(pa.float32()))}
        pq.write_table(pa.table(columns), path, row_group_size=40)
    return path


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "jsonl", "fixed.parquet", "lists.parquet"])
def test_each_kind_of_file_gives_the_answers_of_the_formula(
    kind: str, tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    x = values(100)
    path = write(kind, tmp_path, x)
    facts, said = score(capsys, path, "--model", mlp_file, "-o", out, "--part-size", "1K")
    found = table(out)
    assert facts["rows"] == len(found) == 100
    assert facts["parts"] == len(list((out / "done").iterdir())) >= (1 if kind == "npz" else 2)
    assert "100 rows" in said
    expected = mlp().formula(x)
    np.testing.assert_allclose(found["scores"].to_pylist(), expected, atol=1e-6)
    assert found["labels"].to_pylist() == LABELS[expected.argmax(axis=1)][:, None].tolist()
    np.testing.assert_allclose(
        found["label_scores"].to_pylist(), expected.max(axis=1, keepdims=True), atol=1e-6
    )
    first = {"csv": 2, "jsonl": 1}.get(kind, 0)
    assert found["row"].to_pylist() == list(range(first, first + 100))
    assert set(found["file"].to_pylist()) == {str(path)}
    assert score(capsys, path, "--model", mlp_file, "-o", out, "--part-size", "1K", "--verify")[
        0
    ] == {"parts": facts["parts"], "rows": 100, "rejected": 0}


def test_the_file_names_the_artifact(
    data: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    score(capsys, data, "--model", mlp_file, "-o", out, "--top-k", 2)
    found = pq.read_schema(out / "scores" / "part-000000.parquet")
    with Predictor.load(mlp_file) as predictor:
        assert found.metadata[b"edgeport.artifact"].decode() == predictor.card.sha256
    best = np.argsort(-mlp().formula(values(1000)), axis=1)[:, :2]
    assert table(out)["labels"].to_pylist() == LABELS[best].tolist()


def test_folders_patterns_and_addresses_name_the_same_files(
    tmp_path: Path, mlp_file: Path, capsys: Capture
) -> None:
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    np.save(folder / "a.npy", values(20))
    np.save(folder / "b.npy", values(30))
    (folder / "notes.txt").write_text("no data")
    found = []
    for number, address in enumerate((folder.parent, folder / "*.npy", f"file://{folder}")):
        out = tmp_path / f"out{number}"
        _, said = score(capsys, address, "--model", mlp_file, "-o", out)
        assert ("1 files of other kinds" in said) == (number != 1)
        found.append(table(out))
    assert len(found[0]) == 50
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def test_an_address_of_fsspec_is_read(mlp_file: Path, out: Path, capsys: Capture) -> None:
    import fsspec

    with fsspec.open("memory://bucket/x.npy", "wb") as file:
        np.save(file, values(10))
    score(capsys, "memory://bucket/x.npy", "--model", mlp_file, "-o", out)
    np.testing.assert_allclose(
        table(out)["scores"].to_pylist(), mlp().formula(values(10)), atol=1e-6
    )


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_is_matched_by_column_and_its_bad_rows_are_named(
    kind: str, tmp_path: Path, out: Path, capsys: Capture
) -> None:
    model = tmp_path / "numbers.onnx"
    model.write_bytes(column_models.artifact(column_models.numbers()))
    rows: dict[str, list[Any]] = {
        "id": ["p", "q", "r", "s"],
        "turns": [2.0, 8.0, None, 1.0],
        "height_cm": [100.0, None, 180.0, 40.0],
        "width_m": [1.5, 0.5, 4.0, 1.0],
    }
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table(rows), path)
    elif kind == "jsonl":
        named = [
            dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in named))
    else:
        cells = [
            ["" if v is None else str(v) for v in row] for row in zip(*rows.values(), strict=True)
        ]
        path.write_text("\n".join(",".join(row) for row in [list(rows), *cells]))
    facts, _ = score(capsys, path, "--model", model, "-o", out, "--keys", "id")
    assert facts == {"rows": 3, "rejected": 1, "parts": 1}
    found = table(out)
    assert found["id"].to_pylist() == ["p", "r", "s"]
    expected = [column_models.score(1.5, 100, 2), column_models.score(4, 180, np.nan)]
    assert found["scores"].to_pylist()[:2] == [[value] for value in expected]
    (bad,) = rejected(out)
    assert (bad["file"], bad["row"]) == (str(path), {"parquet": 1, "jsonl": 2, "csv": 3}[kind])
    assert "'height_cm'" in bad["reason"]
    assert "row 0" not in bad["reason"]


def test_csv_files_with_columns_in_another_order_are_refused_or_named(
    tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    x = values(9)
    folder = tmp_path / "days"
    folder.mkdir()
    first = write("csv", folder, x).rename(folder / "1.csv")
    second = write("csv", folder, x[:, [1, 0, 2, 3, 4, 5]]).rename(folder / "2.csv")
    second.write_text(second.read_text().replace("a,b,c", "b,a,c"))
    (folder / "3.csv").write_text(first.read_text().split("\n", 1)[1])  # rows alone
    arguments = (folder, "--model", mlp_file, "-o", out)
    code, sentence = fails(capsys, "score", *arguments)
    assert code == 7
    assert sentence.startswith(
        f"'{second}' has 'b' as column 1, expected 'a' as in '{first}', since the model takes"
    )
    (folder / "3.csv").rename(tmp_path / "3.csv")
    score(capsys, *arguments, "--columns", *"abcdef")
    scores = np.array(table(out)["scores"].to_pylist())
    np.testing.assert_allclose(scores, np.tile(mlp().formula(x), (2, 1)), atol=1e-6)
    shards = (first, tmp_path / "3.csv")  # of one file, by its lines
    score(capsys, *shards, "--model", mlp_file, "-o", tmp_path / "shards")
    assert table(tmp_path / "shards")["scores"].to_pylist() == table(out)["scores"].to_pylist()


def test_parts_of_a_csv_never_cut_a_cell(
    tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    x = values(60)
    path = tmp_path / "q.csv"
    lines = [
        f'"first\nline, ""{number}""",' + ",".join(repr(float(value)) for value in row)
        for number, row in enumerate(x)
    ]
    path.write_text("note,a,b,c,d,e,f\n" + "\n".join(lines) + "\n")
    options = ("--columns", *"abcdef", "--keys", "note", "--part-size", "200")
    facts, _ = score(capsys, path, "--model", mlp_file, "-o", out, *options)
    assert facts["parts"] > 20
    found = table(out)
    assert found["note"].to_pylist() == [f'first\nline, "{number}"' for number in range(60)]
    assert found["row"].to_pylist() == list(range(3, 123, 2))
    np.testing.assert_allclose(found["scores"].to_pylist(), mlp().formula(x), atol=1e-6)


def test_samples_of_different_lengths_are_answered(
    tmp_path: Path, out: Path, capsys: Capture
) -> None:
    model = tmp_path / "double.onnx"
    model.write_bytes(doubler("float32", ("N", "T")).artifact())
    path = tmp_path / "t.jsonl"
    path.write_text("[1, 2]\n[3]\nno json\n[4, 5]\n")
    facts, _ = score(capsys, path, "--model", model, "-o", out)
    assert facts == {"rows": 3, "rejected": 1, "parts": 1}
    assert table(out)["scores"].to_pylist() == [[2, 4], [6], [8, 10]]
    assert rejected(out)[0]["row"] == 3


def test_damaged_pictures_are_rejected_by_name(tmp_path: Path, out: Path, capsys: Capture) -> None:
    image = pytest.importorskip("PIL.Image")
    from examples import camera

    model = tmp_path / "camera.onnx"
    model.write_bytes(camera().artifact())
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for number in range(12):
        pixels = rng.integers(0, 256, (8 + number // 6, 10, 3), "u1")
        image.fromarray(pixels).save(folder / f"{number:02d}.jpg")
    for number in (4, 11):
        path = folder / f"{number:02d}.jpg"
        path.write_bytes(path.read_bytes()[:-40] if number == 4 else b"no picture")
    facts, _ = score(capsys, folder, "--model", model, "-o", out, "--part-size", "2K")
    assert facts["rows"] == 10
    assert [Path(one["file"]).name for one in rejected(out)] == ["04.jpg", "11.jpg"]
    found = table(out)
    for path, answer in zip(found["file"].to_pylist(), found["scores"].to_pylist(), strict=True):
        np.testing.assert_allclose(answer[:3], np.asarray(image.open(path)).mean((0, 1)), rtol=1e-5)
    arguments = (folder, "--model", model, "-o", out, "--part-size", "2K", "--verify")
    assert score(capsys, *arguments)[0] == {**facts}


def test_pictures_in_a_column_are_decoded(tmp_path: Path, out: Path, capsys: Capture) -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    from examples import camera

    model = tmp_path / "camera.onnx"
    model.write_bytes(camera().artifact())
    pixels = np.random.default_rng(3).integers(0, 256, (3, 4, 5, 3), "u1")
    contents: list[Any] = []
    for one in pixels:
        image.fromarray(one).save(content := io.BytesIO(), "png")
        contents.append(content.getvalue())
    path = tmp_path / "photos.parquet"
    pq.write_table(pa.table({"photo": [*contents, b"damaged", None]}), path)
    facts, _ = score(capsys, path, "--model", model, "-o", out, "--columns", "photo")
    assert facts == {"rows": 3, "rejected": 2, "parts": 1}
    np.testing.assert_allclose(
        np.array(table(out)["scores"].to_pylist())[:, :3], pixels.mean((1, 2)), rtol=1e-5
    )


def test_two_workers_answer_as_one_does(
    data: Path, tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    score(capsys, data, "--model", mlp_file, "-o", out, "--part-size", "4K")
    other = tmp_path / "other"
    arguments = ["score", data, "--model", mlp_file, "-o", other, "--part-size", "4K"]
    assert main([*map(str, arguments), "--workers", "2"]) == 0
    assert contents(out) == contents(other)


def contents(out: Path) -> dict[str, bytes]:
    """Return every file of a run but the lock."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_a_second_run_does_only_what_is_missing(
    data: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    arguments = (data, "--model", mlp_file, "-o", out, "--part-size", "4K")
    facts, _ = score(capsys, *arguments)
    before = contents(out)
    times = {path.name: path.stat().st_mtime_ns for path in (out / "scores").iterdir()}
    (out / "done" / "part-000003.json").unlink()
    again, said = score(capsys, *arguments)
    assert again == facts
    assert f"{4096 // 24} rows" in said
    assert contents(out) == before
    changed = [p.name for p in (out / "scores").iterdir() if times[p.name] != p.stat().st_mtime_ns]
    assert changed == ["part-000003.parquet"]


def test_another_model_other_data_and_other_settings_are_refused_by_name(
    data: Path, tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    arguments = ["score", data, "--model", mlp_file, "-o", out, "--workers", 1]
    assert main(list(map(str, arguments))) == 0
    capsys.readouterr()
    before = contents(out)
    other = tmp_path / "other.onnx"
    other.write_bytes(mlp().artifact())
    code, sentence = fails(capsys, "score", data, "--model", other, "-o", out)
    assert (code, "the model is 'mlp' of digest" in sentence) == (2, True)
    code, sentence = fails(capsys, *arguments, "--top-k", 2)
    assert sentence.startswith("--top-k is 2, expected 1 as before")
    np.save(tmp_path / "more.npy", values(3))
    code, sentence = fails(capsys, *arguments[:2], tmp_path / "more.npy", *arguments[2:])
    assert sentence.startswith(f"the data has the new file '{tmp_path / 'more.npy'}'")
    np.save(data, values(1000) + 1)
    code, sentence = fails(capsys, *arguments)
    assert sentence.startswith(f"'{data}' was changed, its bytes of part 0 have the digest ")
    np.save(data, values(900))
    code, sentence = fails(capsys, *arguments)
    assert sentence.startswith(f"'{data}' was changed and has 21,728 bytes, expected 24,128")
    assert contents(out) == before


def test_a_file_that_is_written_again_goes_on_if_its_parts_prove_it_the_same(
    data: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    arguments = (data, "--model", mlp_file, "-o", out, "--part-size", "4K")
    facts, _ = score(capsys, *arguments)
    np.save(data, values(1000))
    os.utime(data, ns=(1, 1))
    assert score(capsys, *arguments)[0] == facts
    assert score(capsys, *arguments, "--verify")[0] == facts
    (out / "done" / "part-000003.json").unlink()
    code, sentence = fails(capsys, "score", *arguments)
    assert code == 2
    assert sentence.startswith(f"'{data}' was written again since '{out}' was begun, before all")


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "jsonl", "fixed.parquet", "lists.parquet"])
def test_verify_names_a_file_of_which_any_byte_was_changed(
    kind: str, tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    path = write(kind, tmp_path, values(100))
    arguments = (path, "--model", mlp_file, "-o", out, "--part-size", "1K")
    score(capsys, *arguments)
    content, about = path.read_bytes(), path.stat()
    for at in range(12, len(content), len(content) // 5):  # in the header, the rows, the footer
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # bytes decide, not times
        code, sentence = fails(capsys, "score", *arguments, "--verify")
        assert (code in {4, 7}, sentence.startswith(f"'{path}' ")) == (True, True), sentence
    path.write_bytes(content)
    score(capsys, *arguments, "--verify")


def test_the_digest_of_a_part_is_that_of_its_bytes(
    data: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    score(capsys, data, "--model", mlp_file, "-o", out, "--part-size", "4K")
    content = data.read_bytes()
    row, rows = 6 * 4, 4096 // 24
    header = content[: -1000 * row]
    for number in range(6):
        start = len(header) + number * rows * row
        taken = header + content[start : start + rows * row]
        digest = AESGCM(bytes(16)).encrypt(bytes(12), b"", taken)
        record = json.loads((out / "done" / f"part-00000{number}.json").read_text())
        assert record["inputs"] == [digest.hex()]


def test_verify_finds_what_is_missing_doubled_or_changed(
    data: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    arguments = (data, "--model", mlp_file, "-o", out, "--part-size", "4K")
    score(capsys, *arguments)
    verify = ("score", *arguments, "--verify")
    record = out / "done" / "part-000001.json"
    scores = out / "scores" / "part-000001.parquet"
    good, content = record.read_text(), scores.read_bytes()

    record.unlink()
    assert "lacks 1 of 6 parts, the first is 1" in fails(capsys, *verify)[1]

    record.write_text(good)
    scores.write_bytes(content[:-9] + b"x" + content[-8:])
    code, sentence = fails(capsys, *verify)
    assert (code, sentence.startswith(f"'{scores}' has the digest ")) == (4, True)

    import hashlib

    scores.write_bytes(content)
    full = pq.read_table(scores)
    for wrong, words in (
        (full.slice(1), "row 170 of '{}' is missing in part 1"),
        (pa.concat_tables([full, full.slice(5, 1)]), "row 175 of '{}' is there 2 times in part 1"),
    ):
        pq.write_table(wrong, scores)
        digest = hashlib.sha256(scores.read_bytes()).hexdigest()
        record.write_text(json.dumps({**json.loads(good), "sha256": digest}))
        assert fails(capsys, *verify)[1].startswith(words.format(data))


@pytest.fixture
def rejecting(tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture) -> list[str]:
    """Return a command whose run is done, with six parts and one rejected row in each."""
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f"{[number] * (6 + (number % 50 == 7))}\n" for number in range(300)))
    arguments = [path, "--model", mlp_file, "-o", out, "--part-size", "1500"]
    score(capsys, *arguments)
    return ["score", *map(str, arguments), "--workers", "1"]


@pytest.mark.parametrize(
    "content", ["", "{nonsense\n", "[]\n", "{}\n", '{"file": "x", "row": 8, "reason": ""}\n']
)
def test_verify_names_rejected_rows_that_were_changed(
    content: str, rejecting: list[str], out: Path, capsys: Capture
) -> None:
    path = out / "rejected" / "part-000000.jsonl"
    path.write_text(content)
    code, sentence = fails(capsys, *rejecting, "--verify")
    assert (code, sentence.startswith(f"'{path}' has the digest ")) == (4, True), sentence


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rows": 7}, "the record of part 0 in '{}' has 7 rows, expected "),
        ({"inputs": []}, "the record of part 0 in '{}' has 0 digests of inputs, expected 1"),
    ],
)
def test_verify_names_a_record_that_tells_something_else(
    changed: dict[str, Any], words: str, rejecting: list[str], out: Path, capsys: Capture
) -> None:
    path = out / "done" / "part-000000.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    code, sentence = fails(capsys, *rejecting, "--verify")
    assert (code, sentence.startswith(words.format(out))) == (4, True), sentence


@pytest.mark.parametrize(
    "changed", [None, {"rows": "x"}, {"out_of_range": 3}, {"inputs": 5}, {"part": 1}]
)
def test_a_part_with_a_broken_record_is_done_again(
    changed: dict[str, Any] | None, rejecting: list[str], out: Path, capsys: Capture
) -> None:
    before = contents(out)
    path = out / "done" / "part-000000.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}) if changed else "")
    assert "lacks 1 of 6 parts, the first is 0" in fails(capsys, *rejecting, "--verify")[1]
    os.utime(rejecting[1], ns=(1, 1))
    assert "was written again since" in fails(capsys, *rejecting)[1]
    plan = json.loads((out / "manifest.json").read_text())
    os.utime(rejecting[1], ns=(1, int(plan["inputs"][0]["stamp"])))
    assert main(rejecting) == 0
    assert contents(out) == before


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "jsonl", "fixed.parquet"])
def test_verify_finds_a_part_that_is_gone_from_the_manifest_too(
    kind: str, tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    other = tmp_path / "y.npy"
    np.save(other, values(3))
    arguments = (write(kind, tmp_path, values(90)), other, "--model", mlp_file, "-o", out)
    arguments += ("--part-size", "500")
    score(capsys, *arguments)
    score(capsys, *arguments, "--verify")
    plan = json.loads((out / "manifest.json").read_text())
    last = len(plan["parts"]) - 1
    del plan["parts"][last]
    (out / "manifest.json").write_text(json.dumps(plan))
    for name in (f"done/part-{last:06d}.json", f"scores/part-{last:06d}.parquet"):
        (out / name).unlink()
    code, sentence = fails(capsys, "score", *arguments, "--verify")
    assert (code, sentence.split(":")[0]) == (
        4,
        f"the manifest in '{out}' has other parts than the input is split into",
    )


@pytest.mark.parametrize("model", ["x", [], {}, {"name": "mlp"}])
def test_a_manifest_without_its_model_is_one_sentence(
    model: object, rejecting: list[str], out: Path, capsys: Capture
) -> None:
    plan = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**plan, "model": model}))
    code, sentence = fails(capsys, *rejecting)
    assert (code, "manifest.json' cannot be read" in sentence) == (2, True)


def test_a_worker_refuses_a_model_without_card_that_was_replaced(out: Path) -> None:
    import hashlib

    from edgeport.engine.session import engine_version
    from edgeport.scoring.job import Job, Settings
    from edgeport.scoring.scorer import Scorer

    begun, other = mlp().onnx, mlp().onnx.replace(b"mlp", b"mlq")
    job = Job(Settings(), str(out), hashlib.sha256(begun).hexdigest(), engine_version())
    Scorer(begun, job)
    found = hashlib.sha256(other).hexdigest()
    with pytest.raises(OptionError, match=f"was replaced during the run, its digest is {found}"):
        Scorer(other, job)


def test_too_many_rejected_rows_end_the_run(
    tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f"{[number] * (6 + (number < 30))}\n" for number in range(300)))
    arguments = ["score", path, "--model", mlp_file, "-o", out, "--part-size", "500"]
    arguments += ["--workers", 1, "--max-rejected", 20]
    code = main(list(map(str, arguments)))
    said = capsys.readouterr().err.splitlines()
    assert code == 7
    assert "stay so: the same command goes on" in said[-2]
    assert "expected at most 20 by --max-rejected" in said[-1]
    assert len(list((out / "done").iterdir())) < 4


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "edgeport", "score", *map(str, arguments)]


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def wait_for_records(out: Path, count: int) -> None:
    end = time.monotonic() + 60
    while len(list((out / "done").glob("*.json"))) < count and time.monotonic() < end:
        time.sleep(0.005)


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_goes_on(
    sign: signal.Signals, tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, values(6000))
    arguments = ("--model", mlp_file, "--part-size", "2K", "--workers", "1")
    child = start(path, *arguments, "-o", out)
    wait_for_records(out, 3)
    child.send_signal(sign)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == (-9 if sign == signal.SIGKILL else 130)
    assert ("the same command goes on" in said) == (sign == signal.SIGINT)
    facts, _ = score(capsys, path, *arguments[:-2], "-o", out)
    other = tmp_path / "other"
    assert score(capsys, path, *arguments[:-2], "-o", other)[0] == facts
    assert contents(out) == contents(other)


@needs_fork
def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(
    tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    import resource

    path = tmp_path / "x.npy"
    np.save(path, values(4000))
    arguments: Sequence[object] = (path, "--model", mlp_file, "-o", out, "--part-size", "24K")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    child = start(*arguments, "--workers", "1", preexec_fn=limit, env=environment)
    said = child.communicate(timeout=60)[1].splitlines()
    assert child.returncode == 2
    assert len(said) == 2
    assert "cannot be written (File too large)" in said[1]
    assert not list((out / "done").iterdir())
    assert not list((out / "scores").iterdir())
    assert score(capsys, *arguments)[0]["rows"] == 4000


def test_another_run_in_the_folder_is_refused(
    data: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    fcntl = pytest.importorskip("fcntl")
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _, sentence = fails(capsys, "score", data, "--model", mlp_file, "-o", out)
    assert sentence.startswith(f"another run is at work in '{out}'")


def test_an_output_that_cannot_work_is_refused(data: Path, mlp_file: Path, capsys: Capture) -> None:
    for out, words in (
        ("s3://bucket/out", "expected a folder"),
        (data.parent / "out", "lies in the input"),
    ):
        code, sentence = fails(capsys, "score", data.parent, "--model", mlp_file, "-o", out)
        assert (code, words in sentence) == (2, True)
        assert not (data.parent / "out").exists()


def test_rows_that_are_answered_one_by_one_keep_their_answers(
    tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    x = values(12)
    path = tmp_path / "x.npy"
    np.save(path, x)
    score(capsys, path, "--model", mlp_file, "-o", out, "--batch-size", 1)
    np.testing.assert_allclose(table(out)["scores"].to_pylist(), mlp().formula(x), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.txt", b"1", "expected one of .parquet, .csv"),
        ("x.npy", b"no array", "cannot be read"),
        ("x.parquet", b"no table", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    name: str,
    content: bytes,
    words: str,
    tmp_path: Path,
    mlp_file: Path,
    out: Path,
    capsys: Capture,
) -> None:
    (tmp_path / name).write_bytes(content)
    code, sentence = fails(capsys, "score", tmp_path / name, "--model", mlp_file, "-o", out)
    assert code == 7
    assert str(tmp_path / name) in sentence
    assert words in sentence


def test_a_column_of_numbers_is_never_taken_for_one_sample(
    tmp_path: Path, out: Path, capsys: Capture
) -> None:
    model = tmp_path / "double.onnx"
    model.write_bytes(doubler("float32", ("N", "T")).artifact())
    pq.write_table(pa.table({"x": pa.array([1, 2, 3], pa.float32())}), tmp_path / "x.parquet")
    (tmp_path / "y.jsonl").write_text("1\n2\n3\n[4]\n")
    score(capsys, tmp_path / "x.parquet", "--model", model, "-o", out)
    assert table(out)["scores"].to_pylist() == [[2], [4], [6]]
    other = tmp_path / "other"
    facts, _ = score(capsys, tmp_path / "y.jsonl", "--model", model, "-o", other)
    assert facts == {"rows": 1, "rejected": 3, "parts": 1}
    assert table(other)["row"].to_pylist() == [4]


@pytest.mark.parametrize("form", ["plain", "list", "fixed"])
def test_a_missing_number_rounds_no_neighbour(
    form: str, tmp_path: Path, out: Path, capsys: Capture
) -> None:
    large = 2**60 + 1
    model = tmp_path / "double.onnx"
    model.write_bytes(doubler("int64", ("N", 1)).artifact())
    rows: list[Any] = [large, None, 3]
    if form != "plain":
        # Lists of a fixed size that are missing as a whole are more than pyarrow 17 can write.
        rows = [[large], [None] if form == "fixed" else None, [3], [None]]
    kinds = {
        "plain": pa.int64(),
        "list": pa.list_(pa.int64()),
        "fixed": pa.list_(pa.int64(), 1),
    }
    pq.write_table(pa.table({"x": pa.array(rows, kinds[form])}), tmp_path / "x.parquet")
    facts, _ = score(capsys, tmp_path / "x.parquet", "--model", model, "-o", out)
    assert facts["rows"] == 2
    assert table(out)["row"].to_pylist() == [0, 2]
    assert table(out)["scores"].to_pylist() == [[2 * large], [6]]


def test_records_without_a_manifest_are_not_taken_for_this_run(
    data: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    score(capsys, data, "--model", mlp_file, "-o", out)
    (out / "manifest.json").unlink()
    _, sentence = fails(capsys, "score", data, "--model", mlp_file, "-o", out)
    assert "has parts of a run but no manifest.json" in sentence


@pytest.mark.parametrize("name", ["file", "row", "scores", "labels"])
def test_a_key_never_takes_the_place_of_a_column_of_the_output(
    name: str, tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"{name},a,b,c,d,e,f\nk,1,2,3,4,5,6\n")
    arguments = ("--model", mlp_file, "-o", out, "--columns", *"abcdef", "--keys", name)
    _, sentence = fails(capsys, "score", path, *arguments)
    assert sentence.startswith(f"--keys names '{name}'")


@pytest.mark.parametrize("option", ["--keys", "--columns"])
def test_a_column_that_is_named_twice_is_refused(
    option: str, data: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    arguments = ("--model", mlp_file, "-o", out, option, "a", "b", "a")
    code, sentence = fails(capsys, "score", data, *arguments)
    assert code == 2
    assert sentence == f"{option} names 'a' twice, expected each column once: leave one out"
    assert not out.exists()


def test_a_part_of_which_a_file_is_gone_is_done_again(
    tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f"{[number] * (6 + number % 2)}\n" for number in range(40)))
    arguments = (path, "--model", mlp_file, "-o", out, "--part-size", "300")
    score(capsys, *arguments)
    before = contents(out)
    (out / "scores" / "part-000000.parquet").unlink()
    (out / "rejected" / "part-000001.jsonl").unlink()
    (out / "done" / "part-000002.json").write_bytes(b"")  # as after a power cut
    assert "lacks 3 of" in fails(capsys, "score", *arguments, "--verify")[1]
    score(capsys, *arguments)
    assert contents(out) == before


def test_verify_refuses_files_that_no_part_has(
    data: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    arguments = (data, "--model", mlp_file, "-o", out)
    score(capsys, *arguments)
    more = out / "scores" / "part-000001.parquet"
    more.write_bytes((out / "scores" / "part-000000.parquet").read_bytes())
    assert fails(capsys, "score", *arguments, "--verify")[1].startswith(f"'{more}' ")
    more.unlink()
    more = out / "rejected" / "part-000000.jsonl"
    more.write_text(json.dumps({"file": str(data), "row": 1, "reason": "old"}) + "\n")
    assert fails(capsys, "score", *arguments, "--verify")[1].startswith(f"'{more}' ")
    (out / "done" / "part-000000.json").unlink()
    score(capsys, *arguments)
    assert not more.exists()


@pytest.mark.parametrize("kind", ["npy", "csv", "fixed.parquet"])
def test_a_file_that_changes_while_it_is_scored_is_refused(
    kind: str, tmp_path: Path, mlp_file: Path
) -> None:
    from edgeport.scoring import files, inputs, parts
    from edgeport.scoring.job import Settings

    path = write(kind, tmp_path, values(100))
    with Predictor.load(mlp_file) as predictor:
        card = predictor.card
    (source,) = files.look([str(path)])
    (part,) = parts.number(inputs.split(source, card, Settings(), print), 2**20)
    chunks = inputs.read(part, card, Settings(), [])
    next(chunks)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match="changed while it was scored"):
        list(chunks)


@pytest.mark.parametrize("end", ['5,"6\n', '5,6"\n', "5,6\n"])
def test_a_quote_that_is_left_open_swallows_no_rows(
    end: str, tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    path = tmp_path / "x.csv"
    path.write_text('a,b,c,d,e,f\n"1,2,3,4,5,6\n' + "1,2,3,4,5,6\n" * 20 + "1,2,3,4," + end)
    code, sentence = fails(capsys, "score", path, "--model", mlp_file, "-o", out)
    assert code == 7
    assert sentence.startswith(f"'{path}' lines 2 to 23 ")


def test_an_output_in_the_input_is_seen_through_links_and_protocols(
    tmp_path: Path, mlp_file: Path, capsys: Capture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "x.npy", values(5))
    (tmp_path / "link").symlink_to(folder)
    for given, out in ((folder, tmp_path / "link" / "out"), (f"file://{folder}", folder / "out")):
        _, sentence = fails(capsys, "score", given, "--model", mlp_file, "-o", out)
        assert "lies in the input" in sentence
    arguments = (f"{folder}/**", "--model", mlp_file, "-o", folder / "out")
    score(capsys, *arguments)
    assert score(capsys, *arguments)[0]["rows"] == 5


def test_a_name_that_is_no_text_is_refused(tmp_path: Path, mlp_file: Path, capsys: Capture) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "x.npy", values(5))
    try:
        (folder / "x.npy").rename(os.fsdecode(os.fsencode(folder) + b"/\xff.npy"))
    except OSError:
        pytest.skip("the file system takes no such name")
    code, sentence = fails(capsys, "score", folder, "--model", mlp_file, "-o", tmp_path / "out")
    assert (code, "a name that is no UTF-8" in sentence) == (7, True)


def test_decimal_commas_and_points_in_different_parts_are_refused(
    tmp_path: Path, out: Path, capsys: Capture
) -> None:
    model = tmp_path / "numbers.onnx"
    model.write_bytes(column_models.artifact(column_models.numbers()))
    path = tmp_path / "t.csv"
    path.write_text("width_m;height_cm;turns\n" + "1,5;100;2\n" * 3 + "1.234;180;3\n" * 3)
    arguments = (path, "--model", model, "-o", out, "--part-size", "20")
    code, sentence = fails(capsys, "score", *arguments)
    assert (code, "with a decimal comma and with a point" in sentence) == (7, True)


def test_a_linked_folder_within_a_folder_is_not_passed_over(
    tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    for name in ("in", "elsewhere"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", values(5))
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    code, sentence = fails(capsys, "score", tmp_path / "in", "--model", mlp_file, "-o", out)
    assert (code, "a link to a folder" in sentence) == (7, True)


def test_a_key_that_is_no_text_costs_its_own_row_alone(
    tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    path = tmp_path / "x.jsonl"
    lines = [f'{{"x": [1, 2, 3, 4, 5, 6], "k": "{key}"}}\n' for key in ("a", r"\ud800", "b")]
    path.write_text("".join(lines))
    facts, _ = score(capsys, path, "--model", mlp_file, "-o", out, "--keys", "k")
    assert facts == {"rows": 2, "rejected": 1, "parts": 1}
    assert table(out)["k"].to_pylist() == ["a", "b"]


def test_another_version_of_the_engine_is_refused_while_parts_are_left(
    data: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    arguments = (data, "--model", mlp_file, "-o", out)
    facts, said = score(capsys, *arguments)
    assert "was begun with" not in said
    path = out / "manifest.json"
    content = json.loads(path.read_text())
    content["versions"] |= {"onnxruntime": "1.0", "numpy": "1.0"}
    path.write_text(json.dumps(content))
    assert score(capsys, *arguments)[0] == facts
    (out / "done" / "part-000000.json").unlink()
    code = main(list(map(str, ["score", *arguments, "--workers", 1])))
    said = capsys.readouterr().err
    assert code == 2
    assert "was begun with numpy 1.0, this is" in said
    assert "expected 1.0 with which" in said


def test_hidden_files_are_left_out(
    tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    folder = tmp_path / ".data" / "in"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    np.save(folder / "x.npy", values(5))
    (folder / "._x.npy").write_bytes(b"no array")
    (folder / ".DS_Store").write_bytes(b"")
    np.save(folder / ".ipynb_checkpoints" / "x-checkpoint.npy", values(5))
    addresses = (folder, folder / "*", folder / "**", f"file://{folder}")
    for number, address in enumerate(addresses):
        facts, said = score(capsys, address, "--model", mlp_file, "-o", out / str(number))
        assert facts["rows"] == 5
        assert "hidden files" in said
    facts, _ = score(capsys, folder / ".ipynb_checkpoints/*", "--model", mlp_file, "-o", out / "e")
    assert facts["rows"] == 5


@pytest.mark.parametrize("kind", ["npy", "csv", "jsonl", "lists.parquet"])
def test_an_input_without_rows_is_refused(
    kind: str, tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    path = write(kind, tmp_path, values(0))
    code, sentence = fails(capsys, "score", path, "--model", mlp_file, "-o", out)
    assert (code, sentence[:24]) == (7, "the input has no rows, e")
    assert not (out / "manifest.json").exists()


def test_a_number_of_rejected_rows_below_zero_is_refused(
    data: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    arguments = ("score", data, "--model", mlp_file, "-o", out, "--max-rejected", -1)
    code, sentence = fails(capsys, *arguments)
    assert (code, sentence.startswith("--max-rejected is -1, expected")) == (2, True)


@pytest.mark.parametrize("kind", ["decimal", "text", "date", "struct", "nested texts", "complex"])
def test_what_is_no_number_is_refused_before_the_first_row(
    kind: str, tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    import decimal

    columns: dict[str, Any] = {
        "decimal": pa.array([[decimal.Decimal("1.5")] * 6]),
        "text": pa.array(["1"]).dictionary_encode(),
        "date": pa.array([1], pa.timestamp("s")),
        "struct": pa.array([{"a": 1.0}]),
        "nested texts": pa.array([[["1"]]]),
    }
    if kind == "complex":
        path = tmp_path / "x.npy"
        np.save(path, values(5).astype("c8"))
    else:
        path = tmp_path / "x.parquet"
        pq.write_table(pa.table({"x": columns[kind]}), path)
    code, sentence = fails(capsys, "score", path, "--model", mlp_file, "-o", out)
    assert code == 7
    assert f"'{path}' has " in sentence
    assert "expected numbers" in sentence
    assert not (out / "manifest.json").exists()


def test_a_run_that_rejects_every_row_is_no_success(
    tmp_path: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a;b;c;d;e;f\n1;2;3;4;5;6\n1;2;3;4;5;6\n")
    arguments = ["score", path, "--model", mlp_file, "-o", out, "--workers", 1]
    for _ in range(2):
        assert main(list(map(str, arguments))) == 7
        said = capsys.readouterr().err.splitlines()[-1]
        assert "has 2 rows that were all rejected, the first since" in said
        assert "check that commas part its columns" in said
    assert score(capsys, *arguments[1:-2], "--verify")[0]["rejected"] == 2


def test_more_classes_than_the_model_has_are_refused(
    data: Path, mlp_file: Path, out: Path, capsys: Capture
) -> None:
    arguments = ("score", data, "--model", mlp_file, "-o", out, "--top-k", 4)
    code, sentence = fails(capsys, *arguments)
    assert (code, sentence) == (
        2,
        "--top-k is 4, expected a whole number from 1 to 3: the model has 3 classes",
    )
