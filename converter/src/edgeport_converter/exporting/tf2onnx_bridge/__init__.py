"""From a frozen TensorFlow graph to ONNX by tf2onnx, and what is changed in tf2onnx for it.

node_names    names that lead back to the Keras layers, kept through tf2onnx's own rewriting
ordered_sets  sets that remember the order in which they were filled, in place of tf2onnx's
translate     from a frozen TensorFlow graph to ONNX, by tf2onnx with its errors raised
"""
