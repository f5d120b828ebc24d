"""The last stage: put card, golden samples and seal into the file, then replace the target.

Nothing may touch the bytes afterwards; metadata is lost by most tools that rewrite a graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgeport import ConversionError, GoldenSample, ModelCard, OptionError, TensorSpec
from edgeport.artifact import golden
from edgeport.artifact.golden import Array, GoldenOutput
from edgeport.artifact.seal import check_seal, read, seal
from edgeport.atomic_files import replacing
from edgeport_converter.verification.runners import Run, Runner

# A golden input is stored as it is up to this many characters; a larger one in blocks.
_STORED_INPUT_CHARACTERS = 2048
_BLOCKS = 1024  # codes of 8 bits, together no longer than the above
# Kept of each golden output; a kernel that saturates is wrong in far more than one place.
_OUTPUT_VALUES = 128
_DEFAULT_RANGE = (0.0, 1.0)


def make_golden_samples(
    run: Run,
    inputs: Sequence[TensorSpec],
    samples: Mapping[str, Array] | None,
    together: int = 1,
) -> list[dict[str, Any]]:
    """Return golden samples in their JSON form, with the outputs that ``run`` gives.

    Args:
        run: the graph that is about to be stamped, computed as ONNX defines it.
        inputs: the model's inputs; ``value_range`` spans the generated ones.
        samples: data by input name, axis 0 counts samples. The two with the largest sum of
            absolute values are taken, since large activations are where integer kernels saturate.
            None for ramps, for a model without free axes but the batch.
        together: how many samples each golden sample holds, those that follow in the data.
    """
    if samples is None:
        chosen: list[dict[str, Array] | None] = [None, None]
    else:
        energy = sum(
            np.abs(array.astype(np.float64)).reshape(len(array), -1).sum(axis=1)
            for array in samples.values()
            if array.dtype.kind in "iufb"
        )
        order = np.argsort(-np.asarray(energy), kind="stable")[:2]
        chosen = [
            {
                name: a.take(range(i, i + together), axis=0, mode="wrap")
                for name, a in samples.items()
            }
            for i in order
        ]
    result = []
    for number, sample in enumerate(chosen):
        encoded = {
            spec.name: _encode_input(
                spec, None if sample is None else sample[spec.name], number, together
            )
            for spec in inputs
        }
        outputs = run({name: golden.decode_array(array) for name, array in encoded.items()})
        result.append(
            {
                "inputs": encoded,
                "outputs": {
                    name: golden.encode_output(GoldenOutput.of(array, _OUTPUT_VALUES))
                    for name, array in outputs.items()
                },
            }
        )
    return result


def stamp(graph: onnx.ModelProto, card: str) -> bytes:
    """Return the artifact's bytes.

    Raises:
        ConversionError: the graph breaks a rule of ONNX.
    """
    try:
        onnx.checker.check_model(graph)
    except onnx.checker.ValidationError as cause:
        raise ConversionError(
            f"the graph breaks a rule of ONNX ({str(cause).splitlines()[0]}): report this model"
        ) from cause
    return seal(graph.SerializeToString(deterministic=True), card)


def write(
    artifact: bytes,
    output: Path,
    run: Run,
    samples: Sequence[GoldenSample],
    runner: Runner,
) -> None:
    """Write the file beside the target, load it as a device would, then move it into place.

    Args:
        artifact: what ``stamp`` returned.
        output: the target; it is replaced in one step, or left as it was.
        run: the graph before stamping, whose answers the file must give to the bit.
        samples: what to compare on.
        runner: says how ``run`` computes; the file is run in the same way.

    Raises:
        ConversionError: the target cannot be written, or the file answers differently.
    """
    try:
        with replacing(output) as file:
            file.write(artifact)
            file.flush()
            with runner.open_file(Path(file.name)) as written:
                _require_same_answers(written, run, samples)
    except OptionError as cause:
        raise ConversionError(str(cause)) from cause


def read_card(path: Path) -> ModelCard:
    """Return the card of a sealed file without running its graph."""
    sealed = check_seal(read(path))
    assert sealed is not None  # noqa: S101 - the file was sealed just before
    return ModelCard.from_json(sealed.card_json, sha256=sealed.sha256)


def _require_same_answers(written: Run, run: Run, samples: Sequence[GoldenSample]) -> None:
    for sample in samples:
        expected, found = run(sample.inputs), written(sample.inputs)
        for name, array in expected.items():
            if not np.array_equal(array, found[name], equal_nan=array.dtype.kind == "f"):
                raise ConversionError(
                    f"the stamped file gives another '{name}' than the graph it was made from, "
                    "expected the same bits: report this model"
                )


def _encode_input(
    spec: TensorSpec, sample: Array | None, number: int, together: int
) -> dict[str, Any]:
    if sample is not None:
        stored = golden.encode_array(sample)
        if len(stored["zlib"]) <= _STORED_INPUT_CHARACTERS:
            return stored
        low, high = spec.value_range or _range_of(sample)
        return golden.encode_blocks(sample, low, high, _BLOCKS)
    low, high = spec.value_range or _DEFAULT_RANGE
    # N alone is free.
    shape = tuple(size if isinstance(size, int) else together for size in spec.shape)
    return golden.encode_ramp(shape, spec.dtype, low, high, start=number / 2)


def _range_of(sample: Array) -> tuple[float, float]:
    """Return the smallest and the largest number of a sample."""
    values = sample[np.isfinite(sample)].astype(np.float64)
    return (float(values.min()), float(values.max())) if values.size else _DEFAULT_RANGE
