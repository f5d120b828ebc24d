"""A graph on its way to an artifact, opened in the runtime that devices use."""

from __future__ import annotations

import onnx

from edgeport import Predictor
from edgeport_converter.quiet import quiet_logging


def open_graph(graph: onnx.ModelProto, *, threads: int | None = None) -> Predictor:
    """Return the graph as a predictor; that it bears no card yet is no news here."""
    with quiet_logging():
        return Predictor.load(graph.SerializeToString(), threads=threads)
