"""The recipe: everything that a training needs to know, from a TOML file or a dict.

Its tables are in ``tables``; pydantic holds the values to them. What needs Keras or the data is
checked where these are; such refusals come through ``TrainingRecipe.refuse`` and read the same.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import os
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomllib
from pydantic import Field, PrivateAttr, ValidationError
from pydantic.fields import FieldInfo

from edgeport import OptionError
from edgeport_converter.training.recipe import tables

_LONGEST = 60

Table = TypeVar("Table", bound=tables.RecipeTable)


class TrainingRecipe(tables.RecipeTable):
    """The whole recipe; tables that are not asked for are None.

    The seed is that of the split, the first weights, the order of the samples and all other chance.
    """

    data: tables.DataTable
    name: str = Field(
        default="model",
        # TensorFlow takes it as a scope, and ONNX as a graph's name.
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="a name of letters from A to Z, digits, '_', '.' and '-'",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    model: tables.ModelTable = tables.ModelTable()
    training: tables.TrainingTable = tables.TrainingTable()
    augmentation: tables.AugmentationTable | None = None
    cross_validation: tables.CrossValidationTable | None = None
    range_test: tables.RangeTestTable | None = None
    search: tables.SearchTable | None = None

    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)
    _path: Path | None = PrivateAttr(default=None)
    _text: str | None = PrivateAttr(default=None)

    @property
    def raw(self) -> Mapping[str, Any]:
        """The tables as they were given."""
        return self._raw

    @property
    def text(self) -> str | None:
        """What the file says; None for a dict."""
        return self._text

    @property
    def folder(self) -> Path:
        """What relative paths begin at."""
        return self._path.parent if self._path else Path()

    @property
    def sha256(self) -> str:
        """The digest of what the recipe says; comments and order do not count."""
        said = json.dumps(self._raw, sort_keys=True, default=str, ensure_ascii=False)
        return hashlib.sha256(said.encode()).hexdigest()

    @property
    def origin(self) -> str:
        """The file's name, or "the recipe" for a dict, for the beginning of a sentence."""
        return str(self._path or "the recipe")

    def with_values(self, values: Mapping[str, Any]) -> TrainingRecipe:
        """Return the recipe with other values, by key such as "training.learning_rate".

        Raises:
            OptionError: an unknown key, or a value that does not fit.
        """
        raw = copy.deepcopy(self._raw)
        for name, value in values.items():
            *parts, last = name.split(".")
            table = raw
            for part in parts:
                table = table.setdefault(part, {})
                if not isinstance(table, dict):
                    raise OptionError(f"{self.origin}: {name} is in no table: correct it")
            table[last] = list(value) if isinstance(value, tuple) else value
        return _make(raw, self._path, self._text)

    def value(self, name: str) -> Any:
        """Return the value of a key such as "training.learning_rate", defaults included."""
        found: Any = self
        for part in name.split("."):
            found = getattr(found, part, None)
        return list(found) if isinstance(found, tuple) else found

    def refuse(
        self, key: str, found: object, expected: str, step: str = "correct it"
    ) -> OptionError:
        """Return the error for a value that does not fit."""
        return OptionError(f"{self.origin}: {key} is {_show(found)}, expected {expected}: {step}")

    def refuse_name(self, key: str, found: str, known: Iterable[str], expected: str) -> OptionError:
        """Return the error for a name that nobody knows, with the nearest known one."""
        return self.refuse(key, found, expected, _nearest(found.lower(), known))


def read_recipe(recipe: Any) -> TrainingRecipe:
    """Return the recipe of a TOML file or a dict.

    Raises:
        OptionError: no such file, no TOML, or keys or values that are refused, all in one message.
    """
    if isinstance(recipe, TrainingRecipe):
        return recipe
    if isinstance(recipe, Mapping):
        return _make(copy.deepcopy(dict(recipe)), None, None)
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
        text = path.read_text(encoding="utf-8-sig")
        raw = tomllib.loads(text)
    except UnicodeDecodeError:
        raise OptionError(
            f"the recipe '{path}' is not UTF-8 text, expected TOML: choose the right file"
        ) from None
    except OSError as cause:
        raise OptionError(
            f"the recipe '{path}' cannot be read ({cause.strerror}): check its permissions"
        ) from cause
    except tomllib.TOMLDecodeError as cause:
        found = str(cause)
        raise OptionError(
            f"{path}: this is not TOML, {found[:1].lower()}{found[1:]}: correct it"
        ) from None
    return _make(raw, path, text)


def _make(raw: dict[str, Any], path: Path | None, text: str | None) -> TrainingRecipe:
    origin = str(path or "the recipe")
    if not raw:
        raise OptionError(
            f"{origin} is empty, expected at least [data] with its source: "
            "`edgeport train --example mnist` prints a whole recipe"
        )
    recipe = read_table(TrainingRecipe, raw, origin)
    recipe._raw, recipe._path, recipe._text = raw, path, text
    _check_together(recipe)
    return recipe


