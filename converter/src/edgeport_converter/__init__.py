"""edgeport_converter: from a Keras model to an artifact that has been proven against it.

    from edgeport_converter import convert

    report = convert("model.keras", "model.onnx", calibration="train.npz", evaluation="test.npz")

Its rooms; ``pipeline`` calls them in the order loading, exporting, data, optimizing, verification,
quantization, artifact:

    commands       `edgeport convert`, registered with the runtime's command by entry point
    errors         the converter's errors, leaves under the runtime's root
    options        the options of a conversion, checked before any work is done
    pipeline       convert(): the stages in running order
    progress       what a user sees while a conversion or a training runs, by rich
    provenance     the facts about a training that travel in its ``.keras`` file, and reach the
                   artifact's card
    quiet          keeping other libraries' messages off the user's screen, where they say nothing
                   to the user
    report         what a conversion found: plain records, as the caller and the command line see
                   them
    stages         which stage is running: told to the caller as it begins, and named in any error
    targets        device profiles: the number formats that a CPU computes right, and the engine
                   it has
    artifact/      the last stage: the card, golden samples and seal, and an atomic replace
    data/          the user's samples, from whatever they come in to the model's inputs
    exporting/     from a loaded model to a float ONNX graph that bears the user's names
    loading/       from any Keras file, or a model in memory, to a function that is ready for
                   inference
    optimizing/    rewriting the graph for speed and size, with onnxscript's rewriter and onnx-
                   ir's passes
    quantization/  from a float graph to the smallest and fastest graph that keeps the budget
    training/      from data and a recipe to a trained Keras model
    verification/  whether a graph answers as Keras does, and the one place that says how a graph
                   is run

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
from edgeport_converter.report import ConversionReport
from edgeport_converter.training.results.report import TrainingReport
from edgeport_converter.training.train import train

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
