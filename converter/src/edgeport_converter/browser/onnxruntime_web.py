"""onnxruntime-web, the engine for browsers: its two files from npm or from a folder.

npm checks what it downloads against its registry; the digests below are checked whatever the way,
so that a page has the very engine that the tests ran.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgeport import OptionError
from edgeport.atomic_files import replacing

VERSION = "1.30.0"
"""The version that the tests ran, and the only one that is taken."""

_PROGRAM = "ort-wasm-simd-threaded.wasm"
FILES: Mapping[str, str] = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    _PROGRAM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""SHA-256 by name. The program for one CPU thread alone, without WebGPU and WebGL."""

_TIMEOUT_S = 600


def engine_files(folder: str | os.PathLike[str] | None) -> dict[str, bytes]:
    """Return the engine's files by name.

    Args:
        folder: an unpacked package of npm, its ``dist``, or a folder with both files; None takes
            them from the user's cache, and from npm where they are not there yet.

    Raises:
        OptionError: a file is missing or is of another version, or npm is missing or failed.
    """
    if folder is not None:
        return _from_folder(Path(folder))
    cache = _cache()
    try:
        return {name: _checked(cache / name, name) for name in FILES}
    except OptionError:  # not there, or damaged
        return _from_npm(cache)


def _from_folder(folder: Path) -> dict[str, bytes]:
    places = (folder, folder / "dist", folder / "node_modules" / "onnxruntime-web" / "dist")
    for place in places:
        if all((place / name).is_file() for name in FILES):
            return {name: _checked(place / name, name) for name in FILES}
    raise OptionError(
        f"'{folder}' has no {' and '.join(FILES)}, expected a folder of onnxruntime-web "
        f"{VERSION}: npm install onnxruntime-web@{VERSION} makes node_modules/onnxruntime-web"
    )


def _checked(path: Path, name: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise OptionError(
            f"'{path}' cannot be read ({cause.strerror or cause}): check the folder"
        ) from cause
    _check(data, name, str(path))
    return data


def _check(data: bytes, name: str, place: str) -> None:
    if hashlib.sha256(data).hexdigest() != FILES[name]:
        raise OptionError(
            f"'{place}' is not the file of onnxruntime-web {VERSION}, the version that pages are "
            f"tested with: npm install onnxruntime-web@{VERSION}"
        )


def _from_npm(cache: Path) -> dict[str, bytes]:
    """Download the package, keep its two files in the cache, and return them."""
    npm = shutil.which("npm")
    if npm is None:
        raise OptionError(
            f"a page needs onnxruntime-web {VERSION}, which npm downloads, and npm is not "
            "installed: install it (Debian: apt install npm), or copy the package from another "
            "machine and pass --onnxruntime-web FOLDER"
        )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(  # noqa: S603 - npm's own client with words of ours
            [npm, "pack", f"onnxruntime-web@{VERSION}", "--silent"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        packed = next(Path(folder).glob("*.tgz"), None)
        if done.returncode or packed is None:
            said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            raise OptionError(
                f"npm could not download onnxruntime-web {VERSION} ({said}): check the network, or "
                "copy the package from another machine and pass --onnxruntime-web FOLDER"
            )
        files = {name: _member(packed, name) for name in FILES}
    cache.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        with replacing(cache / name) as file:
            file.write(data)
    return files


def _member(packed: Path, name: str) -> bytes:
    try:
        with tarfile.open(packed) as archive:
            member = archive.extractfile(f"package/dist/{name}")
            data = member.read() if member else b""
    except (KeyError, OSError, tarfile.TarError):
        data = b""
    _check(data, name, f"{packed.name}: {name}")
    return data


def _cache() -> Path:
    """Return the folder of this version. Source: XDG Base Directory Specification."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgeport" / f"onnxruntime-web-{VERSION}"
