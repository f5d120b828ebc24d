"""From a file to a model that passed every check, in the order in which trust grows.

Bytes, seal, signature, card, other files, engine, agreement of card and graph, golden samples:
what fails raises, and nothing is left behind. ``predictor`` asks for models and swaps them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeport import external, host, integrity, signing
from edgeport._session import Port, Provider, Session, engine_version
from edgeport.batching import Batching
from edgeport.card import BATCH_AXIS, ModelCard, TensorSpec, format_shape
from edgeport.errors import ArtifactError, OptionError, SelfTestError, UnsupportedFormatError
from edgeport.golden import Array
from edgeport.inputs import Feed, prepare
from edgeport.values import RangeCounter

Described = tuple["np.dtype[Any]", tuple["int | str | None", ...]]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview


class Options(NamedTuple):
    """What ``Predictor.load`` was asked for; a reload and another process ask for the same."""

    threads: int | None
    finite: bool
    providers: Sequence[Provider] | None
    public_key: signing.PublicKey | None
    minimum_version: int | None
    chunk_bytes: int


@dataclass(eq=False)
class Model:
    """A checked model and all that ``predict`` has to know of it.

    Attributes:
        session: the engine.
        card: the model's card.
        batching: how its samples are grouped.
        options: what was asked for.
        source: where to load it again: the absolute path, or the bytes.
        path: the path as it was given.
        digest: the SHA-256 of the file.
        threads: how many threads one run may use.
        version: the signed version, None where no key was asked for.
        output_names: in the card's order.
        ranged_inputs: the inputs whose calibrated ranges matter, since activations are quantized.
        one_sample: shapes that ``Predictor`` may run at once, and whether they lack the batch axis;
            ``one_name``, ``one_dtype`` and ``one_range`` are the input's.
    """

    session: Session
    card: ModelCard
    batching: Batching
    options: Options
    source: str | bytes
    path: str | None
    digest: str
    threads: int
    version: int | None = None

    def __post_init__(self) -> None:
        inputs = self.card.inputs
        self.output_names = [spec.name for spec in self.card.outputs]
        self.ranged_inputs = [
            spec
            for spec in inputs
            if self.card.quantization
            and self.card.quantization.activations != "float32"
            and spec.value_range
        ]
        # One sample of one numeric input to one output: so common, and often so fast, that it has a
        # way of its own. By shape, and whether the batch axis is to come and go.
        self.one_sample: dict[tuple[int | str, ...], bool] = {}
        if (
            len(inputs) == len(self.card.outputs) == 1
            and inputs[0].has_batch_axis
            and self.card.outputs[0].has_batch_axis
            and inputs[0].dtype.kind != "O"  # text is looked at item by item
            and self.batching.fixed in (None, 1)
            and not self.options.finite
        ):
            (spec,) = inputs
            self.one_sample = {(1, *spec.shape[1:]): False, spec.shape[1:]: True}
            self.one_name, self.one_dtype = spec.name, spec.dtype
            limits = RangeCounter(self.ranged_inputs).limits
            self.one_range = limits[0][1:] if limits else None

    def run(self, feed: Feed, deadline: float | None = None) -> list[Array]:
        """Return the outputs for a feed; raises as ``Batching.run`` and ``Session.run`` do."""
        return self.batching.run(
            lambda arrays: self.session.run(arrays, self.output_names, deadline), feed
        )


def load_model(source: Source, options: Options) -> Model:
    """Load a model after every check; raises as ``Predictor.load`` does."""
    _check_options(options)
    data = integrity.read(source)
    path = None
    if not isinstance(source, (bytes, bytearray, memoryview)):
        path = os.fsdecode(source)
    sealed = integrity.check_seal(data, path)
    card = version = None
    if sealed is not None:
        card = ModelCard.from_json(sealed.card_json, sha256=sealed.sha256, path=path)
        _check_requirements(card, path)
    if options.public_key is not None:
        version = signing.check(data, options.public_key, options.minimum_version, path)
    weights = external.load(
        data,
        card.external_data if card else {},
        None if path is None else Path(path).absolute().parent,
        path,
    )
    threads = host.choose_threads(options.threads, card.multiply_accumulates if card else None)
    session = Session(
        data, threads=threads, path=path, providers=options.providers, weights=weights
    )
    if card is None:
        _warn("%s bears no card: nothing vouches for its answers", path or "the model")
        card = _card_from_graph(session)
    else:
        _check_agreement(card, session, path)
    model = Model(
        session=session,
        card=card,
        batching=Batching.of(card, data, options.chunk_bytes),
        options=options,
        source=data if path is None else str(Path(path).absolute()),
        path=path,
        digest=card.sha256 or hashlib.sha256(data).hexdigest(),
        threads=threads,
        version=version,
    )
    _self_test(model)
    return model


def _warn(message: str, *details: object) -> None:
    """Log a warning; without a handler of the program's own it must not reach stderr."""
    import logging  # costs a cold start 3 ms, and most programs never get here

    logger = logging.getLogger("edgeport")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.warning(message, *details)


