"""The figures of ``make bench``: hand-computed statistics, verdicts, and the README's tables."""

import json
import math
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from peers.engines import open_floor
from peers.files import write_floor
from peers.models import MODELS
from peers.round_statistics import geometric_mean, inverse, ratio_of_rounds, ratio_of_runs, spread
from peers.row import make_row
from peers.table import bars, render, render_short
from peers.targets import best_peer, judge
from peers.timing import by_turns, lost, signal_to_noise_db
from peers.timing import judge as judge_answers
from quantization_data import digits

ROOT = Path(__file__).parents[2]
STORED = sorted((ROOT / "tests" / "benchmarks" / "runs").glob("*/bench.json"))
SETTINGS = {"rounds": 3, "batch": 32}
OVERHEAD = {
    "per_call_ratio": 0.9,
    "per_call_batch_of_one_ratio": 1.1,
    "batch_throughput_ratio": 0.98,
    "cold_start_ratio": 1.0,
    "per_call_us": {"session_run": 10.0, "predict_one_sample": 9.0, "predict_batch_of_one": 11.0},
    "batch_of_10000_us": {"session_run": 980.0, "predict": 1000.0},
    "cold_start_ms": {"bare": 100.0, "edgeport": 100.0},
}
KEPT = {
    what: {"without": {"median_ms": 50.0}, "kept": {"median_ms": with_it}}
    for what, with_it in (("load", 20.0), ("first_answer", 40.0), ("engine", 25.0))
} | {
    f"{what}_ratio": {"median_ms": ratio}
    for what, ratio in (("load", 2.5), ("first_answer", 1.25), ("engine", 2.0))
}
MACHINE = {
    "cpu": "a CPU",
    "cpus": 2,
    "instructions": {"AVX2": True, "AVX-512 VNNI": False},
    "load_average_before": 0.25,
}


def test_quartiles_lie_between_the_sorted_values():
    assert spread([4, 1, 3, 2, 5]) == {"q1": 2, "median": 3, "q3": 4}
    assert spread([1, 2, 3, 4]) == {"q1": 1.75, "median": 2.5, "q3": 3.25}
    assert spread([7]) == {"q1": 7, "median": 7, "q3": 7}


def test_ratios_are_taken_within_a_round():
    # A disturbance that trebles one whole round leaves its ratio alone; that of medians it moves.
    found = ratio_of_rounds([10, 30, 12], [5, 15, 4])
    assert found == {"q1": 2, "median": 2, "q3": 2.5}
    assert ratio_of_runs([10, 30, 12], [5, 15, 4])["median"] == 12 / 5


def test_the_inverse_swaps_the_quartiles():
    assert inverse({"q1": 0.5, "median": 2, "q3": 4}) == {"q1": 0.25, "median": 0.5, "q3": 2}


def test_the_geometric_mean_of_a_value_and_its_reciprocal_is_one():
    assert geometric_mean([0.25, 4]) == pytest.approx(1)
    assert geometric_mean([1, 10, 100]) == pytest.approx(10)


def test_signal_to_noise_is_of_powers():
    assert signal_to_noise_db(np.array([[3.0, 4.0]]), np.array([3.0, 5.0])) == pytest.approx(
        10 * math.log10(25)
    )
    with pytest.raises(ValueError, match="NaN"):
        signal_to_noise_db(np.array([[3.0, 4.0]]), np.array([3.0, np.nan]))


def test_rounds_go_forwards_and_backwards():
    order = []
    calls = {name: lambda x, name=name: order.append(name) for name in "abc"}
    times = by_turns(calls, np.zeros(1), 2)
    turns = "".join(
        name for name, before in zip(order, [None, *order], strict=False) if name != before
    )
    assert turns == "abcbabc"  # a, b, c are tried first; then c, b, a; then a, b, c
    assert {name: len(rounds) for name, rounds in times.items()} == {"a": 2, "b": 2, "c": 2}
    assert min(map(min, times.values())) > 0


