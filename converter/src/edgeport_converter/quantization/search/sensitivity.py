"""Which layers lose the signal: the error that quantizing one layer alone brings to the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx

from edgeport.artifact.golden import Array
from edgeport_converter.quantization.evaluation.agreement import noise_to_signal
from edgeport_converter.verification.runners import Run


def rank_layers(
    layers: Sequence[str],
    quantize_only: Callable[[str], onnx.ModelProto],
    run: Callable[[onnx.ModelProto], Run],
    expected: Mapping[str, Array],
    samples: Mapping[str, Array],
) -> list[str]:
    """Return the layers, the one with the largest error first.

    Args:
        layers: node names.
        quantize_only: the graph with this layer alone in int8.
        run: a graph as a function.
        expected: the float graph's outputs for the samples.
        samples: by input name; a few dozen are enough to tell layers apart.
    """
    errors = {}
    for layer in layers:
        found = run(quantize_only(layer))(samples)
        # By the measure that the budget takes, so that no output and no channel drowns another.
        errors[layer] = sum(noise_to_signal(found[name], y) for name, y in expected.items())
    return sorted(layers, key=lambda layer: -errors[layer])
