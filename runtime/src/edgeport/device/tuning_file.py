"""The tuning file: what `edgeport tune` chose for one artifact on one device.

Whoever can write the file decides nothing but speed: it chooses among settings that are all safe,
each value is checked, and a sibling must be the very file that was measured, pass every check of
an artifact, and be the same model. A file of another artifact or device, or a damaged one, is
left aside, and the log says why. ``tuner`` measures and writes it; ``loading`` reads it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from edgeport.artifact.card import ModelCard, format_specs
from edgeport.device import cpus, identity
from edgeport.errors import EdgeportError, warn
from edgeport.signals import reraise_signal

FORMAT = 1

# Layout changes of the last level do not pay in every network. Without the fusions before it, none
# was ever faster, and int8 gives other answers.
LEVELS = ("all", "extended")

_LARGEST_BYTES = 2**20


class Choice(NamedTuple):
    """What `edgeport tune` found to be the fastest on a device.

    Attributes:
        threads: how many threads one run uses.
        spinning: whether they wait for the next run busily.
        optimization: how far the engine rewrites the graph, one of ``LEVELS``.
        variant: the name of a file in the artifact's folder to load in its place, or None.
        variant_sha256: the digest of that file.
    """

    threads: int
    spinning: bool = False
    optimization: str = "all"
    variant: str | None = None
    variant_sha256: str | None = None


class Loaded(Protocol):
    """What is known here of a loaded model."""

    card: ModelCard
    digest: str


Sibling = TypeVar("Sibling", bound=Loaded)


def circumstances(sha256: str) -> dict[str, Any]:
    """Return what must be the same where a choice is made and where it is used."""
    return {
        "format": FORMAT,
        "artifact": sha256,
        **identity.identity(),
        "usable_cpus": cpus.usable_cpus(),
    }


def read(path: str, sha256: str) -> Choice | None:
    """Return the choice of the file for the artifact of this digest on this device, if any."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST_BYTES:
            raise ValueError("it is no file, or a very large one")
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        for name, value in circumstances(sha256).items():
            if content[name] != value or type(content[name]) is not type(value):
                raise ValueError(f"it was made for another {name.replace('_', ' ')}")
        return _checked(content["choice"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as cause:
        reraise_signal(cause)
        reason = f"it lacks {cause}" if isinstance(cause, KeyError) else cause
        warn("the tuning in '%s' is not used (%s): run 'edgeport tune' again", path, reason)
        return None


def _checked(content: Mapping[str, Any]) -> Choice:
    """Return the choice.

    Raises:
        ValueError, TypeError, LookupError: a value is missing, or cannot be a choice.
    """
    choice = Choice(*(content[name] for name in Choice._fields))
    variant, sha256 = choice.variant, choice.variant_sha256
    is_choice = (
        type(choice.threads) is int
        and 1 <= choice.threads <= cpus.usable_cpus()
        and type(choice.spinning) is bool
        and type(choice.optimization) is str
        and choice.optimization in LEVELS
        and (variant is None) == (sha256 is None)
        and (variant is None or (type(variant) is type(sha256) is str and _is_name(variant)))
    )
    if not is_choice:
        raise ValueError(f"it chooses {choice}, which this edgeport does not know")
    return choice


def _is_name(name: str) -> bool:
    """Whether it names a file in the artifact's own folder, on any system."""
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0")


def load_variant(
    choice: Choice, path: str | None, card: ModelCard | None, load: Callable[[str], Sibling]
) -> Sibling | None:
    """Return the model of the chosen sibling; None, with a line in the log, at any doubt.

    Args:
        choice: one with a variant.
        path: the artifact's path.
        card: the artifact's card.
        load: loads a file after every check that the artifact itself has to pass.
    """
    if path is None or card is None:
        warn("'%s' is not used: bytes, and files without a card, have no siblings", choice.variant)
        return None
    sibling = os.path.join(os.path.dirname(os.path.abspath(path)), str(choice.variant))
    try:
        model = load(sibling)
    except EdgeportError as cause:
        reason: str | None = str(cause)
    else:
        reason = difference(card, model.card)
        if model.digest != choice.variant_sha256:
            reason = "another digest than when it was measured"
        if reason is None:
            return model
    warn("'%s' is not used, although 'edgeport tune' chose it (%s)", sibling, reason)
    return None


def difference(one: ModelCard, other: ModelCard) -> str | None:
    """Return in what two artifacts are not forms of one model; None for siblings.

    They are by one conversion's `--also`: the same source and tools, and nothing that a caller
    would notice but accuracy within the budget, and speed.
    """
    if not (one.is_vouched_for and other.is_vouched_for):
        return "no card"
    for kind in ("inputs", "outputs"):
        was, now = getattr(one, kind), getattr(other, kind)
        if format_specs(was) != format_specs(now) or [s.axes for s in was] != [s.axes for s in now]:
            return f"the {kind} {format_specs(now)}"
    for kind in ("name", "labels", "preprocessing", "provenance"):
        if getattr(one, kind) != getattr(other, kind):
            return f"another {kind}"
    return None
