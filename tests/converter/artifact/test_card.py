"""The card of an artifact: what its self-test allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeport import ModelCard, TensorSpec
from edgeport_converter.artifact.card import ArtifactWriter


@pytest.mark.parametrize("unusual", [-np.inf, np.inf, np.nan])
def test_an_infinite_output_leaves_the_self_test_strict(unusual: float) -> None:
    """As of log(0): a tolerance taken from it would let anything pass."""
    spec = TensorSpec("y", np.dtype("f4"), ("N", 3))
    card = ModelCard("log", (), (spec,))
    tried = {"x": np.zeros((1, 3), "f4")}
    unused: Any = None
    writer = ArtifactWriter(card, device=unused, samples=None, tried=tried, layers=unused)

    def run(_: Any) -> dict[str, Any]:
        return {"y": np.array([[-2.0, 1.0, unusual]], "f4")}

    assert writer._tolerance(run, card, None, []) == {"y": pytest.approx(2.0 * 1e-4)}


def test_a_generated_sample_with_large_answers_counts() -> None:
    """Without data the golden samples of a large image are ramps, which no image is like."""
    spec = TensorSpec("y", np.dtype("f4"), ("N", 3))
    unused: Any = None
    samples = {"x": np.zeros((4, 3), "f4")}
    writer = ArtifactWriter(
        ModelCard("loud", (), (spec,)), device=unused, samples=samples, tried=samples, layers=unused
    )
    ramp = {"inputs": {"x": {"dtype": "float32", "shape": [1, 3], "ramp": [0.0, 255.0, 0.0]}}}

    def run(batch: Any) -> dict[str, Any]:
        loud = np.abs(batch["x"]).max() > 0
        return {"y": np.full((len(batch["x"]), 3), 5.0 if loud else 0.01, "f4")}

    assert writer._tolerance(run, writer.card, None, [ramp]) == {"y": pytest.approx(5e-4)}
