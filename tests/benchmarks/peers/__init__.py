"""`make bench`: edgeport beside its peers. ``bench.py`` above is the command.

models            the ten networks and their samples
files             every column's file, converted from the same Keras weights
accuracy_tools    the files of the peers' own accuracy tools
nncf_files        those of OpenVINO's, in the environment of the peers
environment       an environment of the peers' own
engines           the engines under one interface
timing            many files of one model by turns
cold_start        one cold start in a fresh process
keras_calls       calls of the Keras model
litert_answers    answers of a .tflite file, for ``quantization.py``
machine           where a run took place
round_statistics  quartiles, and ratios of rounds
row               one model's row of the stored run
targets           what edgeport is held to
table             the tables in Markdown
"""
