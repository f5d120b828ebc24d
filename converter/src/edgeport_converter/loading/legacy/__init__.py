"""Files of Keras 1 and 2: their configs and weights as Keras 3 takes them.

archive_weights  weights of a ``.keras`` archive, moved to where Keras 3 looks for them
configs          exact repairs of configs that Keras 2 wrote and Keras 3 refuses or misreads
graphs           called by ``configs``: how a config lists a model's layers, inputs and calls
hdf5_weights     weights from an HDF5 file into a model, each one checked to have arrived
tf_keras_models  files that Keras 3 cannot read, through tf_keras, which is Keras 2
"""