def _check_options(options: Options) -> None:
    size = options.chunk_bytes
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise OptionError(
            f"chunk_bytes is {size!r}, expected a whole number of at least 1: leave it out"
        )
    floor = options.minimum_version
    if floor is not None and (isinstance(floor, bool) or not isinstance(floor, int)):
        raise OptionError(f"minimum_version is {floor!r}, expected a whole number: pass one")
    if floor is not None and options.public_key is None:
        raise OptionError(
            "minimum_version was given without public_key, but a version that nobody signed can "
            "be forged: pass the key too"
        )


def _check_requirements(card: ModelCard, path: str | None) -> None:
    """Refuse a card that asks for a newer engine than this one."""
    if card.requires is None or _version(card.requires.onnxruntime) <= _version(engine_version()):
        return
    place = "the artifact" if path is None else f"'{path}'"
    raise UnsupportedFormatError(
        f"{place} needs onnxruntime {card.requires.onnxruntime} or newer, found "
        f"{engine_version()}: update onnxruntime, or convert for this version",
        path=path,
        found=card.requires.onnxruntime,
        supported=engine_version(),
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _check_agreement(card: ModelCard, session: Session, path: str | None) -> None:
    """Refuse a card that describes another graph than the one it came with."""
    place = "the artifact" if path is None else f"'{path}'"
    for kind, specs, ports in (
        ("input", card.inputs, session.inputs),
        ("output", card.outputs, session.outputs),
    ):
        stated = {spec.name: (spec.dtype, spec.shape) for spec in specs}
        found = {port.name: (port.dtype, port.shape) for port in ports}
        # Outputs that the card leaves out are the converter's business; inputs must be fed.
        names = stated.keys() | (found.keys() if kind == "input" else set())
        for name in sorted(names):
            if name not in stated or name not in found or not _agree(stated[name], found[name]):
                raise ArtifactError(
                    f"{place} has a card for another graph: {kind} '{name}' is "
                    f"{_describe(stated.get(name))} in the card and {_describe(found.get(name))} "
                    "in the graph: convert the model again",
                    path=path,
                )


def _agree(stated: Described, found: Described) -> bool:
    """Whether dtype and rank are the same, and sizes that the graph fixes."""
    if not found[1]:  # a scalar, or a shape that the graph leaves open
        return stated[0] == found[0]
    return (
        stated[0] == found[0]
        and len(stated[1]) == len(found[1])
        and all(
            not isinstance(have, int) or want == have
            for want, have in zip(stated[1], found[1], strict=True)
        )
    )


def _describe(stated: Described | None) -> str:
    if stated is None:
        return "missing"
    shape = tuple("?" if size is None else size for size in stated[1])
    return f"{stated[0]} of shape {format_shape(shape)}"


def _self_test(model: Model) -> None:
    """Run the card's golden samples; refuse the device on which they come out differently."""
    place = "the artifact" if model.path is None else f"'{model.path}'"
    for number, sample in enumerate(model.card.golden_samples, start=1):
        for spec, actual in zip(
            model.card.outputs, model.run(prepare(model.card.inputs, (sample.inputs,))), strict=True
        ):
            allowed = model.card.tolerance.get(spec.name, 0.0)
            measured = sample.outputs[spec.name].difference(actual)
            if not measured <= allowed:
                raise SelfTestError(
                    f"{place} gives another answer on this device: golden sample {number}, "
                    f"output '{spec.name}', is off by {measured:.3g}, expected at most "
                    f"{allowed:.3g}: report the device's CPU and onnxruntime version, and "
                    "convert for this target",
                    path=model.path,
                    measured=measured,
                    allowed=allowed,
                )


def _card_from_graph(session: Session) -> ModelCard:
    """Return what a graph without a card says about itself."""
    ports = session.inputs + session.outputs
    first_axes = {port.shape[0] if port.shape else None for port in ports}
    free = {port.shape[0] if port.shape else 0 for port in session.inputs}
    # A graph fixed to one sample has a 1 in front of everything; there it can only be the batch.
    # Free first axes count the same thing only where they have one name, or none.
    has_batch = first_axes == {1} or (len(free) == 1 and not isinstance(next(iter(free)), int))
    return ModelCard(
        name=session.graph_name or "model",
        inputs=tuple(_spec_from_port(port, has_batch) for port in session.inputs),
        outputs=tuple(_spec_from_port(port, has_batch) for port in session.outputs),
    )


def _spec_from_port(port: Port, has_batch: bool) -> TensorSpec:
    """Name the free axes: the graph's own names, else one of the tensor's own."""
    shape = tuple(
        size if isinstance(size, int) else size or f"{port.name}_{axis}"
        for axis, size in enumerate(port.shape)
    )
    axes = tuple(f"axis {axis}" for axis in range(len(shape)))
    if has_batch and shape and (shape[0] == 1 or isinstance(shape[0], str)):
        axes = (BATCH_AXIS, *axes[1:])
        shape = (shape[0] if shape[0] == 1 else BATCH_AXIS, *shape[1:])
    return TensorSpec(port.name, port.dtype, shape, axes)
