"""The border to the engine: the only module that imports onnxruntime.

Here live the quiet import, the session with its options, the call that runs it within its time,
what a fork means for it, and the translation of the engine's errors into edgeport's. What the
arrays mean is decided elsewhere.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgeport.errors import ArtifactError, InferenceError, OptionError, UnsupportedFormatError
from edgeport.golden import Array

# From 1.29 on, onnxruntime's Linux wheel sends telemetry unless this is set before its import:
# the bare import then writes a device id below the home folder and starts a thread, which hangs
# a forked child at exit. It cannot be undone afterwards. Remove when the wheel asks first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

_FATAL_ONLY = 4  # onnxruntime's severities run from 0, verbose, to 4, fatal

_LOOP = b"\x22\x04Loop"  # NodeProto.op_type = 4

_SHORT_RUN_S = 0.05
_LONGEST_WAIT_S = 0.2

Provider = str | tuple[str, dict[str, Any]]

# Names of ONNX element types as onnxruntime prints them, with the numpy dtype of each.
_DTYPES: Mapping[str, type[Any]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
    **{f"tensor(int{bits})": getattr(np, f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"tensor(uint{bits})": getattr(np, f"uint{bits}") for bits in (8, 16, 32, 64)},
}


class Port(NamedTuple):
    """An input or output as the graph declares it; a free axis is its name or None."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]


class Session:
    """One loaded graph. Safe to run from several threads at once.

    Args:
        model: the bytes of an ONNX file.
        threads: how many threads one run may use; 1 starts none.
        path: the file's name for messages.
        providers: the engine's execution providers, best first; None for the CPU.
        weights: arrays for the weights that the model keeps in other files, by name.

    Attributes:
        is_lost: whether this process is a fork in which the engine cannot be used any more.

    Raises:
        UnsupportedFormatError: the file's IR or opset is newer than this onnxruntime.
        ArtifactError: onnxruntime cannot load the bytes.
        OptionError: a provider is not part of this onnxruntime, or did not start.
    """

    def __init__(
        self,
        model: bytes,
        *,
        threads: int = 1,
        path: str | None = None,
        providers: Sequence[Provider] | None = None,
        weights: Mapping[str, Array] | None = None,
    ) -> None:
        wanted = _check_providers(providers)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        # A device waits for its next frame most of the time; spinning threads would burn it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            if weights:
                values = [onnxruntime.OrtValue.ortvalue_from_numpy(w) for w in weights.values()]
                options.add_external_initializers(list(weights), values)
            # Without this, a failure is printed and tried again on the CPU.
            self._engine = onnxruntime.InferenceSession(
                model, options, providers=wanted, enable_fallback=0
            )
            started = self._engine.get_providers()
        except Exception as cause:
            raise _translate_load_error(cause, path) from cause
        _refuse_fallback(wanted, started)
        try:
            inputs, outputs = self._engine.get_inputs(), self._engine.get_outputs()
            described = [[(n.name, n.type, n.shape) for n in nodes] for nodes in (inputs, outputs)]
            self.graph_name: str = self._engine.get_modelmeta().graph_name
        except UnicodeDecodeError as cause:  # the engine itself takes any bytes for a name
            raise _translate_load_error(cause, path) from cause
        self.inputs, self.outputs = (
            tuple(_port(*one, path) for one in ports) for ports in described
        )
        self.is_lost = False
        self._run = self._engine.run
        self._run_options = onnxruntime.RunOptions()
        self._run_options.log_severity_level = _FATAL_ONLY
        self._has_pool = threads > 1
        self._running: list[None] = []  # one entry a run; append and pop need no lock
        # Runs on so many input elements, or fewer, are known to be short; but of a loop the number
        # of turns is the input's value, so that nothing is known beforehand.
        self._quick_size = 0
        self._can_be_known = _LOOP not in model
        _watch_forks(self)

    def run(
        self,
        feeds: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        deadline: float | None = None,
        size: int | None = None,
    ) -> list[Array]:
        """Return the outputs, by default all of them in the graph's order.

        Args:
            feeds: a native, aligned array of the declared dtype and rank for every input.
            outputs: names of the outputs wanted, None for all.
            deadline: a time of ``time.monotonic`` after which the run is stopped.
            size: how many elements are fed, for callers that know.

        Raises:
            InferenceError: the engine failed, or the deadline passed; the session stays usable.
        """
        if size is None:
            size = sum(array.size for array in feeds.values())
        self._running.append(None)
        try:
            if deadline is None and (size <= self._quick_size or not _is_main_thread()):
                results: list[Array] = self._run(outputs, feeds, self._run_options)
            else:
                results = self._run_watched(feeds, outputs, deadline, size)
        except InferenceError:
            raise
        except Exception as cause:
            raise InferenceError(
                f"onnxruntime {onnxruntime.__version__} failed while running the model "
                f"({_first_line(cause)}): check the input's sizes, or run "
                "'edgeport verify' on the artifact"
            ) from cause
        finally:
            self._running.pop()
        return results

    def _run_watched(
        self,
        feeds: Mapping[str, Array],
        outputs: Sequence[str] | None,
        deadline: float | None,
        size: int,
    ) -> list[Array]:
        """Run in a thread of its own, so that this one can hear Ctrl-C and watch the clock.

        Python delivers signals between two of the main thread's instructions, and a run is a
        single one. A thread costs some 50 us, so runs that are known to be short go without.
        """
        options = onnxruntime.RunOptions()
        options.log_severity_level = _FATAL_ONLY
        results: list[list[Array]] = []
        errors: list[Exception] = []
        end = threading.Lock()  # a bare lock: Ctrl-C may strike between any two lines of an Event
        end.acquire()

        def work() -> None:
            try:
                results.append(self._run(outputs, feeds, options))
            except Exception as error:  # handed to the caller's thread
                errors.append(error)
            finally:
                end.release()

        worker = threading.Thread(target=work, name="edgeport-run", daemon=True)
        started = time.monotonic()
        try:
            worker.start()
            # Not join(): interrupted, it takes a running thread for a finished one (Python 3.10
            # to 3.12, bpo-45274). On Windows no wait can be interrupted, so each is short.
            while not end.acquire(timeout=_wait_s(deadline)):
                if deadline is not None and time.monotonic() >= deadline:
                    break
        finally:
            if not (results or errors):
                options.terminate = True  # the engine looks at it before each operator
            while worker.ident is not None and not (results or errors):
                end.acquire(timeout=_LONGEST_WAIT_S)
        worker.join()
        if errors and not options.terminate:
            raise errors[0]
        if not results:
            raise InferenceError(
                f"the run was stopped after {time.monotonic() - started:.3g} s because its time "
                "was up, expected an answer by then: allow more time, or feed fewer samples"
            )
        if self._can_be_known and time.monotonic() - started < _SHORT_RUN_S:
            self._quick_size = max(self._quick_size, size)
        return results[0]

    def _lose(self) -> None:
        """Give the engine up without touching it: its threads and locks stayed in the parent."""
        # Freeing it would wait for threads that do not exist here, so it is never freed.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))
        self.is_lost = True
        self._running.clear()


