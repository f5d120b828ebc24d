"""A float graph with what the calibration data says of it."""

from __future__ import annotations

from functools import cached_property

import onnx

from edgeport_converter.quantization.calibration.ranges import Ranges, collect_ranges
from edgeport_converter.quantization.qdq import quantize
from edgeport_converter.quantization.weights.gptq import Rounder
from edgeport_converter.quantization.weights.moments import measure_moments
from edgeport_converter.verification.runners import Batches

_BATCH = 16


class Calibrated:
    """Measures when first asked, and once.

    Args:
        graph: the float graph, with the types of its inner tensors.
        calibration: starts a pass over the data.
    """

    def __init__(self, graph: onnx.ModelProto, calibration: Batches) -> None:
        self.graph, self._calibration = graph, calibration
        self._ranges: dict[str, Ranges] = {}

    @cached_property
    def rounder(self) -> Rounder:
        """Rounds the weights of its layers by what these read."""
        layers = quantize.weighted_nodes(self.graph)
        return Rounder(measure_moments(self.graph, layers, self._calibration(_BATCH)))

    def ranges_by(self, method: str) -> Ranges:
        """Return the ranges of its activations by that method."""
        if method not in self._ranges:
            self._ranges[method] = collect_ranges(self.graph, self._calibration, method)
        return self._ranges[method]
