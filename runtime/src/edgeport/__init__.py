"""edgeport: run a converted model on a device with numpy and onnxruntime alone.

    from edgeport import Predictor

    with Predictor.load("digits.onnx") as predictor:
        scores = predictor.predict(x)

How it is built, in reading order:

    errors      the one tree of errors, each with its exit code
    logs        where warnings go
    options     what callers may ask for
    golden      samples with known answers that travel in the artifact; golden_encoding writes them
    card        the contract between a model and its users: names, shapes, evidence
    digests     SHA-256 without loading OpenSSL for a small file
    integrity   from a file to bytes that can be trusted: what a bad file is, the seal
    outline     a model without its large weights, to search in
    signatures  who made it: Ed25519, with the extra edgeport[sign]
    external    weights in other files, only where the card lists them
    casting     any value to an exact array, or the reason why not
    inputs      from whatever a caller has to arrays that the engine cannot misread
    values      NaN, infinity, values beyond the calibrated range
    batching    any number of samples, with an answer that does not depend on their grouping
    host        the CPUs that this process may use
    forks       what a forked child has to put right
    watching    a long call that must hear Ctrl-C and a clock
    _session    the border to onnxruntime, the only module that imports it; providers by name,
                engine_errors in our words
    device      what makes two devices the same to the engine: CPU, build of onnxruntime
    probing     made-up inputs
    proof       golden samples that wait for the first answer: once, whoever asks
    caching     the optimized graph, kept on the device and never trusted over the artifact
    tuning      what `edgeport tune` chose for a device; tuner measures it
    cardless    what a plain ONNX file says of itself
    binding     one sample the short way, through buffers bound once
    model       a checked model, ready to run
    loading     the checks above in running order: from a file to a model
    streaming   one answer a sample, reading while running
    classifying from scores to named classes
    predictor   Predictor: load, predict, classify, stream, reload
    cli         the `edgeport` command, also `python -m edgeport`; datafiles and images, writing
                and files, signing, benching, preparing and showing are its parts

The promise is never a silent wrong answer: bytes that changed are refused before a parser sees
them, inputs are converted exactly or not at all, and the artifact proves itself on the device
with its golden samples when it is loaded.
"""

from edgeport.card import (
    Accuracy,
    Calibration,
    ModelCard,
    Quantization,
    Requirements,
    TensorSpec,
)
from edgeport.classifying import Label
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
from edgeport.golden import GoldenSample
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
