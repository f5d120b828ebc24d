"""`edgeport predict` on tables: columns by name, every cell checked, or a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from column_models import NUMBERS, REGION, ROWS, artifact, mixed, numbers, score
from commands import Capture, fails

from edgeport.cli.main import main

EXPECTED = [{"y": [score(*row)]} for row in ROWS.tolist()]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.onnx"
    path.write_bytes(numbers().artifact())
    return path


def answers(capsys: Capture, *arguments: object) -> tuple[list[Any], str]:
    """Run `edgeport predict`; return its answers and what it said."""
    assert main(["predict", *map(str, arguments), "--json"]) == 0
    shown = capsys.readouterr()
    return [json.loads(line) for line in shown.out.splitlines()], shown.err


PLAIN = "width_m,height_cm,turns\n1.5,100,2\n.5,20.0,8\n4,1.8e2,0\n"
SWAPPED = "turns,height_cm,width_m\n2,100,1.5\n8,20,.5\n0,180,4\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        SWAPPED,
        "\ufeff" + SWAPPED,
        SWAPPED.replace("\n", "\r\n"),
        "\n\n" + SWAPPED.replace("\n", "\n\n"),
        SWAPPED.replace(",", ";"),
        SWAPPED.replace(",", "\t"),
        SWAPPED.replace(",", " , "),
        SWAPPED.replace(",", ";").replace(".", ","),
        SWAPPED.replace(",", "\t").replace(".", ","),
        '"turns","height_cm","width_m"\n"2","100","1.5"\n"8","20","0.5"\n"0","180","4"\n',
    ],
)
def test_columns_are_matched_by_name(
    content: str, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text(content, encoding="utf-8", newline="")
    assert answers(capsys, model, table) == (EXPECTED, "")


def test_a_further_column_is_told_once(model: Path, tmp_path: Path, capsys: Capture) -> None:
    table = tmp_path / "rows.csv"
    lines = SWAPPED.splitlines()
    table.write_text("\n".join([f"{lines[0]},big", *(f"{line},yes" for line in lines[1:])]))
    found, said = answers(capsys, model, table)
    assert found == EXPECTED
    assert said == (
        f"edgeport: note: '{table}' has the column 'big', which the model does not take: it is "
        "left out (said once)\n"
    )


def test_a_file_without_header_is_read_in_the_cards_order_and_told(
    model: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "rows.csv"
    for text in (PLAIN, PLAIN.replace(",", ";"), PLAIN.replace(",", "\t")):
        table.write_text(text.partition("\n")[2])
        found, said = answers(capsys, model, table)
        assert found == EXPECTED
        assert "has no header: its cells are taken for width_m, height_cm, turns, in this" in said


def test_a_unit_slip_is_told_with_its_column(model: Path, tmp_path: Path, capsys: Capture) -> None:
    table = tmp_path / "rows.csv"
    table.write_text(PLAIN.replace("100", "10000").replace("20.0", "2000").replace("1.8e2", "18e3"))
    found, said = answers(capsys, model, table)
    assert [one["y"][0] for one in found] == [
        score(1.5, 10000, 2),
        score(0.5, 2000, 8),
        score(4, 18000, 0),
    ]
    assert said == (
        "edgeport: warning: 3 values of column 'height_cm' lie far outside of the training's "
        "10 to 200 cm: check the column's unit\n"
    )


@pytest.mark.parametrize("cell", ["", "nan", "NA", "null", "N/A", "None"])
def test_a_missing_cell_counts_as_in_the_training_or_is_refused(
    cell: str, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text(f"width_m,turns,height_cm\n1.5,{cell},100\n")
    assert answers(capsys, model, table) == ([{"y": [1.5 + 25 - 12]}], "")
    table.write_text(f"width_m,turns,height_cm\n1.5,2,100\n1.5,2,{cell}\n")
    code = main(["predict", str(model), str(table), "-o", str(tmp_path / "out.csv")])
    shown = capsys.readouterr()
    found = f"'{cell}'" if cell else "an empty cell"
    assert (code, shown.out) == (7, "")
    assert f"'{table}' line 3, column 'height_cm' has {found}, expected a number: fill" in shown.err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("width_m,turns\n1,2\n", r"has no column 'height_cm', only width_m, turns, expected the"),
        ("width_m,turns,Height_cm\n1,2,3\n", "is it 'Height_cm'? then rename it"),
        ("width_m,turns,height_cm,turns\n1,2,3,4\n", "has the column 'turns' 2 times, expected"),
        ("width_m;turns,height_cm\n1;2,3\n", "has no column"),
        ("a,b,c\n1,2,3\n", "has no column 'width_m', only a, b, c"),
        (
            "1,2,3,4\n",
            "line 1 has 4 cells parted by commas, expected 3, width_m, height_cm, turns,",
        ),
        ("1,2\n", "line 1 has 2 cells parted by commas, expected 3"),
        (PLAIN.replace("100", "tall"), "line 2, column 'height_cm' has 'tall', expected a number"),
        (PLAIN.replace("100", "1,00"), "line 2 has 4 cells parted by commas, expected 3, as the h"),
        (PLAIN.replace("100", '"1,00"'), "line 2, column 'height_cm' has '1,00', expected a numb"),
        (PLAIN.replace("100", "1_00"), "line 2, column 'height_cm' has '1_00', expected a number"),
        (PLAIN.replace("100", "inf"), "line 2, column 'height_cm' has 'inf', expected a number"),
        (
            PLAIN.replace(",", ";").replace("1.5", "1,5"),
            "line 3, column 'width_m' has '.5', and there are numbers with a decimal comma (line 2)"
            " and with a point (line 3)",
        ),
        (PLAIN.replace(",", ";").replace("100", "1.000,5"), "'height_cm' has '1.000,5', expected"),
        ("width_m,height_cm,turns\n", "has a header and no row, expected rows: add them"),
    ],
)
def test_what_is_no_such_table_is_refused(
    content: str, sentence: str, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text(content)
    code, said = fails(capsys, "predict", model, table, "-o", tmp_path / "out.npy")
    assert code == 7
    assert str(table) in said
    assert sentence in said


def test_other_encodings_are_refused(model: Path, tmp_path: Path, capsys: Capture) -> None:
    table = tmp_path / "rows.csv"
    table.write_text(PLAIN, encoding="utf-16")
    assert "cannot be read as .csv" in fails(capsys, "predict", model, table)[1]


def test_json_lines_are_matched_by_column_name(
    model: Path, tmp_path: Path, capsys: Capture
) -> None:
    rows = tmp_path / "rows.jsonl"
    names = [column.name for column in NUMBERS]
    objects = [dict(zip(names, row, strict=True)) for row in ROWS.tolist()]
    lines = [json.dumps({"id": "a", **dict(reversed(one.items()))}) for one in objects]
    rows.write_text("\n".join(lines))
    found, said = answers(capsys, model, rows)
    assert found == EXPECTED
    assert said.count("the column 'id', which the model does not take") == 1
    objects[1]["height_cm"] = "20"
    rows.write_text("\n".join(map(json.dumps, objects)))
    assert main(["predict", str(model), str(rows)]) == 7
    assert f"'{rows}' line 2: the column 'height_cm' has the text '20'" in capsys.readouterr().err


def test_texts_and_numbers_of_one_table(tmp_path: Path, capsys: Capture) -> None:
    artifact, table = tmp_path / "mixed.onnx", tmp_path / "rows.csv"
    artifact.write_bytes(mixed().artifact())
    table.write_text(f"{REGION.name},turns,width_m,height_cm\nnorth,2,1.5,100\n sooth ,8,.5,20\n")
    found, said = answers(capsys, artifact, table)
    assert found == [
        {**EXPECTED[0], "echo": ["north"]},
        {**EXPECTED[1], "echo": ["sooth"]},
    ]
    assert "1 value of column 'Région du nord' are none of the training's categories" in said
    table.write_text(f"{REGION.name},turns,width_m,height_cm\n,2,1.5,100\n")
    assert (
        "column 'Région du nord' has an empty cell, expected a text"
        in (fails(capsys, "predict", artifact, table)[1])
    )


def test_info_shows_the_columns(model: Path, capsys: Capture) -> None:
    assert main(["info", str(model)]) == 0
    shown = capsys.readouterr().out
    assert "column       height_cm: number, 10 to 200 cm\n" in shown
    assert main(["info", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["columns"][0]["unit"] == "m"


def test_bench_takes_a_row_of_a_table(model: Path, tmp_path: Path, capsys: Capture) -> None:
    from edgeport import Predictor
    from edgeport.cli.trial import Trial

    table = tmp_path / "rows.csv"
    table.write_text(SWAPPED)
    with Predictor.load(model) as predictor:
        feed = Trial(str(table)).feed(predictor.card)
    assert feed["features"].tolist() == ROWS[:1].tolist()


def test_names_that_are_numbers_are_matched_by_name_or_refused(
    tmp_path: Path, capsys: Capture
) -> None:
    """As pandas names the columns of a plain array; such a header looks like a row of numbers."""
    model, table = tmp_path / "m.onnx", tmp_path / "rows.csv"
    own = [replace(column, name=str(at)) for at, column in enumerate(NUMBERS)]
    model.write_bytes(artifact(numbers(), *own))
    row = [{"y": [score(1.5, 100.0, 2.0)]}]
    for content in ("0,1,2\n1.5,100,2\n", "2,3,0,1\n2,9,1.5,100\n", "2,id,0,1\n2,9,1.5,100\n"):
        table.write_text(content)
        assert answers(capsys, model, table)[0] == row
    table.write_text("2,0,1\n2,1.5,100\n")
    sentence = "has the columns' names in line 1, 2, 0, 1, which are numbers and in another order"
    assert sentence in fails(capsys, "predict", model, table)[1]
