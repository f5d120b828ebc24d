"""Candidates as tasks of a Ray cluster, for `edgeport convert --engine ray`.

The search asks for the same recipes in the same order as on one machine, so it decides alike; here
the recipes that it may ask for next are begun at once. A task quantizes one recipe and compares its
answers with the float graph's, another measures ranges or activation statistics, a third the noise
of some layers. What is not a task stays on the machine that converts:

- the user's metric and the labels, since a function may be of any kind: a task answers with the
  outputs that the metric sees;
- times, one graph at a time, since those of several machines do not compare;
- fine-tuning, the proof of the written graph, and the artifact.

Samples, graphs and statistics are put into Ray's object store once. A task whose machine dies is
run again elsewhere. Results do not depend on the number of threads of a session, but GPTQ's linear
algebra does: tasks get the number of this machine, and other CPUs or other versions are noticed.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import onnx
import onnx_ir as ir

from edgeport import ConversionError, EdgeportError, ModelCard
from edgeport.artifact.golden import Array
from edgeport.device.cpus import THREADS_VARIABLE
from edgeport.device.identity import cpu_name
from edgeport.signals import reraise_signal
from edgeport_converter import optimizing
from edgeport_converter.progress import begin, say
from edgeport_converter.quantization.calibration.ranges import Ranges, collect_ranges
from edgeport_converter.quantization.evaluation.evaluator import Evaluator
from edgeport_converter.quantization.qdq import quantize
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.quantization.search.candidates import (
    MOMENTS_BATCH,
    CalibratedGraph,
    CandidateFactory,
    Tried,
    largest_first,
    measure_noise,
    try_recipe,
)
from edgeport_converter.quantization.weights.gptq import Rounder
from edgeport_converter.quantization.weights.moments import Moments, measure_moments
from edgeport_converter.targets import Target
from edgeport_converter.verification.runners import (
    Batches,
    as_run,
    fixed_batch,
    open_graph,
)

if TYPE_CHECKING:  # it imports TensorFlow
    from edgeport_converter.quantization.finetuning.finetune import Finetuned

_BLOCK = 64  # samples that are put into the object store together
_AT_ONCE = 4  # candidates that a search can seldom use more of; they share the cluster's CPUs
_LAYERS_AT_ONCE = 4  # of which one task measures the noise
_RETRIES = 5

_PACKAGES = ("edgeport-converter", "edgeport", "numpy", "onnx", "onnx-ir", "onnxruntime")
_BLAS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class _Machine:
    """What the bits of a result may depend on."""

    cpu: str
    blas_threads: int
    versions: tuple[str, ...]

    @classmethod
    def here(cls, blas_threads: int) -> _Machine:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        versions = tuple(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
        return cls(cpu_name(), min(blas_threads, cpus or 1), versions)


@dataclass(frozen=True, eq=False)
class _StoredBatches:
    """Samples in the object store, in blocks; called like any ``Batches``."""

    blocks: tuple[Any, ...]
    is_fixed: bool

    def __call__(self, size: int) -> Iterator[Mapping[str, Array]]:
        import ray

        waiting: dict[str, Array] = {}
        for reference in self.blocks:
            block = ray.get(reference)
            if self.is_fixed:
                yield block
                continue
            if waiting:
                block = {name: np.concatenate([waiting[name], block[name]]) for name in block}
            count = _count(block)
            for start in range(0, count - count % size, size):
                yield {name: array[start : start + size] for name, array in block.items()}
            waiting = {name: array[count - count % size :] for name, array in block.items()}
            waiting = waiting if count % size else {}
        if waiting:
            yield waiting


@dataclass(frozen=True, eq=False)
class _Job:
    """What all tasks of one conversion need."""

    float_graph: bytes
    card: ModelCard
    target: Target
    calibration: _StoredBatches
    judged: _StoredBatches
    evaluator: Evaluator
    machine: _Machine

    def evaluate_here(self) -> Evaluator:
        """Return the evaluator with this machine's float graph."""
        compact = optimizing.compact(onnx.load_from_string(self.float_graph))
        return self.evaluator.on(as_run(open_graph(compact, self.card)), self.judged)

    def require_versions(self) -> _Machine:
        """Return what this machine is.

        Raises:
            ConversionError: another version would make another graph.
        """
        here = _Machine.here(self.machine.blas_threads)
        for wanted, found in zip(self.machine.versions, here.versions, strict=True):
            if wanted != found:
                raise ConversionError(
                    f"the machine '{platform.node()}' of the Ray cluster has {found}, expected "
                    f"{wanted} as on the machine that converts: install the same on all"
                )
        return here


@dataclass(frozen=True)
class _Found(Generic[_Answer]):
    """What a task answers, and the machines that it depends on."""

    answer: _Answer
    machines: frozenset[_Machine]


def _measure_ranges(job: _Job, source: bytes, method: str) -> _Found[Ranges]:
    machine = job.require_versions()
    return _Found(collect_ranges(_read(source), job.calibration, method), frozenset([machine]))


