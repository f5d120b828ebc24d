"""From what a sensor gives to what a model takes, inside of the artifact's own graph.

``frames.Frames`` says what the training code did to a picture; ``frame_graph`` does the same with
standard ONNX operators; ``proof`` compares the two on this machine, with the library that the
training code called. ``reference`` is that library's answer, for the readers of pictures.
``signals.Signal`` says how the training code cut recordings; its graph is one product, which the
parity check covers.

    columns       names, ranges and categories of a table's columns, and where they come from
    frame_graph   the ONNX graph of ``Frames``, alone or in front of a model
    frame_inputs  the inputs that take frames: by name, read, before the graph, in the card
    frames        ``Frames``: channel order, fit, resize, scale and mean; its text and JSON forms
    proof         comparing a frame graph with the library that it stands for
    reference     ``read_frame``: one picture prepared by Pillow, OpenCV or TensorFlow
    resizing      the nodes from pixels to the picture: columns, rows, rounding, colours
    signals       ``Signal``: rate, window, hop, channels and scale; its text and JSON forms
    spans         which rows and columns are resized, and where they go
    taps          which pixels make up a new one, and with which weights, as each library does it
    values        arithmetic that is done now where sizes are known, and else inside of the graph
    words         ``name=value`` words of a command line, for ``Frames`` and ``Signal``
"""
