"""Python code inside of a model file: found, named, refused or allowed, and given its usual names.

A Lambda layer or an activation without a name is stored as bytecode. ``keras_files`` refuses such a
file unless the user allows its code; then Keras runs it. Imported code is ``user_code``'s subject.
"""

from __future__ import annotations

import binascii
import builtins
import codecs
import dis
import marshal
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import tensorflow as tf

from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.structures import parts_of

_NAMES_SHOWN = 12

# What bytecode calls by these names; a file holds a function, not the imports of its module.
_USUAL_NAMES = {
    "tf": ("tensorflow", tf),
    "tensorflow": ("tensorflow", tf),
    "keras": ("keras", keras),
    "ops": ("keras.ops", keras.ops),
    "K": ("tf.keras.backend", keras._tf_keras.keras.backend),
    "np": ("numpy", np),
    "numpy": ("numpy", np),
    "math": ("math", math),
}

# Modules and functions of Python through which a file could run commands or change files. Names
# that users give their own modules, such as code and io, are not among them.
_COMMANDS = (
    *("os", "posix", "nt", "sys", "subprocess", "pty", "shutil", "socket"),
    *("importlib", "runpy", "pickle", "marshal", "ctypes", "multiprocessing"),
)
_BUILTINS = ("eval", "exec", "compile", "open", "__import__", "getattr", "setattr")


def refuse_commands(path: Path, config: Any) -> None:
    """Refuse a model file that names a function of Python's that is no part of any model.

    Raises:
        UnsupportedModelError: it names one, such as ``os.system``.
    """
    for part in parts_of(config):
        if not isinstance(part, dict):
            continue
        module, name = part.get("module"), part.get("class_name")
        if name == "function":
            name = part.get("config")
        if not (isinstance(module, str) and isinstance(name, str)):
            continue
        if module.partition(".")[0] in _COMMANDS or (module == "builtins" and name in _BUILTINS):
            raise UnsupportedModelError(
                f"'{path}' names '{module}.{name}' as a part of the model, with which a file can "
                "run commands on this machine, expected parts of Keras or of the author's own "
                "code: do not open this file, and ask whoever gave it to you"
            )


@dataclass(frozen=True)
class StoredCode:
    """A function in a model's config.

    Attributes:
        owner: the name of the layer that it belongs to.
        code: its bytecode; None where another version of Python wrote it.
    """

    owner: str
    code: CodeType | None

    def __str__(self) -> str:
        """Say what it is, for a refusal or a note."""
        if self.code is None:
            version = "Python bytecode of another Python version, unreadable here"
            return f"layer '{self.owner}': {version}"
        names = ", ".join(self.code.co_names[:_NAMES_SHOWN]) or "no names"
        if len(self.code.co_names) > _NAMES_SHOWN:
            names += ", …"
        size = len(self.code.co_code)
        text = f"layer '{self.owner}': a Python function of {size} bytes that uses {names}"
        usual = {n: _USUAL_NAMES[n][0] for n in self.global_names if n in _USUAL_NAMES}
        taken = [f"{name} as {module}" for name, module in usual.items() if name != module]
        return text + (f", with {', '.join(taken)}" if taken else "")

    @property
    def global_names(self) -> list[str]:
        """The names that it looks up outside of itself, builtins included."""
        return list(dict.fromkeys(_global_names(self.code))) if self.code is not None else []


def require_names(path: Path, code: Iterable[StoredCode], objects: Mapping[str, Any]) -> None:
    """Refuse code that uses a name which nothing defines, before Keras fails in it."""
    known = {*vars(builtins), *vars(keras.src.utils.python_utils), *_USUAL_NAMES, *objects}
    for piece in code:
        for name in piece.global_names:
            if name not in known:
                raise UnsupportedModelError(
                    f"the code in '{path}', layer '{piece.owner}', uses the name '{name}', which "
                    f"the file does not define, expected all that it needs: define '{name}' in a "
                    "Python file and pass that, custom_objects='FILE.py', or pass a function that "
                    "builds the model and loads its weights, as module:function or file.py:function"
                )


def find_code(config: Any, owner: str = "") -> Iterator[StoredCode]:
    """Yield each piece of Python code in a model's config.

    ``owner`` is the name of the layer that the part belongs to.
    """
    if isinstance(config, dict):
        inner = config.get("config")
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            owner = inner["name"]
        if config.get("class_name") == "__lambda__" and isinstance(inner, dict):
            yield StoredCode(owner, _unmarshal(inner.get("value", inner.get("code"))))
            return
        if _is_bare_code(config):
            yield StoredCode(owner, _unmarshal(config["value"]))
            return
        if config.get("class_name") == "Lambda" and isinstance(inner, dict):
            yield from _code_of_keras_2(inner, owner)
    if isinstance(config, (dict, list)):
        for value in config.values() if isinstance(config, dict) else config:
            yield from find_code(value, owner)


def _code_of_keras_2(config: dict[str, Any], owner: str) -> Iterator[StoredCode]:
    """Yield the code of a Lambda layer: lists; a plain string names a custom object."""
    function, shape = config.get("function"), config.get("output_shape")
    if isinstance(function, list) and function:
        yield StoredCode(owner, _unmarshal(function))
    if config.get("output_shape_type") == "lambda" and isinstance(shape, list) and shape:
        yield StoredCode(owner, _unmarshal(shape))


def in_readable_form(config: Any) -> Any:
    """Return the config with each bare piece of code in the form that Keras 3 reads.

    Keras 2 and 3 write an activation without a name as ``{"value": [bytecode, defaults, closure]}``
    and read it from a ``__lambda__`` only.
    """
    if isinstance(config, list):
        return [in_readable_form(value) for value in config]
    if not isinstance(config, dict):
        return config
    if _is_bare_code(config):
        return {"class_name": "__lambda__", "config": config}
    if config.get("class_name") == "__lambda__":
        return config
    return {key: in_readable_form(value) for key, value in config.items()}


@contextmanager
def with_usual_names(objects: Mapping[str, Any]) -> Iterator[None]:
    """Let code from a file find ``tf``, ``keras``, ``K``, ``ops``, ``np`` and the user's objects.

    Keras gives it the names of a private module of its own, where none of these is defined.
    """
    python_utils = keras.src.utils.python_utils
    func_load: Callable[..., Any] = python_utils.func_load
    names = {name: module for name, (_, module) in _USUAL_NAMES.items()} | dict(objects)

    def load_with_names(
        code: Any, defaults: Any = None, closure: Any = None, globs: Any = None
    ) -> Any:
        return func_load(code, defaults, closure, globs or {**vars(python_utils), **names})

    with patch.object(python_utils, "func_load", load_with_names):
        yield


def _is_bare_code(config: Mapping[str, Any]) -> bool:
    value = config.get("value")
    is_function = isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)
    return set(config) == {"value"} and is_function


def _global_names(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # a function inside
            yield from _global_names(constant)


def _unmarshal(function: Any) -> CodeType | None:
    """Return the code object of bytecode, or of the list that begins with it; nothing runs."""
    text = function[0] if isinstance(function, list) and function else function
    if not isinstance(text, str):
        return None
    try:
        raw = codecs.decode(text.encode("ascii"), "base64")
    except (UnicodeEncodeError, binascii.Error):
        return None
    try:
        code = marshal.loads(raw)  # noqa: S302 reads the code object, runs nothing
    except (ValueError, TypeError, EOFError):
        return None
    return code if isinstance(code, CodeType) else None
