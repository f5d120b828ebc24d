"""Files that no edgeport can run: the sentence names what helps, not what is said by habit."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_writer as ow
import pytest
from examples import mlp_artifact

from edgeport import ArtifactError, InferenceError, InputError, Predictor

SHAPE = ("N", 4)
FLOAT_TENSOR = ow.block(1, ow.number(1, 1))  # TypeProto: tensor_type 1 { elem_type 1 }
# TypeProto: sequence_type 4 { elem_type 1 }, map_type 5 { key_type 1, value_type 2 }
SEQUENCE = ow.block(1, "y") + ow.block(2, ow.block(4, ow.block(1, FLOAT_TENSOR)))
MAP = ow.block(5, ow.number(1, 7) + ow.block(2, FLOAT_TENSOR))
LIST_OF_MAPS = ow.block(1, "y") + ow.block(2, ow.block(4, ow.block(1, MAP)))


def file_of(
    operator: str,
    domain: str = "",
    *,
    given: str = "float32",
    answer: Any = ("y", "float32", SHAPE),
    **attributes: Any,
) -> bytes:
    node = ow.node(operator, ["x"], ["y"], domain, **attributes)
    domains = {domain: 3 if domain == "ai.onnx.ml" else 1} if domain else {}
    return ow.model(ow.graph([node], [("x", given, SHAPE)], [answer]), domains=domains)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (
            file_of("ZipMap", "ai.onnx.ml", answer=LIST_OF_MAPS, classlabels_int64s=[0, 1, 2, 3]),
            r"comes from a ZipMap; export without it, options={'zipmap': False} in skl2onnx$",
        ),
        (
            file_of("SequenceConstruct", answer=SEQUENCE),
            r"export it as one tensor, ConcatFromSequence joins a sequence$",
        ),
        (
            file_of("Cast", given="bfloat16", to=1),
            r"'x' of type tensor\(bfloat16\), .*numpy has no such numbers; export it as float32",
        ),
        (
            file_of("Magic", "com.acme"),
            r"Magic of 'com.acme' is a custom operator, which onnxruntime does not have; export",
        ),
        (
            file_of("BertTokenizer", "ai.onnx.contrib"),
            r"BertTokenizer of 'ai.onnx.contrib' is a custom operator",
        ),
        (file_of("TRT_EngineOp", "trt"), r"TRT_EngineOp of 'trt' is a custom operator"),
        (file_of("Magic"), r"ONNX has no Magic in this opset; export the model for another opset"),
        (
            file_of("Cast", given="float8e4m3fn", to=1),
            r"this device computes no such types; export the model in float32$",
        ),
    ],
)
def test_what_this_engine_cannot_run_is_said_with_what_helps(content: bytes, remedy: str) -> None:
    with pytest.raises(ArtifactError, match=remedy):
        Predictor.load(content)


def test_a_number_beyond_a_table_is_told_as_one() -> None:
    content = ow.graph(
        [ow.node("Gather", ["table", "x"], ["y"])],
        [("x", "int32", ["N", "T"])],
        [("y", "float32", ["N", "T", 2])],
        {"table": np.zeros((5, 2), "f4")},
    )
    with (
        Predictor.load(ow.model(content)) as predictor,
        pytest.raises(InferenceError, match=r"idx=5 .* such as a token outside of the vocabulary"),
    ):
        predictor.predict(np.array([[0, 5]], "i4"))


class Bfloat16OfTorch:
    """What numpy sees of a PyTorch tensor of bfloat16."""

    dtype = "torch.bfloat16"

    def __array__(self, *arguments: object, **options: object) -> None:
        raise TypeError("Got unsupported ScalarType BFloat16")


def test_a_tensor_that_numpy_cannot_read_names_the_conversion() -> None:
    with (
        Predictor.load(mlp_artifact()) as predictor,
        pytest.raises(InputError, match=r"ScalarType BFloat16\), .*x.float\(\) in PyTorch$"),
    ):
        predictor.predict(Bfloat16OfTorch())
