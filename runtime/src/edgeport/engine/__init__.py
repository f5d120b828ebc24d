"""The only folder that knows onnxruntime; only ``session`` imports it.

errors     the engine's errors: which are its own, and what they are in edgeport's words
fast_path  plain arrays of one input to one output: one sample in kept buffers, or a batch
forks      forks of the process wait while an engine is made; the child makes its own
helpers    threads that run parts of a large batch beside the caller's
providers  execution providers: which ones may be asked for, and which of them started
session    one loaded graph: its options, its runs, its inputs and outputs
watchdog   time limits: a thread with a timer, which stops a run
"""
