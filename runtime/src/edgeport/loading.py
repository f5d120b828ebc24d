"""From a file to a model that passed every check, in the order in which trust grows.

Bytes, seal, signature, card, other files, engine, agreement of card and graph, golden samples:
what fails raises, and nothing is left behind. ``predictor`` asks for models and swaps them. Of a
kept graph the golden samples wait for the first answer (``caching`` says why).
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeport.artifact import seal
from edgeport.artifact.card import ANY_SHAPE, BATCH_AXIS, ModelCard, TensorSpec, format_shape
from edgeport.artifact.protobuf import outline
from edgeport.device import cpus
from edgeport.engine.session import Port, Session, engine_version
from edgeport.errors import (
    ArtifactError,
    InputError,
    IntegrityError,
    SelfTestError,
    UnsupportedFormatError,
    warn,
)
from edgeport.inputs.batching import Batching
from edgeport.inputs.feeds import prepare
from edgeport.model import Model
from edgeport.options import TUNING_SUFFIX, Options

if TYPE_CHECKING:
    from edgeport.device.tuning_file import Choice

Described = tuple["np.dtype[Any]", tuple["int | str | None", ...]]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview

# The key of the entry that names another file; whatever stands around it can be spelled otherwise.
_LOCATION = b"location"


def load_model(
    source: Source, options: Options, digest: str | None = None, choice: Choice | None = None
) -> Model:
    """Load a model after every check; raises as ``Predictor.load`` does.

    Args:
        source: a path or bytes.
        options: what was asked for.
        digest: what the file's digest was before, where it must be the same.
        choice: settings to measure, in place of those that a tuning file would bring.
    """
    options = options.checked()
    path = None
    if not isinstance(source, (bytes, bytearray, memoryview)):
        path = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else None
    try:
        model = _load(source, path, options, choice)
        if digest not in (None, model.digest):
            raise IntegrityError(
                "the artifact is another file than when this predictor was made in its first "
                "process: reload() takes the new one, once it passes every check"
            )
        return model
    except ArtifactError as error:
        error.path = path
        raise


def _load(source: Source, path: str | None, options: Options, choice: Choice | None) -> Model:
    data = seal.read(source)
    sealed = seal.check_seal(data)
    card = version = None
    if sealed is not None:
        card = ModelCard.from_json(sealed.card_json, sha256=sealed.sha256)
        _check_requirements(card)
    if options.public_key is not None:
        from edgeport.artifact import (
            signature,  # few ask for it, and each module costs a cold start
        )

        version = signature.check(data, options.public_key, options.minimum_version)
    digest = card.sha256 if card and card.sha256 else hashlib.sha256(data).hexdigest()
    file = None if choice else _tuning_file(path, options)
    if file is not None:
        from edgeport.device import tuning_file

        choice = tuning_file.read(file, digest)
        if choice is not None and choice.variant is not None:
            alone = choice._replace(variant=None, variant_sha256=None)
            model = tuning_file.load_variant(
                choice,
                path,
                card,
                # Proven now: at the first answer, this artifact could no more be taken instead.
                lambda file: _load(file, file, options, alone).proven(),
            )
            if model is not None:
                return model.in_place_of(path, digest, version, choice)
            choice = None  # the other settings were measured with that file
    return _start(data, digest, card, version, path, options, choice)


def _start(
    data: bytes,
    digest: str,
    card: ModelCard | None,
    version: int | None,
    path: str | None,
    options: Options,
    choice: Choice | None,
) -> Model:
    """Return the model of bytes that can be trusted, once the engine passed its checks."""
    weights, searched = None, outline(data)
    if _LOCATION in searched:
        from edgeport.artifact import external_data

        folder = None if path is None else os.path.dirname(os.path.abspath(path))
        weights = external_data.load(data, card.external_data if card else {}, folder)
    arithmetic = card.multiply_accumulates if card else None
    engine: dict[str, Any] = {
        "providers": options.providers,
        "weights": weights,
        "searched": searched,
    }
    if choice is not None:
        engine |= {"spinning": choice.spinning, "optimization": choice.optimization}
    engine["threads"] = cpus.choose_threads(options.threads, arithmetic, choice and choice.threads)

    def make(graph: bytes, **more: Any) -> Model:
        session = Session(graph, **{**engine, **more})
        if card is None:
            from edgeport.loading import card_from_graph

            described = card_from_graph(session)
        else:
            _check_agreement(card, session)
            described = card
        batching = Batching.of(described, searched, options.chunk_bytes)
        source = data if path is None else os.path.abspath(path)
        return Model(source, digest, described, session, batching, options, path, version, choice)

    if options.cache_dir is None or weights or options.providers is not None:
        model = make(data)
        _self_test(model)
    else:
        from edgeport.device import graph_cache

        key = graph_cache.key(digest, choice.optimization if choice else "all")
        model = graph_cache.load(os.fspath(options.cache_dir), key, data, make, _self_test)
    if card is None:
        warn("%s bears no card: nothing vouches for its answers", path or "the model")
    return model


def _tuning_file(path: str | None, options: Options) -> str | None:
    """Return the tuning file that the caller named, or that lies beside the artifact."""
    if options.tuning is False or options.providers is not None:
        return None
    if options.tuning is not True:
        return os.fspath(options.tuning)
    return path + TUNING_SUFFIX if path and os.path.exists(path + TUNING_SUFFIX) else None


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
    digits = "".join(sign if sign.isdecimal() else " " for sign in str(text))
    return tuple(map(int, digits.split()[:3]))


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


def card_from_graph(session: Session) -> ModelCard:
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
