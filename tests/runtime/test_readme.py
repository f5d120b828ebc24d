"""Code of the README, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from examples import Child
from recordings import echo, strided, wav

README = Path(__file__).parents[2] / "runtime" / "README.md"


def code_after(heading: str) -> str:
    part = README.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    found = re.search(r"```python\n(.*?)```", part, re.DOTALL)
    assert found is not None
    return found[1]


def test_a_wav_file_as_a_microphone(child: Child, tmp_path: Path) -> None:
    code = code_after("Sound and other signals")
    assert len(code.strip().splitlines()) <= 11
    recording = np.random.default_rng(5).integers(-9, 10, 1000).astype("<i2")
    (tmp_path / "keywords.onnx").write_bytes(echo(4, 200, rate=400).artifact())
    (tmp_path / "sound.wav").write_bytes(wav(recording.tobytes(), rate=400))
    result = child(code)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{number / 2:.2f} s  {window}" for number, window in enumerate(strided(recording, 4, 200))
    ]
