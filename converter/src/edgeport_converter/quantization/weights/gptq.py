"""GPTQ: from float weights to int8 codes, with the least error in the layer's outputs.

Plain numpy on one layer's weights in the form (G groups, O outputs, K inputs of a sum), with one
scale a channel and 7 or 8 bits. ``moments`` measures the covariances of the inputs; ``int8_layers``
and ``weight_only`` put the codes into a graph.

Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers" (2022), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from edgeport.artifact.golden import Array
from edgeport_converter.quantization.weights.moments import Moments

FULL_LIMIT = 127

# Source: vpmaddubsw of AVX2 adds two products u8 * s8 into a saturating int16. With x <= 255 and
# |w1 + w2| <= 128, |x1 w1 + x2 w2| <= 255 * 128 = 32,640 < 32,767, whichever two weights of a
# channel a kernel pairs. Weights of opposite signs never add up.
PAIR_LIMIT = 128

# Added to the covariance's diagonal, as a share of its mean: inputs that never vary together on a
# few hundred samples may do so on a device. Source: Frantar et al., section 3.3, step 3.
_DAMPING = 0.01

# The error of a block is taken off the weights after it in one product of matrices: one input at a
# time, all weights would go through memory for each. Source: Frantar et al., section 3.3, step 2.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Rounded:
    """Codes (G, O, K) int8 and scales (G, O): a weight is code * scale."""

    codes: Array
    scales: Array


def choose_scales(weights: Array, *, pairs: bool, least: Array) -> Array:
    """Return the smallest scales (G, O) at which every weight has a code.

    Args:
        weights: (G, O, K).
        pairs: whether two codes of one sign may add up to 128 at most, else each may be 127.
        least: (G, O) scales that must not be undercut, such as a bias needs.
    """
    largest = np.abs(weights).max(axis=2)
    scales = largest / FULL_LIMIT
    if pairs and weights.shape[2] > 1:
        for signed in (weights, -weights):
            two = np.partition(np.maximum(signed, 0), -2, axis=2)[..., -2:]
            scales = np.maximum(scales, two.sum(axis=2) / PAIR_LIMIT)
    result: Array = np.maximum(scales, least)
    return result


def round_weights(
    weights: Array, scales: Array, covariance: Array | None, *, pairs: bool
) -> Rounded:
    """Return codes with the least squared error of the sums, as far as GPTQ finds it.

    Steps:

    1. Order the inputs by variance, the largest first.
    2. Add damping to the covariance H of the inputs and take the Cholesky factor of its inverse.
       Row j of it is how the inputs j.. make up for an error at j.
    3. For each input in turn, round its weights to the nearest code within the limits.
    4. Take the error off the weights that are still to come, by the factor's row: at once within a
       block of inputs, and for all blocks after it when it is done.

    Args:
        weights: (G, O, K).
        scales: (G, O), as ``choose_scales`` gives them.
        covariance: of the inputs, (G, K, K); None rounds to the nearest code.
        pairs: as for ``choose_scales``.
    """
    low, high = _limits(weights / scales[..., None], pairs=pairs)
    if covariance is None:
        nearest = np.clip(np.rint(weights / scales[..., None]), low, high)
        return Rounded(nearest.astype(np.int8), scales)
    groups, _, length = weights.shape
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    order = np.argsort(-variance, axis=1, kind="stable")
    damping = _DAMPING * np.maximum(variance.mean(axis=1), 1e-30)
    ordered = np.take_along_axis(
        np.take_along_axis(covariance, order[:, :, None], axis=1), order[:, None, :], axis=2
    )
    ordered = ordered + damping[:, None, None] * np.eye(length)
    factor = np.linalg.cholesky(np.linalg.inv(ordered)).transpose(0, 2, 1)
    rest = np.take_along_axis(weights.astype(np.float64), order[:, None, :], axis=2).copy()
    low, high = (np.take_along_axis(limit, order[:, None, :], axis=2) for limit in (low, high))
    codes = np.empty_like(rest)
    for start in range(0, length, _BLOCK):
        stop = min(start + _BLOCK, length)
        errors = np.empty_like(rest[..., start:stop])
        for place in range(start, stop):
            codes[..., place] = np.clip(
                np.rint(rest[..., place] / scales), low[..., place], high[..., place]
            )
            error = (rest[..., place] - codes[..., place] * scales) / factor[:, None, place, place]
            rest[..., place:stop] -= error[..., None] * factor[:, None, place, place:stop]
            errors[..., place - start] = error
        rest[..., stop:] -= errors @ factor[:, start:stop, stop:]
    result = np.empty_like(codes)
    result[
        np.arange(groups)[:, None, None], np.arange(codes.shape[1])[:, None], order[:, None, :]
    ] = codes
    return Rounded(result.astype(np.int8), scales)


def _limits(exact: Array, *, pairs: bool) -> tuple[Array, Array]:
    """Return the lowest and highest code of each weight, so that no two exceed the pair limit.

    The largest weight of each sign keeps its code a, all others get what it leaves, 128 - a.
    """
    high = np.full(exact.shape, float(FULL_LIMIT))
    if not pairs:
        return -high, high
    limits = []
    for signed in (-exact, exact):
        top = signed.argmax(axis=2)[..., None]
        most = np.rint(np.take_along_axis(signed, top, axis=2))
        most = np.clip(most, PAIR_LIMIT // 2, FULL_LIMIT)
        limit = np.broadcast_to(PAIR_LIMIT - most, exact.shape).copy()
        np.put_along_axis(limit, top, most, axis=2)
        limits.append(limit)
    return -limits[0], limits[1]


class Rounder:
    """Rounds weights with ``round_weights`` and remembers the codes.

    Args:
        moments: of the layers' inputs by node name; the weights of all other layers are rounded to
            the nearest code.
        scales: (G, O) by the name of weights whose scales are given, as training finds them.
    """

    def __init__(
        self,
        moments: Mapping[str, Moments] | None = None,
        scales: Mapping[str, Array] | None = None,
    ) -> None:
        self._moments, self._scales = moments or {}, scales or {}
        self._known: dict[bytes, Rounded] = {}

    def with_scales(self, scales: Mapping[str, Array]) -> Rounder:
        """Return a rounder of the same layers, some of whose weights have given scales."""
        return Rounder(self._moments, scales)

    def scales(self, weights: str | None) -> Array | None:
        """Return the given scales of weights by their name, None where there are none."""
        return self._scales.get(weights or "")

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
        """Return the codes, rounded by the readers' inputs where these are known."""
        digest = sha256(repr((sorted(readers.items()), pairs)).encode())
        for array in (weights, scales):
            digest.update(array.tobytes())
        key = digest.digest()
        if key not in self._known:
            covariance = self.covariance(readers)
            self._known[key] = round_weights(weights, scales, covariance, pairs=pairs)
        return self._known[key]
