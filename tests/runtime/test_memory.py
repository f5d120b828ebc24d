"""Memory: flat over many calls of many shapes, and over many lives of a predictor."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx_writer as ow
import pytest
from examples import Child, identity, mlp_artifact

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

HELD = """
import gc, pathlib, sys
import numpy as np
import edgeport
def held():
    gc.collect()
    text = pathlib.Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024
"""

CALLS = """
rng = np.random.default_rng(0)
with edgeport.Predictor.load(sys.argv[1]) as predictor:
    def calls(count):
        for number in range(count):
            shape = int(rng.integers(0, 40)), int(rng.integers(1, 60)), 4
            x = rng.random(shape).astype("f4")
            if number % 10:
                assert predictor.predict(x).shape == shape
            elif len(x):
                predictor.predict(x[0].tolist())
            if number % 5 == 0:
                try:
                    predictor.predict(x[..., :3])
                except edgeport.InputError:
                    continue
                raise SystemExit("accepted")
    calls(1000)
    before = held()
    calls(int(sys.argv[2]))
    print(held() - before)
"""

LIVES = """
import hashlib  # OpenSSL's library, 4 MB, which a process that loads often loads once
def lives(count):
    for number in range(count):
        with edgeport.Predictor.load(sys.argv[1], threads=1 + number % 2) as predictor:
            for x in (np.zeros(6, "f4"), np.zeros((1, 6), "f4"), [0] * 6):
                for _ in range(3):
                    predictor.predict(x)
            predictor.reload()
            predictor.predict([0] * 6, timeout=60)
lives(50)
before = held()
lives(int(sys.argv[2]))
print(held() - before)
"""

HUGE = """
with edgeport.Predictor.load(sys.argv[1]) as predictor:
    predictor.predict(np.zeros((100, 50, 4), "f4"))
    before = held()
    x = np.zeros((200_000, 50, 4), "f4")
    y = predictor.predict(x)
    assert y.shape == x.shape
    del x, y
    print(held() - before)
"""


@linux
@pytest.mark.parametrize(
    ("code", "count", "limit"), [(CALLS, 10_000, 4 * 2**20), (LIVES, 500, 4 * 2**20)]
)
def test_memory_is_flat(code: str, count: int, limit: int, tmp_path: Path, child: Child) -> None:
    """10,000 calls of mixed shapes, some refused; 500 times load, reload and close."""
    path = tmp_path / "model.onnx"
    is_calls = code is CALLS
    path.write_bytes(identity("float32", ("N", "T", 4)).artifact() if is_calls else mlp_artifact())
    result = child(HELD + code, path, count)
    assert result.stderr == ""
    assert int(result.stdout) < limit


@linux
def test_a_huge_batch_leaves_no_memory_behind(tmp_path: Path, child: Child) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(identity("float32", ("N", "T", 4)).artifact())
    result = child(HELD + HUGE, path)
    assert result.stderr == ""
    # The batch has 160 MB, its answer as many. The C library keeps up to 64 MiB for the next time.
    assert int(result.stdout) < 72 * 2**20


LITTLE = """
import resource, sys
import edgeport
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    edgeport.Predictor.load(sys.argv[1])
except edgeport.InferenceError as error:
    print(error)
"""


@linux
@pytest.mark.parametrize("extra_mib", [10, 40, 60])
def test_a_load_that_memory_cannot_hold_says_so(
    extra_mib: int, tmp_path: Path, child: Child
) -> None:
    """While the file is read, while it is parsed, and while the engine starts."""
    path = tmp_path / "large.onnx"
    weight = np.zeros((2000, 4000), "f4")  # 32 MB
    content = ow.graph(
        [ow.node("MatMul", ["x", "w"], ["y"])],
        [("x", "float32", ["N", 2000])],
        [("y", "float32", ["N", 4000])],
        {"w": weight},
    )
    path.write_bytes(ow.model(content))
    result = child(
        "import warnings; warnings.simplefilter('ignore')" + LITTLE, path, extra_mib << 20
    )
    assert result.stderr == ""
    assert result.stdout.startswith("there is not enough memory to load the artifact (")
