"""The last stage: put card and seal into the file, then replace the target.

Nothing may touch the bytes afterwards; metadata is lost by most tools that rewrite a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from edgeport import ConversionError, GoldenSample, ModelCard, OptionError
from edgeport.artifact.seal import check_seal, read, seal
from edgeport.atomic_files import replacing
from edgeport_converter.verification.runners import Run, Runner


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
