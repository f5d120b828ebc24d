"""A plain ONNX file's card: what its graph says of itself, for which nothing vouches."""

from __future__ import annotations

from edgeport._session import Port, Session
from edgeport.card import ANY_SHAPE, BATCH_AXIS, ModelCard, TensorSpec


def card_from_graph(session: Session) -> ModelCard:
    """Return what a graph without a card says about itself."""
    batch = _batch_axis(session)
    return ModelCard(
        name=session.graph_name or "model",
        inputs=tuple(_spec_from_port(port, batch) for port in session.inputs),
        outputs=tuple(_spec_from_port(port, batch) for port in session.outputs),
    )


def _batch_axis(session: Session) -> int | str | None:
    """Return what every input has in front and may be the batch: a name, None, 1; else -1.

    Axes without a name are not known to be the same, so that only one input may have one. A graph
    fixed to one sample has a 1 in front of everything; there it can only be the batch.
    """
    first = {port.shape[:1] for port in session.inputs}
    axis = next(iter(first))[0] if len(first) == 1 and () not in first else -1
    if axis is None:
        return None if len(session.inputs) == 1 else -1
    is_one = axis == 1 and {port.shape[:1] for port in session.outputs} == {(1,)}
    return axis if is_one or isinstance(axis, str) else -1


def _spec_from_port(port: Port, batch: int | str | None) -> TensorSpec:
    """Name the free axes: the graph's own names, else one of the tensor's own."""
    # The engine says the same of a scalar and of a shape that the graph leaves open.
    names = (
        tuple(
            size if isinstance(size, int) else size or f"{port.name}_{axis}"
            for axis, size in enumerate(port.shape)
        )
        or ANY_SHAPE
    )
    axes = tuple(f"axis {axis}" for axis in range(len(names)))
    if batch == -1:
        return TensorSpec(port.name, port.dtype, names, axes)
    shape = tuple(f"{BATCH_AXIS}'" if name == BATCH_AXIS else name for name in names)
    if port.shape[:1] == (batch,):
        axes, shape = (BATCH_AXIS, *axes[1:]), (1 if batch == 1 else BATCH_AXIS, *shape[1:])
    return TensorSpec(port.name, port.dtype, shape, axes)