def _wait_s(deadline: float | None) -> float:
    if deadline is None:
        return _LONGEST_WAIT_S
    return min(_LONGEST_WAIT_S, max(0.0, deadline - time.monotonic()))


def _is_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()
_forks_are_watched = False


def _watch_forks(session: Session) -> None:
    """Have a forked child give up each engine that it cannot use.

    That is one with a pool of threads, and one that was running: its locks may be held for ever.
    """
    global _forks_are_watched
    _sessions.add(session)
    if not _forks_are_watched and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_lose_sessions)
        _forks_are_watched = True


def _lose_sessions() -> None:
    for session in list(_sessions):
        if session._has_pool or session._running:
            session._lose()


def _check_providers(providers: Sequence[Provider] | None) -> list[Provider]:
    if providers is None:
        return ["CPUExecutionProvider"]
    available = onnxruntime.get_available_providers()
    if not providers or isinstance(providers, str):
        raise OptionError(
            f"providers is {providers!r}, expected a list of one or more of "
            f"{', '.join(available)}: leave it out for the CPU"
        )
    for provider in providers:
        name = _provider_name(provider)
        if name not in available:
            raise OptionError(
                f"there is no execution provider {name!r} in this onnxruntime, expected one of "
                f"{', '.join(available)}: install the onnxruntime package that has it"
            )
    return list(providers)


def _provider_name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else str(provider[0])


def _refuse_fallback(wanted: Sequence[Provider], started: Sequence[str]) -> None:
    """Onnxruntime goes on with the CPU where a provider does not start."""
    for provider in wanted:
        name = _provider_name(provider)
        if name not in started:
            raise OptionError(
                f"the execution provider {name!r} did not start, only {', '.join(started)} did: "
                "check its driver and libraries, or name the providers that this device has"
            )


def engine_version() -> str:
    """Return the version of the installed onnxruntime."""
    return str(onnxruntime.__version__)


def _port(name: str, kind: str, shape: Sequence[Any], path: str | None) -> Port:
    place = "the artifact" if path is None else f"'{path}'"
    dtype = _DTYPES.get(kind)
    if dtype is None:
        raise UnsupportedFormatError(
            f"{place} has a tensor '{name}' of type {kind}, "
            f"expected one of {', '.join(_DTYPES)}: export it with another type",
            path=path,
            found=kind,
            supported=", ".join(_DTYPES),
        )
    return Port(name, np.dtype(dtype), tuple(shape))


# How onnxruntime words a file that is newer than itself, by what is too new.
_TOO_NEW = (
    (
        "IR version",
        re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)"),
    ),
    ("opset", re.compile(r"Opset (\d+) is under development.*till opset (\d+)", re.DOTALL)),
)


def _translate_load_error(cause: Exception, path: str | None) -> ArtifactError:
    place = "the artifact" if path is None else f"'{path}'"
    text = str(cause)
    for what, pattern in _TOO_NEW:
        match = pattern.search(text)
        if match:
            found, supported = match.groups()
            return UnsupportedFormatError(
                f"{place} has {what} {found}, onnxruntime {onnxruntime.__version__} reads up to "
                f"{supported}: update onnxruntime, or convert for this version",
                path=path,
                found=found,
                supported=supported,
            )
    if "protobuf parsing failed" in text or "No graph was found" in text:
        return ArtifactError(
            f"{place} is no ONNX file, or was cut short: "
            "copy the .onnx file again from where it was converted",
            path=path,
        )
    return ArtifactError(
        f"{place} cannot be loaded by onnxruntime {onnxruntime.__version__} "
        f"({_first_line(cause)}): convert it again with edgeport-converter",
        path=path,
    )


def _first_line(cause: Exception) -> str:
    """Return the engine's reason without its log prefix, one line, at most 200 characters."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(cause).strip())
    text = re.sub(r"/\S+\.(?:cc|h):\d+ .*?\)(?: const)? ", "", text)
    line = text.splitlines()[0] if text else type(cause).__name__
    return line if len(line) <= 200 else line[:197] + "..."
