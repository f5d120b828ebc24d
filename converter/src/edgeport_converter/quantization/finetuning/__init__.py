"""Training a network while it is quantized, where int8 alone loses too much.

operators     ONNX operators in TensorFlow, which can be differentiated
trainable     a quantized graph as a TensorFlow function of its weights, scales and ranges
keras_links   which Keras variable a graph's weights come from, and the way back
samples       the data that is trained on, none of which judges
checkpoint    the state of an interrupted training, beside the output
training      the loop: losses, teacher, early stop
finetune      from a quantized graph to trained weights, proven against the Keras model
"""
