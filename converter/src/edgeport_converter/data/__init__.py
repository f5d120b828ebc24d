"""The user's samples, from whatever they come in to the model's inputs.

array_files    numpy's files, a few megabytes at a time, so that memory does not grow with the
samples
chunks         the one form that all samples come in: chunks of arrays, pass after pass
datasets       the user's data as the model's inputs: matched by name, checked, surveyed, in
batches
image_folders  A folder of images, in the model's own size, one at a time
labels         labels and class names: whether they fit the model's outputs
naming         which of the user's arrays is which input, and which holds the labels
scales         data on another scale than the model was trained on: the commonest way to a
worthless artifact
sources        where the user's samples come from: files, folders, arrays, generators
tables         tables in .csv files, a thousand rows at a time
user_data      the data of one conversion: read and checked
"""
