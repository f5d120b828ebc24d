"""The recipe: everything that a training needs to know, from a TOML file or a dict.

Its tables are ``keys``. Each value is checked here as far as that needs neither Keras nor the data;
later refusals come through ``Recipe.origin``, and so name file, line and key, too.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import tomllib

from edgeport import OptionError
from edgeport_converter.training.recipe.schema import (
    Origin,
    key,
    plain_name,
    read_record,
    section,
    whole,
)
from edgeport_converter.training.recipe.tables import (
    Augmentation,
    CrossValidation,
    Data,
    Model,
    RangeTest,
    Search,
    Training,
)

EXAMPLES = ("mnist", "cnn", "table")


@dataclass(frozen=True)
class Recipe:
    """The whole recipe.

    Attributes:
        name: the model's name.
        seed: of the split, the first weights, the order of the samples and every other chance.
        raw: the tables as they were given.
        origin: where they were written.
        folder: what relative paths begin at.
    """

    data: Data = section(Data, required=True)
    name: str = key(plain_name(), "model")
    seed: int = key(whole(0, 2**31 - 1), 0)
    model: Model = section(Model)
    training: Training = section(Training)
    augmentation: Augmentation | None = section(Augmentation)
    cross_validation: CrossValidation | None = section(CrossValidation)
    range_test: RangeTest | None = section(RangeTest)
    search: Search | None = section(Search)
    raw: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    folder: Path = field(default_factory=Path)

    @property
    def sha256(self) -> str:
        """The digest of what the recipe says; comments and order do not count."""
        said = json.dumps(self.raw, sort_keys=True, default=str, ensure_ascii=False)
        return hashlib.sha256(said.encode()).hexdigest()

    def with_values(self, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with other values, by key such as "training.learning_rate".

        Raises:
            OptionError: an unknown key, or a value against its rule.
        """
        raw = copy.deepcopy(dict(self.raw))
        for name, value in values.items():
            *tables, last = name.split(".")
            table = raw
            for part in tables:
                table = table.setdefault(part, {})
                if not isinstance(table, dict):
                    raise OptionError(f"{self.origin.place(name)} lies in no table: correct it")
            table[last] = value
        return _make(raw, self.origin, self.folder)

    def value(self, name: str) -> Any:
        """Return the value of a key such as "training.learning_rate", defaults included."""
        found: Any = self
        for part in name.split("."):
            found = getattr(found, part, None)
        return found


def read_recipe(recipe: Any) -> Recipe:
    """Return the recipe of a TOML file or a dict.

    Raises:
        OptionError: no such file, no TOML, or a key or value that is refused.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        return _make(copy.deepcopy(dict(recipe)), Origin(), Path())
    if not isinstance(recipe, (str, os.PathLike)):
        raise OptionError(
            f"the recipe is a {type(recipe).__name__}, expected the path of a TOML file or a dict: "
            "pass one of these"
        )
    path = Path(recipe)
    if path.is_dir() or not path.exists():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise OptionError(
            f"the recipe '{path}' {found}, expected a TOML file: `edgeport train --example mnist` "
            "prints one"
        )
    try:
        source = path.read_text(encoding="utf-8-sig")
        raw = tomllib.loads(source)
    except UnicodeDecodeError:
        raise OptionError(
            f"the recipe '{path}' is no UTF-8 text, expected TOML: choose the right file"
        ) from None
    except OSError as cause:
        raise OptionError(
            f"the recipe '{path}' cannot be read ({cause.strerror}): check its permissions"
        ) from cause
    except tomllib.TOMLDecodeError as cause:
        raise OptionError(f"{path}: this is no TOML, {_lower(str(cause))}: correct it") from None
    return _make(raw, Origin(str(path), source), path.parent)


def example(name: str) -> str:
    """Return a ready recipe with comments, one of ``EXAMPLES``."""
    folder = resources.files("edgeport_converter.training") / "examples"
    return (folder / f"{name}.toml").read_text(encoding="utf-8")


def _make(raw: dict[str, Any], origin: Origin, folder: Path) -> Recipe:
    if not raw:
        raise OptionError(
            f"{origin.name} is empty, expected at least [data] with its source: "
            "`edgeport train --example mnist` prints a whole recipe"
        )
    read = read_record(Recipe, {"model": {}, "training": {}} | raw, origin)
    recipe = Recipe(
        **{name: getattr(read, name) for name in _TABLES}, raw=raw, origin=origin, folder=folder
    )
    _check_together(recipe)
    return recipe


_TABLES = (
    "data",
    "name",
    "seed",
    "model",
    "training",
    "augmentation",
    "cross_validation",
    "range_test",
    "search",
)


def _check_together(recipe: Recipe) -> None:
    """Refuse values that are sound alone and not together."""
    origin, model = recipe.origin, recipe.model
    hidden = len(model.layers) + (len(model.filters) if model.kind == "cnn" else 0)
    if isinstance(model.activation, tuple) and len(model.activation) != hidden:
        raise origin.refuse(
            "model.activation", list(model.activation), f"one for each of {hidden} hidden layers"
        )
    if model.kind == "cnn" and not model.filters:
        raise origin.refuse("model.filters", [], "at least one convolution", "use kind = 'dense'")
    if recipe.data.channels == 2:
        raise origin.refuse("data.channels", 2, "1 (grey), 3 (RGB) or 4 (RGBA)")
    if "name" not in _as_table(recipe.training.optimizer):
        raise origin.refuse(
            "training.optimizer", recipe.training.optimizer, "a name in it", "add name = 'adam'"
        )
    if recipe.range_test and recipe.range_test.low >= recipe.range_test.high:
        raise origin.refuse(
            "range_test.high", recipe.range_test.high, f"above low, {recipe.range_test.low:g}"
        )
    stopping = recipe.training.early_stopping
    if stopping and not stopping.monitor.startswith("val_"):
        raise origin.refuse(
            "training.early_stopping.monitor",
            stopping.monitor,
            "'val_loss', or 'val_' and a metric",
        )


def _as_table(optimizer: str | dict[str, Any]) -> dict[str, Any]:
    return {"name": optimizer} if isinstance(optimizer, str) else optimizer


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
