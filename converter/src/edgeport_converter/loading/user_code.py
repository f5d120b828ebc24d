"""The user's own Python: classes and functions that a model file names, and functions that
return a model.

The user says which file or module to run; nothing is run because a model file asks for it.
"""

from __future__ import annotations

import binascii
import codecs
import importlib
import importlib.util
import inspect
import marshal
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from edgeport import ConversionError, OptionError
from edgeport_converter.loading.model import shorten

_FUNCTION = re.compile(r"(?P<module>[^\W\d][\w.]*|.+\.py):(?P<function>[^\W\d]\w*)")


def collect(source: Any) -> dict[str, Any]:
    """Return custom objects by the name that a model file may use.

    Args:
        source: None, a dict, a module, or the path of a Python file or the name of a module, whose
            own classes and functions are taken.

    Raises:
        OptionError: there is no such file or module, or it fails, or defines nothing.
    """
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return dict(source)
    module = source if isinstance(source, ModuleType) else import_module(str(source))
    package = module.__name__.partition(".")[0]
    found = {
        name: item
        for name, item in vars(module).items()
        if (inspect.isclass(item) or inspect.isfunction(item))
        and item.__module__.partition(".")[0] == package
    }
    if not found:
        raise OptionError(
            f"the custom objects '{source}' define no class or function, expected the layers and "
            "functions that the model names: define them there"
        )
    return found


def is_function_name(text: str) -> bool:
    """Whether the text means a function that returns a model, ``package.module:function``."""
    return _FUNCTION.fullmatch(text) is not None and not Path(text).exists()


def call_function(text: str) -> Any:
    """Import ``package.module:function`` or ``file.py:function`` and return what it returns.

    Raises:
        OptionError: there is no such module or function.
        ConversionError: the function failed.
    """
    parts = _FUNCTION.fullmatch(text)
    if parts is None:
        raise OptionError(f"'{text}' names no function, expected package.module:function")
    module = import_module(parts["module"])
    function = getattr(module, parts["function"], None)
    if not callable(function):
        raise OptionError(
            f"the module '{parts['module']}' has no function '{parts['function']}', expected one "
            "that returns a Keras model: check the name"
        )
    try:
        return function()
    except Exception as cause:
        raise ConversionError(
            f"'{text}' failed ({type(cause).__name__}: {shorten(cause)}), expected it to return a "
            "Keras model when called without arguments: correct it"
        ) from cause


def import_module(name: str) -> ModuleType:
    """Return the module of that name, or of that Python file, run with the working folder in reach.

    Raises:
        OptionError: it does not exist, or fails while it is imported.
    """
    path = Path(name)
    try:
        with _working_folder_in_reach():
            if path.suffix == ".py" or path.is_file():
                return _run_file(path)
            return importlib.import_module(name)
    except OptionError:
        raise
    except Exception as cause:
        raise OptionError(
            f"the Python module '{name}' cannot be imported ({type(cause).__name__}: "
            f"{shorten(cause)}), expected a Python file or an importable module: correct it"
        ) from cause


def _run_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise OptionError(f"there is no Python file '{path}': check the path")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise OptionError(f"'{path}' is no Python file, expected one that ends in .py: rename it")
    module = importlib.util.module_from_spec(spec)
    # Registered under its name, so that its classes find their module; a module that is there
    # already is never replaced.
    owner = sys.modules.setdefault(path.stem, module) is module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if owner:
            del sys.modules[path.stem]
        raise
    return module


@contextmanager
def _working_folder_in_reach() -> Iterator[None]:
    """An installed command has its own folder on the path, not the user's."""
    folder = str(Path.cwd())
    added = folder not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        yield
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)


_NAMES_SHOWN = 12


def find_code(config: Any, owner: str = "") -> Iterator[str]:
    """Yield a description of each piece of Python code in a model's config.

    Args:
        config: a config of Keras 2 or 3, or any part of one.
        owner: the name of the layer that the part belongs to.
    """
    if isinstance(config, dict):
        inner = config.get("config")
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            owner = inner["name"]
        if config.get("class_name") == "__lambda__" and isinstance(inner, dict):
            yield _describe(owner, inner.get("value", inner.get("code")))
            return
        if config.get("class_name") == "Lambda" and isinstance(inner, dict):
            # Keras 2: [bytecode, defaults, closure]; a plain string names a custom object.
            function = inner.get("function")
            if isinstance(function, list) and function:
                yield _describe(owner, function[0])
            shape = inner.get("output_shape")
            if inner.get("output_shape_type") == "lambda" and isinstance(shape, list) and shape:
                yield _describe(owner, shape[0])
        for value in config.values():
            yield from find_code(value, owner)
    elif isinstance(config, list):
        for value in config:
            yield from find_code(value, owner)


def _describe(owner: str, text: Any) -> str:
    code = _unmarshal(text)
    if code is None:
        return f"layer '{owner}': Python bytecode of another Python version, unreadable here"
    names = ", ".join(code.co_names[:_NAMES_SHOWN]) or "no names"
    if len(code.co_names) > _NAMES_SHOWN:
        names += ", …"
    return f"layer '{owner}': a Python function of {len(code.co_code)} bytes that uses {names}"


def _unmarshal(text: Any) -> CodeType | None:
    """Return the code object without running it."""
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
