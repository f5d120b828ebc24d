"""Bundles on an emulated arm64 device without a network (`make bundle-devices`).

    python tests/runtime/scripts/bundle_devices.py BUILD_FOLDER [--tests]

Needs what on_devices.py needs, keeps the same arm64 root, and a Linux whose user namespaces may
mount binfmt_misc (6.7 or newer), so that child processes are emulated, too, and nothing of the
machine is changed. On the device the root is read-only, only /opt can be written, the clock says
1970 in every process (Debian's libfaketime), and there is no home, no network and no root user.
`--tests` also runs the runtime's tests of numbers, of loading and of older artifacts with what the
bundle installed; pytest comes from a folder beside it.
"""

# ruff: noqa: T201 - a script that prints

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from on_devices import (
    ARM,
    PLATFORMS,
    REPOSITORY,
    TESTS,
    describe_chip,
    fetch_debian,
    make_arm_root,
    run,
)

from edgeport import Predictor

DIGITS = REPOSITORY / "assets" / "digits.onnx"
ARTIFACTS = {
    "first": DIGITS,
    "second": REPOSITORY / "tests" / "data" / "format_1" / "static_pixels.onnx",
    "third": DIGITS,
}
CHIP = "cortex-a72"
# With children emulated, too, these also run.
MORE_TESTS = [f"tests/runtime/test_{name}.py" for name in ("loading", "reload", "old_formats")]
CLOCK = "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"

# The kernel hands arm64 programs to qemu; F opens it now, before the root is another one.
ENTER = r"""
set -e
root=$1
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
head='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
echo ":arm64:M::$head:$mask:$(command -v qemu-aarch64-static):F" \
    > /proc/sys/fs/binfmt_misc/register
mount --rbind "$root" "$root"
mount --bind /dev/null "$root/dev/null"
mount --rbind "$2" "$root/repository"
mount -t tmpfs -o size=320m,mode=1777 device "$root/opt"
mount -t tmpfs -o size=16m,mode=1777 small "$root/small"
mount -t tmpfs -o size=16m,mode=1777 shared "$root/dev/shm"
mount --bind "$root/clock" "$root/etc/ld.so.preload"
mount -o remount,bind,ro "$root"
cd /
shift 2
exec chroot $USERSPEC "$root" "$@"
"""


def main(build: Path, with_tests: bool) -> int:
    root = build / "arm64"
    make_arm_root(root)
    describe_chip(root, *ARM[CHIP])
    for folder in ("dev/shm", "etc", "opt", "small", "work", "repository"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "dev" / "null").touch()
    add_clock_and_pytest(root)
    make_bundles(root / "work")
    steps = "/repository/tests/runtime/scripts/bundle_steps.py"
    done = run_apart(
        *("sh", "-c", ENTER, "sh", str(root), str(REPOSITORY)),
        *("/usr/bin/python3.11", steps, *([*TESTS, *MORE_TESTS] if with_tests else ())),
    )
    print(f"the bundle {'works' if done.returncode == 0 else 'FAILED'} on arm64 {CHIP}")
    return done.returncode


def add_clock_and_pytest(root: Path) -> None:
    """Add the clock that every process of the device gets, and pytest, each in its own place."""
    if not (root / CLOCK[1:]).exists():
        fetch_debian(root, ["libfaketime"])
    (root / "clock").write_text(CLOCK + "\n")
    (root / "etc" / "ld.so.preload").touch()
    # "@": each process begins ten seconds after the beginning of 1970, and its clock goes on.
    (root / "etc" / "faketimerc").write_text("@1970-01-01 00:00:10\n")
    if not (root / "pytest").exists():
        tags = [part for name in PLATFORMS for part in ("--platform", name)]
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:")
        where = ("--target", root / "pytest", "--python-version", "3.11", *tags)
        run(*pip, *where, "-c", "constraints.txt", "pytest", "hypothesis")


def run_apart(*command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command as the root of new user, mount and network namespaces.

    Where this is root itself, the namespace gets a second user, whom the device runs as.
    """
    is_root = os.geteuid() == 0
    maps = () if is_root else ("--map-root-user",)
    holder = subprocess.Popen(["unshare", "--user", "--mount", "--net", *maps, "sleep", "3600"])
    try:
        place = Path(f"/proc/{holder.pid}")
        while (place / "comm").read_text() != "sleep\n":
            time.sleep(0.05)
        if is_root:
            for name in ("uid_map", "gid_map"):
                (place / name).write_text("0 0 65536")
        namespaces = ("-t", str(holder.pid), "--user", "--mount", "--net", "-S", "0", "-G", "0")
        return subprocess.run(
            ["nsenter", *namespaces, *command],
            env={
                "PATH": os.environ["PATH"],
                "QEMU_CPU": CHIP,
                "LANG": "C",
                "USERSPEC": "--userspec=1000:1000" if is_root else "",
            },
            check=False,
        )
    finally:
        holder.kill()
        holder.wait()


def make_bundles(folder: Path) -> None:
    """Write the bundles, the samples and what the artifacts answer here."""
    for name, artifact in ARTIFACTS.items():
        command = [sys.executable, "-m", "edgeport", "bundle", str(artifact), "--slim"]
        command += ["--platform", "linux-aarch64", "--python", "3.11"]
        wheel = os.environ.get("EDGEPORT_WHEEL")
        command += ["--wheel", wheel] if wheel else []
        subprocess.run([*command, "-o", str(folder / f"{name}.tar.gz")], check=True)
        with Predictor.load(artifact) as predictor:
            x = inputs_of(artifact)
            np.save(folder / f"x_{name}.npy", x)
            np.save(folder / f"expected_{name}.npy", predictor.predict(x))


def inputs_of(artifact: Path) -> np.ndarray:
    """Return the sample digits, or what lies beside the artifact."""
    if artifact != DIGITS:
        return np.asarray(np.load(artifact.with_suffix(".npz"))["in_image"])
    images = np.load(DIGITS.with_name("sample_digits.npz"))["images"]
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), "--tests" in sys.argv[2:]))
