"""Files of Keras 1 and 2: their configs and weights as Keras 3 takes them.

archive_weights  weights of a ``.keras`` archive, put where Keras will look for each layer's
configs          exact repairs of configs that Keras 2 wrote and Keras 3 refuses or, worse,
misreads
graphs           exact repairs of how Keras 2 wrote down a model's graph: inputs, calls, names
of layers
hdf5_weights     weights from a file into a model, each known to have arrived
tf_keras_models  old files through tf_keras, the Keras 2 that still goes with today's
TensorFlow
"""
