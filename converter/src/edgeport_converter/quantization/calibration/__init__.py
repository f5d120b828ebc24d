"""The ranges of activations, streamed from the calibration data.

histograms  a narrower range from a histogram, by the least mean squared error
ranges      the range of every activation over the calibration data, flat in memory
"""
