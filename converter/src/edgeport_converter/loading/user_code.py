"""Running the user's own Python: the one place where a file or a module of theirs is imported.

Functions that return a model and metrics are named as ``module:function`` or ``file.py:function``;
custom objects are the classes and functions that a model file names. The user says which file or
module to run; nothing runs because a model file asks for it. Code inside of a model file is the
subject of ``stored_code``.

Importing leaves ``sys.path`` as it was: while the user's code runs, the folder of its file and the
working folder stand in front. In ``sys.modules`` nothing is replaced. The module of a *file* stands
there under the file's name while it runs, unless that name is taken, and is removed afterwards: a
user's ``code.py`` must not become Python's ``code``. What is imported *by name*, by us or by the
user's code, stays there as after any import, since libraries do not survive a second import.

A script that ends by ``sys.exit()`` is an error as any other: the command would else end with the
script's exit code, and without a word. What a signal's handler raises passes.

No Keras is imported here: ``options`` checks a metric before TensorFlow starts.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeport import ConversionError, OptionError
from edgeport.signals import reraise_signal
from edgeport_converter.loading.model import shorten
from edgeport_converter.loading.structures import parts_of

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_FUNCTION = re.compile(r"(?P<module>[^\W\d][\w.]*|.+\.py):(?P<function>[^\W\d]\w*)")


def is_function_name(text: str) -> bool:
    """Whether the text reads ``module:function`` or ``file.py:function``, and is no file itself."""
    return _FUNCTION.fullmatch(text) is not None and not Path(text).exists()


def import_function(text: str, purpose: str) -> Callable[..., Any]:
    """Return the function that ``package.module:function`` or ``file.py:function`` names.

    It runs with the same folders in reach as its module did, so that it may import late.

    Raises:
        OptionError: the text has another form, the module cannot be imported, or it has no such
            function.
    """
    parts = _FUNCTION.fullmatch(text)
    if parts is None:
        raise OptionError(
            f"{purpose} is {text!r}, expected module:function or file.py:function: write the "
            "module or the file, a colon, and the name of the function"
        )
    place = parts["module"]
    try:
        function = getattr(_import(place), parts["function"], None)
    except OptionError:
        raise
    except (Exception, SystemExit) as cause:
        reraise_signal(cause)
        raise OptionError(
            f"{purpose} {text!r} cannot be imported ({type(cause).__name__}: {shorten(cause)}), "
            "expected module:function or file.py:function: check both names and the Python path"
        ) from cause
    if not callable(function):
        raise OptionError(
            f"{purpose} {text!r} cannot be imported, as '{place}' has no function "
            f"'{parts['function']}', expected module:function or file.py:function: check the name"
        )
    reached: Callable[..., Any] = _in_reach(place)(function)
    return reached


def call_function(text: str) -> Any:
    """Return the model that the function of that name returns, called without arguments.

    Raises:
        OptionError: ``import_function`` cannot import it.
        ConversionError: the function failed.
    """
    function = import_function(text, "the model")
    try:
        return function()
    except (Exception, SystemExit) as cause:
        reraise_signal(cause)
        raise ConversionError(
            f"'{text}' failed ({type(cause).__name__}: {shorten(cause)}), expected it to return a "
            "Keras model when called without arguments: correct it"
        ) from cause


def find_code_files(*sources: Any, in_folder: Path | None = None) -> list[Path]:
    """Return the Python files that the sources name, none of which an output may overwrite.

    Args:
        sources: functions by name, files and modules by name, as the user gave them, and modules;
            what names no file of the user's is ignored. A module's name is looked up as a file in
            the working folder alone, without importing its package.
        in_folder: where the path of a file begins, None for the working folder.
    """
    found = []
    for source in sources:
        if isinstance(source, ModuleType):
            found.append(Path(getattr(source, "__file__", None) or ""))
        elif isinstance(source, (str, os.PathLike)):
            text = os.fsdecode(source)
            parts = _FUNCTION.fullmatch(text)
            place = parts["module"] if parts else text
            found.append((in_folder or Path()) / place)
            if _MODULE.fullmatch(place):
                module = place.replace(".", "/")
                found += [Path(f"{module}.py"), Path(module, "__init__.py")]
    return [path for path in found if path.is_file()]


def find_custom_objects(source: Any) -> dict[str, Any]:
    """Return custom objects by the name that a model file may use.

    Args:
        source: None; a dict; a module; the path of a Python file or the name of a module, whose own
            classes and functions are taken, and its values and modules without an underscore.

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
        if (
            item.__module__.partition(".")[0] == package
            if inspect.isclass(item) or inspect.isfunction(item)
            else not name.startswith("_")  # numbers and modules, which stored code may name
        )
    }
    if all(inspect.ismodule(item) for item in found.values()):
        raise OptionError(
            f"the custom objects '{source}' define no class or function, expected the layers, "
            "functions and values that the model names: define them there"
        )
    return found


def with_registered_names(objects: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Return the objects also by the names under which the model file registers them.

    Keras writes ``Custom>sampling`` for a function that its author registered. The user's file
    defines ``sampling`` and may not register it again.

    A name that the config has from two packages is left out.
    """
    packages: dict[str, set[str]] = {}
    for text in parts_of(config):
        _, separator, name = text.rpartition(">") if isinstance(text, str) else ("", "", "")
        if separator and name in objects:
            packages.setdefault(name, set()).add(text)
    found = {next(iter(full)): objects[name] for name, full in packages.items() if len(full) == 1}
    return found | dict(objects)


def import_module(name: str) -> ModuleType:
    """Return the module of that name, or of that Python file; raises OptionError if it fails."""
    try:
        return _import(name)
    except OptionError:
        raise
    except (Exception, SystemExit) as cause:
        reraise_signal(cause)
        raise OptionError(
            f"the Python module '{name}' cannot be imported ({type(cause).__name__}: "
            f"{shorten(cause)}), expected a Python file or an importable module: correct it"
        ) from cause


def _import(name: str) -> ModuleType:
    with _in_reach(name):
        return _run_file(Path(name)) if _is_file(name) else importlib.import_module(name)


def _is_file(name: str) -> bool:
    return Path(name).suffix == ".py" or Path(name).is_file()


def _run_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise OptionError(f"there is no Python file '{path}': check the path")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise OptionError(f"'{path}' is no Python file, expected one that ends in .py: rename it")
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks for its module there while it is made.
    registered = sys.modules.setdefault(path.stem, module) is module
    try:
        spec.loader.exec_module(module)
    finally:
        if registered:
            sys.modules.pop(path.stem, None)
    return module


@contextmanager
def _in_reach(name: str) -> Iterator[None]:
    """Put the file's folder and the working folder in front of ``sys.path``, for a while.

    An installed command has its own folder there, not the user's.
    """
    before = list(sys.path)
    folders = [str(Path.cwd())]
    if _is_file(name):
        folders.insert(0, str(Path(name).resolve().parent))
    sys.path[:0] = [folder for folder in dict.fromkeys(folders) if folder not in before]
    try:
        yield
    finally:
        sys.path[:] = before
