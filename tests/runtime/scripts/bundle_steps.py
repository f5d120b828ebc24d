"""What bundle_devices.py does on the emulated device: its Python's standard library alone.

    python3.11 bundle_steps.py [TEST ...]

/work holds the bundles, the inputs and the workstation's answers; only /opt and /small, which is
too small, can be written.
"""

# ruff: noqa: T201 - a script that prints

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

TARGET = Path("/opt/edgeport")
CURRENT = TARGET / "current"
QUIET = {"LANG": "C", "QEMU_CPU": os.environ["QEMU_CPU"]}
CLOCK = "import time; print(time.ctime(), end='')"
ANSWER = """
import sys
import numpy as np
from edgeport import Predictor
with Predictor.load(sys.argv[1]) as predictor:
    found = predictor.predict(np.load(sys.argv[2]))
wanted = np.load(sys.argv[3])
same = (found.argmax(-1) == wanted.argmax(-1)).sum()
print(int(same), len(wanted), float(abs(found - wanted).max()))
"""


def run(*command: object) -> subprocess.CompletedProcess[str]:
    parts = [str(part) for part in command]
    return subprocess.run(parts, capture_output=True, text=True, env=QUIET, check=False)


def unpack(name: str) -> Path:
    with tarfile.open(f"/work/{name}.tar.gz") as archive:
        archive.extractall(f"/opt/{name}")  # noqa: S202 - our own
    return Path("/opt", name, "edgeport-bundle")


def install(folder: Path, *options: str, target: Path = TARGET) -> int:
    start = time.monotonic()
    done = run(sys.executable, folder / "install.py", "--target", target, *options)
    said = (done.stdout + done.stderr).strip()
    print(f"exit {done.returncode} after {time.monotonic() - start:.0f} s: {said}", flush=True)
    return done.returncode


def serves(name: str) -> None:
    # What bin/python runs; this device has no shell for that script.
    python = (CURRENT / "environment").resolve() / "bin" / "python"
    files = (CURRENT / "model.onnx", f"/work/x_{name}.npy", f"/work/expected_{name}.npy")
    done = run(python, "-I", "-c", ANSWER, *files)
    assert done.returncode == 0, done.stderr
    same, number, off = done.stdout.split()
    print(f"    {name} serves: {same} of {number} classes as on the workstation, {off} off")
    assert same == number


def fill_the_disk(place: Path) -> None:
    with place.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass


def main(tests: list[str]) -> int:
    print(f"{os.uname().machine}, user {os.getuid()}, home {os.environ.get('HOME')}")
    print(
        f"the clock: {time.ctime()}; of a child: {run('/usr/bin/python3.11', '-c', CLOCK).stdout}"
    )
    assert time.gmtime().tm_year == 1970
    try:
        Path("/anywhere").touch()
    except OSError as refusal:
        print(f"outside of /opt: {refusal.strerror}")
    first = unpack("first")
    assert install(first, target=Path("/small/edgeport")) == 8
    assert install(first) == 0
    serves("first")
    second = unpack("second")
    print("the disk is full now")
    fill_the_disk(Path("/opt/filler"))
    assert install(second) == 8
    serves("first")
    Path("/opt/filler").unlink()
    print("and has room again")
    assert install(second) == 0
    serves("second")
    third = unpack("third")
    data = bytearray((third / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (third / "model.onnx").write_bytes(data)
    assert install(third) == 3
    serves("second")
    assert install(CURRENT, "--rollback") == 0
    serves("first")
    files = [path for path in (TARGET / "environments").rglob("*") if not path.is_symlink()]
    size = sum(path.stat().st_size for path in files if path.is_file())
    print(f"the environment: {size / 1e6:.1f} MB")
    return run_tests(tests) if tests else 0


def run_tests(tests: list[str]) -> int:
    """Run the runtime's tests with what the bundle installed; pytest comes from /pytest."""
    packages = CURRENT / "environment" / "lib" / "python3.11" / "site-packages"
    variables = {
        **QUIET,
        "PYTHONPATH": f"{packages}:/pytest",
        "HYPOTHESIS_PROFILE": "emulated",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": "/opt",
    }
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, env=variables, cwd="/repository", check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