def test_the_floor_keeps_its_nodes(tmp_path):
    write_floor(tmp_path / "floor.onnx", 7)
    x = np.ones((1, 1), np.float32)
    np.testing.assert_array_equal(open_floor(str(tmp_path / "floor.onnx"), 1, (1, 1))(x), x)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    onnxruntime.InferenceSession(
        str(tmp_path / "floor.onnx"), options, providers=["CPUExecutionProvider"]
    )
    nodes = onnx.load(tmp_path / "run.onnx").graph.node
    assert [node.op_type for node in nodes] == ["Identity"] * 7


def test_a_file_that_no_engine_opens_leaves_the_others_to_be_measured(tmp_path):
    write_floor(tmp_path / "floor.onnx", 1)
    files = [
        {"column": name, "engine": "onnxruntime", "path": str(tmp_path / f"{name}.onnx")}
        for name in ("missing", "floor")
    ]
    x = np.array([[2.0]], np.float32)
    found, errors = judge_answers(files, x, x, classifies=False)
    assert found["floor"]["decibels"] == 300
    assert re.search("NoSuchFile", errors["missing"])


def test_a_file_that_wins_no_race_is_judged_and_not_timed():
    seconds = {"edgeport_auto": 0.01, "raw": 0.19, "litert_int16": 0.3, "naive": 0.21}
    judged = {column: {"call_seconds": each} for column, each in seconds.items()}
    reasons = lost(judged)
    assert reasons == {
        "litert_int16": "not timed, since a call takes about 0.3 s",
        "naive": "not timed, since a call takes about 0.2 s",
    }


def test_answers_are_judged_by_power_and_by_best_class(tmp_path):
    write_floor(tmp_path / "floor.onnx", 1)
    files = [{"column": "floor", "engine": "floor", "path": str(tmp_path / "floor.onnx")}]
    x = np.array([[2.0], [1.0]], np.float32)
    found, _ = judge_answers(files, x, np.array([[2.0], [1.1]]), classifies=True)
    power, noise = 2.0**2 + 1.1**2, 0.1**2
    assert found["floor"]["decibels"] == pytest.approx(10 * math.log10(power / noise))
    assert found["floor"]["same_class"] == 1


def test_no_conversion_sees_the_held_out_digits(tmp_path):
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    numbers = np.arange(30, dtype=np.uint8)
    images = np.repeat(numbers, 784).reshape(30, 28, 28)
    np.savez(
        folder / "mnist_full.npz",
        x_train=images[:20],
        y_train=numbers[:20],
        x_test=images[20:],
        y_test=numbers[20:],
    )
    seen = [set(digits(tmp_path, 10, seed, flat=True)[1].tolist()) for seed in range(3)]
    assert seen == [set(range(10)), set(range(20, 30)), set(range(10, 20))]


def made_row(
    model, auto_us, raw_us, litert_us, default_us=None, threads=1, litert_db=10.0, auto_db=30.0
):
    """A row of three rounds, with the columns that decide targets."""
    made = {
        "columns": {
            name: {"file": "f", "bytes": 1000, "route": "r"}
            for name in ("raw", "litert_int8", "edgeport_auto")
        },
        "shape": [4],
        "floor": {"nodes": 6},
        "held_out": {"samples": 500, "classifies": True},
    }
    one = {
        "raw": [raw_us] * 3,
        "litert_int8": [litert_us] * 3,
        "edgeport_auto": [auto_us] * 3,
        "edgeport_default": [default_us or auto_us] * 3,
        "floor": [1.5] * 3,
    }
    timed = {
        "one_sample_us": {"1": one},
        "batch": 32,
        "batch_us": {"1": {"raw": [640.0] * 3}},
        "facts": {"default_threads": threads},
        "starts": {"raw": {"load_ms": 5.0, "cold_start_ms": 50.0, "peak_bytes": 2**25}},
        "judged": {
            "raw": {"decibels": 120.04, "same_class": 1.0},
            "litert_int8": {"decibels": litert_db, "same_class": 0.875},
            "edgeport_auto": {"decibels": auto_db, "same_class": 0.98},
        },
    }
    return make_row(model, made, timed, {"1": [900.0, 1000.0, 1100.0]})


