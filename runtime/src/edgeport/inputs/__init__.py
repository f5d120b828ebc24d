"""From a caller's value to arrays that the engine cannot misread. Does not use the engine.

batching  splits, pads and chunks a batch
casting   one value: from anything that numpy reads as numbers to an exact array
column_ranges  values far from all that the training saw, counted by column
columns   rows and tables by column name, as arrays
examples  trial inputs: made up, or repeated from a sample of the user's
feeds     what ``predict`` accepts: names, shapes, batches
folders   which files of a folder are data, and what is said of the others
frames    frames as a camera gives them: uint8 of any size that the card allows, uncopied
images    one image file as an input, decoded by Pillow
pictures  pictures of Pillow as inputs: their pixels, upright, or a refusal
ranges    non-finite values and values out of range: counted, logged or refused
wav       WAV files as arrays, with every value as it is in the file
windows   from a recording in pieces to windows, each a sample of the model
"""
