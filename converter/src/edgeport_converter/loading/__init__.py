"""From any Keras file, or a model in memory, to a function that is ready for inference.

``conversion`` calls ``load.load_model``. It asks ``formats`` what a path holds, lets
``keras_files`` open it with the repairs of ``legacy``, and gets the ``LoadedModel`` from
``keras_models``, ``saved_models`` or ``legacy.tf_keras_models``.

Importing this package imports no TensorFlow; its modules do.

    diagnostics   the error message for a Keras file that nothing could open
    formats       what a path holds, by its bytes and not by its name; refusals of all other files
    keras_files   files that Keras writes: config, version and weights, opened with Keras 3
    kept_outputs  a model with the outputs and layers that the user names, and no others
    keras_models  a Keras 3 model in memory as the function that the export traces
    load          ``load_model``: decides how a model is opened, the first stage of ``convert``
    model         ``LoadedModel``: a function over named tensors, with its inputs and outputs
    pixel_input   a model that takes uint8 pixels instead of floats, scaled inside
    purity        proof that a model computes from its inputs alone
    saved_models  a SavedModel folder as the function that the export traces
    signal_input  a model that takes windows of int16 PCM, scaled inside
    stored_code   Python code inside of a model file: named, and refused unless it is allowed
    structures    nested inputs and outputs of a functional model, as named tensors
    user_code     the one place where the user's own Python is imported
    legacy/       files of Keras 1 and 2: their configs and weights as Keras 3 takes them
"""
