"""Runs a case through the converter's stages and says how its file compares with Keras.

The comparison is this module's own: the model is called as Keras' users call it and the numbers
are compared here, so that a mistake in ``exporting.reference`` or ``verifying`` shows as well.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import helper

from edgeport import Predictor
from edgeport_converter import UnsupportedModelError, exporting, optimizing, targets
from edgeport_converter.loading.load import load_model
from layer_cases.case import Case, make_values, randomize

_ABSOLUTE = 1e-6
_LARGE_BYTES = 2**27  # above it, copies of the weights would fill the memory


@dataclass(frozen=True)
class Verdict:
    """What became of a case.

    Attributes:
        name: the case's.
        outcome: "exact", "refused", "wrong", "crashed", or "invalid" for a file that the checker
            or onnxruntime does not open.
        detail: the refusal's sentence, or what went wrong.
        difference: the largest one, as a share of the output's largest value.
        nodes: operators of the graph.
        seconds: time taken.
    """

    name: str
    outcome: str
    detail: str = ""
    difference: float = 0.0
    nodes: tuple[str, ...] = ()
    file_bytes: int = 0
    seconds: float = 0.0


def judge(case: Case) -> Verdict:
    """Return the case's verdict; never raises."""
    started = time.monotonic()
    keras.backend.clear_session(free_memory=False)  # collecting garbage takes as long as a case
    keras.utils.set_random_seed(1)
    verdict = _run(case)
    return replace(verdict, seconds=time.monotonic() - started)


def _run(case: Case) -> Verdict:
    def found(outcome: str, detail: str, difference: float = 0.0) -> Verdict:
        return Verdict(case.name, outcome, detail, difference, nodes, len(artifact))

    nodes: tuple[str, ...] = ()
    artifact = b""
    try:
        model = case.build()
        randomize(model)
    except Exception as error:
        return found("crashed", f"Keras cannot build it: {_reason(error)}")
    try:
        loaded = load_model(model)
        engine = targets.find_engine(targets.ONNXRUNTIME_FLOOR)
        exported = exporting.export(loaded, opset=engine.opset, ir_version=engine.ir_version)
        reference, graph = exported.reference, exported.graph
        del exported  # the largest networks fill the memory otherwise
        graph = optimizing.optimize(graph)
        graph = optimizing.compact(graph)
    except UnsupportedModelError as error:
        return found("refused", str(error))
    except Exception as error:
        return found("crashed", _reason(error))
    nodes = tuple(node.op_type for node in graph.graph.node)
    try:
        _check(graph)
        artifact = graph.SerializeToString()
        del graph
        predictor = Predictor.load(artifact)
    except Exception as error:
        return found("invalid", _reason(error))
    try:
        reference(_feed(case, model, case.batches[0], case.free_sizes[0]))
    except UnsupportedModelError as error:
        return found("refused", str(error))
    except Exception as error:
        return found("crashed", _reason(error))
    try:
        with predictor:
            difference, detail = _compare(case, model, predictor)
    except Exception as error:
        return found("crashed", _reason(error))
    return found("wrong" if detail else "exact", detail, difference)


def _check(graph: onnx.ModelProto) -> None:
    """Let ONNX's checker look at the graph, at a large one without its weights' values."""
    if graph.ByteSize() > _LARGE_BYTES:
        whole, graph = graph, onnx.ModelProto()
        graph.ir_version = whole.ir_version
        graph.opset_import.extend(whole.opset_import)
        graph.graph.name = whole.graph.name
        graph.graph.node.extend(whole.graph.node)
        graph.graph.input.extend(whole.graph.input)
        graph.graph.output.extend(whole.graph.output)
        for tensor in whole.graph.initializer:
            if len(tensor.raw_data) < 1024:
                graph.graph.initializer.add().CopyFrom(tensor)
            else:
                graph.graph.input.append(
                    helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                )
    onnx.checker.check_model(graph, full_check=True)


