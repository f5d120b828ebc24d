"""Weights: how they are rounded, equalized and stored in int8.

equalization  channels of one tensor brought to like ranges, by moving factors between the
layers around it
gptq          from float weights to int8 codes: scales that no kernel saturates at, and
rounding that the data would choose
int8_layers   the constants of a quantized layer: int8 codes, scales and an int32 bias that
fit each other
moments       mean and covariance of what each layer's sums read, over the calibration data,
flat in memory
weight_only   weights in int8, arithmetic in float: a smaller file with nearly the float
answers
"""