def made_result(rows, **more):
    return {
        "models": rows,
        "settings": SETTINGS,
        "machine": MACHINE,
        "versions": {"edgeport": "1"},
    } | more


def test_a_row_holds_medians_ratios_and_throughput():
    row = made_row(MODELS[0], 10.0, 40.0, 8.0)
    raw = row["columns"]["raw"]
    assert raw["one_sample_us"]["1"]["ratio"] == {"q1": 4, "median": 4, "q3": 4}
    assert raw["batch_us"]["1"]["samples_per_second"] == 50_000  # 32 in 640 µs
    assert row["columns"]["keras"]["one_sample_us"]["1"]["ratio"]["median"] == 100
    assert best_peer(row) == ("litert_int8", {"q1": 1.25, "median": 1.25, "q3": 1.25})
    assert best_peer(row, "2") is None


def test_the_bound_is_20_db_or_what_edgeport_keeps():
    def kept(litert_db, auto_db):
        row = made_row(MODELS[0], 10.0, 40.0, 8.0, litert_db=litert_db, auto_db=auto_db)
        return best_peer(row, kept=True)[0]

    assert kept(20.0, 35.0) == "litert_int8"
    assert kept(19.9, 35.0) == "raw"
    assert kept(16.5, 17.0) == "litert_int8"  # as near, since samples differ by half a decibel
    assert kept(16.4, 17.0) == "raw"


def test_two_tables_name_the_fastest_of_all_and_the_fastest_that_keeps_the_bound():
    text = render(made_result([made_row(MODELS[1], 10.0, 40.0, 8.0)]))
    of_all, kept = re.findall(r"The fastest peer .*\n\n.*\n.*\n(.*)", text)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (of_all, kept)]
    ours = "30.0 dB, 98.0%"
    assert cells == [
        ["DS-CNN", "LiteRT int8", "8.00", "10.0", "1.25 (1.25–1.25)", "10.0 dB, 87.5%", ours],
        [
            "DS-CNN",
            "onnxruntime float",
            "40.0",
            "10.0",
            "0.25 (0.25–0.25)",
            "120.0 dB, 100.0%",
            ours,
        ],
    ]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.parent.name)
