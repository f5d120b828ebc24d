"""From a loaded model to a float ONNX graph with the user's names for inputs and outputs.

``export`` is the stage: trace the model on the CPU with some of Keras patched, freeze its
variables, let tf2onnx translate the frozen graph with its errors raised and with handlers of our
own beside its own, then name inputs, outputs and axes. Rewriting the graph for speed is the stage
``optimizing``; ``verification`` compares the graph with the reference that is made here.

    complex_numbers  complex arithmetic as arithmetic of real and imaginary parts
    exported_model   the stage: ``export`` and what it returns
    freezing         from a traced function to a TensorFlow graph whose variables are constants
    interface        names and letters for the axes of inputs and outputs
    keras_patches/   the Keras patches: what is replaced in Keras while a model is traced
    logits           the Keras model's values before the last function of each output
    patching         how a part of a library is replaced for a while, and put back
    placeholders     placeholder ops: places in a traced graph that ONNX nodes will take
    reference        the Keras model as a function over numpy arrays
    saved_tables     lookup tables of a SavedModel as ONNX-ML LabelEncoder nodes
    tf2onnx_bridge/  from a frozen TensorFlow graph to ONNX, with some of tf2onnx replaced
    tf_ops/          TensorFlow operations that tf2onnx does not translate, or translates wrongly
    tracing          from a function over named tensors to a frozen TensorFlow graph
    unsupported      what ONNX cannot express, by Keras layer, and the messages that say so
"""

from edgeport_converter.exporting.exported_model import ExportedModel, export, with_one_sample
from edgeport_converter.exporting.reference import reference_of

__all__ = ["ExportedModel", "export", "reference_of", "with_one_sample"]
