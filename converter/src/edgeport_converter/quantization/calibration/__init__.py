"""The ranges of activations, streamed from the calibration data.

histograms  the range method mse: the range with the least mean squared error
ranges      the range of every activation, in memory that does not grow with the data
"""
