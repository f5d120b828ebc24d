"""Files that Keras 3 cannot read, through tf_keras, the Keras 2 that runs on today's TensorFlow.

The extra ``legacy`` installs it. ``load`` imports this module only where it is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tf_keras

from edgeport import ConversionError
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.kept_outputs import choose_outputs
from edgeport_converter.loading.model import LoadedModel, refuse_nan, shorten
from edgeport_converter.loading.purity import require_pure
from edgeport_converter.loading.structures import make_call


def load_with_tf_keras(path: Path, custom_objects: dict[str, Any], *, allow_code: bool) -> Any:
    """Return what tf_keras reads from a ``.keras`` or ``.h5`` file, not compiled."""
    return tf_keras.models.load_model(
        path, custom_objects=custom_objects, compile=False, safe_mode=not allow_code
    )


def describe_tf_keras(
    model: Any,
    source: dict[str, str],
    notes: tuple[str, ...] = (),
    kept: Sequence[str] = (),
) -> LoadedModel:
    """Return a tf_keras model as a function over named tensors.

    Args:
        model: a tf_keras model.
        source: where it came from, for the card.
        notes: what the report has to say so far.
        kept: names of the outputs to keep; () for all.

    Raises:
        OptionError: there is no output of such a name.
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
    names = choose_outputs(
        kept, [info.name for info in outputs], f"the tf_keras model '{model.name}'"
    )
    outputs = tuple(info for name in names for info in outputs if info.name == name)

    def call_kept(tensors: Mapping[str, Any]) -> dict[str, Any]:
        results = call(tensors)
        return {name: results[name] for name in names}

    loaded = LoadedModel(model.name, call_kept, inputs, outputs, source, notes, model)
    # Keras 2 keeps training=True of a call, so dropout may be left in: random, and refused here.
    require_pure(loaded, f"the tf_keras model '{model.name}'")
    return loaded
