"""From a Keras model to an artifact that has been proven against it.

    from edgeport_converter import convert

    report = convert("model.keras", "model.onnx", calibration="train.npz", evaluation="test.npz")

``convert`` and ``train`` are the two functions; the rest are records of their options and reports,
and errors. A conversion writes its file only when the file's answers have been compared with those
of Keras and quantization has kept its budget; a failed one leaves the target as it was.

Importing this package imports no TensorFlow; converting and training do.

Modules and folders; ``pipeline`` calls the stages in the order loading, exporting, data,
optimizing, verification, quantization, artifact:

    commands       the command `edgeport convert`
    errors         the converter's errors, subclasses of the runtime's
    option_checks  what of the options depends on the data, the labels or the model
    option_texts   from the text of an option on the command line to its value
    options        the options of a conversion: names, defaults, choices, help, checks
    paths          what is read and what is written, checked before any work
    pipeline       convert(): the stages in running order
    progress       what happens while a conversion or a training runs, told to who shows it
    provenance     facts about a training, inside its ``.keras`` file
    quiet          keeping the messages of other libraries off the user's screen
    report         what a conversion found, as data and as text
    screen         progress for people, by rich: bars on a terminal, plain lines elsewhere
    stages         which stage is running: for progress and for errors
    targets        CPU families and onnxruntime versions of devices, and what each can do
    artifact/      the last stage: card, golden samples and seal, written in one step
    browser/       the command `edgeport page`: a web page that runs an artifact
    bundling/      the command `edgeport bundle`: all that a device without a network needs
    conversion/    the stages as ``pipeline`` calls them, and the records that flow between them
    data/          the user's samples and labels, from files, folders, arrays and generators
    exporting/     from a loaded model to a float ONNX graph with the user's names
    loading/       from a Keras file, or a model in memory, to a function that can be traced
    optimizing/    rewriting the float graph for speed and size
    quantization/  from the float graph to the best quantized graph within the budget
    reporting/     the evidence as one HTML file, and the command `edgeport report`
    sensors/       from what a sensor gives to the model's input, inside the graph and proven
    training/      from data and a recipe to a trained Keras model
    verification/  how a graph is run, and the parity check against Keras

Words, as the code, the messages and the documentation use them:

    accuracy: the share of samples whose best class is the label's; the default metric
    activation range: the lowest and the highest value of a tensor, over which its codes are spread
    activation statistics: second moments of what a layer reads; GPTQ rounds its weights by them
    agreement: how closely a quantized graph answers like the float graph, without labels
    artifact: the finished ``.onnx`` file, with card, golden samples and seal
    as defined: computed node by node as the ONNX standard says, without the engine's fusions
    bias correction: moving a layer's bias by the mean error that rounding its weights makes
    budget: what quantization may lose, set by ``max_drop``
    bundle: an archive with an artifact, wheels and an installer, for a device without a network
    calibration: running the float graph on data to find activation ranges
    candidate: a quantized graph that was made and measured
    card: the JSON inside the artifact that says what it takes, answers, and is known to reach
    code: the small integer that stands for a number: number = scale * (code - zero point)
    cross-layer equalization: rescaling channels between two layers, so that their weights are even
    dynamic int8: activation ranges are found at each run, from the batch at hand
    engine: onnxruntime
    fine-tuning: training a model's weights while they are quantized, where int8 loses too much
    fixed batch: a number of samples that the model insists on
    free axis: an axis whose size is known only at a run, such as the batch N or the time T
    golden sample: an input with its answer, inside the artifact, for the self-test
    GPTQ: rounding weights one by one, each later one making up for the error of the earlier ones
    hard-sigmoid: a sigmoid of three straight lines; hard-swish is the input times it
    Keras patch: a function that stands in for one of Keras while a model is traced
    logits: what goes into the last function of an output, where that bounds the answers
    metric: a number that a model reaches on labelled data; larger is better unless it is an error
    multiply-accumulate: one product added to a sum; their number is the work of a network
    non-finite: NaN or an infinity
    objective: what candidates within the budget are weighed by: latency, size, or both
    opset, IR version: which edition of ONNX a file is written in
    parity check: comparing the float graph's answers with the Keras model's
    placeholder op: a node that stands for a recurrent layer until the graph is ONNX
    provenance: where a model came from: file, digest, training data, versions
    Q/DQ: QuantizeLinear and DequantizeLinear, the nodes around what is computed in int8
    range method: how an activation range is chosen: minmax or mse
    recipe: how a graph is quantized; a training recipe says how a model is trained
    reference: the Keras model as a function of arrays
    reliability: whether scores are right as often as they say; its error is the expected
        calibration error
    saturation: a number too large for its format becomes the largest one: an int8 code, or on
        some CPUs a sum of two int8 products, which they hold in 16 bits
    seal: the digest over the artifact, in the artifact
    self-test: running the golden samples when an artifact is loaded
    sensitivity: how much quantizing one layer alone changes the outputs
    signal-to-noise ratio: variance of the float answers over the mean squared error, in dB
    spoiled weights: weights with noise, to see whether a check notices
    stage: one step of a conversion, named in its progress and its errors
    subgraph: the graph inside a Loop, Scan or If node
    target: the devices' CPU family
    trial input: an input made up where there is no data
    variant: an artifact of the same model by another recipe, written beside it
    weight offloading: leaving large weights out of a graph while it is rewritten
"""

from importlib.metadata import version as _version

from edgeport_converter.errors import (
    AgreementError,
    QuantizationError,
    TrainingError,
    UnsupportedModelError,
)
from edgeport_converter.options import (
    BudgetOptions,
    DeviceOptions,
    Finetune,
    LoadingOptions,
    PixelOptions,
    QuantizationOptions,
    SensorOptions,
    TableOptions,
)
from edgeport_converter.pipeline import convert
from edgeport_converter.report import ConversionReport
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.sensors.signals import Signal
from edgeport_converter.training.results.report import TrainingReport
from edgeport_converter.training.train import train

__version__ = _version("edgeport-converter")

__all__ = [
    "AgreementError",
    "BudgetOptions",
    "ConversionReport",
    "DeviceOptions",
    "Finetune",
    "Frames",
    "LoadingOptions",
    "PixelOptions",
    "QuantizationError",
    "QuantizationOptions",
    "SensorOptions",
    "Signal",
    "TableOptions",
    "TrainingError",
    "TrainingReport",
    "UnsupportedModelError",
    "__version__",
    "convert",
    "train",
]
