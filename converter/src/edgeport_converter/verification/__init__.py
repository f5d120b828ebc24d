"""How a graph is run, and what it is checked for against Keras.

independence  whether a sample's answer depends on the other samples of the batch
index_limits  which input elements are row numbers of a table, and how many rows it has
parity        the parity check: the float graph's answers compared with the Keras model's
runners       how a graph is run: fixed batches, int8 for other CPUs, dynamic int8
scales        whether the data is scaled as in training
trial_inputs  inputs for the parity check, made up where there is no data
"""
