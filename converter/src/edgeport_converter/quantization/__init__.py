"""From a float graph to the smallest and fastest graph that keeps the user's budget.

Here a graph is an ``onnx_ir.Model``, as in ``optimizing``.

calibration/  the ranges of activations, streamed from the calibration data
evaluation/   the loss and the cost of a quantized graph: agreement, metric, budget, time
finetuning/   training a network while it is quantized, where int8 alone loses too much
qdq/          QuantizeLinear and DequantizeLinear: where they stand in a graph
recipe        how to quantize, as a value: what the search varies and the report names
search/       which recipes are tried for a graph, and which candidate is chosen
tensors       tensors of a graph in onnx-ir: floats, readers, constants, sessions
weights/      weights: how they are rounded, equalized and stored in int8
"""
