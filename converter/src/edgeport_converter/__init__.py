"""edgeport_converter: from a Keras model to an artifact that has been proven against it.

    from edgeport_converter import convert

    report = convert("model.keras", "model.onnx", calibration="train.npz", evaluation="test.npz")

How it is built, in running order:

    pipeline      convert(): calls the stages and makes every decision between them
    loading       any Keras file or model -> a Keras model ready for inference
    exporting     that model -> a float ONNX graph, and Keras' own answers as the oracle
    datasets      the user's arrays, checked against the model's inputs
    optimizing    the graph rewritten for speed and size
    verifying     parity with Keras, accuracy, agreement: through edgeport.Predictor itself
    calibrating   the range of every activation
    quantizing    one recipe -> one quantized graph
    budget        what quantization may lose
    arithmetic    how much the graph computes
    stamping      card, golden samples and seal into the file; atomic replace
    targets       what each family of devices computes right
    training      the article's network
    commands      `edgeport convert`

Importing this package imports no TensorFlow; converting does.
"""

from importlib.metadata import version as _version

from edgeport_converter.errors import AgreementError, QuantizationError, UnsupportedModelError
from edgeport_converter.pipeline import ConversionReport, convert

__version__ = _version("edgeport-converter")

__all__ = [
    "AgreementError",
    "ConversionReport",
    "QuantizationError",
    "UnsupportedModelError",
    "__version__",
    "convert",
]
