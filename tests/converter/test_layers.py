import pytest

from edgeport import OptionError
from edgeport_converter.quantization.layers import find_nodes

NODES = ("net/block_1/conv/Conv", "net/block_1/relu/Relu", "net/block_2_1/conv/Conv",
         "net/head_3/MatMul")  # fmt: skip


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["head"], {NODES[3]}),
        (["block_1"], {NODES[0], NODES[1]}),
        (["block_2"], {NODES[2]}),
        (["block_*"], set(NODES[:3])),
        (["conv", "head"], {NODES[0], NODES[2], NODES[3]}),
        ([], set()),
    ],
)
def test_layers_are_found_by_name_and_pattern(patterns, expected):
    assert find_nodes(patterns, NODES) == expected


def test_an_unknown_layer_is_refused_with_the_nearest_name():
    with pytest.raises(OptionError, match=r"called 'haed'.*did you mean 'head'"):
        find_nodes(["haed"], NODES)
