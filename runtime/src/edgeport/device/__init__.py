"""What fits a model to one device. Nothing here is needed for a first answer but ``cpus``.

cpus         what this device allows: the CPUs that the process may use, and how many threads
pay
graph_cache  the optimized graph of an artifact, kept on the device, so that the engine starts
sooner
identity     what makes two devices one and the same to the engine: CPU and build of
onnxruntime
tuning_file  the tuning file: what `edgeport tune` chose for one artifact on one device
"""
