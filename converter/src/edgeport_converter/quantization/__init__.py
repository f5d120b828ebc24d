"""From a float graph to the smallest and fastest graph that keeps the user's budget.

recipe        how to quantize, as a value: what the search varies and the report names
calibration/  the ranges of activations, streamed from the calibration data
evaluation/   what a quantized graph loses and costs: agreement, metric, budget, time, layer
by layer
qdq/          QuantizeLinear and DequantizeLinear: where they stand in a graph, and the graph
around them
search/       which recipes are tried for a graph, and which candidate is chosen
weights/      weights: how they are rounded, equalized and stored in int8
"""
