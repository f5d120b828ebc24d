"""Keras patches: what is replaced in Keras and TensorFlow while a model is traced.

``PATCHES`` lists them. The results stay the same, exactly or but for rounding; the parity check
compares the exported graph with the unpatched model.

    images             image layers for a free size: the graph computes with the size at run time
    layers             Keras layers and functions, written with TensorFlow operations that ONNX has
    lookups            lookup tables as ONNX-ML LabelEncoder nodes
    products           einsum and matmul as one matrix product
    recurrent          LSTM, GRU and SimpleRNN layers as the ONNX nodes of these names
    recurrent_cells    Keras' recurrent cells as ONNX describes them: gates, activations
    seeds_and_scopes   constant random seeds, and operations named after their layers

To add a patch: write a function of ``(original, placeholders, *arguments)`` in the module of its
subject, with ``@function_patch``, and add a record to ``PATCHES``: target, function, why it is
needed, until when. Return ``original(...)`` for every call that needs no patch. Add a case to
``tests/converter/layer_cases``.
"""

from __future__ import annotations

from edgeport_converter.exporting.keras_patches import (
    images,
    layers,
    lookups,
    products,
    recurrent,
    seeds_and_scopes,
)
from edgeport_converter.exporting.patching import Patch

_RECURRENT = "TensorFlow has no operation for a recurrent layer: it is traced as a loop"
_RECURRENT_UNTIL = "tf2onnx recognizes Keras 3's loops as LSTM, GRU and RNN"
_TABLE = "a table is a resource, which an ONNX graph cannot hold"
_TABLE_UNTIL = "tf2onnx reads the tables that Keras 3 creates"

PATCHES: tuple[Patch, ...] = (
    Patch(
        "keras.src.backend.tensorflow.numpy.signbit",
        layers.signbit,
        why="Keras looks at a float's bits; ONNX has no Bitcast. argmax and argmin call it",
        until="the lowest opset of all targets has a bit cast",
    ),
    Patch(
        "keras.src.backend.tensorflow.numpy.matmul",
        products.matmul,
        why="Keras multiplies a sequence by a matrix as tensordot: Shape, Gather, Reshape, MatMul",
        until="Keras calls tf.matmul for it",
    ),
    Patch(
        "keras.src.backend.tensorflow.core.slice_update",
        layers.slice_update,
        why="Keras calls an operation of XLA, which has no ONNX form",
        until="Keras calls tf.tensor_scatter_nd_update",
    ),
    Patch(
        "tensorflow.einsum",
        products.einsum,
        why="TensorFlow traces einsum as a chain of Shape, Gather and Reshape, run at each call",
        until="tf.einsum is traced as one Einsum operation for free sizes, too",
    ),
    Patch(
        "keras.layers.LayerNormalization.call",
        layers.layer_normalization,
        why="Keras computes it from six operations; ONNX has LayerNormalization",
        until="the optimizer fuses all six into that node",
    ),
    Patch(
        "keras.layers.PReLU.call",
        layers.p_relu,
        why="Keras adds two Relu; ONNX has PRelu",
        until="the optimizer fuses them into that node",
    ),
    Patch(
        "keras.layers.TimeDistributed.call",
        layers.time_distributed,
        why="Keras calls the layer once a step, and its graph is wrong for a free number of steps",
        until="Keras makes the steps a part of the batch",
    ),
    Patch(
        "keras.layers.UpSampling2D.call",
        images.up_sampling,
        why="Keras multiplies sizes in Python, which fails for a free size",
        until="Keras asks the graph for free sizes",
    ),
    Patch(
        "keras.src.backend.tensorflow.image.resize",
        images.resize,
        why="Keras pads to an aspect ratio under two conditions in a row, whose graph ONNX's tools "
        "spoil",
        until="Keras pads with tf.pad",
    ),
    Patch(
        "keras.layers.CenterCrop.transform_images",
        images.center_crop,
        why="traced, Keras crops an image that is too small, which it resizes otherwise",
        until="Keras compares free sizes in the graph",
    ),
    Patch("keras.layers.RNN.inner_loop", recurrent.loop, _RECURRENT, _RECURRENT_UNTIL),
    Patch("keras.layers.LSTM.inner_loop", recurrent.loop, _RECURRENT, _RECURRENT_UNTIL),
    Patch("keras.layers.GRU.inner_loop", recurrent.loop, _RECURRENT, _RECURRENT_UNTIL),
    Patch(
        "keras.layers.Bidirectional.call",
        recurrent.both_directions,
        why="two loops, one of them over the reversed steps; ONNX has one bidirectional node",
        until=_RECURRENT_UNTIL,
    ),
    Patch("tensorflow.lookup.StaticHashTable.lookup", lookups.lookup, _TABLE, _TABLE_UNTIL),
    Patch(
        "tensorflow.lookup.experimental.MutableHashTable.lookup",
        lookups.lookup,
        _TABLE,
        _TABLE_UNTIL,
    ),
    Patch(
        "keras.random.SeedGenerator.next",
        seeds_and_scopes.constant_seed,
        why="drawing a seed writes a variable, also where nothing depends on it at inference",
        until="Keras draws no seed while it answers",
    ),
    Patch(
        "keras.src.utils.backend_utils.in_tf_graph",
        seeds_and_scopes.never_in_a_data_pipeline,
        why="Keras' data layers take a traced graph for a tf.data pipeline, and cast their inputs",
        until="Keras tells a traced model from a data pipeline",
    ),
    Patch(
        "keras.src.backend.tensorflow.core.name_scope.__init__",
        seeds_and_scopes.scope_without_number,
        why="Keras opens a layer's scope twice, so that TensorFlow numbers the name: another "
        "layer may have that name",
        until="an operation's name is its layer's path in Keras' own traces",
    ),
)
