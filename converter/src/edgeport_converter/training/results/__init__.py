"""What a training reports and writes.

report   what a training found: a plain record, as the caller and the command line see it
summary  the run's folder: model, metrics, curves, summary, and data for `edgeport convert`
"""
