"""The `edgeport` command, also `python -m edgeport`.

actions           what info, verify, predict, bench, explain, score and sign do
bench             the measurements of `edgeport bench`; `main` has its arguments
conversion_times  how long a tensor takes from float to int8 and back, by its size
explain           `edgeport explain`: which parts of an input carried the answer
heatmap           its pictures: the photo beside its heat, a signal over its heat
labelled          one sample of many, or a table with its labels, for `edgeport explain`
layer_times       `edgeport bench --layers`: each layer's time in float and in int8
made_graphs       chains of operators as ONNX files, to measure single operators
main              the arguments of every command, errors and exit codes
printing          what is printed for people: cards, answers, classes, a progress bar
profiles          how long each node of a graph takes, by the engine's own profile
reading           data files as samples: npy, npz, csv, json lines, sound, images
tables            tables with named columns: csv and json lines as rows by column name
trial             what bench, tune and warm run on: the user's data, or made-up values
tune              `edgeport tune` measures settings and writes the tuning file; also `edgeport warm`
writing           answers as files: npy, npz, csv, json lines, whole or not at all
"""
