"""Weights rounded by what their layers read, and each only once.

A search builds many graphs of one model, which differ in the ranges of the activations and in the
layers that stay in float. Most of their weights are the same, with the same scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import numpy as np

from edgeport.golden import Array
from edgeport_converter.quantization.moments import Moments
from edgeport_converter.quantization.rounding import Rounded, round_weights


class Rounder:
    """Rounds weights with ``rounding`` and remembers the codes.

    Args:
        moments: of the layers' inputs by node name; the weights of all other layers are rounded to
            the nearest code.
    """

    def __init__(self, moments: Mapping[str, Moments] | None = None) -> None:
        self._moments = moments or {}
        self._known: dict[bytes, Rounded] = {}

    def mean(self, node: str) -> Array | None:
        """Return the mean (G, K) of what a layer's sums read, None where it was not measured."""
        known = self._moments.get(node)
        return None if known is None else known.mean

    def covariance(self, readers: Mapping[str, bool]) -> Array | None:
        """Return what the weights' errors are weighed by, (G, K, K); None where it is not known.

        Args:
            readers: the names of the layers that read the same weights, and whether each has a
                bias that can take out the mean of the error.
        """
        total: Array | float = 0.0
        for name, has_bias in readers.items():
            known = self._moments.get(name)
            if known is None or known.covariance is None:
                return None
            total = total + known.covariance
            if not has_bias:
                total = total + known.mean[:, :, None] * known.mean[:, None, :]
        return np.asarray(total)

    def round(
        self, weights: Array, scales: Array, readers: Mapping[str, bool], *, pairs: bool
    ) -> Rounded:
        """Return the codes, rounded by the readers' inputs where these are known.

        Args:
            weights: (G, O, K).
            scales: (G, O).
            readers: as for ``covariance``.
            pairs: as for ``rounding.round_weights``.
        """
        digest = sha256(repr((sorted(readers.items()), pairs)).encode())
        for array in (weights, scales):
            digest.update(array.tobytes())
        key = digest.digest()
        if key not in self._known:
            covariance = self.covariance(readers)
            self._known[key] = round_weights(weights, scales, covariance, pairs=pairs)
        return self._known[key]
