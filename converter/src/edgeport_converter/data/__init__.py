"""The user's samples and labels, from files, folders, arrays and generators.

No stage is imported here. ``conversion`` calls ``user_data``; ``training`` uses the same readers.

    array_files    numpy's files, a few megabytes at a time
    chunks         samples in chunks of arrays, and which array belongs to which input
    datasets       samples as the model's inputs: checked, measured, in batches
    image_folders  folders of images, upright, resized to the model's input
    labels         classes: the best of scores, and whether labels and names fit the outputs
    made_up        random arrays that a model's inputs accept, where there is no data
    recordings     .wav files and folders of them, cut into windows
    sources        from a path, arrays or an iterable to chunks
    tables         .csv files, and tables of numbers
    user_data      the data of one conversion: calibration, evaluation, labels
"""
