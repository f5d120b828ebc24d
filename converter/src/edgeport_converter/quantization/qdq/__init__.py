"""QuantizeLinear and DequantizeLinear: where they stand in a graph, and the graph around them.

average_pools  pooling with a scale of its own
hard_sigmoid   hard sigmoids without arithmetic: the codes of what they read are the codes of
what they give
pixel_inputs   uint8 inputs of an int8 graph: the bytes of the image are the codes of the
first activation
placement      where in a graph int8 begins and ends: the operators that gain from it, and the
borders to float
quantize       one recipe -> one quantized graph, with onnxruntime's own quantizer
subgraphs      bodies of branches and loops, which read tensors of the graph around them
without its knowing
"""
