"""The demo's end: one table from both halves, and an exit code that says whether they agree."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

_MAX_DROP = 0.005  # half a percentage point
_ROUNDING = 1e-9  # 5 of 1,000 has no exact float
_MAX_FLOAT_DIFFERENCE = 1e-5


def main() -> None:
    """Print the table, write results.json, exit with 1 where something disagrees."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--readme", type=Path, help="put the table there, between its markers")
    options = parser.parse_args()
    folder: Path = options.folder
    results: dict[str, Any] = {}
    for half in ("workstation", "device"):
        results |= json.loads((folder / f"{half}.json").read_text())
    with np.load(folder / "keras_scores.npz") as keras, np.load(folder / "device_scores.npz") as on:
        difference = float(np.abs(keras["scores"] - on["float32"]).max())
    results["device_float_largest_difference"] = difference
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(_table(results))
    failures = _failures(results)
    if options.readme and not failures:
        _put_into(options.readme, _table(results))
    for failure in failures:
        print(f"demo: {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


def _failures(results: dict[str, Any]) -> list[str]:
    found = []
    drop = results["float_accuracy"] - results["device_int8_accuracy"]
    if drop > _MAX_DROP + _ROUNDING:
        found.append(f"int8 loses {drop:.4f} accuracy, expected at most {_MAX_DROP}")
    if results["device_float_largest_difference"] > _MAX_FLOAT_DIFFERENCE:
        found.append(
            f"float ONNX on the device is {results['device_float_largest_difference']:.2g} "
            f"from Keras, expected at most {_MAX_FLOAT_DIFFERENCE}"
        )
    for form in ("int8", "float"):
        there, here = results[f"device_{form}_accuracy"], results[f"{form}_accuracy"]
        if there != here:
            found.append(f"{form} accuracy is {there} on the device, {here} on the workstation")
    if not results["single_equals_batch"]:
        found.append("int8 answers one sample differently than the same sample in a batch")
    return found


def _table(r: dict[str, Any]) -> str:
    tools, device = r["converter_environment"], r["device_environment"]
    rows = [
        ("", "Keras", "float ONNX", "int8 artifact"),
        (
            f"accuracy on {r['test_digits']:,} digits",
            f"{r['keras_accuracy']:.2%}",
            f"{r['device_float_accuracy']:.2%}",
            f"{r['device_int8_accuracy']:.2%}",
        ),
        ("file, bytes", *(f"{r[f'{form}_bytes']:,}" for form in ("keras", "float", "int8"))),
        (
            "one sample, µs",
            f"predict {r['keras_predict_us']:,.0f}, call {r['keras_call_us']:,.0f}",
            f"{r['float_predict_one_us']:.1f}",
            f"{r['predict_one_us']:.1f}",
        ),
        (
            "whole batch, µs a sample",
            f"predict {r['keras_predict_batch_us']:.0f}",
            f"{r['float_predict_batch_us']:.2f}",
            f"{r['predict_batch_us']:.2f}",
        ),
        (
            "environment",
            f"{tools['packages']} packages, {tools['mib']:,.0f} MiB",
            f"{device['packages']} packages, {device['mib']:,.0f} MiB",
            f"{device['packages']} packages, {device['mib']:,.0f} MiB",
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines += ["", f"On {r['cpu']}."]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def _put_into(readme: Path, table: str) -> None:
    text = readme.read_text(encoding="utf-8")
    block = f"<!-- demo table -->\n{table}\n<!-- end of demo table -->"
    pattern = "<!-- demo table -->.*<!-- end of demo table -->"
    readme.write_text(re.sub(pattern, lambda _: block, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
