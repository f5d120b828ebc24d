"""The user's samples and labels, whatever they come in: files, folders, arrays, generators.

No stage is imported here. ``pipeline`` asks ``user_data``; ``training`` reads its files with
the same readers.

    array_files    numpy's files, a few megabytes at a time
    chunks         the form that all samples come in, and which array is which input
    datasets       samples as the model's inputs: checked, measured, in batches
    image_folders  folders of images, resized to the model's input
    labels         whether labels and class names fit the model's outputs
    sources        from a path, arrays or an iterable to chunks
    tables         .csv files, and tables of numbers
    user_data      the data of one conversion: calibration, evaluation, labels
"""
