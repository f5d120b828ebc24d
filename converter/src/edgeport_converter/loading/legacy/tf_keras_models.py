"""Files that Keras 3 cannot read, through tf_keras, the Keras 2 that runs on today's TensorFlow.

The extra ``legacy`` installs it. ``load`` imports this module only where it is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tf_keras

from edgeport import ConversionError
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.model import LoadedModel, refuse_nan, shorten
from edgeport_converter.loading.purity import require_pure
from edgeport_converter.loading.structures import make_call


def load_with_tf_keras(path: Path, custom_objects: dict[str, Any], *, allow_code: bool) -> Any:
    """Return what tf_keras reads from a ``.keras`` or ``.h5`` file, not compiled."""
    return tf_keras.models.load_model(
        path, custom_objects=custom_objects, compile=False, safe_mode=not allow_code
    )


def describe_tf_keras(
    model: Any, source: dict[str, str], notes: tuple[str, ...] = ()
) -> LoadedModel:
    """Return a tf_keras model as a function over named tensors.

    Raises:
        UnsupportedModelError: it has no fixed inputs and outputs, or its answers depend on more
            than its inputs.
    """
    if not (getattr(model, "inputs", None) and getattr(model, "outputs", None)):
        raise UnsupportedModelError(
            f"the tf_keras model '{model.name}' ({type(model).__name__}) has no inputs and outputs "
            "yet, expected a built Sequential or functional model: call it on a sample, or give "
            "it an Input"
        )
    refuse_nan(model.name, model.weights)
    try:
        inputs, outputs, call = make_call(model, model.input, model.output)
    except (AttributeError, TypeError, ValueError) as cause:
        raise ConversionError(
            f"the inputs of the tf_keras model '{model.name}' cannot be read ({shorten(cause)}), "
            "expected dense tensors: rebuild the model in Keras 3"
        ) from cause
    loaded = LoadedModel(model.name, call, inputs, outputs, source, notes, model)
    # Keras 2 keeps training=True of a call, so dropout may be left in: random, and refused here.
    require_pure(loaded, f"the tf_keras model '{model.name}'")
    return loaded
