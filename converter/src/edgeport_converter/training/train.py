"""train(): the stages of a training in running order.

Light to import: TensorFlow, Optuna, scikit-learn and matplotlib come late, inside.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeport import OptionError
from edgeport.atomic_files import check_target
from edgeport.checks import truth
from edgeport_converter.loading.user_code import find_code_files
from edgeport_converter.paths import find_destination
from edgeport_converter.progress import Progress, telling
from edgeport_converter.quiet import quiet_stderr
from edgeport_converter.training.results.report import RECIPE_FILE, RUN_FILES, TrainingReport

if TYPE_CHECKING:
    from edgeport_converter.training.data.samples import TrainingData
    from edgeport_converter.training.data.splitting import Split
    from edgeport_converter.training.recipe.recipe import TrainingRecipe
    from edgeport_converter.training.search.space import Parameter
    from edgeport_converter.training.search.trials import SearchResult

_EXTRA = {
    "pydantic": "pydantic",
    "optuna": "optuna",
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
}
_CHECKPOINT = "checkpoint.npz"
_FOLDS = ".folds.json"
_STUDY = "search.db"


def train(
    recipe: str | os.PathLike[str] | Mapping[str, Any] | TrainingRecipe,
    output: str | os.PathLike[str],
    *,
    run_folder: str | os.PathLike[str] | None = None,
    restart: bool = False,
    storage: str | None = None,
    study_name: str | None = None,
    progress: Progress | None = None,
) -> TrainingReport:
    """Train a model as a recipe says, and write it when it has been measured.

    The same recipe, data and seed give the same weights on one machine; Python's, numpy's and
    TensorFlow's seeds are set for that. After a kill the same call resumes after the last whole
    epoch, and ends with the weights of a run that was never interrupted. Ctrl-C ends the fit with
    the best weights so far; they are measured and written as any others, and the same call resumes.

    Args:
        recipe: the path of a TOML file, or the same as a dict; ``edgeport train --example mnist``
            prints one.
        output: where to write the ``.keras`` file; replaced in one step.
        run_folder: where checkpoint, metrics, picture and summary go; None for the output's name
            with ``.run``.
        restart: whether a checkpoint in the run folder is thrown away.
        storage: of the search's study: an SQLite file, or a database URL such as
            ``postgresql://host/name``; None for ``search.storage`` of the recipe. A password in it
            is not reported.
        study_name: of the study there; None for ``search.study`` of the recipe.
        progress: is notified of stages, batches and epochs.

    Returns:
        Every figure.

    Raises:
        OptionError: the recipe or its data cannot be used; file, line and key are named.
        TrainingError: the loss diverged, Keras cannot train this, or the storage went away.
    """
    _require_extra()
    from edgeport_converter.training.recipe.recipe import read_recipe

    read_from = read_recipe(recipe)
    truth(restart, "restart")
    place = _find_study(read_from, storage, study_name)
    destination = _find_output(output, recipe, read_from)
    folder = _make_run_folder(run_folder, destination, recipe, read_from)
    progress = progress or Progress()
    _start(read_from, progress)
    from edgeport_converter.training.data import reading
    from edgeport_converter.training.fitting import fit
    from edgeport_converter.training.fitting.callbacks import listening
    from edgeport_converter.training.fitting.evaluation import evaluate
    from edgeport_converter.training.results import summary

    chosen = read_from
    read, parts = _read(chosen, progress)
    checkpoint = folder / _CHECKPOINT
    if restart:
        for path in (checkpoint, folder / _FOLDS):
            path.unlink(missing_ok=True)
    found = tested = folds = None
    if chosen.search is not None:
        progress.stage(f"search: {chosen.search.trials} trials by {chosen.search.sampler}")
        found = _search(chosen, read, parts, place, folder, progress)
        chosen = chosen.with_values(found.best)
    if chosen.range_test is not None:
        from edgeport_converter.training.fitting.lr_range_test import run_range_test

        progress.stage("range test")
        with telling(progress):
            tested = run_range_test(chosen, read, parts.train, chosen.range_test)
        if chosen.range_test.use:
            chosen = chosen.with_values({"training.learning_rate": tested.suggested})
    if chosen.cross_validation is not None:
        from edgeport_converter.training.fitting.cross_validation import cross_validate

        whole = parts.without_test()
        folds = cross_validate(chosen, read, whole, progress=progress, store=folder / _FOLDS)
    progress.stage(f"fit: {len(parts.train):,} samples")
    with listening() as interrupt:
        fitted = fit.fit(
            chosen,
            read,
            parts.train,
            parts.validation,
            progress=progress,
            checkpoint=checkpoint,
            interrupt=interrupt,
        )
    progress.stage(f"evaluate: {len(parts.test):,} samples")
    model = fitted.model
    report = TrainingReport(
        output=destination,
        run_folder=folder,
        name=chosen.name,
        samples=parts.sizes(),
        weights=int(sum(weight.size for weight in model.get_weights())),
        seed=chosen.seed,
        data=dict(reading.describe(read)),
        recipe_sha256=read_from.sha256,
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        kept_epoch=fitted.kept_epoch,
        stopped_early=fitted.stopped_early,
        interrupted=fitted.interrupted,
        resumed_after=fitted.resumed_after,
        evaluation=evaluate(model, read, parts.test),
        cross_validation=folds,
        range_test=tested,
        search=found,
        learning_rate=fitted.learning_rate,
        versions=_versions(),
    )
    progress.stage("write")
    summary.write(report, read_from, model, read, parts)
    if not fitted.interrupted:  # a finished training has nothing to go on with
        for path in (checkpoint, folder / _FOLDS):
            path.unlink(missing_ok=True)
    return report


def search(
    recipe: str | os.PathLike[str] | Mapping[str, Any] | TrainingRecipe,
    *,
    run_folder: str | os.PathLike[str] | None = None,
    storage: str | None = None,
    study_name: str | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Work on a recipe's search and nothing else: for further processes and machines.

    Args:
        recipe: with [search]; all workers need the same recipe, data and storage.
        run_folder: of the training, which holds the study unless a storage is named.
        storage: as for ``train``.
        study_name: as for ``train``.
        progress: is notified of each trial.

    Raises:
        OptionError: the recipe, its data or the storage cannot be used.
        TrainingError: no trial could be trained, or the storage went away.
    """
    _require_extra()
    from edgeport_converter.training.recipe.recipe import read_recipe

    read_from = read_recipe(recipe)
    place = _find_study(read_from, storage, study_name)
    folder = None if run_folder is None else Path(run_folder)
    if place.storage is None:
        if folder is None:
            raise OptionError(
                "neither a storage nor a run folder was given, expected where the training that "
                "is shared keeps its study: pass --storage URL, --run-folder DIR, or -o OUT.keras "
                "as in the training"
            )
        folder.mkdir(parents=True, exist_ok=True)
    progress = progress or Progress()
    _start(read_from, progress)
    read, parts = _read(read_from, progress)
    return _search(read_from, read, parts, place, folder, progress)


