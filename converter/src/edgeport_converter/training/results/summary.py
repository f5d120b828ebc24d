"""The run's folder: the model and everything that was learned about it, for people and programs.

model.keras         a copy of the output
recipe.toml         as it was given (recipe.json for a dict)
metrics.json        the whole report
learning_curve.png  loss and metric by epoch
summary.md          the same in words and tables
calibration.npz     some hundred training samples, and
test.npz            the test set, both as `edgeport convert` takes them
labels.txt          the class names
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edgeport.artifact.golden import Array
from edgeport.atomic_files import replacing
from edgeport.cli.writing import write_arrays
from edgeport_converter import provenance
from edgeport_converter.sensors import columns
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.training.data.csv_tables import columns_of
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples
from edgeport_converter.training.data.splitting import Split
from edgeport_converter.training.fitting.callbacks import monitored
from edgeport_converter.training.recipe.recipe import TrainingRecipe
from edgeport_converter.training.results.report import RECIPE_FILE, TrainingReport

_CALIBRATION_SAMPLES = 500
_MOST_CONFUSED = 30


def write(
    report: TrainingReport, recipe: TrainingRecipe, model: Any, read: TrainingData, parts: Split
) -> None:
    """Write the run's folder, and last the model to its output.

    The folder's own copy of the model comes before the samples and the class names, so that after a
    failure in between, a model of a former run does not equal the copy beside samples of this one:
    `edgeport convert` takes them for a model that equals the copy.
    """
    folder = report.run_folder
    kept = folder / "model.keras"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as saving:
        saved = Path(saving) / "model.keras"
        model.save(saved)
        with replacing(str(kept)) as stamped:
            more = {columns.MEMBER: columns.to_json(columns_of(read, parts.train))}
            provenance.stamp(saved, stamped, report.facts(), more if read.table else None)
    if recipe.text is not None:
        name, said = RECIPE_FILE, recipe.text
    else:
        name, said = "recipe.json", json.dumps(recipe.raw, indent=2, default=str) + "\n"
    storage = recipe.search.storage if recipe.search else None
    if storage is not None:
        from edgeport_converter.training.search.storage import without_password

        said = without_password(storage, said)
    _write_text(folder / name, said)
    found = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    _write_text(folder / "metrics.json", found + "\n")
    if report.history:
        _draw(report, recipe, folder / "learning_curve.png")
    _write_text(folder / "summary.md", to_markdown(report))
    _write_samples(
        parts.train.take(np.arange(min(_CALIBRATION_SAMPLES, len(parts.train)))),
        folder / "calibration.npz",
        read.frames,
        labels=False,
    )
    _write_samples(parts.test, folder / "test.npz", read.frames, labels=True)
    if read.classes:
        _write_text(folder / "labels.txt", "\n".join(read.classes) + "\n")
    else:
        (folder / "labels.txt").unlink(missing_ok=True)  # of a former run
    if kept.resolve() != report.output:
        with replacing(str(report.output)) as copy:
            copy.write(kept.read_bytes())


def to_markdown(report: TrainingReport) -> str:
    """Return the summary."""
    lines = [f"# {report.name}", ""]
    if report.interrupted:
        epoch = len(report.history)
        lines += [f"**Interrupted after epoch {epoch}; the same command resumes it.**", ""]
    lines += ["```", report.to_text(), "```", ""]
    if report.history:
        lines += ["![loss and metric by epoch](learning_curve.png)", ""]
    if report.search is not None:
        lines += _search_table(report)
    if 0 < len(report.evaluation.classes) <= _MOST_CONFUSED:
        lines += _confusion_table(report)
    options = ""
    if report.evaluation.classes:
        options = f" --labels labels.txt --expected-metric {report.evaluation.value:.6f}"
    facts = report.facts() | dict(report.versions)
    lines += [
        "## To an artifact",
        "",
        "```",
        "edgeport convert model.keras -o model.onnx --calibration calibration.npz \\",
        f"    --evaluation test.npz{options}",
        "```",
        "",
        "## Where it comes from",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in facts.items()),
        "",
    ]
    return "\n".join(lines)


def _search_table(report: TrainingReport) -> list[str]:
    found = report.search
    assert found is not None  # noqa: S101  # the caller has looked
    keys = list(found.best)
    lines = [
        f"## Search: {found.metric} by {found.sampler}",
        "",
        f"| trial | {' | '.join(keys)} | {found.metric} | |",
        f"| --- |{' --- |' * len(keys)} --- | --- |",
    ]
    for trial in found.trials:
        values = " | ".join(str(trial.values.get(key)) for key in keys)
        shown = "" if trial.value is None else f"{trial.value:.4f}"
        lines.append(f"| {trial.number} | {values} | {shown} | {trial.state} |")
    return [*lines, ""]


def _confusion_table(report: TrainingReport) -> list[str]:
    names = [item.name for item in report.evaluation.classes]
    rows = [
        f"| **{name}** | {' | '.join(str(count) for count in row)} |"
        for name, row in zip(names, report.evaluation.confusion, strict=True)
    ]
    return [
        "## Confusion",
        "",
        "A row for each true class, a column for what it was called.",
        "",
        f"| | {' | '.join(names)} |",
        f"| --- |{' ---: |' * len(names)}",
        *rows,
        "",
    ]


def _draw(report: TrainingReport, recipe: TrainingRecipe, path: Any) -> None:
    """Draw loss and metric by epoch, without pyplot, which would keep state for the process."""
    epochs = range(1, len(report.history) + 1)
    first = report.history[0]
    metric = monitored(recipe)[0].removeprefix("val_")
    if metric == "loss":
        others = [name for name in first if not name.startswith("val_")]
        others = [name for name in others if name not in ("loss", "learning_rate")]
        metric = others[0] if others else "loss"
    names = list(dict.fromkeys(["loss", metric]))
    figure = Figure(figsize=(5 * len(names), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in first:
                axes.plot(epochs, [entry[key] for entry in report.history], ".-", label=label)
        if report.kept_epoch:
            axes.axvline(report.kept_epoch, color="grey", linewidth=0.8, linestyle=":")
        axes.set_xlabel("epoch")
        axes.set_title(name)
        axes.legend()
    with replacing(str(path)) as file:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})


def _write_samples(
    samples: TrainingSamples, path: Any, frames: Frames | None, *, labels: bool
) -> None:
    """Write samples as `edgeport convert` takes them: pictures that take frames as such frames."""
    arrays = {name: x.astype(str) if x.dtype == object else x for name, x in samples.inputs.items()}
    if frames is not None:
        arrays = {name: _as_frames(pictures, frames) for name, pictures in arrays.items()}
    if labels:  # under a name that `convert` takes for labels, unless they are values
        arrays["y" if samples.targets.dtype == np.int64 else "targets"] = samples.targets
    with replacing(str(path)) as file:
        write_arrays(file, arrays)


def _as_frames(pictures: Array, frames: Frames) -> Array:
    """Return pictures (N, h, w, c) as uint8 frames of the model's size, which resizes to itself."""
    levels: Array = np.rint(pictures).clip(0, 255).astype(np.uint8)
    if levels.shape[3] == 1 and frames.order != "gray":
        levels = np.repeat(levels, 3, axis=3)  # gray from these is the same gray
    return levels


def _write_text(path: Path, text: str) -> None:
    with replacing(str(path)) as file:
        file.write(text.encode())
