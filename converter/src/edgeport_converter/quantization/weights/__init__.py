"""Weights: how they are rounded, equalized and stored in int8.

equalization  cross-layer equalization: channels of one tensor brought to like ranges
forms         weights as a layer's sums read them, and as its operator stores them
gptq          from float weights to int8 codes: GPTQ, with scales that no kernel saturates at
int8_layers   the constants of an int8 layer: codes, scales and an int32 bias that fit
moments       activation statistics: mean and covariance of each layer's inputs
weight_only   weights in int8, arithmetic in float
"""