def _compare(case: Case, model: Any, predictor: Predictor) -> tuple[float, str]:
    """Return the largest relative difference, and what is wrong or nothing."""
    worst = 0.0
    names = [spec.name for spec in predictor.card.inputs]
    declared = getattr(model, "_inputs_struct", None)
    wanted_names = list(declared) if isinstance(declared, dict) else list(map(_name, model.inputs))
    if names != wanted_names:
        return 0.0, f"inputs {names}, Keras has {wanted_names}"
    is_free = any(size is None for tensor in model.inputs for size in tensor.shape[1:])
    for batch in case.batches:
        for size in case.free_sizes if is_free else (0,):
            feed = _feed(case, model, batch, size)
            expected = _ask_keras(model, feed)
            answer = predictor.predict(feed)
            found = list(answer.values()) if isinstance(answer, dict) else [answer]
            if len(expected) != len(found):
                return 0.0, f"{len(found)} outputs, Keras has {len(expected)}"
            for place, (wanted, got) in enumerate(zip(expected, found, strict=True)):
                where = f"output {place} at batch {batch}, size {size}"
                if wanted.shape != got.shape or wanted.dtype.kind != got.dtype.kind:
                    return 0.0, (f"{where}: {got.dtype} {got.shape}, "
                                 f"Keras {wanted.dtype} {wanted.shape}")  # fmt: skip
                difference = _difference(wanted, got)
                worst = max(worst, difference)
                if not difference <= case.tolerance:
                    return difference, f"{where} is off by {difference:.3g} of its largest value"
    return worst, ""


def _feed(case: Case, model: Any, batch: int, size: int) -> dict[str, Any]:
    generator = np.random.default_rng(10 * batch + size)
    return {
        _name(tensor): make_values(
            case.values[_name(tensor)] if isinstance(case.values, dict) else case.values,
            (batch, *(size if axis is None else axis for axis in tensor.shape[1:])),
            _dtype(tensor), generator,
        )
        for tensor in model.inputs
    }  # fmt: skip


def _name(tensor: Any) -> str:
    """Return the InputLayer's name: a tensor without one of its own is called keras_tensor_N."""
    return str(tensor._keras_history.operation.name)


def _dtype(tensor: Any) -> np.dtype[Any]:
    name = keras.backend.standardize_dtype(tensor.dtype)
    return np.dtype(object if name == "string" else name)


def _ask_keras(model: Any, feed: dict[str, Any]) -> list[Any]:
    tensors = {
        name: tf.constant(array.tolist() if array.dtype == object else array)
        for name, array in feed.items()
    }
    declared = getattr(model, "_inputs_struct", None)
    packed: Any = tensors
    if not isinstance(declared, dict):
        packed = list(tensors.values()) if len(tensors) > 1 else next(iter(tensors.values()))
    answer = model(packed, training=False)
    return [_as_array(tensor) for tensor in _in_declared_order(answer)]


def _in_declared_order(answer: Any) -> list[Any]:
    """Keras flattens dicts by sorted key; a user declared them in another order."""
    if isinstance(answer, dict):
        return [item for value in answer.values() for item in _in_declared_order(value)]
    if isinstance(answer, (list, tuple)):
        return [item for value in answer for item in _in_declared_order(value)]
    return [answer]


def _as_array(tensor: Any) -> Any:
    array = np.asarray(tensor)
    if array.dtype == object:
        return np.vectorize(lambda text: text.decode("utf-8"), otypes=[object])(array)
    return array


def _difference(wanted: Any, got: Any) -> float:
    if wanted.dtype.kind not in "f":
        return 0.0 if np.array_equal(wanted, got) else float("inf")
    if wanted.size == 0:
        return 0.0
    with np.errstate(invalid="ignore"):
        gap = np.abs(wanted.astype(np.float64) - got)
    gap[(wanted == got) | (np.isnan(wanted) & np.isnan(got))] = 0.0
    gap[np.isnan(gap)] = np.inf
    finite = np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)
    return float(max(0.0, gap.max() - _ABSOLUTE) / max(float(finite), 1e-3))


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0][:300]}"
