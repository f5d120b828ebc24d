"""edgeport_converter: from a Keras model to an artifact that has been proven against it.

    from edgeport_converter import convert

    report = convert("model.keras", "model.onnx", calibration="train.npz", evaluation="test.npz")

How it is built, in running order; each folder's ``__init__`` says what is in it:

    pipeline      convert(): calls the stages; with stages, options and reports
    loading/      any Keras file or model -> a function ready for inference, its LoadedModel
    loaded        what that is, for exporting
    exporting     that function -> a float ONNX graph, and Keras' own answers as the oracle
    data/         the user's samples -> the model's inputs, streamed and checked
    optimizing    the graph rewritten for speed and size
    verifying     parity with Keras, through edgeport.Predictor itself
    quantization/ a float graph -> the smallest and fastest one that keeps the budget
    describing    from what was found to the card; with arithmetic
    stamping      card, golden samples and seal into the file; atomic replace
    targets       what each family of devices computes right
    commands      `edgeport convert`
    training/     data and a recipe -> the Keras model; train(), `edgeport train`
    passport      the facts that travel in the model's file, from training to the card

Importing this package imports no TensorFlow; converting and training do.
"""

from importlib.metadata import version as _version

from edgeport_converter.errors import (
    AgreementError,
    QuantizationError,
    TrainingError,
    UnsupportedModelError,
)
from edgeport_converter.pipeline import convert
from edgeport_converter.reports import ConversionReport
from edgeport_converter.training.reports import TrainingReport
from edgeport_converter.training.run import train

__version__ = _version("edgeport-converter")

__all__ = [
    "AgreementError",
    "ConversionReport",
    "QuantizationError",
    "TrainingError",
    "TrainingReport",
    "UnsupportedModelError",
    "__version__",
    "convert",
    "train",
]
