"""How long a call of the Keras model takes, for all models in one process; TensorFlow runs here.

    python -m peers.keras_calls THREADS ROUNDS RESULT.json JOBS

JOBS is JSON: by name the model's path and that of its samples. TensorFlow takes its number of
threads once, before it starts, hence a process for each. A call is ``model(x, training=False)`` on
a numpy array with one sample, as a user calls it, until the answer is a numpy array; of a
SavedModel it is its signature.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def main(threads: str, rounds: str, result: str, jobs: str) -> None:
    import tensorflow as tf

    from edgeport_converter.loading.load import load_model
    from peers.timing import by_turns

    tf.config.threading.set_intra_op_parallelism_threads(int(threads))
    tf.config.threading.set_inter_op_parallelism_threads(1)
    found = {}
    for name, (source, samples) in json.loads(jobs).items():
        with np.load(samples) as data:
            x = data["x"][:1]
        call = keras_call(load_model(source))
        found[name] = by_turns({"keras": call}, x, int(rounds))["keras"]
    Path(result).write_text(json.dumps(found), encoding="utf-8")


def keras_call(loaded: Any) -> Callable[[np.ndarray], np.ndarray]:
    if loaded.model is not None:
        return lambda x: np.asarray(loaded.model(x, training=False))
    import tensorflow as tf

    (given,), (answer,) = loaded.inputs, loaded.outputs
    return lambda x: loaded.call({given.name: tf.constant(x)})[answer.name].numpy()


if __name__ == "__main__":
    main(*sys.argv[1:])
