"""How a part of Keras, TensorFlow or tf2onnx is replaced for a while, and put back.

A patch is a record, so that the list that a reader sees is the list that is applied. Keras' list
stands in ``keras_patches``, tf2onnx's in ``tf2onnx_bridge``; nothing else in ``exporting`` changes
a library.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import metadata
from pkgutil import resolve_name
from types import ModuleType
from typing import Any
from unittest import mock

from edgeport import ConversionError

_IN_EVERY_MODULE = ".*"
_LIBRARIES = ("keras", "tensorflow", "tf2onnx")


@dataclass(frozen=True, slots=True)
class Patch:
    """One attribute of a library that is replaced while a model is exported.

    Attributes:
        target: the dotted name of the attribute. ``package.*.name`` stands for a global name in
            every module of the package that has been imported; it need not exist there.
        replace: returns the replacement of (the original, what ``applied`` was given).
        why: the library's fault, with its number where there is one, or what ONNX lacks.
        until: the condition under which the patch is deleted.
    """

    target: str
    replace: Callable[[Any, Any], Any]
    why: str
    until: str

    def places(self) -> list[tuple[Any, str]]:
        """Return the objects that hold the attribute, each with the attribute's name.

        Raises:
            ConversionError: the installed library has no such attribute; nothing has changed.
        """
        owner_name, _, name = self.target.rpartition(".")
        package = owner_name.partition(".")[0]
        if owner_name.endswith(_IN_EVERY_MODULE):
            modules = list(sys.modules.items())
            return [(module, name) for key, module in modules if key.partition(".")[0] == package]
        try:
            owner = resolve_name(owner_name)
            getattr(owner, name)
        except (ImportError, AttributeError) as cause:
            raise _other_version(
                package,
                self.target,
                f"which the converter replaces while it exports a model ({self.why})",
            ) from cause
        return [(owner, name)]


def function_patch(call: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Return ``Patch.replace`` for a function or method.

    Args:
        call: what runs in its place: (the original, the context, *arguments of the call).
    """

    def replace(original: Any, context: Any) -> Any:
        @wraps(original)  # Keras reads the signature of a layer's call
        def replacement(*arguments: Any, **options: Any) -> Any:
            return call(original, context, *arguments, **options)

        return replacement

    return replace


@contextmanager
def applied(patches: Iterable[Patch], context: Any) -> Iterator[None]:
    """Apply the patches in their order; take them back at the end.

    ``context`` is what the replacements work with, such as the placeholders of this trace.

    Raises:
        ConversionError: the installed library lacks a target; nothing stays changed.
    """
    with ExitStack() as stack:
        for patch in patches:
            for owner, name in patch.places():
                original = getattr(owner, name, None)
                replacement = patch.replace(original, context)
                stack.enter_context(mock.patch.object(owner, name, replacement, create=True))
        yield


def refuse_missing_name(error: BaseException) -> None:
    """Raise a sentence if a module of the converter read a name that the library does not have.

    What patches and handlers read in Keras, TensorFlow and tf2onnx is private in part, and another
    version need not have it. Keras raises new exceptions for those inside of a layer's call, so the
    whole chain is looked at.

    Args:
        error: what a library raised while a model was exported.

    Raises:
        ConversionError: the error says so.
    """
    link: BaseException | None = error
    while link is not None:
        package = _library_without(link)
        if package is not None and isinstance(link, AttributeError):
            owner = link.obj if isinstance(link.obj, (type, ModuleType)) else type(link.obj)
            name = f"{owner.__name__}.{link.name}"
            raise _other_version(package, name, "which the converter uses") from error
        link = link.__cause__ or link.__context__


def _library_without(error: BaseException) -> str | None:
    """Return the library whose name was read in vain by a module of the converter, or None."""
    if not isinstance(error, AttributeError) or error.name is None or error.__traceback__ is None:
        return None
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if not frame.f_globals.get("__name__", "").startswith("edgeport_converter."):
        return None
    owner: Any = error.obj
    if isinstance(owner, ModuleType):
        names = [owner.__name__]
    else:  # a user's layer lacks what its base class in Keras lacks
        names = [
            kind.__module__ for kind in (owner if isinstance(owner, type) else type(owner)).mro()
        ]
    packages = (name.partition(".")[0] for name in names)
    return next((package for package in packages if package in _LIBRARIES), None)


def _other_version(package: str, name: str, use: str) -> ConversionError:
    return ConversionError(
        f"{package} {metadata.version(package)} has no '{name}', {use}: install a version of "
        f"{package} that edgeport was tested with, as its constraints.txt lists them"
    )
