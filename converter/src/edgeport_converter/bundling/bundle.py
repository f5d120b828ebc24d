"""Writing a bundle: checks, wheels, manifest, archive, in this order."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import parse_wheel_filename

import edgeport
from edgeport import ArtifactError, OptionError, Predictor
from edgeport.artifact.card import ModelCard
from edgeport.atomic_files import check_target, replacing
from edgeport.device.tuning_file import FORMAT, parse
from edgeport.options import TUNING_SUFFIX
from edgeport_converter.bundling import install
from edgeport_converter.bundling.archive import FOLDER, write_archive
from edgeport_converter.bundling.examples import SYSTEMD, containerfile
from edgeport_converter.bundling.manifest import describe_files, manifest_files
from edgeport_converter.bundling.platforms import Platform, find_platform, find_python
from edgeport_converter.bundling.slimming import is_needed
from edgeport_converter.bundling.wheel_zip import check_record, slimmed
from edgeport_converter.bundling.wheels import (
    IMPORTS,
    WheelSource,
    download,
    runtime_wheel,
    system_version,
)

AnyPath = str | os.PathLike[str]

INSTALLER = f"{FOLDER}/install.py"
_LONGEST_NAME = 100
"""Characters of a variant's name, which every archive and file system takes."""


@dataclass(frozen=True)
class BundleReport:
    """What a bundle holds.

    Attributes:
        file: where it was written.
        file_bytes: its size.
        sha256: its digest.
        platform, python: of the device.
        versions: of every package.
        system: the oldest glibc or macOS, in words, "" for none.
        left_out_bytes: of the files that ``slim`` left out.
        is_signed: whether it has a signature.
    """

    file: str
    file_bytes: int
    sha256: str
    platform: str
    python: str
    versions: dict[str, str]
    system: str
    left_out_bytes: int
    is_signed: bool


def write_bundle(
    artifact: AnyPath,
    output: AnyPath,
    *,
    platform: str,
    python: str,
    variants: Sequence[AnyPath] = (),
    extras: Sequence[str] = (),
    tuning: AnyPath | None = None,
    wheel: AnyPath | None = None,
    wheels: AnyPath | None = None,
    constraints: AnyPath | None = None,
    slim: bool = False,
    with_containerfile: bool = False,
    key: AnyPath | None = None,
    version: int | None = None,
) -> BundleReport:
    """Write an archive with an artifact and all that a device without a network needs.

    Args:
        artifact: is loaded first, with every check of a device.
        output: the .tar.gz file, written whole or not at all.
        platform: one of ``platforms.PLATFORMS``.
        python: the device's Python, such as "3.11".
        variants: further artifacts of the same model, for ``edgeport tune``.
        extras: of edgeport, such as "images", whose packages the device gets, too.
        tuning: settings that ``edgeport tune`` wrote on a device of the same kind.
        wheel: of edgeport; None makes it of what is installed here.
        wheels: a folder, the only place where wheels are looked for; None asks pip's index.
        constraints: a file of versions, as pip's ``--constraint``.
        slim: whether files are left out that no device reads.
        with_containerfile: whether a Containerfile is added.
        key: signs the manifest; None signs nothing.
        version: of the signed release.

    Raises:
        ArtifactError: the artifact or a variant does not load, or has no card.
        OptionError: there is no wheel for this platform; or an option, a file or the target cannot
            be used. The target is as it was.
    """
    system, python = find_platform(platform), find_python(python)
    if (key is None) != (version is None):
        raise OptionError(
            "a signature needs a key and a version, and one of them is missing: give --key and "
            "--version"
        )
    given = [
        artifact,
        *variants,
        *(path for path in (tuning, wheel, wheels, constraints, key) if path),
    ]
    check_target(output, reads=given)
    card = _check(artifact)
    contents: dict[str, bytes | Path] = {install.ARTIFACT: _read(artifact)}
    for variant in variants:
        contents[_name_of_variant(variant, contents)] = _read(variant)
    if tuning is not None:
        contents[install.ARTIFACT + TUNING_SUFFIX] = _read(tuning)
        _check_tuning(tuning, card)
    contents["install.py"] = Path(install.__file__).read_bytes()
    if system.name.startswith("linux"):
        contents["edgeport-app.service"] = SYSTEMD.encode("ascii")
    if with_containerfile:
        text = containerfile(platform, python)
        if text is None:
            raise OptionError(f"there are no containers for {platform}: leave --containerfile out")
        contents["Containerfile"] = text.encode("ascii")
    with tempfile.TemporaryDirectory() as scratch:
        source = WheelSource(_path(wheels), _path(constraints))
        runtime = runtime_wheel(_path(wheel), Path(scratch))
        oldest = card.requires.onnxruntime if card.requires else None
        place = (system, python, Path(scratch))
        others = download(runtime, *place, oldest_engine=oldest, source=source, extras=extras)
        found = [runtime, *others]
        facts = _facts(card, system, python, found)
        if tuning is not None:
            _check_tuning(tuning, card, facts["versions"]["onnxruntime"])
        facts["imports"] = sorted({name for extra in extras for name in IMPORTS[extra]})
        facts["downloaded"] = {
            name: entry["sha256"]
            for name, entry in describe_files({path.name: path for path in found}).items()
        }
        left_out = 0
        for path in found:
            check_record(path)
            kept = path
            if slim:
                kept = Path(scratch, "slim", path.name)
                kept.parent.mkdir(exist_ok=True)
                left_out += slimmed(path, is_needed, kept)
            contents[f"wheels/{path.name}"] = kept
        facts["slim"] = slim
        facts["files"] = describe_files(contents)
        contents |= manifest_files(facts, key=key, version=version)
        with replacing(output, reads=given) as file:
            write_archive(file, contents)
            file.flush()
            size, digest = file.tell(), install.digest_of(Path(file.name))
    needs = facts["system"]
    return BundleReport(
        file=os.fspath(output),
        file_bytes=size,
        sha256=digest,
        platform=platform,
        python=python,
        versions=facts["versions"],
        system=f"{needs['what']} {needs['version']}" if needs else "",
        left_out_bytes=left_out,
        is_signed=key is not None,
    )


