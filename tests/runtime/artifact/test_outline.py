"""What is searched of a large model: all but the values of its weights, or else everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_writer as ow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeport import Predictor
from edgeport.artifact import protobuf
from edgeport.artifact.protobuf import outline as outline_of

LARGE = np.random.default_rng(1).integers(0, 256, 2**19, np.uint8)
SHOUT = np.frombuffer(b"\x0a\x08location\x22\x04Loop" + bytes(2**19), np.uint8)


def around(values: np.ndarray, *, later: bytes = b"") -> bytes:
    """A model of a node in front of a large weight and another behind it."""
    inside = ow.graph([ow.node("Identity", ["a"], ["b"])], [], [("b", "float32", [1])])
    content = ow.graph(
        [ow.node("If", ["c"], ["d"], then_branch=inside, else_branch=inside)],
        [("c", "bool", [1])],
        [("d", "float32", [1])],
        {"small": np.arange(3, dtype="f4"), "large": values},
        raw_weights=[later] if later else [],
    )
    return ow.model(content + ow.block(1, ow.node("NonZero", ["d"], ["e"])))


def test_all_but_the_values_of_large_weights_is_left() -> None:
    model = around(LARGE)
    start = model.index(LARGE.tobytes())
    assert outline_of(model) == model[:start] + model[start + len(LARGE) :]


def test_a_weight_that_looks_like_a_node_is_none() -> None:
    assert b"location" not in outline_of(around(SHOUT))
    assert b"Loop" not in outline_of(around(SHOUT))


@pytest.mark.parametrize("values", [LARGE, SHOUT], ids=["noise", "zeros"])
def test_what_comes_behind_a_large_weight_is_left(values: np.ndarray) -> None:
    elsewhere = ow.tensor("other", LARGE, external={"location": "w.bin"})
    left = outline_of(around(values, later=elsewhere))
    for text in (b"location", b"w.bin", b"NonZero", b"Identity", b"If", b"other", b"large"):
        assert text in left


def test_a_name_in_a_large_weight_hides_nothing() -> None:
    """Entries of a weight that has values, too, and more of them than its values."""
    entries = {f"key {number}": "x" * 100 for number in range(100)} | {"location": "w.bin"}
    both = ow.tensor("both", LARGE) + ow.text_map(13, entries)
    assert b"w.bin" in outline_of(around(LARGE, later=both))


@pytest.mark.parametrize("values", [4, 5, 6, 7, 10, 11])
def test_values_in_lists_are_left_out(values: int) -> None:
    weight = ow.number(1, 2**17) + ow.number(2, 1) + ow.block(values, LARGE.tobytes())
    model = around(LARGE[:3], later=weight)
    assert len(outline_of(model)) == len(model) - len(LARGE)


@given(st.integers(0, 2**10), st.binary(min_size=1, max_size=30))
def test_bytes_that_are_no_message_stay_as_they_are(place: int, junk: bytes) -> None:
    """Or, where the damage is to a text, all but the values."""
    model = bytearray(around(LARGE))
    model[place : place + len(junk)] = junk
    start = model.find(LARGE.tobytes()[1024:]) - 1024  # the damage may reach into the values
    assert outline_of(bytes(model)) in (model, model[:start] + model[start + len(LARGE) :])


@given(st.lists(st.integers(0, 4), min_size=4, max_size=4), st.booleans())
def test_numbers_may_be_written_longer_than_they_are(pads: list[int], is_twice: bool) -> None:
    """Protobuf takes 7 as two bytes or more, and a graph in two parts as one."""

    def padded(number: int, more: int) -> bytes:
        groups = ow.varint(number)
        if not more:
            return groups
        return groups[:-1] + bytes([groups[-1] | 128]) + b"\x80" * (more - 1) + b"\0"

    def block(field: int, content: bytes, tag: int, size: int) -> bytes:
        return padded(field << 3 | 2, tag) + padded(len(content), size) + content

    elsewhere = ow.tensor("other", LARGE[:2000], external={"location": "w.bin"})
    inside = block(5, ow.tensor("large", SHOUT), *pads[:2]) + block(5, elsewhere, *pads[:2])
    model = ow.number(1, 8) + block(7, inside, *pads[2:])
    model += block(7, ow.block(1, ow.node("Loop", [], [])), *pads[2:]) * is_twice
    left = outline_of(model)
    assert len(left) == len(model) - len(SHOUT)
    assert b"w.bin" in left
    assert (b"Loop" in left) == is_twice


def test_only_weights_of_the_graph_lose_their_values() -> None:
    """A large text in another place that looks like one stays: who knows what it means?"""
    weight = ow.tensor("w", LARGE)
    metadata = ow.block(5, weight) + ow.block(7, weight)  # fields 5 and 7 of the model and a node
    graph = ow.block(7, ow.block(5, weight)) + ow.block(1, ow.block(5, weight))
    model = ow.number(1, 8) + ow.block(14, metadata) + ow.block(5, weight) + ow.block(7, graph)
    assert outline_of(model) == model


@pytest.mark.parametrize("size", [2**18 + 1, 2**19])
def test_a_model_cut_short_is_searched_whole(size: int) -> None:
    model = around(LARGE)[:size]
    assert outline_of(model) == model


def test_a_small_model_is_searched_whole() -> None:
    model = around(LARGE[:2000])
    assert outline_of(model) is model


def test_groups_are_searched_whole() -> None:
    """They are protobuf's oldest form, which ONNX does not use."""
    model = around(LARGE) + ow.varint(99 << 3 | 3) + ow.varint(99 << 3 | 4)
    assert outline_of(model) == model


def test_a_model_whose_weights_look_like_another_file_answers(tmp_path: Path) -> None:
    """It has nothing in other files, so that no card has to vouch for one."""
    scale = SHOUT[: 2**18 + 100].astype("f4")
    content = ow.graph(
        [ow.node("Mul", ["x", "w"], ["a"]), ow.node("ReduceSum", ["a"], ["y"], keepdims=0)],
        [("x", "float32", scale.shape)],
        [("y", "float32", [])],
        {"w": scale},
    )
    path = tmp_path / "sum.onnx"
    path.write_bytes(ow.model(content))
    with Predictor.load(path) as predictor:
        x = np.ones(scale.shape, "f4")
        assert predictor.predict(x) == scale.sum(dtype="f8")
    assert len(path.read_bytes()) > protobuf._SMALL_MODEL