def _read(recipe: TrainingRecipe, progress: Progress) -> tuple[TrainingData, Split]:
    """Return the data, and refuse now what would fail only after hours."""
    from edgeport_converter.training.data import reading, splitting

    progress.stage("read data")
    read = reading.read_data(recipe)
    parts = splitting.split(recipe, read)
    parameters: tuple[Parameter, ...] = ()
    if recipe.search is not None:
        from edgeport_converter.training.search.space import read_parameters

        parameters = read_parameters(recipe)
    if recipe.cross_validation is not None:
        splitting.require_folds(recipe, read, parts, recipe.cross_validation.folds)
    from edgeport_converter.training.data import augmentation
    from edgeport_converter.training.fitting import networks

    networks.build_network(recipe, read, parts.train)
    for parameter in parameters:
        for value in parameter.values:
            networks.build_network(recipe.with_values({parameter.key: value}), read, parts.train)
    augmentation.augmentation(recipe, read, parts.train)
    return read, parts


@dataclass(frozen=True)
class _StudyPlace:
    """Where a study is kept, None for the run's folder, and its name, None for one by digest."""

    storage: str | None
    name: str | None


def _find_study(recipe: TrainingRecipe, storage: str | None, name: str | None) -> _StudyPlace:
    """Return where the study is, as the caller says it or else the recipe.

    Raises:
        OptionError: the caller named one, and the recipe has no search; a name is empty; or the
            storage is neither a URL nor a file.
    """
    given = {"storage": storage, "study_name": name}
    for option, value in given.items():
        if value is None:
            continue
        if not isinstance(value, str) or not value.strip():
            raise OptionError(
                f"{option} is empty, expected text: check the variable that it came from"
            )
        if recipe.search is None:
            raise OptionError(
                f"{option} was given, and {recipe.origin} has no table [search]: add one, or leave "
                f"{option} out"
            )
    plan = recipe.search
    said = storage or (plan.storage if plan else None)
    if said is not None:
        from edgeport_converter.training.search.storage import locate, require_url_or_file

        require_url_or_file(said)
        storage = storage or locate(said, recipe.folder)
    return _StudyPlace(storage, name or (plan.study if plan else None))


