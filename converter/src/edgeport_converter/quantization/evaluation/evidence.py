"""Whether data, metric and answers suffice to judge a candidate, and whether Keras agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeport import Accuracy, ModelCard, OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.data.labels import are_classes, find_border, is_classifier, is_logit
from edgeport_converter.errors import AgreementError
from edgeport_converter.quantization.evaluation.budget import least_rank_correlation
from edgeport_converter.quantization.evaluation.held_out import SPLIT_FROM, SampleRoles

if TYPE_CHECKING:
    from edgeport_converter.data.user_data import UserData
    from edgeport_converter.loading.model import LoadedModel
    from edgeport_converter.quantization.evaluation.agreement import Agreement
    from edgeport_converter.quantization.evaluation.evaluator import Evaluator
    from edgeport_converter.verification.runners import Run

# Between Keras and the float graph, by the user's metric on all of the evaluation data: a sample
# or two may stand on the border of two classes, more would be another model.
_MAX_METRIC_GAP = 0.002

_MIN_CALIBRATION = 10  # samples; the range of fewer is chance
_THIN_EVIDENCE = 100  # samples, of which one is a whole per cent
_BORDER_SAMPLES, _BORDER_BATCH = 512, 64


def check_data(roles: SampleRoles) -> tuple[str, ...]:
    """Return notes where the loss is measured on few samples, or on those that calibrated.

    Raises:
        OptionError: the calibration data is too little to take ranges from.
    """
    if roles.calibration is not None and len(roles.calibration) < _MIN_CALIBRATION:
        raise OptionError(
            f"the calibration data holds {len(roles.calibration)} samples, expected at least "
            f"{_MIN_CALIBRATION}, since the ranges of so few say nothing of the device's: pass "
            "some hundred"
        )
    notes = []
    if roles.judged is not None and len(roles.judged) < _THIN_EVIDENCE:
        notes.append(
            f"what quantization loses was measured on {len(roles.judged)} samples: a few hundred "
            "are needed to see half a per cent"
        )
    if roles.flatters:
        notes.append(
            "what quantization loses was measured on the calibration data itself, which flatters "
            f"it: pass evaluation data of its own, or at least {SPLIT_FROM} calibration samples, "
            "of which a part is then held out"
        )
    return tuple(notes)


def check_metric(name: str, evaluator: Evaluator) -> tuple[str, ...]:
    """Return notes where smaller is better, or where a bad artifact would reach the same metric."""
    if evaluator.reached is None:
        return ()
    if evaluator.float_metric is None:
        return (
            f"{name} is {evaluator.reached:.4f} and gets worse by no more than max_drop when the "
            "answers are shuffled among the samples, so that it says nothing about the artifact, "
            "which was held to agreement with the float model instead: check the labels, or pass "
            "a smaller max_drop",
        )
    if evaluator.smaller_is_better:
        return (
            f"{name} was taken for an error, smaller is better, by its name or since shuffled "
            "answers reach more: if that is wrong, check the labels and the order of the metric's "
            "arguments, which is outputs, labels",
        )
    return ()


def check_answers(agreement: Agreement, max_drop: float) -> tuple[str, ...]:
    """Return notes on what the figures do not say by themselves.

    1. The model answers all of the data with the same class.
    2. The metric kept its budget, and the order of an autoencoder's reconstruction errors is lost.
    """
    notes = []
    if agreement.classes == 1 and agreement.samples >= _MIN_CALIBRATION:
        notes.append(
            f"the float model gives all {agreement.samples} samples the same class: check that the "
            "data is scaled as in training and holds samples of each class"
        )
    ranks, least = agreement.error_ranks, least_rank_correlation(max_drop)
    if ranks is not None and ranks < least:
        notes.append(
            f"the artifact ranks the samples by their reconstruction errors as float does to "
            f"{ranks:.4f} only: if these errors tell anomalies, pass a metric of them, such as the "
            "area under the ROC curve"
        )
    return tuple(notes)


def measure_border(
    loaded: LoadedModel, card: ModelCard, reference: Run, data: UserData, *, by_class: bool
) -> tuple[float | None, tuple[str, ...]]:
    """Return what a score that stands alone is compared with, and a note on a logit.

    It is 0.5 for a probability. A number without a sigmoid is a logit, a probability or no class at
    all, which the labels tell; without labels it is a logit if there are class names.

    Args:
        loaded: the model.
        card: its outputs and class names.
        reference: computes it.
        data: the user's.
        by_class: whether the labels are classes.

    Returns:
        The border, None where nothing says that the number means a class.

    Raises:
        OptionError: class names for a number of which a device would take the wrong one.
    """
    if not is_logit(card.outputs):
        return 0.5, ()
    name = card.outputs[0].name
    border: float | None = None
    if data.labels is not None and data.measured is not None and by_class:
        samples = data.measured.first(_BORDER_SAMPLES)
        count = len(next(iter(samples.values())))
        answers = [
            reference({key: x[at : at + _BORDER_BATCH] for key, x in samples.items()})[name]
            for at in range(0, count, _BORDER_BATCH)
        ]
        border = find_border(np.concatenate(answers), data.labels[:count])
    elif card.labels is not None and loaded.outputs[0].activation == "linear":
        border = 0.0
    if card.labels is not None and border != 0:
        raise OptionError(
            f"labels were given, but '{name}' has no sigmoid and is no logit whose border is 0, "
            "expected a number of which a device can tell the class: end the model in a sigmoid, "
            "or leave the labels out"
        )
    if border is None:
        return None, ()
    kind = "a logit" if border == 0 else "a probability, since it is as near to the labels as one"
    return border, (
        f"'{name}' has no sigmoid and was taken for {kind}: class 1 above {border:g}; pass a "
        "metric of your own if that is wrong",
    )


def answers_with_a_class(
    loaded: LoadedModel, card: ModelCard, labels: Array | None, border: float | None
) -> bool:
    """Whether the best class is what matters.

    Outputs (N, C) may be class scores, a regression, or several yes-or-no answers. They are class
    scores if a softmax makes them, or if there are class names or class labels.
    """
    if is_logit(card.outputs):
        return border is not None and len(card.outputs[0].shape) == 2
    return is_classifier(card.outputs) and (
        loaded.outputs[0].activation == "softmax"
        or card.labels is not None
        or (labels is not None and are_classes(labels, card.outputs))
    )


def compare_metrics(
    name: str, keras: float | None, evaluator: Evaluator, samples: int
) -> Accuracy | None:
    """Return the metric with Keras and with the float graph, None without labels.

    Raises:
        AgreementError: they differ.
    """
    float32 = evaluator.reached
    if keras is None or float32 is None:
        return None
    if abs(keras - float32) > max(_MAX_METRIC_GAP, 2 / samples):
        raise AgreementError(
            f"{name} is {keras:.4f} with Keras and {float32:.4f} with the float graph, expected "
            "the same: report this model, its conversion would be wrong",
            measured=abs(keras - float32),
            allowed=_MAX_METRIC_GAP,
        )
    return Accuracy(name, samples, keras, float32, float32)
