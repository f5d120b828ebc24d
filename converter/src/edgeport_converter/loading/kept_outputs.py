"""``outputs=[...]``: a model with the outputs and layers that the user names, and no others.

A functional or Sequential model is cut: what the named outputs do not need is no part of it,
neither layers nor inputs. A layer inside a nested model is named by a path, ``backbone/block3``.
In a SavedModel, a tf_keras model and a subclassed one only the outputs have names.
``keras_models``, ``saved_models`` and ``legacy.tf_keras_models`` call this module.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from edgeport import OptionError
from edgeport_converter.loading.model import unique_names
from edgeport_converter.loading.structures import name_outputs

_SHOWN = 8


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a kept tensor is made: by a call of a layer, or inside of the model that was called.

    Attributes:
        node: Keras' record of the call.
        index: which of the call's tensors is kept; None for all of them.
        inner: the place inside of a nested model.
    """

    node: Any
    index: int | None = None
    inner: _Place | None = None


@dataclass(frozen=True, eq=False)
class Cut:
    """A model that was cut.

    Attributes:
        model: a functional model; it shares the layers, and so the weights, with the whole one.
        inputs: its inputs in the declared structure.
        outputs: its outputs by name, in the order that the user named them in.
        notes: what was left out, a sentence each.
    """

    model: Any
    inputs: Any
    outputs: dict[str, Any]
    notes: tuple[str, ...]


def choose_outputs(wanted: Sequence[str], names: Sequence[str], owner: str) -> list[str]:
    """Return the wanted outputs of a model whose layers are not known.

    Args:
        wanted: as the user named them; () for all.
        names: of the outputs.
        owner: names the model, for the message.

    Raises:
        OptionError: there is no output of that name.
    """
    for name in wanted:
        if name not in names:
            raise _no_such_name(
                name, names, f"{owner} has no output", ", and the names of its layers are not known"
            )
    return list(dict.fromkeys(wanted)) or list(names)


def cut(model: Any, inputs: Any, outputs: Any, wanted: Sequence[str]) -> Cut:
    """Return the model with the wanted outputs alone.

    1. Each name is looked for among the outputs, then among the layers.
    2. Nested models that hold a kept layer are made again with that layer's output as one more
       output, and what is computed from them is computed from the new ones.
    3. The inputs that no kept output needs are left out.

    Args:
        model: a functional or Sequential Keras 3 model; it is not changed.
        inputs: its inputs in the declared structure.
        outputs: the same of its outputs.
        wanted: names of outputs and layers.

    Raises:
        OptionError: there is no such output or layer, or the layer is called several times.
    """
    graph = graph_of(model)
    declared = name_outputs(model, inputs, outputs)
    names, places, notes = [], [], []
    for name in dict.fromkeys(wanted):
        tensor = declared.get(name)
        if tensor is None:
            place = _find(graph, name, name.split("/"), model.name, list(declared))
        else:
            operation, call, index = tensor._keras_history
            place = _Place(operation._inbound_nodes[call], index)
            if operation.name != name and name in _operations(graph):
                notes.append(
                    f"'{name}' is kept as the model's output of that name, which the layer "
                    f"'{operation.name}' makes, not the layer '{name}'"
                )
        names.append(name)
        places.append(place)
    kept: dict[str, Any] = {}
    for name, tensors in zip(names, _tensors(graph, places), strict=True):
        kept |= zip(unique_names([name] * len(tensors), tuple(kept)), tensors, strict=True)
    needed = {id(tensor) for tensor in _ancestors(kept.values())}
    all_inputs = keras.tree.flatten(inputs)
    dropped = [tensor for tensor in all_inputs if id(tensor) not in needed]
    if len(dropped) == len(all_inputs):
        dropped = []
    left_out = [name for name in declared if name not in kept]
    if left_out:
        notes.append(f"outputs left out, as asked for: {_listed(left_out)}")
    if dropped:
        said = _listed([tensor._keras_history.operation.name for tensor in dropped])
        notes.append(f"inputs left out, since no kept output needs them: {said}")
    inputs = _without(inputs, {id(tensor) for tensor in dropped})
    return Cut(keras.Model(inputs, kept, name=model.name), inputs, kept, tuple(notes))


