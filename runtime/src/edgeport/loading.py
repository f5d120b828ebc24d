"""From a file to a model that passed every check, in the order in which trust grows.

Bytes, seal, signature, card, other files, engine, agreement of card and graph, golden samples:
what fails raises, and nothing is left behind. ``predictor`` asks for models and swaps them.
"""

from __future__ import annotations

import copy
import hashlib
import os
import re
from typing import Any

import numpy as np

from edgeport import host, integrity
from edgeport._session import Port, Session, engine_version
from edgeport.batching import Batching
from edgeport.binding import ShortWay
from edgeport.card import ANY_SHAPE, BATCH_AXIS, ModelCard, TensorSpec, format_shape
from edgeport.errors import (
    ArtifactError,
    InferenceError,
    InputError,
    IntegrityError,
    SelfTestError,
    UnsupportedFormatError,
)
from edgeport.inputs import Feed, prepare
from edgeport.logs import warn
from edgeport.options import Options
from edgeport.values import RangeCounter
from edgeport.watching import Deadline

Described = tuple["np.dtype[Any]", tuple["int | str | None", ...]]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview

# In every serializer's output the entry that names another file starts so: key = 1, "location".
_LOCATION = b"\x0a\x08location"


class Model:
    """A checked model and all that ``predict`` has to know of it.

    Args:
        data: the file's bytes.
        card: the model's card.
        session: the engine.
        options: what was asked for.
        path: the path as it was given, None where the bytes were.
        version: the signed version, None where no key was asked for.

    Attributes:
        batching: how its samples are grouped.
        source: where to load it again: the absolute path, or the bytes.
        digest: the SHA-256 of the file.
        counter: watches the inputs whose calibrated ranges matter, since activations are quantized.
        short_way: for one sample of one input to one output; None where there is none.
    """

    def __init__(
        self,
        data: bytes,
        card: ModelCard,
        session: Session,
        options: Options,
        path: str | None,
        version: int | None,
    ) -> None:
        self.card = card
        self.session = session
        self.options = options
        self.path = path
        self.version = version
        self.batching = Batching.of(card, data, options.chunk_bytes)
        self.source = data if path is None else os.path.abspath(path)
        self.digest = card.sha256 or hashlib.sha256(data).hexdigest()
        self.output_names = [spec.name for spec in card.outputs]
        is_quantized = card.quantization and card.quantization.activations != "float32"
        self._ranged_inputs = card.inputs if is_quantized else ()
        self._start_counting()

    def _start_counting(self) -> None:
        card, options = self.card, self.options
        self.counter = RangeCounter(self._ranged_inputs)
        self.short_way: ShortWay | None = None
        if (
            len(card.inputs) == len(card.outputs) == 1
            and self.batching.fixed in (None, 1)
            and options.providers is None
            and not options.finite
        ):
            self.short_way = ShortWay(self.session, *card.inputs, *card.outputs, self.counter)

    def twin(self) -> Model:
        """Return a model on the same engine that counts for itself."""
        other = copy.copy(self)
        other._start_counting()
        return other

    def run(self, feed: Feed, deadline: Deadline | None = None) -> list[Any]:
        """Return the outputs for a feed; raises as ``Batching.run`` and ``Session.run`` do."""
        try:
            return self.batching.run(
                lambda arrays: self.session.run(arrays, self.output_names, deadline), feed
            )
        except MemoryError as cause:  # of the arrays around the engine
            raise InferenceError(
                f"there is not enough memory for {feed.samples} samples ({cause}): pass fewer at a "
                "time"
            ) from cause


def load_model(source: Source, options: Options, digest: str | None = None) -> Model:
    """Load a model after every check; raises as ``Predictor.load`` does.

    Args:
        source: a path or bytes.
        options: what was asked for.
        digest: what the file's digest was before, where it must be the same.
    """
    options = options.checked()
    path = None
    if not isinstance(source, (bytes, bytearray, memoryview)):
        path = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else None
    try:
        model = _load(source, path, options)
        if digest not in (None, model.digest):
            raise IntegrityError(
                "the artifact is another file than when this predictor was made in its first "
                "process: reload() takes the new one, once it passes every check"
            )
        return model
    except ArtifactError as error:
        error.path = path
        raise


def _load(source: Source, path: str | None, options: Options) -> Model:
    data = integrity.read(source)
    sealed = integrity.check_seal(data)
    card = version = None
    if sealed is not None:
        card = ModelCard.from_json(sealed.card_json, sha256=sealed.sha256)
        _check_requirements(card)
    if options.public_key is not None:
        from edgeport import signing  # few ask for it, and each module costs a cold start

        version = signing.check(data, options.public_key, options.minimum_version)
    weights = None
    if _LOCATION in data:
        from edgeport import external

        folder = None if path is None else os.path.dirname(os.path.abspath(path))
        weights = external.load(data, card.external_data if card else {}, folder)
    threads = host.choose_threads(options.threads, card.multiply_accumulates if card else None)

    def make(graph: bytes, **more: Any) -> Model:
        engine: dict[str, Any] = {"threads": threads, "providers": options.providers, **more}
        session = Session(graph, weights=weights, **engine)
        if card is not None:
            _check_agreement(card, session)
        described = card or _card_from_graph(session)
        model = Model(data, described, session, options, path, version)
        _self_test(model)
        return model

    if options.cache_dir is None or weights or options.providers is not None:
        model = make(data)
    else:
        from edgeport import caching

        model = caching.load(os.fspath(options.cache_dir), caching.key_of(data, card), data, make)
    if card is None:
        warn("%s bears no card: nothing vouches for its answers", path or "the model")
    return model


