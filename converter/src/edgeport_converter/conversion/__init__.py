"""The stages of a conversion, one module each: ``pipeline`` calls them, and records flow between.

Each function here knows several stages and decides for them; the work itself is done in the folders
beside this one, which are imported late, since TensorFlow is slow to start. In running order:

    training_run  the data that `edgeport train` left beside its model
    source        the model as it is loaded, and what stands in front of it
    float_model   the float graph with its card and reference: exported, then optimized
    user_samples  the user's data, and which samples calibrate, judge and train
    proving       the float graph held against Keras
    measuring     what the float graph and Keras reach on the data
    quantizing    the search for the best quantized graph within the budget
    finetuning    training under quantization, for that search
    writing       the artifact, its variants, and the fine-tuned Keras model
    reporting     what became of each layer, and the evidence as one HTML file
"""
