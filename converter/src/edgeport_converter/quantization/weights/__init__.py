"""Weights: how they are rounded, equalized and stored in int8.

equalization  cross-layer equalization: channels of a tensor rescaled to similar ranges
forms         weights as (groups, outputs, inputs), and as each operator stores them
gptq          GPTQ: from float weights to int8 codes, with scales that avoid saturation
int8_layers   weights and biases of int8 layers as codes, each with a DequantizeLinear
moments       activation statistics: mean and covariance of each layer's inputs
streams       equalization through additions, as in residual networks
weight_only   weights in int8, arithmetic in float
"""
