"""The tuning file: the settings that `edgeport tune` chose for one artifact on one device.

Whoever can write the file changes speed alone: each value is checked, and no allowed one can make
an answer wrong. The file must belong to this user or root. A file for another artifact or device,
or a damaged one, is ignored, and the log says why. ``cli/tune`` measures and writes it, ``loading``
reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgeport.device import cpus, identity, private
from edgeport.errors import warn
from edgeport.signals import reraise_signal

FORMAT = 1

# Layout changes of the last level do not pay in every network. Without the fusions before it, none
# was ever faster, and int8 gives other answers.
LEVELS = ("all", "extended")

_LARGEST_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Tuning:
    """The settings that `edgeport tune` found to be the fastest on a device.

    Attributes:
        threads: how many threads one run uses.
        spinning: whether they wait for the next run busily.
        optimization: how far the engine rewrites the graph, one of ``LEVELS``.
    """

    threads: int
    spinning: bool = False
    optimization: str = "all"

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-ready data."""
        return asdict(self)


def circumstances(sha256: str) -> dict[str, Any]:
    """Return what must be the same where settings are chosen and where they are used."""
    return {
        "format": FORMAT,
        "artifact": sha256,
        **identity.identity(),
        "usable_cpus": cpus.usable_cpus(),
    }


def read(path: str, sha256: str) -> Tuning | None:
    """Return the settings for the artifact of this digest on this device; None without any."""
    try:
        with private.open_file(path) as file:
            text = file.read(_LARGEST_BYTES + 1)
        return parse(text, circumstances(sha256))
    except (OSError, ValueError) as cause:
        reraise_signal(cause)
        warn("the tuning in '%s' is not used (%s): run 'edgeport tune' again", path, cause)
        return None


def parse(text: bytes, expected: Mapping[str, Any]) -> Tuning:
    """Return the settings in a tuning file.

    Args:
        text: the file's bytes.
        expected: of ``circumstances``, what has to hold; `edgeport bundle` knows of no device.

    Raises:
        ValueError: the file is damaged, or something else holds; the text says what.
    """
    try:
        if len(text) > _LARGEST_BYTES:
            raise ValueError("it is a very large file")
        content = json.loads(text)
        if not isinstance(content, dict) or not isinstance(content.get("choice", {}), dict):
            raise ValueError("it holds other JSON than 'edgeport tune' writes")
        for name, value in expected.items():
            if content[name] != value or type(content[name]) is not type(value):
                raise ValueError(f"it was made for another {name.replace('_', ' ')}")
        if type(content["usable_cpus"]) is not int:
            raise ValueError("its number of usable cpus is none")
        return _checked(content["choice"], content["usable_cpus"])
    except KeyError as cause:
        raise ValueError(f"it lacks {cause}") from cause
    except (TypeError, LookupError, RecursionError) as cause:
        raise ValueError(str(cause)) from cause


def _checked(content: Mapping[str, Any], usable_cpus: int) -> Tuning:
    """Return the settings; raises ValueError, TypeError or LookupError if one cannot be set."""
    if content.get("variant") is not None:  # up to edgeport 0.1.0, another file could be chosen
        raise ValueError("it chooses another file, which loading never does: copy that file")
    tuning = Tuning(*(content[field.name] for field in fields(Tuning)))
    is_known = (
        type(tuning.threads) is int
        and 1 <= tuning.threads <= usable_cpus
        and type(tuning.spinning) is bool
        and type(tuning.optimization) is str
        and tuning.optimization in LEVELS
    )
    if not is_known:
        raise ValueError(f"it chooses {tuning}, which this edgeport does not know")
    return tuning
