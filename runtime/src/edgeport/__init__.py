"""edgeport: run a converted model on a device with numpy and onnxruntime alone.

    from edgeport import Predictor

    with Predictor.load("digits.onnx") as predictor:
        scores = predictor.predict(x)

Its rooms:

    atomic_files  files that are written whole or not at all
    checks        checks of plain values that callers pass
    errors        every error that a caller of edgeport can meet, in one tree
    labels        from scores to named classes
    loading       from a file to a model that passed every check, in the order in which trust
                  grows
    model         A checked model and all that ``predict`` has to know of it; ``loading`` makes
                  them
    options       what callers may ask for, and the refusal of what cannot be met
    predictor     Predictor: an artifact, loaded and checked, ready to answer
    signals       exceptions that a signal's handler raises: they pass unchanged
    streaming     streams: one answer a sample, in order, in bounded memory
    artifact/     the file: what it says, whether it is whole, who made it. numpy only
    cli/          the `edgeport` command, also `python -m edgeport`
    device/       what fits a model to one device. Nothing here is needed for a first answer but
                  ``cpus``
    engine/       the border to onnxruntime; only ``session`` imports it
    inputs/       from a caller's value to arrays that the engine cannot misread. Knows no engine

The promise is never a silent wrong answer: bytes that changed are refused before a parser sees
them, inputs are converted exactly or not at all, and the artifact proves itself on the device
with its golden samples when it is loaded.
"""

from edgeport.artifact.card import (
    Accuracy,
    Calibration,
    ModelCard,
    Quantization,
    Requirements,
    TensorSpec,
)
from edgeport.artifact.golden import GoldenSample
from edgeport.errors import (
    ArtifactError,
    ConversionError,
    EdgeportError,
    InferenceError,
    InputError,
    IntegrityError,
    OptionError,
    SelfTestError,
    UnsupportedFormatError,
)
from edgeport.labels import Label
from edgeport.predictor import Predictor

__version__ = "0.1.0"

__all__ = [
    "Accuracy",
    "ArtifactError",
    "Calibration",
    "ConversionError",
    "EdgeportError",
    "GoldenSample",
    "InferenceError",
    "InputError",
    "IntegrityError",
    "Label",
    "ModelCard",
    "OptionError",
    "Predictor",
    "Quantization",
    "Requirements",
    "SelfTestError",
    "TensorSpec",
    "UnsupportedFormatError",
    "__version__",
]