def _find(
    graph: Any, name: str, steps: Sequence[str], owner: str, declared: Sequence[str] = ()
) -> _Place:
    """Return the place of ``backbone/block3``, or of ``shared:1``, the second call of a layer."""
    step, colon, number = steps[0].partition(":")
    operation = _operations(graph).get(step)
    if operation is None:
        known = [*declared, *_paths(graph)]
        raise _no_such_name(
            name, known, f"the model '{owner}' has no output and no layer", _closed(graph)
        )
    calls = _calls(graph, operation)
    if not colon and len(calls) > 1:
        ways = [
            f"{step}:{place} (of {_listed(_sources(node))})" for place, node in enumerate(calls)
        ]
        raise OptionError(
            f"the layer '{step}' of the model '{owner}' is called {len(calls)} times, expected to "
            f"hear which call is kept as '{name}': name one of {', '.join(ways)}"
        )
    if colon and not (number.isdecimal() and int(number) < len(calls)):
        raise OptionError(
            f"'{name}' names call {number!r} of the layer '{step}', expected a number from 0 to "
            f"{len(calls) - 1}, as the model '{owner}' calls it {len(calls)} times: correct it"
        )
    node = calls[int(number or 0)]
    if len(steps) == 1:
        return _Place(node)
    inner = graph_of(operation)
    if inner is None:
        raise OptionError(
            f"'{name}' names a layer inside of '{step}' ({type(operation).__name__}), which keeps "
            "no graph of its layers, expected a functional or Sequential model there: name "
            f"'{step}', or make the inner tensor one of its outputs"
        )
    return _Place(node, inner=_find(inner, name, steps[1:], operation.name))


def _tensors(graph: Any, places: Sequence[_Place]) -> list[list[Any]]:
    """Return the tensors of each place, computed from the graph's own inputs."""
    opened: dict[Any, list[_Place]] = {}  # places by the nested model that they are in
    for place in places:
        if place.inner is not None:
            opened.setdefault(place.node.operation, []).append(place)
    if not opened:
        return [_chosen(place, place.node.outputs) for place in places]
    whole = _nodes_before([place.node for place in places if place.inner is None])
    whole |= _nodes_before(
        parent for place in places if place.inner for parent in place.node.parent_nodes
    )
    made: dict[Any, Any] = {}  # new models by those that they replace
    counts: dict[Any, int] = {}  # how many of a new model's outputs are those of the old one
    sizes: dict[int, int] = {}  # how many tensors each place has
    for operation, inside in opened.items():
        inner = graph_of(operation)
        own = [_place_of(tensor) for tensor in inner.outputs]
        if whole.isdisjoint(_calls(graph, operation)):
            own = []  # only inner tensors are needed, not the nested model's own answers
        lists = _tensors(inner, [*own, *(place.inner for place in inside if place.inner)])
        flat = [tensor for tensors in lists for tensor in tensors]
        made[operation] = keras.Model(inner._inputs_struct, flat, name=operation.name)
        counts[operation] = len(own)
        sizes.update(zip(map(id, inside), map(len, lists[len(own) :]), strict=True))
    run = whole | {place.node for place in places}
    changed: dict[int, Any] = {}  # new tensors by the id of those that they replace
    extras: dict[tuple[int, int], list[Any]] = {}  # by place
    for node in calls_in_order(graph):
        if node not in run or node.is_input:
            continue
        operation = node.operation
        if operation not in made and changed.keys().isdisjoint(map(id, node.input_tensors)):
            continue
        given = {id(tensor): changed.get(id(tensor), tensor) for tensor in node.input_tensors}
        args, kwargs = node.arguments.fill_in(given)
        answers = keras.tree.flatten(made.get(operation, operation)(*args, **kwargs))
        count = counts.get(operation, len(answers))
        changed |= zip(map(id, node.outputs), answers[:count], strict=False)
        for place in opened.get(operation, ()):
            size = sizes[id(place)]
            extras[id(place), id(node)] = answers[count : count + size]
            count += size
    return [
        extras[id(place), id(place.node)]
        if place.inner is not None
        else _chosen(place, [changed.get(id(tensor), tensor) for tensor in place.node.outputs])
        for place in places
    ]


