"""One loaded graph. The only module that imports onnxruntime.

It holds the import without telemetry, the session with its options, its runs, what a fork does to
it, and the place where the engine's errors are translated. What the arrays mean is decided
elsewhere; ``loading`` makes sessions, ``model`` runs them.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgeport.artifact.golden import Array
from edgeport.engine import forks
from edgeport.engine.errors import first_line, is_of_the_engine, load_error, type_remedy
from edgeport.engine.watchdog import TimeLimit
from edgeport.errors import InferenceError, UnsupportedFormatError
from edgeport.options import Provider

# From 1.29 on, onnxruntime's Linux wheel sends telemetry unless this is set before its import:
# the bare import then writes a device id below the home folder and starts a thread, which hangs
# a forked child at exit. It cannot be undone afterwards. Remove when the wheel asks first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

_FATAL_ONLY = 4  # onnxruntime's severities run from 0, verbose, to 4, fatal

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


OPTIMIZATIONS: Mapping[str, str] = {
    "none": "ORT_DISABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


class Port(NamedTuple):
    """An input or output as the graph declares it; a free axis is its name or None."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]


class _Engine(onnxruntime.InferenceSession):  # type: ignore[misc]  # it has no types
    """onnxruntime's session without its fallback.

    When a session does not start, onnxruntime prints a message and tries again on the CPU. Version
    1.19 has no option against it, but a subclass can prevent it.
    """

    @property
    def _enable_fallback(self) -> bool:
        return False

    @_enable_fallback.setter
    def _enable_fallback(self, value: bool) -> None:
        pass


class Session(forks.Forked):
    """One loaded graph. Safe to run from several threads at once.

    Args:
        model: the bytes of an ONNX file.
        threads: how many threads one run may use; 1 starts none.
        providers: the engine's execution providers, best first; None for the CPU.
        spinning: whether threads spin while they wait for the next run. Most devices wait for
            their next frame most of the time, and spinning takes a CPU meanwhile.
        optimization: how far the engine rewrites the graph, a key of ``OPTIMIZATIONS``.
        save_to: the file to which the engine writes the optimized graph; empty for none.
        profile_to: how the name of the file begins to which the engine writes how long each node
            took; empty for none.

    Attributes:
        is_lost: whether this process is a fork in which the engine cannot be used any more.

    Raises:
        UnsupportedFormatError: the file's IR or opset is newer than this onnxruntime.
        ArtifactError: onnxruntime cannot load the bytes.
        InferenceError: the memory does not suffice.
        OptionError: a provider is not part of this onnxruntime, or did not start.
    """

    def __init__(
        self,
        model: bytes,
        *,
        threads: int = 1,
        providers: Sequence[Provider] | None = None,
        spinning: bool = False,
        optimization: str = "all",
        save_to: str = "",
        profile_to: str = "",
    ) -> None:
        wanted: list[Provider] = ["CPUExecutionProvider"]
        if providers is not None:
            from edgeport.engine.providers import check_providers

            wanted = check_providers(providers, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        options.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, OPTIMIZATIONS[optimization]
        )
        options.optimized_model_filepath = save_to
        if profile_to:
            options.enable_profiling = True
            options.profile_file_prefix = profile_to
        try:
            self._engine = _Engine(model, options, providers=wanted)
            started = self._engine.get_providers()
        except Exception as cause:
            if not is_of_the_engine(cause):
                raise
            raise load_error(cause, engine_version()) from cause
        # The session keeps its argument, as large as the artifact, to start again with other
        # providers, which is never done here. The name is private: where a version has none, nobody
        # reads this entry.
        self._engine.__dict__["_model_bytes"] = None
        if providers is not None:
            from edgeport.engine.providers import refuse_fallback

            refuse_fallback(wanted, started)
        try:
            inputs, outputs = self._engine.get_inputs(), self._engine.get_outputs()
            described = [[(n.name, n.type, n.shape) for n in nodes] for nodes in (inputs, outputs)]
            self.graph_name: str = self._engine.get_modelmeta().graph_name
        except UnicodeDecodeError as cause:  # the engine itself takes any bytes for a name
            raise load_error(cause, engine_version()) from cause
        self.inputs, self.outputs = (tuple(_port(*one) for one in ports) for ports in described)
        self.is_lost = False
        # The methods of ``InferenceSession`` look at each call's names and at graphs captured for a
        # GPU, a fifth of a small model's run. Where a version keeps its core elsewhere, they do.
        engine: Any = self._engine
        self._core: Any = getattr(engine, "_sess", engine)
        self._run = self._core.run
        self._output_names = [port.name for port in self.outputs]
        self._run_options = _run_options()
        self.threads = threads
        self._running: list[None] = []  # one entry a run; append and pop need no lock
        forks.watch(self)

    def run(
        self,
        feeds: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        limit: TimeLimit | None = None,
    ) -> list[Array]:
        """Return the outputs, by default all of them in the graph's order.

        The engine runs in this thread, and Python hears no signal before its end.

        Args:
            feeds: a native, aligned array of the declared dtype and rank for every input.
            outputs: names of the outputs wanted, None for all.
            limit: when the run is stopped, at its next operator; None for never.

        Raises:
            InferenceError: the engine failed, or the time was up; the session stays usable.
        """
        results: list[Array]
        if outputs is None:
            outputs = self._output_names
        if limit is None:
            self._running.append(None)  # as ``_guarded``, without a call of its own
            try:
                results = self._run(outputs, feeds, self._run_options)
            except Exception as cause:
                raise _translated(cause) from cause
            finally:
                self._running.pop()
            return results
        options = _run_options()
        limit.stop_by(functools.partial(setattr, options, "terminate", True))
        try:
            results = self._guarded(self._run, outputs, feeds, options)
        except InferenceError as error:
            if limit.is_over:
                raise limit.error() from error.__cause__
            raise
        return results

    def bind(self, name: str, given: Array, output: str, answer: Array) -> Callable[[], None]:
        """Return a call that runs the engine from the one array into the other.

        The engine keeps both arrays, so that a call costs half of ``run`` on a small model.

        Raises:
            InferenceError: the engine refuses the arrays; as the returned call does, see ``run``.
        """

        def make() -> Any:
            binding = self._engine.io_binding()
            binding.bind_cpu_input(name, given)
            binding.bind_ortvalue_output(output, onnxruntime.OrtValue.ortvalue_from_numpy(answer))
            return binding if self._core is self._engine else binding._iobinding

        run = self._core.run_with_iobinding
        return functools.partial(self._guarded, run, self._guarded(make), self._run_options)

    def end_profile(self) -> str:
        """Write what was recorded since the session was made, and return the file's name."""
        return str(self._engine.end_profiling())

    def _guarded(self, run: Callable[..., Any], *arguments: Any) -> Any:
        """Return the call's result; count it for forks, and translate the engine's errors."""
        self._running.append(None)
        try:
            return run(*arguments)
        except Exception as cause:
            raise _translated(cause) from cause
        finally:
            self._running.pop()

    def after_fork(self) -> None:
        """Give up an engine whose threads are missing here, or whose locks another thread held."""
        if self.threads == 1 and not self._running:
            return
        # Freeing it would wait for threads that do not exist here, so it is never freed.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))
        self.is_lost = True
        self._running.clear()


