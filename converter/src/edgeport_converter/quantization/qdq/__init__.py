"""QuantizeLinear and DequantizeLinear: where they stand in a graph, and with which scales.

average_pools  small average pools as depthwise convolutions, which int8 computes faster
hard_sigmoid   a hard-sigmoid as one Clip of the codes that it reads
insertion      inserts QuantizeLinear and DequantizeLinear around what int8 computes
pixel_blocks   convolutions of few channels over blocks of pixels, which int8 computes faster
pixel_inputs   uint8 inputs: the bytes of an image serve as codes, without conversion
placement      which nodes int8 is to compute; inserts nothing
quantize       one recipe -> one quantized graph
swish          a swish between int8 layers as one node in float
"""
