"""The ten models of ``make bench``, and what they are fed with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from made_models import MADE
from quantization_data import SAMPLES

TINY = "mlperf_tiny/"

MAX_DROP = 0.001
# The best class of random crops stands on a border more often than that of the data that a network
# was trained for; LiteRT's files change up to a tenth.
MAX_DROP_WITHOUT_LABELS = 0.05
# Random weights amplify each rounding from layer to layer, as those of no trained network do. So
# that the formats are those that a trained one would get, every class may change.
MAX_DROP_OF_RANDOM_WEIGHTS = 0.5


@dataclass(frozen=True)
class BenchModel:
    """A model of the table.

    Attributes:
        name: its name in ``quantization_data.SAMPLES``.
        title: its name in the table.
        source: path below SHARED/models, or a name in ``made_models.MADE``.
        is_convolutional: whether it is one of the convolution nets that the targets speak of.
        calibration_samples, evaluation_samples: how many; large networks take seconds for each.
        held_out_samples: how many every file's answers are judged on.
        max_drop: the budget of edgeport auto; peers have none.
        classifies: whether the largest of its outputs is a class.
    """

    name: str
    title: str
    source: str
    is_convolutional: bool = True
    calibration_samples: int = 256
    evaluation_samples: int = 1000
    held_out_samples: int = 500
    max_drop: float = MAX_DROP_WITHOUT_LABELS
    classifies: bool = True

    def keras_path(self, shared: Path, folder: Path, *, again: bool) -> Path:
        """Return the model's file; a made model is written to the folder once, or again if so."""
        if self.source not in MADE:
            return shared / "models" / self.source
        path = folder / "model.keras"
        if again or not path.exists():
            MADE[self.source](shared).save(path)
        return path

    def calibration(self, shared: Path) -> np.ndarray:
        """Return samples of the training half, without labels."""
        data = SAMPLES[self.name](shared, self.calibration_samples, 0)
        return data[0] if isinstance(data, tuple) else data

    def evaluation(self, shared: Path) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return samples of the other half, with labels where there are any."""
        return SAMPLES[self.name](shared, self.evaluation_samples, 1)

    def held_out(self, shared: Path) -> np.ndarray:
        """Return samples that nobody calibrates with or chooses a format by."""
        data = SAMPLES[self.name](shared, self.held_out_samples, 2)
        return data[0] if isinstance(data, tuple) else data


def _application(name: str, title: str) -> BenchModel:
    return BenchModel(
        name,
        title,
        name,
        calibration_samples=32,
        evaluation_samples=32,
        held_out_samples=64,
        max_drop=MAX_DROP_OF_RANDOM_WEIGHTS,
    )


MODELS = (
    BenchModel("article", "the article's network", "article_network", is_convolutional=False,
               evaluation_samples=10_000, max_drop=MAX_DROP),
    BenchModel("keywords", "DS-CNN", TINY + "keyword_spotting/kws_ref_model"),
    BenchModel("resnet8", "ResNet-8", TINY + "image_classification/pretrainedResnet.h5"),
    BenchModel("mobilenet", "MobileNetV1 0.25", TINY + "visual_wake_words/vww_96.h5"),
    BenchModel("autoencoder", "autoencoder", TINY + "anomaly_detection/ad01.h5",
               is_convolutional=False, classifies=False),
    BenchModel("xception", "mini XCEPTION",
               "face_classification/fer2013_mini_XCEPTION.102-0.66.hdf5"),
    _application("mobilenet_v2", "MobileNetV2"),
    _application("mobilenet_v3_small", "MobileNetV3Small"),
    _application("efficientnet_b0", "EfficientNetB0"),
    _application("resnet50", "ResNet50"),
)  # fmt: skip


def select(pattern: str) -> list[BenchModel]:
    """Return the models whose names contain the pattern."""
    return [model for model in MODELS if re.search(pattern, model.name)]
