"""Run a converted model on a device with numpy and onnxruntime alone.

    from edgeport import Predictor

    with Predictor.load("digits.onnx") as predictor:
        scores = predictor.predict(x)  # one sample or a batch, by its shape
        best = predictor.classify(x, top_k=3)  # [Label("7", 0.98), ...]
        print(predictor.card)  # names, shapes, labels, accuracy, provenance

The promise is never a silent wrong answer: bytes that changed are refused before a parser sees
them, inputs are converted exactly or not at all, and the golden samples in the artifact are run on
the device when it is loaded.

``Predictor`` is all that most programs need: ``load`` an artifact, then ``predict``, ``classify``,
``stream`` samples, or cut a recording into ``windows``. ``predictor.card``, a ``ModelCard``, says
what it takes and answers. Every error is an ``EdgeportError``: its message is one sentence that
ends with the next step, and its ``exit_code`` is that of the command `edgeport`.

Modules and folders:

    addresses     passwords and tokens in addresses, which no message shows
    atomic_files  files that are written whole or not at all
    checks        checks of plain values that callers pass
    errors        every error that a caller of edgeport can meet, in one tree
    labels        from scores to named classes
    loading       from a file to a checked model: all checks in their order
    model         a model that passed every check, with all that ``predict`` needs
    options       the options of a load, and their checks
    predictor     Predictor: an artifact, loaded and checked, ready to answer
    signals       exceptions that a signal's handler raises pass unchanged
    streaming     streams: one answer a sample, in order, in bounded memory
    artifact/     the file: what it says, whether it is whole, who made it. numpy only
    cli/          the `edgeport` command, also `python -m edgeport`
    device/       what fits a model to one device; a first answer needs ``cpus`` alone
    engine/       everything that calls onnxruntime; only ``session`` imports it
    explaining/   which parts of an input carried the answer; loaded when it is asked for
    inputs/       from a caller's value to arrays that the engine cannot misread
    scoring/      millions of rows by `edgeport score`, loaded by that command alone

Words, as the code, the messages and the documentation use them:

    artifact: a finished ``.onnx`` file, with card, golden samples and seal
    batch axis: axis 0 where it counts samples, written N
    calibrated range: the values that an int8 model's input was calibrated for
    card: the JSON inside the artifact that says what it takes, answers, and is known to reach
    chunk: the part of a large batch that one run takes
    cold start: from a fresh process to its first answer
    column: one feature of a table, which the card names
    digest: the SHA-256 of a file, as hexadecimal digits
    dynamic int8: activation ranges are found at each run, from the batch at hand
    engine: onnxruntime; its session is one loaded graph
    execution provider: the engine's way to one kind of processor
    fast path: one sample of one input to one output, through buffers that are used again
    feed: the arrays of one call by input name, ready for the engine
    free axis: an axis whose size is known only at a run, such as N or the time T
    golden sample: an input with its answer, inside the artifact, for the self-test
    graph cache: a folder that keeps graphs as the engine optimized them
    multiply-accumulate: one product added to a sum; their number is the work of a network
    non-finite: NaN or an infinity
    occlusion: hiding a part of a sample, to see how far the answer hangs on it
    opset, IR version: which edition of ONNX a file is written in
    permutation importance: what is lost when one column is shuffled among the rows
    plain file: an ONNX file without a card, for which nothing vouches
    provenance: where a model came from: file, digest, training data, versions
    saturation: a number too large for its format becomes the largest one, such as an int8 code
    seal: the digest over the artifact, in the artifact
    self-test: running the golden samples when an artifact is loaded
    signature: who made an artifact, and as which version, by an Ed25519 key
    subgraph: the graph inside a Loop, Scan or If node
    trial input: an input made up where there is no data
    tuning: measuring on the device which threads and graph optimization answer soonest
    window: a part of a recording that is one sample; the next window begins one hop later
"""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from edgeport.artifact.frame_format import FrameFormat
    from edgeport.explaining.explain import explain

__version__ = "0.1.0"

__all__ = [
    "Accuracy",
    "ArtifactError",
    "Calibration",
    "ConversionError",
    "EdgeportError",
    "FrameFormat",
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
    "explain",
]


def __getattr__(name: str) -> Any:
    """Import what few programs use, when it is asked for."""
    if name == "FrameFormat":
        from edgeport.artifact.frame_format import FrameFormat

        return FrameFormat
    if name == "explain":
        from edgeport.explaining.explain import explain

        return explain
    raise AttributeError(f"module 'edgeport' has no attribute {name!r}")
