"""Ready recipes with comments, as `edgeport train --example` prints them."""

from __future__ import annotations

from importlib import resources

EXAMPLES = ("mnist", "cnn", "photos", "table")


def example(name: str) -> str:
    """Return the text of a recipe, one of ``EXAMPLES``."""
    return (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
