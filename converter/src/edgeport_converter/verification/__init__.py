"""Whether a graph answers as Keras does, and the one place that says how a graph is run.

parity        proof: the graph's answers beside the Keras model's, through ``Predictor``
itself
runners       how a graph is run and judged: fixed batches, int8 for other CPUs, dynamic int8
scales        data on another scale than the model was trained on
trial_inputs  inputs to try a model with: the user's samples, or random ones that the model
takes
"""
