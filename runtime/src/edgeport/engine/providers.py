"""Execution providers by name: which ones may be asked for, and which of them started.

``session`` imports this only where the caller named a provider.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeport.errors import OptionError
from edgeport.options import Provider


def check_providers(providers: Sequence[Provider], available: Sequence[str]) -> list[Provider]:
    """Return the providers, best first; raises OptionError where this onnxruntime lacks one."""
    if not providers or not isinstance(providers, (list, tuple)):  # an iterator would run out
        raise OptionError(
            f"providers is {providers!r}, expected a list of one or more of "
            f"{', '.join(available)}: leave it out for the CPU"
        )
    for provider in providers:
        name = _name(provider)
        if name not in available:
            raise OptionError(
                f"there is no execution provider {name!r} in this onnxruntime, expected one of "
                f"{', '.join(available)}: install the onnxruntime package that has it"
            )
    return list(providers)


def refuse_fallback(wanted: Sequence[Provider], started: Sequence[str]) -> None:
    """Refuse that onnxruntime goes on with the CPU after a provider failed, by an OptionError."""
    for provider in wanted:
        name = _name(provider)
        if name not in started:
            raise OptionError(
                f"the execution provider {name!r} did not start, only {', '.join(started)} did: "
                "check its driver and libraries, or name the providers that this device has"
            )


def _name(provider: Provider) -> object:
    """Return the name of a provider with or without options; any other value as it is."""
    has_options = isinstance(provider, tuple) and [*map(type, provider)] == [str, dict]
    return provider[0] if has_options else provider
