"""Which layers lose the signal."""

import numpy as np

from edgeport_converter.quantization.search.candidates import rank_by_error

Y = np.random.default_rng(0).normal(size=(50, 2)) * [1.0, 1e5] + [0.0, 1e6]
Y = Y.astype(np.float32)


def test_a_lost_channel_counts_beside_one_of_large_values():
    wrecks_the_small, rounds_the_large = Y.copy(), Y.copy()
    wrecks_the_small[:, 0] = 0.0
    rounds_the_large[:, 1] *= 1.001
    answers = {"a": rounds_the_large, "b": wrecks_the_small}

    def run_with_one_in_int8(layer):
        return lambda samples: {"y": answers[layer]}

    assert list(rank_by_error(["a", "b"], run_with_one_in_int8, {"y": Y}, {})) == ["b", "a"]