def read_table(kind: type[Table], raw: Mapping[str, Any], origin: str, path: str = "") -> Table:
    """Return the record that a table says.

    ``path`` is the table's own key; ``origin`` begins the sentences of errors.

    Raises:
        OptionError: keys or values that do not fit, all in one message.
    """
    try:
        # Strict types take no list for a tuple.
        return kind.model_validate(_with_tuples(raw))
    except ValidationError as cause:
        # A union reports each of its members, hence the same clause more than once.
        found = dict.fromkeys(_explain(error, kind, raw, path) for error in cause.errors())
        raise OptionError(f"{origin}: {'; '.join(found)}") from None


def _with_tuples(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_with_tuples(item) for item in value)
    if isinstance(value, Mapping):
        return {name: _with_tuples(item) for name, item in value.items()}
    return value


def _explain(error: Any, kind: type[tables.RecipeTable], raw: Mapping[str, Any], path: str) -> str:
    """Return one of pydantic's findings as a clause: key, value, what was expected, next step."""
    key = path
    found: Any = raw
    table: type[tables.RecipeTable] | None = kind
    named: type[tables.RecipeTable] | None = None  # of a table of tables: the kind of each
    for part in map(str, error["loc"]):
        if table is not None and isinstance(found, str):  # it stands for a table with this key
            field, table = table.model_fields[part], None
        if named is not None:
            key, found, table, named = f"{key}.{part}", found[part], named, None
            continue
        if table is None:  # inside a list, or a member of a union
            break
        where, key = key, f"{key}.{part}" if key else part
        if part not in table.model_fields:
            place = f"[{where}]" if where else "a recipe's top level"
            return f"{key} is no key of {place}: {_nearest(part, table.model_fields, where)}"
        field = table.model_fields[part]
        found = found.get(part)
        members = _members(field)
        table = _table_of(members)
        named = _table_of(kind for member in members for kind in get_args(member))
    if error["type"] == "missing" and found is None:  # it may also be a part of a list
        if table is not None:
            return f"there is no table [{key}]: add it"
        return f"there is no key '{key}', expected {_expected(field, error)}: add it"
    if table is not None:
        return f"{key} is {_show(found)}, expected a table: write [{key}] and its keys below"
    return f"{key} is {_show(found)}, expected {_expected(field, error)}: correct it"


def _table_of(kinds: Iterable[Any]) -> type[tables.RecipeTable] | None:
    classes = (kind for kind in kinds if isinstance(kind, type) and not get_args(kind))
    return next((kind for kind in classes if issubclass(kind, tables.RecipeTable)), None)


def _members(field: FieldInfo) -> tuple[Any, ...]:
    union = isinstance(field.annotation, types.UnionType)
    return get_args(field.annotation) if union else (field.annotation,)


def _expected(field: FieldInfo, error: Any) -> str:
    """Return what a field takes, in words: its description, else its type and bounds."""
    if field.description:
        return field.description
    kinds = _members(field)
    if bool in kinds:
        return "true or false"
    if float in kinds or int in kinds:
        ends = [
            word.format(getattr(bound, name))
            for name, word in _BOUNDS.items()
            for bound in field.metadata
            if hasattr(bound, name)
        ]
        return " ".join(["a number" if float in kinds else "a whole number", *ends])
    return str(error["msg"]).removeprefix("Input should be ")


_BOUNDS = {"gt": "above {}", "ge": "from {}", "lt": "to below {}", "le": "to {}"}


def _nearest(found: str, known: Iterable[str], path: str = "") -> str:
    names = list(known)
    near = difflib.get_close_matches(found, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean '{path}{'.' if path else ''}{near[0]}'?"
    return f"choose from {', '.join(names[:12])}"


def _show(value: object) -> str:
    """Return a value as a recipe would say it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    shown = repr(list(value) if isinstance(value, tuple) else value)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def _check_together(recipe: TrainingRecipe) -> None:
    """Refuse values that are sound alone and not together."""
    model = recipe.model
    hidden = len(model.layers) + (len(model.filters) if model.kind == "cnn" else 0)
    if isinstance(model.activation, tuple) and len(model.activation) != hidden:
        raise recipe.refuse(
            "model.activation", model.activation, f"one for each of {hidden} hidden layers"
        )
    if model.kind == "cnn" and not model.filters:
        raise recipe.refuse("model.filters", [], "at least one convolution", "use kind = 'dense'")
    if recipe.data.channels == 2:
        raise recipe.refuse("data.channels", 2, "1 (grey), 3 (RGB) or 4 (RGBA)")
    optimizer = recipe.training.optimizer
    if isinstance(optimizer, dict) and "name" not in optimizer:
        raise recipe.refuse("training.optimizer", optimizer, "a name in it", "add name = 'adam'")
    if isinstance(optimizer, dict) and not isinstance(optimizer["name"], str):
        raise recipe.refuse("training.optimizer.name", optimizer["name"], "an optimizer's name")
    tested = recipe.range_test
    if tested and tested.low >= tested.high:
        raise recipe.refuse("range_test.high", tested.high, f"above low, {tested.low:g}")
