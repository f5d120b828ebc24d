"""All that a report shows, as plain data.

``conversions`` and ``files`` fill it, ``rendering`` draws it.
A part that could not be measured is a ``Missing`` in place of its figures, so that the page can say
what is not there. Nothing here computes; ``to_dict`` makes JSON of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Missing:
    """A part that is not there: why, and how to get it, a sentence each."""

    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The file: its name, its size, its digest, and what it was made from.

    Attributes:
        float_bytes: of the float graph that it was quantized from, None where unknown.
        source: the Keras model's file name, "" where unknown.
        source_bytes: of that file, None where it is not at hand.
    """

    name: str
    file_bytes: int
    sha256: str | None
    float_bytes: int | None = None
    source: str = ""
    source_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class MetricFigures:
    """A metric on labelled samples; None for a form that was not measured.

    Attributes:
        is_share: whether it is a share from 0 to 1, shown in per cent.
        origin: where the figures come from, in words.
        smaller_is_better: whether it is an error.
    """

    name: str
    samples: int
    keras: float | None
    float32: float | None
    artifact: float
    is_share: bool
    origin: str
    smaller_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Latency:
    """The median time of one sample on one thread, and the machine that it was measured on."""

    artifact_us: float
    float_us: float | None
    machine: str
    shapes: str


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One recipe that was tried.

    Attributes:
        recipe: in words; "none" for the float graph, which all others were made from.
        metric: the user's, None without labels.
        same_class: share of samples with the float graph's best class, None for no classifier.
        agreement_db: signal-to-noise ratio to the float graph; None where it is equal.
        file_bytes: of the graph without card.
        latency_us: None where it was not timed.
        holds: whether it kept the budget.
        is_chosen: whether it is the artifact.
        sentence: what was found and what was expected.
    """

    recipe: str
    metric: float | None
    same_class: float | None
    agreement_db: float | None
    file_bytes: int
    latency_us: float | None
    holds: bool
    is_chosen: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One Keras layer in the artifact; the error is None where there is nothing to compare."""

    name: str
    operators: tuple[str, ...]
    number_format: str
    error_db: float | None
    time_share: float
    weight_bytes: int
    why_float: str = ""


@dataclass(frozen=True, slots=True)
class OutputPairs:
    """One output of two forms of the model on the same samples.

    Attributes:
        output: its name.
        against: the form that the artifact is compared with, "Keras" or "float32".
        what: which values the points are.
        points: some of the pairs (other form, artifact).
        largest: absolute difference over all values.
        typical: root of the mean square of the differences.
        spread: standard deviation of the other form's values.
    """

    output: str
    against: str
    what: str
    points: tuple[tuple[float, float], ...]
    largest: float
    typical: float
    spread: float


@dataclass(frozen=True, slots=True)
class WorstSample:
    """A sample on which the artifact is far from the other form.

    Attributes:
        number: its place in the data, from 0.
        label: its class, "" without labels.
        wanted, found: the answers of the other form and of the artifact, in words.
        difference: largest absolute difference.
        is_changed: whether the best class is another one.
        picture: a PNG file as a data URI, None where no input is an image.
        values: name and value of each feature, or of a summary.
    """

    number: int
    label: str
    wanted: str
    found: str
    difference: float
    is_changed: bool
    picture: str | None
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ActivationHistogram:
    """The values that enter one quantizer.

    Attributes:
        layer: the Keras layer that makes them, or the input's name.
        number_format: of the codes.
        low, high: the range that the codes cover.
        lowest, highest: the values seen.
        clipped: share of the values outside of the range.
        edges: ends of the bins, one more than ``counts``.
        counts: values in each bin, exact zeros left out.
    """

    layer: str
    number_format: str
    low: float
    high: float
    lowest: float
    highest: float
    clipped: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ActivationRanges:
    """The histograms, and which samples they were counted on."""

    samples: int
    origin: str
    histograms: tuple[ActivationHistogram, ...]


@dataclass(frozen=True, slots=True)
class ClassPairs:
    """A confusion matrix: how often two classes were given to the same sample.

    Attributes:
        rows, columns: who gave them, "label", "Keras", "float32" or "artifact".
        names: of the classes that occur, in order.
        counts: matrix of counts, rows by columns; empty where there are too many classes.
        pairs: (row class, column class, count) where the two differ, the most frequent first.
        equal: how many samples (or places) have the same class in both.
        total: how many there are.
        differing: how many different pairs there are.
    """

    rows: str
    columns: str
    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[str, str, int], ...]
    equal: int
    total: int
    differing: int


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The samples whose best score lies in one bin: their number, mean score, share of right."""

    low: float
    high: float
    count: int
    score: float
    right: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far the scores can be taken for probabilities, of one form of the model.

    Attributes:
        form: "Keras", "float32" or "artifact".
        bins: those that are not empty.
        error: the expected calibration error, a share.
    """

    form: str
    bins: tuple[ReliabilityBin, ...]
    error: float


@dataclass(frozen=True, slots=True)
class GoldenRow:
    """One output of one golden sample, run here."""

    sample: int
    output: str
    largest: float
    allowed: float
    holds: bool


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The golden samples, run on this machine by the runtime."""

    holds: bool
    sentence: str
    rows: tuple[GoldenRow, ...]


@dataclass(frozen=True, slots=True)
class RemakeCommand:
    """What makes the artifact again.

    Attributes:
        text: a command, or a call in Python.
        is_exact: whether nothing in it has to be filled in.
        packages: what to install for the same versions.
        remarks: what it needs besides, a sentence each.
    """

    text: str
    is_exact: bool
    packages: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything that a report shows.

    Attributes:
        title: the model's name.
        headline: the verdict in one sentence.
        holds: whether the file is sealed and its self-test holds here.
        origin: what the report was made from.
        card: the artifact's card as data.
        recipe: how it was quantized, in words; "none" for a float artifact.
        metrics: of the card, and those measured for this report.
        agreement: the artifact beside the float graph, in words.
        float_layers: why each of these layers stayed in float.
        reason: why this candidate, where that is a question.
        budget: what quantization was allowed to lose, "" where unknown.
        layer_errors: why ``layers`` have no errors, None where they do.
        compared: how many samples the comparisons rest on, and which these are.
        class_pairs: label by float or Keras, label by artifact, float or Keras by artifact, as far
            as these are there.
        notes: of the conversion.
        unproven: what neither checks nor golden samples can tell.
    """

    title: str
    headline: str
    holds: bool
    origin: str
    file: FileFacts
    card: Mapping[str, Any]
    recipe: str
    metrics: tuple[MetricFigures, ...] | Missing
    agreement: str | Missing
    latency: Latency | Missing
    float_layers: Mapping[str, str]
    reason: str
    budget: str
    candidates: tuple[CandidateRow, ...] | Missing
    layers: tuple[LayerRow, ...] | Missing
    layer_errors: Missing | None
    compared: str
    pairs: tuple[OutputPairs, ...] | Missing
    worst: tuple[WorstSample, ...] | Missing
    activations: ActivationRanges | Missing
    class_pairs: tuple[ClassPairs, ...] | Missing
    reliability: tuple[Reliability, ...] | Missing
    self_test: SelfTest | Missing
    command: RemakeCommand
    versions: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the same for JSON; numbers without a finite value are None there."""
        found: dict[str, Any] = _plain(self)
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, Missing):
        return {"missing": value.reason, "remedy": value.remedy}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
