"""Provenance: facts about a training, inside its ``.keras`` file and in the artifact's card.

A ``.keras`` file is a ZIP archive; Keras reads the members it knows and ignores others. The member
``edgeport.json`` is one object of texts. ``training`` writes it, ``loading`` reads it for the card,
where a device's operator finds the data and the recipe that an artifact was made from.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from edgeport import ConversionError

MEMBER = "edgeport.json"

FRAMES = "training_frames"
"""The fact that says what a training did to pictures, as the text of ``sensors.frames.Frames``."""

_BEGINNING_OF_ZIP = (1980, 1, 1, 0, 0, 0)


def stamp(
    source: Path,
    target: Path | IO[bytes],
    facts: Mapping[str, str],
    more: Mapping[str, str] | None = None,
) -> None:
    """Write ``source`` to ``target`` with the facts inside, without times and addresses.

    Keras stores when it saved and the memory addresses of shared objects. Without these, the same
    recipe and data give the same bytes. ``more`` has further members, texts by name.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        members = {name: old.read(name) for name in old.namelist()}
        metadata = json.loads(members["metadata.json"])
        metadata.pop("date_saved", None)
        members["metadata.json"] = json.dumps(metadata).encode()
        config = _number_shared_objects(json.loads(members["config.json"]), {})
        members["config.json"] = json.dumps(config).encode()
        members[MEMBER] = json.dumps(dict(facts), indent=1, ensure_ascii=False).encode()
        members |= {name: text.encode() for name, text in (more or {}).items()}
        for name, content in members.items():
            new.writestr(zipfile.ZipInfo(name, _BEGINNING_OF_ZIP), content)


def _number_shared_objects(config: Any, numbers: dict[int, int]) -> Any:
    """Return the config with addresses replaced by numbers; equal ones stay equal."""
    if isinstance(config, list):
        return [_number_shared_objects(item, numbers) for item in config]
    if not isinstance(config, dict):
        return config
    return {
        key: numbers.setdefault(value, len(numbers) + 1)
        if key == "shared_object_id" and isinstance(value, int)
        else _number_shared_objects(value, numbers)
        for key, value in config.items()
    }


def read(path: Path) -> dict[str, str]:
    """Return the facts in a ``.keras`` file; none where another tool wrote it.

    Raises:
        ConversionError: they are not in the form that ``stamp`` writes.
    """
    with zipfile.ZipFile(path) as archive:
        if MEMBER not in archive.namelist():
            return {}
        content = archive.read(MEMBER)
    try:
        facts = json.loads(content)
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or not all(isinstance(fact, str) for fact in facts.values()):
        raise ConversionError(
            f"the facts '{MEMBER}' in '{path}' are no JSON object of texts, expected what "
            "`edgeport train` writes: train again, or copy the file again"
        )
    return facts
