"""What a quantized graph loses and costs: agreement, metric, budget, time, layer by layer.

agreement       how closely a quantized model follows the float one
budget          what quantization may lose, and whether a candidate kept to it
evaluator       what a quantized graph lost: beside the float graph, and by the user's metric
evidence        whether the user's metric and answers tell anything, and the metric of Keras
and float
float_fallback  which layers to leave in float because int8 is slower there
keras_layers    from the Keras layers that users name to the graph's nodes, and back
latency         how long one sample takes, by the runtime itself, several graphs interleaved
in one run
layer_report    what each Keras layer became: its number format, its error, its share of time
and bytes
node_profile    how long each node of a graph takes, by the engine's own profile
"""
