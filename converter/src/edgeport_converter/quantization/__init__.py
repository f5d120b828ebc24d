"""From a float graph to the smallest and fastest one that keeps the user's budget.

choosing          builds candidates, judges, measures, chooses: where the parts below meet
searching         which recipe to try next
budget            what may be lost
calibrating       the range of every activation, flat in memory
clipping          narrower ranges from a histogram
calibrated        a float graph with what the calibration data says of it
placing           where in a graph int8 begins and ends
quantizing        one recipe -> one quantized graph
weight_storage    weights in int8, arithmetic in float
equalizing        channels of one tensor brought to like ranges
moments           mean and covariance of what each layer reads, flat in memory
rounding          float weights to codes that the data would choose
layer_constants   the codes, scales and biases of int8 layers
pooling           average pools with a scale of their own
sensitivity       which layers lose the signal
evaluating        what a candidate lost: agreement, and the user's metric
agreement         how closely one model follows another
timing            how long one sample takes, several graphs interleaved
layers            from the Keras layers that users name to the graph's nodes
"""