def _chosen(place: _Place, tensors: Sequence[Any]) -> list[Any]:
    return list(tensors) if place.index is None else [tensors[place.index]]


def _place_of(tensor: Any) -> _Place:
    operation, call, index = tensor._keras_history
    return _Place(operation._inbound_nodes[call], index)


def graph_of(model: Any) -> Any:
    """Return the functional model that a model is or holds, None where it is another layer."""
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if hasattr(model, "_nodes_by_depth") else None


def calls_in_order(graph: Any) -> Iterator[Any]:
    """Yield the calls of a functional model's layers, each after those that it reads from."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        yield from graph._nodes_by_depth[depth]


def _operations(graph: Any) -> dict[str, Any]:
    """Return the layers and operations of a functional model by name, without its inputs."""
    return {
        node.operation.name: node.operation for node in calls_in_order(graph) if not node.is_input
    }


def _calls(graph: Any, operation: Any) -> list[Any]:
    """Return the calls of a layer in this model, in the order that they were written in."""
    present = set(calls_in_order(graph))
    return [node for node in operation._inbound_nodes if node in present]


def _sources(node: Any) -> list[str]:
    return list(dict.fromkeys(parent.operation.name for parent in node.parent_nodes))


def _nodes_before(nodes: Iterable[Any]) -> set[Any]:
    """Return the nodes and all those that they read from."""
    found: set[Any] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.parent_nodes
    return found


def _ancestors(tensors: Iterable[Any]) -> Iterator[Any]:
    for node in _nodes_before(_place_of(tensor).node for tensor in tensors):
        yield from node.outputs


def _without(structure: Any, dropped: set[int]) -> Any:
    """Return a structure of tensors without those of these ids."""
    if isinstance(structure, Mapping):
        pairs = {key: _without(value, dropped) for key, value in structure.items()}
        return {key: value for key, value in pairs.items() if value is not None} or None
    if isinstance(structure, (list, tuple)):
        items = [_without(value, dropped) for value in structure]
        return [item for item in items if item is not None] or None
    return None if id(structure) in dropped else structure


def _paths(graph: Any, before: str = "") -> Iterator[str]:
    """Yield the names of a model's layers, those of nested models as paths."""
    for name, operation in _operations(graph).items():
        yield before + name
        inner = graph_of(operation)
        if inner is not None:
            yield from _paths(inner, f"{before}{name}/")


def _closed(graph: Any) -> str:
    """Return what to add where a layer may be one of a subclassed model's, which are not known."""
    for operation in _operations(graph).values():
        if isinstance(operation, keras.Model) and graph_of(operation) is None:
            kind = type(operation).__name__
            return f", and those that the call of '{operation.name}' ({kind}) uses are not known"
    return ""


def _no_such_name(name: str, known: Sequence[str], found: str, why: str = "") -> OptionError:
    known = list(dict.fromkeys(known))
    near = [path for path in known if path.rpartition("/")[2] == name]
    near += [path for path in difflib.get_close_matches(name, known, n=3) if path not in near]
    hint = f"did you mean {_listed(near[:3])}?" if near else f"name one of {_listed(known)}"
    return OptionError(f"{found} '{name}'{why}, expected outputs to name one that is there: {hint}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + more