def _measure_moments(job: _Job, source: bytes) -> _Found[dict[str, Moments]]:
    machine = job.require_versions()
    graph = _read(source)
    layers = quantize.weighted_nodes(graph.graph)
    moments = measure_moments(graph, layers, job.calibration(MOMENTS_BATCH))
    return _Found(moments, frozenset([machine]))


def _try(
    job: _Job,
    source: bytes,
    recipe: Recipe,
    ranges: _Found[Ranges] | None,
    moments: _Found[dict[str, Moments]] | None,
) -> _Found[Tried]:
    machine = job.require_versions()
    tried = try_recipe(
        _read(source),
        recipe,
        ranges.answer if ranges else {},
        Rounder(moments.answer) if moments else None,
        job.card,
        job.evaluate_here(),
        job.target,
    )
    used = [found.machines for found in (ranges, moments) if found]
    return _Found(tried, frozenset([machine]).union(*used))


def _measure_noise(
    job: _Job,
    source: bytes,
    layers: list[str],
    ranges: _Found[Ranges],
    moments: _Found[dict[str, Moments]],
    samples: Mapping[str, Array],
) -> _Found[dict[str, float]]:
    machine = job.require_versions()
    noise = measure_noise(
        _read(source),
        layers,
        ranges.answer,
        Rounder(moments.answer),
        job.target,
        _read(job.float_graph),
        samples,
    )
    return _Found(noise, frozenset([machine]).union(ranges.machines, moments.machines))


