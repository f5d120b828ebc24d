"""What a training reports and writes.

report   what a training found: a plain record, as the caller and the command line see it
summary  the run's folder: the model and everything that was learned about it, for people and
programs
"""
