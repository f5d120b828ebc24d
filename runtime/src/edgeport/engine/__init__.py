"""The border to onnxruntime; only ``session`` imports it.

errors     the engine's errors in edgeport's words
fast_path  the short way: one sample of one input to one output, through buffers that stay
bound
forks      what a fork leaves behind: locks that nobody will release, threads that are not
there
providers  execution providers by name: which ones may be asked for, and which of them started
session    the border to the engine: the only module that imports onnxruntime
watchdog   A long call that must hear Ctrl-C and a clock: it runs in a thread of its own
"""
