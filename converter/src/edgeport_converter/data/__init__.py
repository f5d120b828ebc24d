"""The user's samples, from whatever they come in to the model's inputs.

array_files    numpy's files, a few megabytes at a time, so that memory does not grow with the
samples
chunks         the one form that all samples come in: chunks of arrays, and which key is which input
datasets       the user's data as the model's inputs: matched by name, checked, surveyed, in
batches
image_folders  A folder of images, in the model's own size, one at a time
labels         labels and class names: whether they fit the model's outputs
sources        where the user's samples come from: files, folders, arrays, generators
tables         tables in .csv files, a thousand rows at a time
user_data      the data of one conversion: read and checked
"""
