"""Run the runtime's tests of numbers on emulated devices (`make devices`).

    python tests/runtime/scripts/on_devices.py BUILD_FOLDER

Needs Linux on x86-64 and Debian's qemu-user-static. Haswell (AVX2 without VNNI) runs this very
interpreter; arm64 (Cortex-A72 of a Raspberry Pi 4, A76 of a Pi 5) runs Debian's, unpacked below
BUILD_FOLDER and installed nowhere. Tests that start processes are left out: a child process would
not be emulated.
"""

# ruff: noqa: T201 - a script that prints

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
MODULES = (
    "inputs/test_feeds",
    "inputs/test_batching",
    "inputs/test_ranges",
    "test_predictor",
    "engine/test_fast_path",
    "engine/test_session",
    "artifact/test_golden",
    "artifact/test_card",
)
TESTS = [f"tests/runtime/{name}.py" for name in MODULES]
ENVIRONMENT = {**os.environ, "HYPOTHESIS_PROFILE": "emulated", "PYTHONDONTWRITEBYTECODE": "1"}

# What qemu lacks of a Haswell, and no library here uses.
HASWELL = "Haswell-noTSX,-pcid,-x2apic,-tsc-deadline,-invpcid"
ARM = {"cortex-a72": ("0xd08", "410fd083"), "cortex-a76": ("0xd0b", "414fd0b1")}

DEBIAN = [
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "zlib1g",
    "libexpat1",
    "libssl3",
    "libffi8",
    "libbz2-1.0",
    "liblzma5",
    "libuuid1",
    "libcrypt1",
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "python3.11",
]
WHEELS = ["numpy", "onnxruntime", "pytest", "hypothesis"]
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")


def run(*command: object, cwd: Path = REPOSITORY) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def make_arm_root(root: Path) -> None:
    """Unpack Debian's arm64 Python and the wheels; nothing is installed."""
    if (root / "complete").exists():
        return
    fetch_debian(root, DEBIAN)
    platforms = [part for name in PLATFORMS for part in ("--platform", name)]
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--target",
        root / "site",
        "--only-binary=:all:",
        "--python-version",
        "3.11",
        *platforms,
        "-c",
        "constraints.txt",
        *WHEELS,
    )
    (root / "complete").touch()


def fetch_debian(root: Path, packages: Sequence[str]) -> None:
    """Download Debian's packages for arm64, and unpack them."""
    lists = root / "lists"
    for folder in (lists / "partial", root / "archives" / "partial", root / "site"):
        folder.mkdir(parents=True, exist_ok=True)
    options = [
        *("-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"),
        *("-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache::Archives={root / 'archives'}"),
        *("-o", "APT::Sandbox::User=root"),
    ]
    run("apt-get", *options, "update", "-qq")
    run("apt-get", *options, "download", *packages, cwd=root / "archives")
    for name in packages:
        for package in (root / "archives").glob(f"{name}_*.deb"):
            run("dpkg", "-x", package, root)


def describe_chip(root: Path, part: str, midr: str) -> None:
    """Write what onnxruntime reads of the CPU; the host's own description crashes it."""
    cores = range(4)
    lines = [
        f"processor\t: {core}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        f"CPU part\t: {part}\nCPU revision\t: 3\n"
        for core in cores
    ]
    files = {
        "proc/cpuinfo": "\n".join(lines),
        "sys/devices/system/cpu/possible": "0-3",
        "sys/devices/system/cpu/present": "0-3",
    }
    for core in cores:
        place = f"sys/devices/system/cpu/cpu{core}"
        files |= {
            f"{place}/regs/identification/midr_el1": f"0x00000000{midr}",
            f"{place}/topology/physical_package_id": "0",
            f"{place}/topology/core_id": str(core),
            f"{place}/topology/core_siblings": "f",
            f"{place}/topology/core_siblings_list": "0-3",
            f"{place}/cpufreq/cpuinfo_max_freq": "1500000",
        }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def main(build: Path) -> int:
    source = REPOSITORY / "runtime" / "src"
    results = {}
    command = ["qemu-x86_64-static", "-cpu", HASWELL, sys.executable]
    results["x86-64 Haswell"] = test(command, {})
    root = build / "arm64"
    make_arm_root(root)
    for chip, (part, midr) in ARM.items():
        describe_chip(root, part, midr)
        command = ["qemu-aarch64-static", "-L", str(root), "-cpu", chip]
        paths = {"PYTHONPATH": f"{source}:{root / 'site'}", "PYTHONHOME": str(root / "usr")}
        results[f"arm64 {chip}"] = test([*command, str(root / "usr/bin/python3.11")], paths)
    for device, is_right in results.items():
        print(f"tests/runtime {'passed' if is_right else 'FAILED'} on {device}")
    return 0 if all(results.values()) else 1


def test(command: list[str], variables: dict[str, str]) -> bool:
    done = subprocess.run(
        [*command, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *TESTS],
        cwd=REPOSITORY,
        env={**ENVIRONMENT, **variables},
        check=False,
    )
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
