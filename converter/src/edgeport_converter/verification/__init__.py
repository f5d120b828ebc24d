"""How a graph is run, and what it is checked for against Keras.

differences     what two answers may differ by, and by how much they do
independence    whether a sample's answer depends on the other samples of the batch
index_limits    which input elements are row numbers of a table, and how many rows it has
logits          what is before the last function of a graph's outputs
macs            the multiply-accumulates of a graph for one sample
parity          the parity check: the float graph's answers compared with the Keras model's
proof           what makes the parity check a proof: logits, samples that tell, spoiled weights
runners         how a graph is run: fixed batches, int8 for other CPUs, dynamic int8
scales          whether the data is scaled as in training
spoiling        noise on weights, to see whether a check notices
telling_inputs  made-up inputs of several kinds, and near uncertain answers
trial_inputs    inputs for the parity check, made up where there is no data
"""