def _check_requirements(card: ModelCard) -> None:
    """Refuse a card that asks for a newer engine than this one."""
    if card.requires is None or _version(card.requires.onnxruntime) <= _version(engine_version()):
        return
    raise UnsupportedFormatError(
        f"the artifact needs onnxruntime {card.requires.onnxruntime} or newer, found "
        f"{engine_version()}: update onnxruntime, or convert for this version",
        found=card.requires.onnxruntime,
        supported=engine_version(),
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", str(text))[:3])


def _check_agreement(card: ModelCard, session: Session) -> None:
    """Refuse a card that describes another graph than the one it came with."""
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
                    f"the artifact has a card for another graph: {kind} '{name}' is "
                    f"{_describe(stated.get(name))} in the card and {_describe(found.get(name))} "
                    "in the graph: convert the model again"
                )


def _agree(stated: Described, found: Described) -> bool:
    """Whether dtype and rank are the same, and sizes that the graph fixes."""
    (want_dtype, want), (have_dtype, have) = stated, found
    is_open = not have  # a scalar, or a shape that the graph leaves open
    return want_dtype == have_dtype and (
        is_open
        or (
            len(want) == len(have)
            and all(not isinstance(h, int) or w == h for w, h in zip(want, have, strict=True))
        )
    )


def _describe(stated: Described | None) -> str:
    if stated is None:
        return "missing"
    shape = tuple("?" if size is None else size for size in stated[1])
    return f"{stated[0]} of shape {format_shape(shape)}"


def _self_test(model: Model) -> None:
    """Run the card's golden samples; refuse the device on which they come out differently."""
    card = model.card
    for number, sample in enumerate(card.golden_samples, start=1):
        try:
            feed = prepare(card.inputs, (sample.inputs,))
            expected = [sample.outputs[spec.name] for spec in card.outputs]
        except (InputError, KeyError) as cause:
            raise ArtifactError(
                f"the artifact has a golden sample that does not fit its own card ({cause}): "
                "convert the model again"
            ) from cause
        for spec, wanted, actual in zip(card.outputs, expected, model.run(feed), strict=True):
            allowed = card.tolerance.get(spec.name, 0.0)
            measured = wanted.difference(actual)
            if not measured <= allowed:
                raise SelfTestError(
                    f"the artifact gives another answer on this device: golden sample {number}, "
                    f"output '{spec.name}', is off by {measured:.3g}, expected at most "
                    f"{allowed:.3g}: report the device's CPU and onnxruntime version, and "
                    "convert for this target",
                    measured=measured,
                    allowed=allowed,
                )


def _card_from_graph(session: Session) -> ModelCard:
    """Return what a graph without a card says about itself."""
    batch = _batch_axis(session)
    return ModelCard(
        name=session.graph_name or "model",
        inputs=tuple(_spec_from_port(port, batch) for port in session.inputs),
        outputs=tuple(_spec_from_port(port, batch) for port in session.outputs),
    )


def _batch_axis(session: Session) -> int | str | None:
    """Return what every input has in front and may be the batch: a name, None, 1; else -1.

    Axes without a name are not known to be the same, so that only one input may have one. A graph
    fixed to one sample has a 1 in front of everything; there it can only be the batch.
    """
    first = {port.shape[:1] for port in session.inputs}
    axis = next(iter(first))[0] if len(first) == 1 and () not in first else -1
    if axis is None:
        return None if len(session.inputs) == 1 else -1
    is_one = axis == 1 and {port.shape[:1] for port in session.outputs} == {(1,)}
    return axis if is_one or isinstance(axis, str) else -1


def _spec_from_port(port: Port, batch: int | str | None) -> TensorSpec:
    """Name the free axes: the graph's own names, else one of the tensor's own."""
    # The engine says the same of a scalar and of a shape that the graph leaves open.
    names = (
        tuple(
            size if isinstance(size, int) else size or f"{port.name}_{axis}"
            for axis, size in enumerate(port.shape)
        )
        or ANY_SHAPE
    )
    axes = tuple(f"axis {axis}" for axis in range(len(names)))
    if batch == -1:
        return TensorSpec(port.name, port.dtype, names, axes)
    shape = tuple(f"{BATCH_AXIS}'" if name == BATCH_AXIS else name for name in names)
    if port.shape[:1] == (batch,):
        axes, shape = (BATCH_AXIS, *axes[1:]), (1 if batch == 1 else BATCH_AXIS, *shape[1:])
    return TensorSpec(port.name, port.dtype, shape, axes)
