"""A graph on its way to an artifact, opened in the runtime that devices use."""

from __future__ import annotations

import onnx

from edgeport import ModelCard, Predictor
from edgeport.integrity import seal
from edgeport_converter.stamping import card_json


def open_graph(graph: onnx.ModelProto, card: ModelCard, *, threads: int | None = None) -> Predictor:
    """Return the graph as a predictor that knows its inputs and outputs as a device will.

    Args:
        graph: a finished graph.
        card: names, shapes and axes; a graph alone does not tell a batch from another axis.
        threads: as for ``Predictor.load``.
    """
    return Predictor.load(seal(graph.SerializeToString(), card_json(card, [])), threads=threads)