class CandidatesOnRay(CandidateFactory):
    """Makes candidates of one model as tasks of a cluster.

    Connects to the cluster that runs already or that ``RAY_ADDRESS`` names, else starts one on this
    machine.

    Args:
        float_graph, card, calibration, evaluator, target: as for ``CandidateFactory``.
    """

    def __init__(
        self,
        float_graph: onnx.ModelProto,
        card: ModelCard,
        calibration: Batches,
        evaluator: Evaluator,
        target: Target,
    ) -> None:
        super().__init__(float_graph, card, calibration, evaluator, target)
        self._tasks: dict[Recipe, Any] = {}
        self._graphs: dict[CalibratedGraph | Finetuned, Any] = {}
        self._ranges: dict[tuple[CalibratedGraph | Finetuned, str], Any] = {}
        self._moments: dict[CalibratedGraph | Finetuned, Any] = {}
        self._remote: dict[Callable[..., Any], Any] = {}
        self._others: set[_Machine] = set()
        self._owns_ray = False
        try:
            with _ray_in_words():
                self._connect(float_graph)
        except BaseException:
            self.close()
            raise

    def _connect(self, float_graph: onnx.ModelProto) -> None:
        import ray

        if not ray.is_initialized():
            handler = signal.getsignal(signal.SIGTERM)
            ray.init(log_to_driver=False, logging_level="warning", include_dashboard=False)
            self._owns_ray = True
            with contextlib.suppress(ValueError):  # not the main thread
                signal.signal(signal.SIGTERM, handler)
        sizes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        sizes = [size for size in sizes if size] or [1]
        threads = max(1, min(min(sizes), sum(sizes) // _AT_ONCE))
        self._width = sum(size // threads for size in sizes)
        variables = [os.environ[name] for name in _BLAS if os.environ.get(name, "").isdecimal()]
        self._machine = _Machine.here(int(variables[0]) if variables else 2**20)
        blas = str(self._machine.blas_threads)
        self._options = {
            "num_cpus": threads,
            "max_retries": _RETRIES,
            "runtime_env": {
                "env_vars": {**dict.fromkeys(_BLAS, blas), THREADS_VARIABLE: str(threads)}
            },
        }
        job = _Job(
            float_graph.SerializeToString(),
            self._card,
            self._target,
            self._store(self._calibration),
            self._store(self._evaluator.batches),
            self._evaluator.without_metric(),
            self._machine,
        )
        self._job = ray.put(job)
        say(
            f"candidates are tried on {len(sizes)} machine{'s' if len(sizes) > 1 else ''} of a Ray "
            f"cluster, {self._width} at once"
        )

    def close(self) -> None:
        """Cancel what is left, and leave the cluster that was connected here."""
        import ray

        self.stop()
        for one in (self._tasks, self._graphs, self._ranges, self._moments):
            one.clear()
        if self._owns_ray:
            ray.shutdown()

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be said of the machines that tried candidates."""
        return tuple(
            f"candidates were tried on a machine with another CPU ({other.cpu}, "
            f"{other.blas_threads} threads of linear algebra; here {self._machine.cpu}, "
            f"{self._machine.blas_threads}), which may round otherwise: this machine alone may "
            "choose otherwise"
            for other in sorted(self._others, key=repr)
        )

    def expect(self, recipes: Sequence[Recipe]) -> None:
        """Begin what may be asked for next, as much as runs at once."""
        with _ray_in_words():
            for recipe in recipes:
                if len(_unfinished(self._tasks)) < self._width and not recipe.finetuned:
                    self._begin(recipe)

    def stop(self) -> None:
        """Cancel what was begun and is not done."""
        import ray

        if ray.is_initialized():
            for tasks in (self._tasks, self._ranges, self._moments):
                for key in _unfinished(tasks):
                    ray.cancel(tasks.pop(key), force=True)

    def _try(self, recipe: Recipe) -> Tried:
        if recipe.finetuned:  # its statistics are here
            return super()._try(recipe)
        tried: Tried = self._get(self._begin(recipe))
        return tried

    def _ranges_of(self, start: CalibratedGraph | Finetuned, method: str) -> Ranges:
        if not isinstance(start, CalibratedGraph):
            return super()._ranges_of(start, method)
        ranges: Ranges = self._get(self._begin_ranges(start, method))
        return ranges

    def _measure_noise(
        self,
        start: CalibratedGraph | Finetuned,
        layers: list[str],
        samples: Mapping[str, Array],
    ) -> dict[str, float]:
        import ray

        with _ray_in_words():
            stored = ray.put(dict(samples))
            parts = [
                layers[first : first + _LAYERS_AT_ONCE]
                for first in range(0, len(layers), _LAYERS_AT_ONCE)
            ]
            tasks = [
                self._submit(
                    _measure_noise,
                    self._store_graph(start),
                    part,
                    self._begin_ranges(start, "minmax"),
                    self._begin_moments(start),
                    stored,
                )
                for part in parts
            ]
        noise: dict[str, float] = {}
        with begin("sensitivity of layers", len(layers)) as progress:
            for task, part in zip(tasks, parts, strict=True):
                noise |= self._get(task)
                progress.advance(len(part))
        return largest_first(layers, noise)

    def _begin(self, recipe: Recipe) -> Any:
        """Return the task of a recipe, begun before or now."""
        if recipe not in self._tasks:
            start = self.source_of(recipe)
            with _ray_in_words():
                self._tasks[recipe] = self._submit(
                    _try,
                    self._store_graph(start),
                    recipe,
                    self._begin_ranges(start, recipe.ranges) if recipe.is_static else None,
                    self._begin_moments(start) if recipe.rounds else None,
                )
        return self._tasks[recipe]

    def _begin_ranges(self, start: CalibratedGraph | Finetuned, method: str) -> Any:
        if (start, method) not in self._ranges:
            graph = self._store_graph(start)
            self._ranges[start, method] = self._submit(_measure_ranges, graph, method)
        return self._ranges[start, method]

    def _begin_moments(self, start: CalibratedGraph | Finetuned) -> Any:
        if start not in self._moments:
            self._moments[start] = self._submit(_measure_moments, self._store_graph(start))
        return self._moments[start]

    def _store_graph(self, start: CalibratedGraph | Finetuned) -> Any:
        import ray

        if start not in self._graphs:
            self._graphs[start] = ray.put(ir.to_proto(start.graph).SerializeToString())
        return self._graphs[start]

    def _store(self, batches: Batches) -> _StoredBatches:
        """Put samples into the object store, a block at a time."""
        import ray

        blocks = tuple(ray.put(dict(batch)) for batch in batches(_BLOCK))
        return _StoredBatches(blocks, fixed_batch(self._card.inputs) is not None)

    def _submit(self, work: Callable[..., Any], *arguments: Any) -> Any:
        import ray

        if work not in self._remote:
            self._remote[work] = ray.remote(**self._options)(work)
        return self._remote[work].remote(self._job, *arguments)

    def _get(self, task: Any) -> Any:
        """Return what a task answered, and note the machine that it ran on."""
        import ray

        with _ray_in_words():
            found: _Found[Any] = ray.get(task)
        self._others |= found.machines - {self._machine}
        return found.answer


@contextlib.contextmanager
def _ray_in_words() -> Iterator[None]:
    """Raise edgeport's errors as they are in a task, and others of Ray's as one sentence."""
    try:
        yield
    except EdgeportError as error:
        raise _find_ours(error) or error from error
    except Exception as cause:
        reraise_signal(cause)
        if (found := _find_ours(cause)) is not None:
            raise found from cause
        reason = str(cause).strip().splitlines()[-1:] or [type(cause).__name__]
        raise ConversionError(
            f"Ray failed ({reason[0][:300]}), expected it to try every candidate: look at its "
            "cluster, or convert with engine='local'"
        ) from cause


def _find_ours(error: BaseException | None) -> EdgeportError | None:
    """Return the error of edgeport's that Ray has wrapped, if there is one."""
    while error is not None:
        inner = getattr(error, "cause", None)
        if isinstance(inner, BaseException):
            error = inner
        elif isinstance(error, EdgeportError):
            return error
        else:
            error = error.__cause__
    return None


def _unfinished(tasks: Mapping[Any, Any]) -> list[Any]:
    """Return the keys of the tasks that run or wait."""
    import ray

    if not tasks:
        return []
    open_tasks = set(ray.wait(list(tasks.values()), num_returns=len(tasks), timeout=0)[1])
    return [key for key, task in tasks.items() if task in open_tasks]


def _read(graph: bytes) -> ir.Model:
    return ir.from_proto(onnx.load_from_string(graph))


def _count(arrays: Mapping[str, Array]) -> int:
    return len(next(iter(arrays.values())))