def _translated(cause: Exception) -> InferenceError:
    """Return the engine's error in edgeport's words; raise one that is not the engine's."""
    if not is_of_the_engine(cause):
        raise cause
    told = first_line(cause)
    step = "check the input's sizes, or run 'edgeport verify' on the artifact"
    if "out of data bounds" in told:  # of Gather, as of an embedding
        step = (
            "a number of the input is beyond the model's table, such as a token outside of the "
            "vocabulary; 'edgeport info' prints the range of the calibration data"
        )
    return InferenceError(
        f"onnxruntime {onnxruntime.__version__} failed while running the model ({told}): {step}"
    )


def _run_options() -> Any:
    options = onnxruntime.RunOptions()
    options.log_severity_level = _FATAL_ONLY
    # "No captured graph", as on every CPU. Where it is unset, onnxruntime 1.32 looks for it before
    # each bound run by an exception, which costs ten times a small model's run.
    options.add_run_config_entry("gpu_graph_id", "-1")
    return options


def engine_version() -> str:
    """Return the version of the installed onnxruntime."""
    return str(onnxruntime.__version__)


def engine_build() -> str:
    """Return the version and what else tells one build of onnxruntime from another."""
    return f"{engine_version()} {onnxruntime.get_build_info()}"


def _port(name: str, kind: str, shape: Sequence[Any]) -> Port:
    dtype = _DTYPES.get(kind)
    if dtype is None:
        raise UnsupportedFormatError(
            f"the artifact has a tensor '{name}' of type {kind}, "
            f"expected one of {', '.join(_DTYPES)}: {type_remedy(kind)}",
            found=kind,
            supported=", ".join(_DTYPES),
        )
    return Port(name, np.dtype(dtype), tuple(shape))