def _search(
    recipe: TrainingRecipe,
    read: TrainingData,
    parts: Split,
    place: _StudyPlace,
    folder: Path | None,
    progress: Progress,
) -> SearchResult:
    from edgeport_converter.training.search import trials

    storage = place.storage or str((folder or Path()) / _STUDY)
    return trials.search(
        recipe, read, parts, storage=storage, study_name=place.name, progress=progress
    )


def _require_extra() -> None:
    missing = [name for module, name in _EXTRA.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise OptionError(
            f"training needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            "not installed here: pip install 'edgeport-converter[train]'"
        )


def _start(recipe: TrainingRecipe, progress: Progress) -> None:
    from edgeport_converter.training.data.reading import find_source

    find_source(recipe)  # TensorFlow takes seconds to start
    progress.stage("start TensorFlow")
    with quiet_stderr():
        from edgeport_converter.loading.load import start_tensorflow

        start_tensorflow()


def _find_output(output: str | os.PathLike[str], given: Any, recipe: TrainingRecipe) -> Path:
    destination = find_destination(output, (given, *_find_read(recipe)), is_artifact=False)
    if destination.suffix != ".keras":
        raise OptionError(
            f"the output '{output}' does not end in .keras, expected it, since Keras decides by "
            "the name: rename it"
        )
    return destination


def _find_read(recipe: TrainingRecipe) -> tuple[Path, ...]:
    """Return what a training reads besides its recipe: the data, and the code of its model."""
    source = recipe.folder / recipe.data.source
    return source, *find_code_files(recipe.model.function, in_folder=recipe.folder)


def _make_run_folder(
    run_folder: str | os.PathLike[str] | None, output: Path, given: Any, recipe: TrainingRecipe
) -> Path:
    """Return the run's folder, made if need be.

    Raises:
        OptionError: a file in it would take the place of one that is read, it lies inside a folder
            of images, which it would be a class of, or it cannot be made.
    """
    if run_folder is not None and not os.fspath(run_folder):
        raise OptionError(
            "the run folder is an empty path, expected the name of a folder: check the variable "
            "that it came from"
        )
    folder = output.with_suffix(".run") if run_folder is None else Path(run_folder)
    reads = _find_read(recipe)
    source = reads[0]
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise OptionError(
            f"the run folder '{folder}' lies inside the data folder '{source}', expected another "
            "place, since folders in there are classes: pass run_folder, or --run-folder DIR"
        )
    if folder.is_dir():
        for name in (*RUN_FILES, _CHECKPOINT, _FOLDS):
            # A recipe that is trained again from a former run's folder stays as it is.
            own = (given,) if isinstance(given, (str, os.PathLike)) and name != RECIPE_FILE else ()
            check_target(folder / name, reads=(*own, *reads))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise OptionError(
            f"the run folder '{folder}' cannot be made ({cause.strerror}): choose another"
        ) from cause
    return folder


def _versions() -> dict[str, str]:
    names = ("edgeport-converter", "keras", "tensorflow", "scikit-learn", "numpy")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), **found}
