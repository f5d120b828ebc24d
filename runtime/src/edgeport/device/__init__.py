"""What fits a model to one device. A first answer needs ``cpus`` alone.

cpus         the CPUs that the process may use, and how many threads are worthwhile
graph_cache  the optimized graph, kept on the device, so that the engine starts sooner
identity     the device as the engine sees it: CPU and build of onnxruntime
private      files that only this user and root can have written
tuning_file  the form of a tuning file, and its checks when it is read; `cli.tune` writes it
"""
