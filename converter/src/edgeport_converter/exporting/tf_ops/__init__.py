"""TensorFlow operators that tf2onnx does not translate, or translates wrongly.

builder   small moves on tf2onnx's graph that the conversions of TensorFlow operations share
einsum    einsum as a matrix product, so that it runs as fast and quantizes as well as a Dense
layer
handlers  TensorFlow operations that tf2onnx lacks or gets wrong, as ONNX nodes
images    TensorFlow's image resizing as ONNX nodes
integers  integer operations whose ONNX namesakes answer otherwise for negative numbers
search    looking sorted values up, and products of three-vectors: counts and differences in
ONNX
signal    TensorFlow's Fourier transforms as ONNX's DFT
"""
