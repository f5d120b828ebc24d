"""From a file to a checked model: all checks in their order.

1. Read the bytes and check the seal.
2. Parse the card, and compare the onnxruntime that it requires with the one at hand.
3. Check the signature, if a public key was given.
4. Refuse tensors in other files.
5. Make the engine, from the artifact or from a kept graph; compare the card with the graph.
6. Run the golden samples, of all but tiny models the first alone.

A check that fails raises an error, and nothing stays open. ``predictor`` calls ``load_model``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from edgeport.artifact import protobuf, seal
from edgeport.artifact.card import ANY_SHAPE, BATCH_AXIS, ModelCard, TensorSpec, format_shape
from edgeport.artifact.golden import Array
from edgeport.artifact.seal import sha256
from edgeport.device import cpus
from edgeport.engine import forks
from edgeport.engine.errors import no_memory
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
from edgeport.model import Model, shares_batches
from edgeport.options import TUNING_SUFFIX, Options
from edgeport.signals import passing_signals, reraise_signal

if TYPE_CHECKING:
    from edgeport.device.tuning_file import Tuning

Described = tuple["np.dtype[Any]", tuple["int | str | None", ...]]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview


@passing_signals
def load_model(
    source: Source,
    options: Options,
    digest: str | None = None,
    tuning: Tuning | None = None,
    trial: Mapping[str, Array] | None = None,
    *,
    remedy: str = "reload() takes the new one, once it passes every check",
) -> Model:
    """Load a model after every check; raises as ``Predictor.load`` does.

    Args:
        source: a path or bytes.
        options: the caller's.
        digest: if given, the digest that the file must have.
        tuning: settings to measure instead of those in a tuning file.
        trial: an input on which a kept graph is compared if the card has no golden samples.
        remedy: what to do about a file of another digest.
    """
    options = options.checked()
    path = None
    if not isinstance(source, (bytes, bytearray, memoryview)):
        path = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else None
    try:
        with forks.making():
            model = _load(source, path, options, tuning, trial)
        if digest not in (None, model.digest):
            raise IntegrityError(
                "the artifact is another file than when this predictor was made in its first "
                f"process: {remedy}"
            )
        return model
    except ArtifactError as error:
        error.path = path
        raise
    except MemoryError as cause:
        reraise_signal(cause)
        raise no_memory(cause) from cause


def _load(
    source: Source,
    path: str | None,
    options: Options,
    tuning: Tuning | None,
    trial: Mapping[str, Array] | None,
) -> Model:
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
    protobuf.refuse_external_tensors(data)
    digest = card.sha256 if card and card.sha256 else sha256(len(data))(data).hexdigest()
    tuning = tuning or _read_tuning(path, options, digest)
    engine: dict[str, Any] = {"providers": options.providers}
    if tuning is not None:
        engine |= {"spinning": tuning.spinning, "optimization": tuning.optimization}
    arithmetic = card.multiply_accumulates if card else None
    measured = tuning.threads if tuning else None
    engine["threads"] = threads = cpus.choose_threads(options.threads, arithmetic, measured)
    if card and not engine.get("spinning") and shares_batches(card, options):
        engine["threads"] = 1  # parts of a batch run side by side

    def make(graph: bytes, **more: Any) -> Model:
        session = Session(graph, **{**engine, **more})
        if card is None:
            described = card_from_graph(session, protobuf.without_shape(data))
        else:
            _check_agreement(card, session)
            described = card
        batching = Batching.of(described, options.chunk_bytes)
        source = data if path is None else os.path.abspath(path)
        return Model(
            source, digest, described, session, batching, options, path, version, tuning, threads
        )

    def self_test(model: Model) -> None:
        _self_test(model, len(data))

    if options.cache_dir is None or options.providers is not None:
        model = make(data)
        self_test(model)
    else:
        from edgeport.device import graph_cache

        key = graph_cache.key(digest, tuning.optimization if tuning else "all")
        model = graph_cache.load(os.fspath(options.cache_dir), key, data, make, self_test, trial)
    if card is None:
        warn("%s has no card: nothing vouches for its answers", path or "the model")
    return model


def _read_tuning(path: str | None, options: Options, digest: str) -> Tuning | None:
    """Return what the tuning file says that the caller named, or the one next to the artifact."""
    if options.tuning is False or options.providers is not None:
        return None
    file = options.tuning
    if file is True:
        file = path + TUNING_SUFFIX if path else ""
        if not os.path.exists(file):
            return None
    from edgeport.device import tuning_file

    return tuning_file.read(os.fspath(file), digest)


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
    # The first digits of a number that is no version's; Python refuses to read thousands.
    return tuple(int(part[:9]) for part in digits.split()[:3])


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
    """Whether dtype, rank, and all sizes that the graph fixes are the same."""
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


# From here on one golden sample is run at load: each takes about as long as the first answer, and
# the first has the engine allocate what that answer needs. A second one costs networks of 2 to 20
# million multiply-accumulates 3 to 10 % of the load. `edgeport verify` runs all of them.
_MULTIPLY_ACCUMULATES_OF_ONE_SAMPLE = 2**20


def _self_test(model: Model, size: int) -> None:
    """Run the golden samples; the artifact's ``size`` in bytes stands for work that is unknown."""
    work = model.card.multiply_accumulates or size
    run_golden_samples(model, 1 if work >= _MULTIPLY_ACCUMULATES_OF_ONE_SAMPLE else None)


