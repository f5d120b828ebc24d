"""`edgeport explain`: which parts of a picture, a signal or a table carried the answer."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from edgeport.artifact.card import ModelCard
from edgeport.artifact.golden import Array
from edgeport.atomic_files import check_target, replacing
from edgeport.cli import heatmap, labelled, printing
from edgeport.cli.reading import Place
from edgeport.errors import OptionError
from edgeport.explaining.explain import explain, explains_tables
from edgeport.explaining.occlusion import OcclusionMap
from edgeport.explaining.permutation import PermutationImportance
from edgeport.inputs.feeds import prepare
from edgeport.inputs.images import IMAGES
from edgeport.predictor import Predictor

_WRITABLE = (".png", ".npy")
_BAR = 30  # letters of the longest bar
_MOST_COLUMNS = 30
_MOST_TIMES = 24


def run_explain(options: argparse.Namespace, tell: Callable[[str], None]) -> None:
    """Explain, print and write.

    Args:
        options: of the command line.
        tell: is called with what the user should know, a sentence each.
    """
    outputs = options.output or []
    for path in outputs:
        _check_output(path, options)
    picture = _picture(options.picture)
    with Predictor.load(options.artifact, threads=options.threads) as predictor:
        if explains_tables(predictor.card, is_picture=picture is not None):
            _explain_table(options, predictor, outputs, tell)
        else:
            _explain_sample(options, predictor, picture, outputs, tell)


def _check_output(path: str, options: argparse.Namespace) -> None:
    ending = Path(path).suffix.lower()
    if ending not in _WRITABLE:
        raise OptionError(
            f"the output is '{path}', expected a name that ends in {' or '.join(_WRITABLE)}: "
            "rename it"
        )
    check_target(path, reads=[options.artifact, options.data])
    if ending == ".png":
        heatmap.require_pillow()


def _picture(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    with suppress(ValueError):
        height, width = map(int, text.lower().split("x"))
        return height, width
    raise OptionError(f"--picture is '{text}', expected HxW such as 28x28: correct it")


def _numbers(text: str | None, name: str) -> int | list[int] | None:
    """Return 8 for ``8``, [8, 12] for ``8x12``."""
    if text is None:
        return None
    try:
        sizes = [int(part) for part in text.lower().split("x")]
    except ValueError as cause:
        raise OptionError(
            f"{name} is '{text}', expected a number, or HxW such as 8x12: correct it"
        ) from cause
    return sizes if len(sizes) > 1 else sizes[0]


def _baseline(text: str | None) -> str | float | None:
    with suppress(ValueError, TypeError):
        return float(text)  # type: ignore[arg-type]
    return text


def _explain_sample(
    options: argparse.Namespace,
    predictor: Predictor,
    picture: tuple[int, int] | None,
    outputs: list[str],
    tell: Callable[[str], None],
) -> None:
    card = predictor.card
    for name in ("label_column", "repeats", "seed"):
        if getattr(options, name) is not None:
            raise OptionError(
                f"--{name.replace('_', '-')} belongs to tables, expected none for a picture or a "
                "signal: leave it out"
            )
    sample, place = labelled.read_sample(options.data, card, options.sample, tell)
    found = explain(
        predictor,
        sample,
        class_name=options.class_name,
        patch=_numbers(options.patch, "--patch"),
        stride=_numbers(options.stride, "--stride"),
        baseline=_baseline(options.baseline),
        picture=picture,
    )
    assert isinstance(found, OcclusionMap)  # noqa: S101 - the caller asked which it is
    for path in outputs:
        with replacing(path) as file:
            if path.lower().endswith(".npy"):
                np.save(file, found.heat, allow_pickle=False)
            else:
                shown = prepare(card.inputs, (sample,), card.frames).arrays[card.inputs[0].name][0]
                heatmap.write_picture(file, found, card, shown)
    if options.json:
        printing.print_json({"file": options.artifact, **_as_dict(found, place, outputs)})
    else:
        _print_map(found, place, outputs)
        if not outputs and Path(options.data).suffix.lower() in IMAGES:
            tell("-o heat.png draws it over the picture, -o heat.npy writes the numbers")


def _as_dict(found: OcclusionMap, place: Place | None, outputs: list[str]) -> dict[str, Any]:
    region = found.region
    return {
        "method": "occlusion sensitivity",
        "answer": found.answer,
        "score": found.score,
        "region": region
        and {
            "start": list(region.start),
            "stop": list(region.stop),
            "share": region.share,
            "drop": region.drop,
            "where": region.where,
        },
        "baseline": found.baseline,
        "patch": list(found.patch),
        "stride": list(found.stride),
        "starts": [list(along) for along in found.starts],
        "drops": found.drops.tolist(),
        "rate": found.rate,
        "from_second": place.seconds if place else None,
        "outputs": outputs,
        "notes": list(found.notes),
    }


def _print_map(found: OcclusionMap, place: Place | None, outputs: list[str]) -> None:
    if place is not None:
        printing.print_line(f"window     from {place.seconds:.3f} s of the recording; times in it")
    printing.print_line(found.summary())
    sizes = " x ".join(map(str, found.patch))
    steps = " x ".join(map(str, found.stride))
    unit = "samples" if len(found.patch) == 1 else "pixels"
    several = "patch" if found.drops.size == 1 else "patches"
    printing.print_line(
        f"occluded   {found.drops.size:,} {several} of {sizes} {unit}, every {steps}, by the "
        f"baseline '{found.baseline}'"
    )
    if found.heat.ndim == 1:
        _print_times(found)
    for note in found.notes:
        printing.print_line(f"note       {note}")
    for path in outputs:
        printing.print_line(f"written    {path}")


def _print_times(found: OcclusionMap) -> None:
    """Print the heat over time, a bar for each part."""
    parts = np.array_split(np.arange(len(found.heat)), min(_MOST_TIMES, len(found.heat)))
    means = np.array([found.heat[part].mean() for part in parts])
    for part, mean in zip(parts, means, strict=True):
        begin = f"{part[0] / found.rate:.3f} s" if found.rate else str(part[0])
        printing.print_line(f"{begin:>10} {mean:>12.4g}  {_bar(mean, means)}")


def _bar(value: float, values: Array) -> str:
    largest = float(np.abs(values).max(initial=0.0))
    length = round(_BAR * abs(value) / largest) if largest else 0
    return ("█" if value > 0 else "░") * length


def _explain_table(
    options: argparse.Namespace,
    predictor: Predictor,
    outputs: list[str],
    tell: Callable[[str], None],
) -> None:
    for name in ("patch", "stride", "baseline", "picture", "sample"):
        if getattr(options, name) is not None:
            raise OptionError(
                f"--{name} belongs to pictures and signals, expected none for a table: leave it out"
            )
    drawn = next((path for path in outputs if path.lower().endswith(".png")), None)
    if drawn is not None:
        raise OptionError(f"'{drawn}' is a picture, expected .npy for a table: rename it")
    card: ModelCard = predictor.card
    table = labelled.read_labelled(options.data, card, options.label_column, tell)
    found = explain(
        predictor,
        table.x,
        labels=table.labels,
        class_name=options.class_name,
        repeats=options.repeats,
        seed=options.seed,
        names=table.names,
    )
    assert isinstance(found, PermutationImportance)  # noqa: S101 - the caller asked which it is
    for path in outputs:
        with replacing(path) as file:
            np.save(file, found.repeated, allow_pickle=False)
    if options.json:
        printing.print_json(
            {
                "file": options.artifact,
                "method": "permutation importance",
                "measure": found.measure,
                "score": found.score,
                "rows": found.rows,
                "columns": [
                    {
                        "name": name,
                        "importance": mean,
                        "spread": spread,
                        "error": error,
                        "stands_out": is_clear,
                    }
                    for name, mean, spread, error, is_clear in zip(
                        found.columns,
                        found.importances.tolist(),
                        found.spreads.tolist(),
                        found.errors.tolist(),
                        found.stands_out(),
                        strict=True,
                    )
                ],
                "repeats": found.repeated.shape[1],
                "outputs": outputs,
                "notes": list(found.notes),
            }
        )
    else:
        _print_importance(found, outputs)


def _print_importance(found: PermutationImportance, outputs: list[str]) -> None:
    printing.print_line(found.summary())
    as_is = "" if found.score is None else f", {found.score:.4g} as it is"
    printing.print_line(
        f"measured   {found.measure}, mean ± spread of {found.repeated.shape[1]} shuffles of "
        f"{found.rows:,} rows{as_is}"
    )
    order = np.argsort(-found.importances, kind="stable")[:_MOST_COLUMNS].tolist()
    width = max(len(found.columns[place]) for place in order)
    clear = found.stands_out()
    for place in order:
        value = float(found.importances[place])
        bar = _bar(value, found.importances) if clear[place] else "may be chance"
        figures = f"{value:>10.4g} ± {found.spreads[place]:<8.2g}"
        printing.print_line(f"{found.columns[place]:<{width}} {figures} {bar}")
    if len(found.columns) > len(order):
        printing.print_line(f"and {len(found.columns) - len(order)} columns below; --json has all")
    for note in found.notes:
        printing.print_line(f"note       {note}")
    for path in outputs:
        printing.print_line(f"written    {path}")
