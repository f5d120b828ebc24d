"""The page's folder: checked before, written beside the target, and renamed to it at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from edgeport import ArtifactError, OptionError, Predictor
from edgeport.artifact.card import ModelCard
from edgeport_converter.browser.onnxruntime_web import VERSION, engine_files

# JavaScript has arrays of these; float16 is missing in many browsers.
_DTYPES = frozenset(
    f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)
) | frozenset(("bool", "float32", "float64", "object"))
_OWN = frozenset(("index.html", "style.css", "model.onnx", "app", "ort"))


def write_page(
    artifact: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    onnxruntime_web: str | os.PathLike[str] | None = None,
) -> ModelCard:
    """Write a folder that any server of static files can serve, and return the artifact's card.

    Args:
        artifact: is loaded first, with every check of a device.
        output: the folder; one that an earlier call wrote is replaced.
        onnxruntime_web: a folder with the engine; None takes it from the cache or from npm.

    Raises:
        ArtifactError: the artifact does not load, has no card, or needs what no browser has.
        OptionError: the folder holds something else or cannot be written, or the engine is missing.
            The folder is as it was.
    """
    with Predictor.load(artifact) as predictor:
        card = predictor.card
    _check_card(card, os.fspath(artifact))
    data = Path(artifact).read_bytes()
    target = Path(output)
    _check_target(target)
    engine = engine_files(onnxruntime_web)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".page-", dir=target.parent) as scratch:
            made = Path(scratch, "new")
            with resources.as_file(resources.files(__package__) / "page") as source:
                shutil.copytree(source, made, copy_function=shutil.copyfile)
            (made / "ort").mkdir()
            for name, content in engine.items():
                (made / "ort" / name).write_bytes(content)
            (made / "model.onnx").write_bytes(data)
            if target.exists():
                target.rename(Path(scratch, "old"))
            made.rename(target)
    except OSError as cause:
        raise OptionError(
            f"'{target}' cannot be written ({cause.strerror or cause}): choose another folder, or "
            "check the disk"
        ) from cause
    return card


def _check_card(card: ModelCard, path: str) -> None:
    if not card.is_vouched_for:
        raise ArtifactError(
            "the artifact has no card, expected an artifact of edgeport, so that the page can "
            "check it: convert the model first",
            path=path,
        )
    for spec in (*card.inputs, *card.outputs):
        if str(spec.dtype) not in _DTYPES:
            raise ArtifactError(
                f"the artifact has '{spec.name}' in {spec.dtype}, expected numbers that every "
                "browser has: convert the model with float32",
                path=path,
            )
    needed = card.requires.onnxruntime if card.requires else "0"
    if [int(part) for part in needed.split(".")[:2]] > [int(part) for part in VERSION.split(".")]:
        raise ArtifactError(
            f"the artifact needs onnxruntime {needed}, and pages have onnxruntime-web {VERSION}: "
            "convert it for an older onnxruntime",
            path=path,
        )


def _check_target(target: Path) -> None:
    """Refuse to replace what no earlier call wrote."""
    if not target.exists() and not target.is_symlink():
        return
    if target.is_symlink() or not target.is_dir():
        raise OptionError(
            f"'{target}' is a file or a link, expected a folder: choose another place"
        )
    others = sorted({path.name for path in target.iterdir()} - _OWN)
    index = target / "index.html"
    is_page = index.is_file() and 'content="edgeport page"' in index.read_text("utf-8", "replace")
    if others or (any(target.iterdir()) and not is_page):
        found = f"'{others[0]}'" if others else "files of another page"
        raise OptionError(
            f"'{target}' holds {found}, expected a new folder or an earlier page: choose another "
            "place, or empty it"
        )