def _path(given: AnyPath | None) -> Path | None:
    return None if given is None else Path(given)


def _check(artifact: AnyPath) -> ModelCard:
    """Load an artifact with all checks, and return its card."""
    with Predictor.load(artifact, tuning=False) as predictor:
        card = predictor.card
    if not card.is_vouched_for:
        raise ArtifactError(
            "the artifact has no card, expected an artifact of edgeport, so that the device can "
            "check it: convert the model first",
            path=os.fspath(artifact),
        )
    return card


def _name_of_variant(variant: AnyPath, others: Iterable[str]) -> str:
    """Load a variant with all checks, and return its name, which no other file may have."""
    _check(variant)
    name = Path(variant).name
    # Some devices' file systems take names that differ in capitals for one.
    if name.lower() in {other.lower() for other in others}:
        raise OptionError(f"two files are named '{name}' in the bundle: rename the variant")
    if not install.is_name(name) or not name.endswith(".onnx") or len(name) > _LONGEST_NAME:
        raise OptionError(
            f"the variant is named '{name}', expected at most {_LONGEST_NAME} letters, digits "
            "and _+-.! of ASCII that end in .onnx: rename the variant"
        )
    return name


def _read(path: AnyPath) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as cause:
        raise OptionError(
            f"'{os.fspath(path)}' cannot be read ({cause.strerror or cause}): name a file that is "
            "there"
        ) from cause


def _check_tuning(path: AnyPath, card: ModelCard, engine: str = "") -> None:
    """Refuse settings that a device would not use, of another artifact or version of the engine."""
    text = _read(path)
    try:
        parse(text, {"format": FORMAT, "artifact": card.sha256})
        measured = str(json.loads(text)["onnxruntime"]).partition(" ")[0]
        if engine and measured != engine:
            raise ValueError(
                f"it was measured with onnxruntime {measured}, the bundle has {engine}"
            )
    except (ValueError, KeyError) as cause:
        raise OptionError(
            f"no device would use the tuning '{os.fspath(path)}' ({cause}): run 'edgeport tune' "
            "with this artifact and onnxruntime on a device of the kind, or leave --tuning out"
        ) from cause


def _facts(
    card: ModelCard, platform: Platform, python: str, wheels: Sequence[Path]
) -> dict[str, Any]:
    """Return what the manifest says, but for the files."""
    oldest = system_version(wheels)
    versions = {}
    for wheel in wheels:
        name, version, _, _ = parse_wheel_filename(wheel.name)
        versions[str(name)] = str(version)
    return {
        "name": card.name,
        "artifact": card.sha256,
        "platform": platform.name,
        "python": python,
        "system": {"what": platform.system, "version": oldest} if oldest else None,
        "versions": versions | {"edgeport": edgeport.__version__},
    }
