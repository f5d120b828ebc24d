"""The loss and the cost of a quantized graph: agreement, metric, budget, time, layer by layer.

agreement       how closely a quantized model follows the float one
budget          what quantization may lose, and whether a candidate kept to it
evaluator       the loss of a quantized graph: agreement, and the user's metric
evidence        whether data, metric and answers suffice to judge a candidate
float_fallback  which layers to leave in float because int8 is slower there
held_out        which samples calibrate and which judge
keras_layers    from the Keras layers that users name to the graph's nodes, and back
layer_report    what each Keras layer became: number format, error, share of time and bytes
layer_times     the file of layer times that a board's `edgeport bench --layers` writes
paired          whether one graph answers better than another, or it is chance
timing          how long a graph takes, and each of its nodes
user_metrics    the user's metric: argument order, objects of Keras, which way is better
"""
