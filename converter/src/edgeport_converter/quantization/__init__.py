"""From a float graph to the smallest and fastest one that keeps the user's budget.

choosing          which recipes to try and which to take: where the parts below meet
candidates        one recipe -> one finished and measured graph
objectives        what the user wants most: latency, size, or both
searching         which recipe to try next, until the budget is kept
budget            what may be lost
calibrating       the range of every activation, flat in memory
clipping          narrower ranges from a histogram
calibrated        a float graph with what the calibration data says of it
placing           where in a graph int8 begins and ends
recipes           how to quantize, as a value
quantizing        one recipe -> one quantized graph
bodies            branches and loops, which read from around them
weight_storage    weights in int8, arithmetic in float
equalizing        channels of one tensor brought to like ranges
moments           mean and covariance of what each layer reads, flat in memory
rounding          float weights to codes that the data would choose
rounder           the same for the layers of a graph, each once
layer_constants   the codes, scales and biases of int8 layers
gates             hard sigmoids without arithmetic
pooling           average pools with a scale of their own
pools_as_layers   average pools as convolutions
sensitivity       which layers lose the signal
evaluating        what a candidate lost: agreement, and the user's metric
agreement         how closely one model follows another
timing            how long one sample takes, several graphs interleaved
node_times        how long each node of a graph takes
float_for_speed   which layers int8 makes slower
pixel_inputs      uint8 images whose scaling is the first layer's
layers            from the Keras layers that users name to the graph's nodes
layer_report      number format, error, share of time and bytes of each of them
"""
