"""The user's samples, from whatever they come in to the model's inputs.

sources         every form becomes a function that starts a new pass over the samples
array_files     .npy and .npz, a few megabytes at a time
tables          .csv
image_folders   a folder of images, or one for each class
naming          which array is which input, and which holds the labels
datasets        checked, surveyed, in batches: what the stages see
"""