def run_golden_samples(model: Model, most: int | None = None) -> None:
    """Run the card's golden samples; refuse the device on which they come out differently.

    Raises:
        SelfTestError: one did.
        ArtifactError: a sample does not fit the card.
    """
    card = model.card
    for number, sample in enumerate(card.golden_samples[:most], start=1):
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


def card_from_graph(session: Session, without_shape: Set[str] = frozenset()) -> ModelCard:
    """Return what a graph without a card says about itself, taken at its word and no further.

    A free axis in front of every input that has one real name there counts samples. Exporters give
    all other axes any name, so that two of one name need not be equal: the engine decides.

    The engine says the same of tensors whose shape the graph leaves open (``without_shape``) as of
    scalars.
    """
    batch = _batch_axis(session)
    free = [
        size
        for port in session.inputs
        for size in port.shape[port.shape[:1] == (batch,) :]
        if isinstance(size, str)
    ]
    shared = {name for name in free if free.count(name) > 1}
    inputs, outputs = (
        tuple(_spec_from_port(port, batch, shared, port.name in without_shape) for port in ports)
        for ports in (session.inputs, session.outputs)
    )
    return ModelCard(session.graph_name or "model", inputs, outputs)


_PLACEHOLDERS = ("", "?", "*", "-1", "none", "unk", "unknown", "dynamic")
"""What exporters write where they mean no name, in small letters."""


def is_name(size: int | str | None) -> TypeGuard[str]:
    """Whether a graph gave a free axis a name that says something."""
    return isinstance(size, str) and size.strip().lower() not in _PLACEHOLDERS


def _batch_axis(session: Session) -> int | str | None:
    """Return the free axis in front of every input: its name, or None without one; else -1.

    Axes without a real name are not known to be the same, so that only one input may have one.
    """
    first = {port.shape[:1] for port in session.inputs}
    axis = next(iter(first))[0] if len(first) == 1 and () not in first else -1
    return -1 if isinstance(axis, int) or (not is_name(axis) and len(session.inputs) > 1) else axis


def _spec_from_port(
    port: Port, batch: int | str | None, shared: Set[str], is_open: bool
) -> TensorSpec:
    """Name the free axes: by the graph where its name says something, else by tensor and place."""
    if is_open:
        return TensorSpec(port.name, port.dtype, ANY_SHAPE, ("axis 0",))
    shape: tuple[int | str, ...] = tuple(
        size
        if isinstance(size, int) or (is_name(size) and size not in {BATCH_AXIS, *shared})
        else f"{port.name}_{axis}"
        for axis, size in enumerate(port.shape)
    )
    axes = tuple(f"axis {axis}" for axis in range(len(shape)))
    if batch != -1 and port.shape[:1] == (batch,):
        axes, shape = (BATCH_AXIS, *axes[1:]), (BATCH_AXIS, *shape[1:])
    return TensorSpec(port.name, port.dtype, shape, axes)
