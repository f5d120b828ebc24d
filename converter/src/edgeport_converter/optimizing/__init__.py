"""Rewriting the graph for speed and size, with onnxscript's rewriter and onnx-ir's passes.

``optimize`` runs before calibration, so that the ranges belong to the graph that is shipped.
``compact`` runs after quantization and changes names and order only.

To add a rule: write a class with ``pattern``, ``check`` and ``rewrite`` in the module of its kind;
say in its docstring what it matches, what it gives and why that pays; list it in
``rewrite_rules.RULES`` where it is to be tried; test it in ``optimizing/test_optimizing.py`` with a
graph that it changes and one that it has to leave alone. ``make passes`` measures it.

    activation_rules  activations in the form that onnxruntime has kernels for
    affine_rules      constant factors and terms folded into the weights of the next operator
    cast_rules        casts that change no value
    constants         reading a graph's constants, and adding new ones
    input_scaling     the scaling of inputs moved into the weights of the first layers
    layer_inputs      scale and offset of a layer's input moved into its weights and bias
    names             names of nodes that lead back to Keras layers, and short names of tensors
    passes            ``optimize`` and ``compact``: which passes run, and in which order
    rewrite_rules     the table of all rules, in the order in which they are tried
    shape_rules       axes of length one, known sizes, and means as poolings
"""

from edgeport_converter.optimizing.passes import compact, optimize

__all__ = ["compact", "optimize"]
