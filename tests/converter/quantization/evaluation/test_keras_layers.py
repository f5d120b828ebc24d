import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeport import OptionError
from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers

NODES = (
    "net/block_1/conv/Conv",
    "net/block_1/relu/Relu",
    "net/block_2/conv/Conv",
    "net/dense/MatMul",
    "net/dense_1/MatMul",
    "Transpose__12",
)
LAYERS = KerasLayers(
    ["net", "block_1", "block_2", "conv", "relu", "dense", "dense_1", "batch_normalization"]
)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["dense"], {NODES[3]}),
        (["dense_1"], {NODES[4]}),
        (["dense*"], {NODES[3], NODES[4]}),
        (["block_1"], {NODES[0], NODES[1]}),
        (["block_1/conv"], {NODES[0]}),
        (["block_*"], set(NODES[:3])),
        (["conv", "dense"], {NODES[0], NODES[2], NODES[3]}),
        (["net"], set(NODES[:5])),
        ([], set()),
    ],
)
def test_layers_are_found_by_name_and_pattern(patterns, expected):
    assert LAYERS.find_nodes(patterns, NODES) == expected


def test_the_scopes_of_a_saved_model_stand_for_its_layers():
    assert KerasLayers().find_nodes(["relu"], NODES) == {NODES[1]}


def test_an_unknown_layer_is_refused_with_the_nearest_name():
    with pytest.raises(OptionError, match=r"called 'denes'.*did you mean 'dense'"):
        LAYERS.find_nodes(["denes"], NODES)


def test_a_layer_that_was_folded_away_is_refused_as_such():
    with pytest.raises(OptionError, match=r"'batch_normalization' has no operation of its own"):
        LAYERS.find_nodes(["batch_normalization"], NODES)


def test_nameless_nodes_belong_to_the_layer_before_them_or_else_after_them():
    def node(name, source, target):
        return helper.make_node("Relu", [source], [target], name=name)

    graph = helper.make_graph(
        [
            node("Transpose__1", "x", "a"),
            node("net/dense/MatMul", "a", "b"),
            node("", "b", "c"),
            node("Reshape__7", "c", "d"),
            node("net/relu/Relu", "d", "y"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    assert LAYERS.owners(ir.from_proto(graph)) == ["dense", "dense", "dense", "dense", "relu"]
