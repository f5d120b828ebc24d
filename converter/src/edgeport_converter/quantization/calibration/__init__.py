"""The ranges of activations, streamed from the calibration data.

histograms  choosing a narrower range from a histogram: what large values cost, what small
ones gain
ranges      the range of every activation over the calibration data, flat in memory
"""
