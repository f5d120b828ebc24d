"""A card-less file with any damage: no foreign exception, no silence about what nobody vouches."""

from __future__ import annotations

from pathlib import Path

from examples import Child, mlp

# The engine is C++: what it does with damaged bytes is tried where a crash would be seen.
CODE = """
import sys, pathlib
import numpy as np
import edgeport
model = pathlib.Path(sys.argv[1]).read_bytes()
rng = np.random.default_rng(int(sys.argv[2]))
refused = 0
for number in range(2000):
    position = int(rng.integers(len(model)))
    if number % 5 == 0:
        damaged = model[:position]
    elif number % 5 == 1:
        damaged = model[:position] + rng.bytes(int(rng.integers(1, 9))) + model[position:]
    else:
        damaged = bytearray(model)
        for place in rng.integers(len(model), size=number % 5 - 1):
            damaged[place] ^= 1 << int(rng.integers(8))
    try:
        with edgeport.Predictor.load(bytes(damaged)) as predictor:
            assert not predictor.card.is_vouched_for
            predictor.predict(np.ones((2, 6), "f4"))
    except edgeport.EdgeportError as error:
        assert str(error) and "\\n" not in str(error), error
        refused += 1
print(refused)
"""


def test_two_thousand_damaged_files_without_a_card(tmp_path: Path, child: Child) -> None:
    path = tmp_path / "plain.onnx"
    path.write_bytes(mlp().onnx)
    result = child(CODE, path, 20261124)
    assert (result.returncode, result.stderr) == (0, "")
    assert 500 < int(result.stdout) < 2000
