"""Whether a graph answers as Keras does, and the one place that says how a graph is run.

parity        proof: the graph's answers beside the Keras model's, through ``Predictor``
itself
runners       models that insist on a number of samples: any number of them, in parts of that
size
trial_inputs  inputs to try a model with: the user's samples, or random ones that the model
takes
"""
