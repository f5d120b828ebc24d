"""The card of an artifact: what its self-test allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeport import ModelCard, Quantization, TensorSpec
from edgeport.artifact.golden import GoldenOutput
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

    answer = GoldenOutput.of(run(tried)["y"], 128)
    assert writer._allowed(run, card, None)({"y": answer}) == {
        "y": pytest.approx(1e-5 + 2.0 * 1e-4)
    }


def test_a_generated_sample_with_large_answers_counts() -> None:
    """Without data the golden samples of a large image are ramps, which no image is like."""
    spec = TensorSpec("y", np.dtype("f4"), ("N", 3))
    unused: Any = None
    samples = {"x": np.zeros((4, 3), "f4")}
    writer = ArtifactWriter(
        ModelCard("loud", (), (spec,)), device=unused, samples=samples, tried=samples, layers=unused
    )

    def run(batch: Any) -> dict[str, Any]:
        loud = np.abs(batch["x"]).max() > 0
        return {"y": np.full((len(batch["x"]), 3), 5.0 if loud else 0.01, "f4")}

    quiet, loud = (
        GoldenOutput.of(run({"x": np.full((1, 3), value)})["y"], 128) for value in (0.0, 255.0)
    )
    allowed = writer._allowed(run, writer.card, None)
    assert allowed({"y": quiet}) == {"y": pytest.approx(1e-5 + 1e-6)}
    assert allowed({"y": loud}) == {"y": pytest.approx(1e-5 + 5e-4)}


@pytest.mark.parametrize("quantization", [None, Quantization("static", "int8", "int8", "any")])
def test_answers_far_below_1_are_held_to_their_size(quantization: Any) -> None:
    spec = TensorSpec("y", np.dtype("f4"), ("N", 3))
    card = ModelCard("small", (), (spec,), quantization=quantization)
    unused: Any = None
    samples = {"x": np.zeros((4, 3), "f4")}

    def allowed(floors: Any) -> Any:
        writer = ArtifactWriter(
            card, device=unused, samples=samples, tried=samples, layers=unused, floors=floors
        )

        def run(_: Any) -> dict[str, Any]:
            return {"y": np.full((4, 3), 1e-6, "f4")}

        output = GoldenOutput.of(run(samples)["y"], 128)
        return writer._allowed(run, card, None)({"y": output})["y"]

    assert allowed({}) > 1e-6  # any answer would pass
    assert allowed({"y": 1e-8}) == pytest.approx(1e-8 + 1e-10 if quantization is None else 2e-8)