def test_what_an_older_run_did_not_measure_is_said_and_not_told(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    if any(row.get("held_out") for row in result["models"]):
        pytest.skip("this run judged its files on held-out samples")
    text = render(result)
    assert re.search("The fastest peer that keeps 20 dB .* not measured in this run", text)
    kept = [each for each in judge(result) if "keeps the bound" in each["name"]]
    assert [each["met"] for each in kept] == [None, None]


def test_every_target_is_judged_by_its_own_arithmetic():
    rows = [made_row(model, 10.0, 40.0, 8.0) for model in MODELS]
    # One net at 2.5 of its best peer, which 40 µs are for; and two threads that cost a fifth more.
    rows[1] = made_row(MODELS[1], 100.0, 400.0, 40.0)
    rows[9] = made_row(MODELS[9], 10.0, 40.0, 8.0, default_us=12.0, threads=2)
    found = [
        (round(each["found"], 4), each["met"])
        for each in judge(made_result(rows, overhead=OVERHEAD, kept_graph=KEPT))
    ]
    assert found == [
        (0.25, True),  # LiteRT's 10 dB miss the bound, so onnxruntime float is the fastest
        (0.25, True),
        (round(math.exp((7 * math.log(1.25) + math.log(2.5)) / 8), 4), False),
        (0.25, True),
        (0.25, True),
        (0.25, True),
        (1.2, False),
        (1.1, False),
        (0.98, True),
        (1.0, True),
        (2.5, False),
    ]


def test_with_vnni_the_fastest_of_all_may_be_a_little_faster():
    def verdict(has_vnni):
        instructions = MACHINE["instructions"] | {"AVX-512 VNNI": has_vnni}
        rows = [made_row(model, 9.0, 40.0, 8.0) for model in MODELS]
        result = made_result(rows, machine=MACHINE | {"instructions": instructions})
        (each,) = (each for each in judge(result) if "fastest peer of all" in each["name"])
        return each["limit"], each["found"], each["met"]

    assert verdict(True) == (1.15, pytest.approx(1.125, rel=1e-3), True)
    assert verdict(False) == (1.0, pytest.approx(1.125, rel=1e-3), False)


def test_one_thread_by_choice_is_not_held_against_itself():
    rows = [made_row(model, 10.0, 40.0, 8.0, default_us=13.0) for model in MODELS]
    (threads,) = (each for each in judge(made_result(rows)) if "own choice" in each["name"])
    assert threads["found"] == 1
    assert threads["met"]


def test_what_was_not_measured_is_neither_met_nor_missed():
    rows = [made_row(model, 10.0, 40.0, 8.0) for model in MODELS if model.name != "resnet50"]
    verdicts = [each["met"] for each in judge(made_result(rows))]
    assert verdicts == [None, None, None, True, True] + [None] * 6


def test_a_column_without_a_file_leaves_a_gap_and_a_reason():
    row = made_row(MODELS[0], 10.0, 40.0, 8.0)
    row["columns"]["naive"] = {"error": "ValueError: no such operator"}
    text = render(made_result([row], overhead=OVERHEAD))
    assert "- the article's network, onnxruntime naive int8: ValueError: no such operator" in text
    assert "| the article's network | 1,000 " in text
    assert re.search(r"\*\*8\.00\*\* .* 10\.0 .* 1\.25 \(1\.25–1\.25\) .* 1\.50 \(6\) ", text)


def test_a_missed_target_says_so():
    rows = [made_row(model, 10.0, 12.0, 8.0) for model in MODELS]
    lines = render_short(made_result(rows)).splitlines()
    (line,) = (line for line in lines if "geometric mean over all ten" in line)
    assert re.search(r"\| 0\.83 +\| ≤ 0\.5 +\| \*\*missed\*\*", line)


def test_loads_with_a_kept_graph_are_shown_beside_those_without():
    rows = [made_row(model, 10.0, 12.0, 8.0) for model in MODELS]
    text = render(made_result(rows, kept_graph=KEPT))
    assert re.search(r"\| load, ms +\| 50\.0 +\| 20\.0 +\| 2\.50 ", text)
    assert re.search(r"\| load and first answer, ms +\| 50\.0 +\| 40\.0 +\| 1\.25 ", text)


def test_the_picture_shows_ours_and_the_best_peer_over_the_float_file():
    rows = [made_row(model, 10.0, 20.0, 8.0) for model in MODELS]
    found = bars(made_result(rows))
    assert list(found) == [model.title for model in MODELS]
    for ours, peers in found.values():
        assert (ours, peers) == (pytest.approx(0.5), pytest.approx(0.4))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.parent.name)
def test_a_stored_run_is_whole_and_its_figures_follow_from_its_rounds(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert [row["name"] for row in result["models"]] == [model.name for model in MODELS]
    for row in result["models"]:
        ours = row["columns"]["edgeport_auto"]["one_sample_us"]
        for column, cell in row["columns"].items():
            for threads, timed in cell.get("one_sample_us", {}).items():
                assert timed["median"] == pytest.approx(spread(timed["rounds"])["median"], rel=1e-3)
                if column != "keras":
                    expected = ratio_of_rounds(timed["rounds"], ours[threads]["rounds"])
                    assert timed["ratio"] == pytest.approx(expected, rel=2e-3)
