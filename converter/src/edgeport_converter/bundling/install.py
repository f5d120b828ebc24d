"""The installer inside a bundle: ``python3 install.py --target /opt/edgeport`` on the device.

It is copied into every bundle as it is, needs that Python's standard library alone, opens no
socket and writes nowhere but below the target:

    current       a link to the release that serves; switched in one step
    former        a link to the one before, for ``--rollback``
    releases/     the artifact, its manifest, this installer, ``bin/edgeport`` and ``bin/python``,
                  one folder each
    environments/ Python with the unpacked wheels; releases with equal wheels share one

The steps of an installation:

1. Check the platform, then every digest (and the signature, where a public key is known).
2. Unpack the wheels and compile them once, or find the same environment, file by file.
3. Copy the artifact beside it and run ``edgeport verify`` there.
4. Wait until the disk holds it all, and switch ``current``.
5. Remove what neither ``current`` nor ``former`` needs.

Whatever fails, and wherever the power goes, ``current`` is the old release or the new one. Where
links need a privilege (Windows), ``current`` and ``former`` are text files with the release's name.

``edgeport bundle`` in ``bundle`` copies this file; nothing else imports it.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    if sys.version_info < (3, 10):  # noqa: UP036 - a device's own python3 may be any
        sys.stderr.write(
            "install: this is Python {}.{}, and bundles are for 3.10 or newer: run install.py with "
            "the Python that the bundle was made for\n".format(*sys.version_info[:2])
        )
        sys.exit(2)
    # A stranger's file in this folder, or in one that the shell's PYTHONPATH names, must not be
    # taken for a module of the standard library.
    _OTHERS = [os.path.dirname(__file__), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]  # noqa: PTH120 - before pathlib
    _OTHERS = [os.path.abspath(path) for path in _OTHERS if path]  # noqa: PTH100
    sys.path[:] = [path for path in sys.path if path and os.path.abspath(path) not in _OTHERS]  # noqa: PTH100

try:
    import argparse
    import base64
    import contextlib
    import errno
    import hashlib
    import json
    import platform
    import re
    import shutil
    import struct
    import subprocess
    import sysconfig
    import venv
    import zipfile
    import zlib
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO, Any
except ImportError as cause:  # such as Debian's python3-minimal
    if __name__ != "__main__":
        raise
    sys.stderr.write(
        f"install: this Python has no module '{cause.name}', which comes with Python: install all "
        "of its standard library, on Debian python3 and python3-venv\n"
    )
    sys.exit(2)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MANIFEST, SIGNATURE, SUMS = "manifest.json", "manifest.sig", "SHA256SUMS"
ARTIFACT = "model.onnx"
KEY = "public.pem"
SIGNED = "edgeport bundle signature 1\n{version}\n{digest}\n"
_BLOCK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+!-]*(/[A-Za-z0-9_+][A-Za-z0-9_.+!-]*)*")
_HAS_LINKS = os.name != "nt"

# Exit codes, as those of `edgeport`.
OPTIONS, DAMAGED, UNTRUSTED, FAILED, INTERRUPTED = 2, 3, 4, 8, 130


class Refused(Exception):  # noqa: N818 - what it says is a sentence for people
    """One sentence for the user, the exit code, and whether to add what serves."""

    def __init__(self, sentence: str, code: int = DAMAGED, *, is_late: bool = False) -> None:
        super().__init__(sentence)
        self.code, self.is_late = code, is_late


def main(arguments: list[str] | None = None) -> int:
    """Run the installer and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # LANG=C, and consoles of Windows
            stream.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(description="Install an edgeport bundle, without a network.")
    add = parser.add_argument
    add("--target", required=True, metavar="DIR", help="the folder of all releases")
    add("--bundle", metavar="DIR", help="the unpacked bundle (default: this installer's folder)")
    add("--rollback", action="store_true", help="serve the former release again")
    add("--public-key", metavar="KEY.pem", help="who must have signed; kept for later updates")
    options = parser.parse_args(arguments)
    os.umask(0o022)  # the service may run as another user
    if not options.target:  # of a shell's variable that has no value
        parser.error("argument --target: expected the name of a folder")
    target = Path(options.target).absolute()
    before = read_link(target, "current")
    try:
        if options.rollback:
            said = roll_back(target, options.bundle or options.public_key)
        else:
            bundle = Path(options.bundle or Path(__file__).parent).absolute()
            said = install(bundle, target, options.public_key)
    except Refused as refusal:
        serves = f"; {_what_serves(target, before)}" if refusal.is_late else ""
        return _say(f"{refusal}{serves}", refusal.code)
    except OSError as cause:
        name = cause.filename2 or cause.filename  # where a copy goes, and not where it comes from
        found = f"{cause.strerror or cause}" + (f" ('{name}')" if name else "")
        remedy = "make room, or check the target's permissions, and install again"
        return _say(f"it failed: {found}; {_what_serves(target, before)}: {remedy}", FAILED)
    except UnicodeError:
        return _say(
            f"the name of '{options.target}' is no text in this locale: choose another folder",
            OPTIONS,
        )
    except MemoryError:
        remedy = "free some, and install again"
        return _say(f"it needs more memory; {_what_serves(target, before)}: {remedy}", FAILED)
    except KeyboardInterrupt:
        return _say(f"interrupted; {_what_serves(target, before)}: install again", INTERRUPTED)
    return _say(said, 0)


def _what_serves(target: Path, before: str | None) -> str:
    """Say what serves after a failure, by looking: it may have come after the switch."""
    now = read_link(target, "current")
    if now != before:
        return f"release {now} serves now, but a power cut may bring back what served before"
    return "nothing serves yet" if now is None else "what served before still serves"


def _say(sentence: str, code: int) -> int:
    """Print a sentence, and return the exit code, which tells the same where nobody can read."""
    stream = sys.stderr if code else sys.stdout
    try:
        print(f"install: {sentence}" if code else sentence, file=stream, flush=True)
    except OSError:  # else Python tries again at its end, and exits with a code of its own
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


# ------------------------------------------------------------------- what the bundle says of itself


def install(bundle: Path, target: Path, public_key: str | None) -> str:
    """Check the bundle, install it, let it serve, and say so.

    Raises:
        Refused: the old release serves.
        OSError: the old release serves; or the new one, if only the disk's confirmation failed.
    """
    _check_places(bundle, target)
    key = _known_key(target, public_key)
    manifest = read_manifest(bundle, key)
    check_platform(manifest)
    check_files(bundle, manifest)
    target.mkdir(parents=True, exist_ok=True)
    with _locked(target):
        if _known_key(target, public_key) != key:
            raise Refused(
                f"another installer changed '{target / KEY}' while the bundle was checked: install "
                "it again",
                UNTRUSTED,
            )
        _remove_unfinished(target)
        current = read_link(target, "current")
        _refuse_older(target, current, manifest)
        environment = _provide_environment(bundle, target, manifest)
        release = _provide_release(bundle, target, manifest, environment)
        if key is not None and not (target / KEY).exists():
            _write_key(target, key)
        for kind in ("environments", "releases"):
            _sync_folder(target / kind)
        links = {"current": release}
        # A damaged release is none to go back to: the one before it stays.
        if current not in (None, release) and _find_changed_of(target, current) is None:
            links = {"former": current, **links}
        switch(target, links)
        _remove_unused(target)
    unchecked = (
        "; its signature was not checked: name the maker's key with --public-key"
        if key is None and manifest["version"] is not None
        else ""
    )
    closed = _closed_to_others(target / "current", python_of(target / "environments" / environment))
    return f"serving {manifest['name']} from {target / 'current'} ({release}){unchecked}" + (
        f"; no other user can run it, since '{closed}' is closed to them" if closed else ""
    )


def _check_places(bundle: Path, target: Path) -> None:
    if (bundle / "environment.txt").exists():
        raise Refused(
            f"'{bundle}' is an installed release: name the unpacked bundle with --bundle", OPTIONS
        )
    if os.path.lexists(target) and not target.is_dir():
        raise Refused(f"'{target}' is no folder: choose another target", OPTIONS)
    # resolve() of older Pythons raises RuntimeError at a loop of links.
    if Path(os.path.realpath(target)).is_relative_to(os.path.realpath(bundle)):
        raise Refused(f"'{target}' is in the bundle's folder: choose another target", OPTIONS)


def read_manifest(bundle: Path, key: bytes | None) -> dict[str, Any]:
    """Return the manifest after its own digest, and the signature where a key is given.

    Args:
        bundle: the unpacked bundle.
        key: the 32 bytes of the maker's Ed25519 key, None to take any bundle.

    Raises:
        Refused: it is missing, changed, from a newer edgeport, or not signed with this key.
    """
    try:
        text = (bundle / MANIFEST).read_bytes()
        sums = (bundle / SUMS).read_bytes()
        signature = (bundle / SIGNATURE).read_bytes() if (bundle / SIGNATURE).exists() else None
    except FileNotFoundError as cause:
        raise Refused(
            f"'{bundle}' has no {Path(cause.filename).name}, expected a bundle that was unpacked "
            "as a whole: unpack it again"
        ) from cause
    if sums != sums_of(text, signature):
        raise Refused(
            f"{MANIFEST} or {SUMS} changed since the bundle was made: copy the bundle again"
        )
    manifest = _parsed(text, MANIFEST)
    if manifest.get("format") != 1:
        raise Refused(
            f"the bundle has format {manifest.get('format')!r}, and this installer reads 1: run "
            "the install.py inside of the bundle"
        )
    if not _has_form(manifest):
        raise Refused(
            f"{MANIFEST} cannot be read, expected that of a bundle: make the bundle again"
        )
    manifest["id"] = hashlib.sha256(text).hexdigest()[:12]
    manifest["version"] = None
    if signature is not None:
        version, made = _parsed_signature(signature)
        digest = hashlib.sha256(text).hexdigest()
        signed = SIGNED.format(version=version, digest=digest).encode()
        if key is not None and not is_signed(key, signed, made):
            raise Refused(
                "the bundle was signed with another key than the one that this device trusts: get "
                "it from its maker",
                UNTRUSTED,
            )
        manifest["version"] = version
    elif key is not None:
        raise Refused(
            "the bundle is not signed, and this device trusts one key alone: make it with "
            "'edgeport bundle --key'",
            UNTRUSTED,
        )
    return manifest


def _parsed(text: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(f"{name} cannot be read, expected that of a bundle: make the bundle again")
    return found


def _has_form(manifest: dict[str, Any]) -> bool:
    """Whether a manifest has all that is read of it, each of its type."""
    try:
        files, system = manifest["files"].values(), manifest["system"]
        texts = [manifest[name] for name in ("platform", "python")]
        texts += manifest.get("imports", [])
        texts += [] if system is None else [system["what"], system["version"]]
        texts += [entry["sha256"] for entry in files]
        sizes = [entry["bytes"] for entry in files]
    except (AttributeError, LookupError, TypeError):
        return False
    is_text = all(isinstance(text, str) for text in texts)
    return is_text and "name" in manifest and all(type(size) is int for size in sizes)


def _parsed_signature(text: bytes) -> tuple[int, bytes]:
    """Return the version and the 64 bytes of a signature."""
    said = _parsed(text, SIGNATURE)
    try:
        version, made = said["version"], bytes.fromhex(said["ed25519"])
    except (LookupError, TypeError, ValueError):
        version, made = None, b""
    # The text "9" is signed as the number 9 is, but would count as newer than "10".
    if type(version) is not int:
        raise Refused(
            f"{SIGNATURE} cannot be read, expected that of a bundle: make the bundle again"
        )
    return version, made


def sums_of(manifest: bytes, signature: bytes | None) -> bytes:
    """Return the text of SHA256SUMS, as ``sha256sum --check`` reads it."""
    lines = [f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n"]
    if signature is not None:
        lines.append(f"{hashlib.sha256(signature).hexdigest()}  {SIGNATURE}\n")
    return "".join(lines).encode()


def check_files(bundle: Path, manifest: dict[str, Any]) -> None:
    """Compare every file with the manifest, before anything is installed.

    Raises:
        Refused: a file is missing, was changed, or does not belong to the bundle.
    """
    expected = manifest["files"]
    for name in expected:
        if not is_name(name):
            raise Refused(f"the manifest names the file {name!r}, which no bundle has")
    own = {MANIFEST, SIGNATURE, SUMS}
    found = {path.relative_to(bundle).as_posix(): path for path in bundle.rglob("*")}
    for name, path in sorted(found.items()):
        if path.is_symlink() or not (
            path.is_dir() or (path.is_file() and name in {*expected, *own})
        ):
            raise Refused(
                f"'{name}' in '{bundle}' does not belong to the bundle: unpack it into a new folder"
            )
    for name, entry in sorted(expected.items()):
        if name not in found:
            raise Refused(f"the bundle lacks '{name}': unpack it again, or copy it again")
        path = bundle / name
        if path.stat().st_size != entry["bytes"] or digest_of(path) != entry["sha256"]:
            raise Refused(
                f"'{name}' changed since the bundle was made; nothing was installed: copy the "
                "bundle again"
            )


def is_name(name: str) -> bool:
    """Whether a file of a bundle may have this name, on every system and in every locale."""
    return _NAME.fullmatch(name) is not None


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file of any size, in little memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(_BLOCK), b"")


def check_platform(manifest: dict[str, Any]) -> None:
    """Refuse a bundle for another platform than this Python's.

    Raises:
        Refused: the system, the processor, the C library or Python differs.
    """
    own = this_platform()
    if own != manifest["platform"]:
        raise Refused(
            f"the bundle is for {manifest['platform']}, and this Python is for {own}: make one "
            f"with 'edgeport bundle --platform {own}'",
            OPTIONS,
        )
    python = "{}.{}".format(*sys.version_info[:2])
    if python != manifest["python"] or platform.python_implementation() != "CPython":
        raise Refused(
            f"the bundle is for CPython {manifest['python']}, and this is "
            f"{platform.python_implementation()} {python}: run 'python{manifest['python']} "
            f"install.py', or make one with 'edgeport bundle --python {python}'",
            OPTIONS,
        )
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise Refused("this Python is a free-threaded one, expected a usual one", OPTIONS)
    found, needed = _system_version(), manifest["system"]
    if needed and (found is None or _numbers(found) < _numbers(needed["version"])):
        raise Refused(
            f"the wheels need {needed['what']} {needed['version']} or newer, and this system has "
            f"{found or 'another one'}: update the system",
            OPTIONS,
        )


def this_platform() -> str:
    """Return the platform of this Python, as ``edgeport bundle --platform`` names it."""
    systems = {"linux": "linux", "win32": "windows", "darwin": "macos"}
    system = systems.get(sys.platform, sys.platform)
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    if struct.calcsize("P") == 4:  # 32-bit programs on a 64-bit kernel, as on some Raspberry Pis
        machine = {"x86_64": "i686", "aarch64": "armv7l"}.get(machine, machine)
    if system != "linux" and machine == "aarch64":
        machine = "arm64"  # as these systems call it themselves
    return f"{system}-{machine}"


def _system_version() -> str | None:
    """Return the version of glibc or of macOS; None for another C library, such as musl."""
    if sys.platform == "darwin":
        return platform.mac_ver()[0]
    try:
        name, version = str(os.confstr("CS_GNU_LIBC_VERSION")).split()
    except (AttributeError, ValueError, OSError):
        return None
    return version if name == "glibc" else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


# ---------------------------------------------------------------------------- what gets installed


def _provide_environment(bundle: Path, target: Path, manifest: dict[str, Any]) -> str:
    """Return the name of an environment with these wheels: one that is there and whole, or new."""
    wheels = {name: entry["sha256"] for name, entry in sorted(manifest["files"].items())}
    wheels = {name: digest for name, digest in wheels.items() if name.endswith(".whl")}
    text = "\n".join([sys.version, *wheels.values()])
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder = target / "environments"
    for choice in _names(name):
        place = folder / choice
        if not place.exists():
            break
        if _find_damaged(place) is None:
            return choice
    with _unfinished(place) as made:
        _make_python(made)
        for name, digest in wheels.items():
            unpack(bundle / name, site_packages(made))
            _refuse_changed(None if digest_of(bundle / name) == digest else name)
        packages = str(site_packages(made).relative_to(made))
        # Files that were checked need no look at their times, which a clock of 1970 spoils.
        once = ("--invalidation-mode", "unchecked-hash")
        _run(made, "-m", "compileall", "-q", *once, "-p", str(place), packages)
        _write_sums(made)
    return choice


def _provide_release(bundle: Path, target: Path, manifest: dict[str, Any], environment: str) -> str:
    """Return the name of a release with this manifest that was verified with the environment."""
    for choice in _names(manifest["id"]):
        place = target / "releases" / choice
        if not place.exists():
            break
        if _is_same_release(place, bundle, manifest, environment):
            verify(target, place)
            return choice
    with _unfinished(place) as made:
        for name in _kept(manifest):
            shutil.copyfile(bundle / name, made / name)
        _refuse_changed(_find_changed(made, manifest["id"]))
        (made / "environment.txt").write_text(environment + "\n", encoding="utf-8")
        (made / "bin").mkdir()
        if _HAS_LINKS:
            (made / "environment").symlink_to(f"../../environments/{environment}")
            python = python_of(target / "environments" / environment)
            quoted = "'" + str(python).replace("'", "'\\''") + "'"
            # Without a link in its path: a program that runs during an update would import the
            # rest of its modules from the new environment.
            for command, arguments in (("python", ""), ("edgeport", " -I -m edgeport")):
                script = made / "bin" / command
                # The system's own bytes of the path, in whichever locale this runs.
                script.write_bytes(os.fsencode(f'#!/bin/sh\nexec {quoted}{arguments} "$@"\n'))
                script.chmod(0o755)
        else:
            # From its own folder: a console reads names in a code page of its own.
            python_exe = f"%~dp0..\\..\\..\\environments\\{environment}\\Scripts\\python.exe"
            script = made / "bin" / "edgeport.cmd"
            script.write_bytes(f'@"{python_exe}" -I -m edgeport %*\r\n'.encode("ascii"))
        verify(target, made)
    return choice


def _closed_to_others(*paths: Path) -> Path | None:
    """Return a folder that no other user may enter, where root installs; a service may be one."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    for path in paths:
        for folder in Path(os.path.realpath(path)).parents:
            if not folder.stat().st_mode & 0o001:
                return folder
    return None


def _refuse_changed(name: str | None) -> None:
    if name is not None:
        raise Refused(
            f"'{name}' changed while it was installed: copy the bundle to where nothing else "
            "writes",
            is_late=True,
        )


def _find_changed(release: Path, identity: str) -> str | None:
    """Return a file of a release that is not as its manifest says, None where all are.

    Args:
        release: its folder.
        identity: the first 12 digits of the manifest's digest.
    """
    try:
        text = (release / MANIFEST).read_bytes()
        signature = (release / SIGNATURE).read_bytes() if (release / SIGNATURE).exists() else None
        if hashlib.sha256(text).hexdigest()[:12] != identity:
            return MANIFEST
        if (release / SUMS).read_bytes() != sums_of(text, signature):
            return SUMS
        for name, entry in sorted(json.loads(text)["files"].items()):
            if "/" not in name and digest_of(release / name) != entry["sha256"]:
                return str(name)
    except FileNotFoundError as cause:
        return Path(cause.filename).name
    return None


def _find_changed_of(target: Path, name: str) -> str | None:
    """Return a file of an installed release or of its environment that changed, None for none."""
    release = target / "releases" / name
    changed = _find_changed(release, name.partition("-")[0])
    if changed is not None:
        return changed
    try:
        environment = (release / "environment.txt").read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        return "environment.txt"
    return _find_damaged(target / "environments" / environment)


def _write_sums(environment: Path) -> None:
    """Write the digest of every own file, the compiled ones too, and one of these lines."""
    text = "".join(
        f"{digest_of(path)}  {path.relative_to(environment).as_posix()}\n"
        for path in sorted(environment.rglob("*"))
        if path.is_file() and not path.is_symlink()  # Python is the system's, which updates it
    )
    end = f"{hashlib.sha256(text.encode()).hexdigest()}  {SUMS}\n"  # else a cut at a line is unseen
    (environment / SUMS).write_bytes((text + end).encode())


def _find_damaged(environment: Path) -> str | None:
    """Return a file that changed since the environment was made, None where none did."""
    try:
        text = (environment / SUMS).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return SUMS
    end = text.rfind("\n", 0, -1) + 1
    if text[end:] != f"{hashlib.sha256(text[:end].encode()).hexdigest()}  {SUMS}\n":
        return SUMS
    for line in text[:end].split("\n")[:-1]:
        digest, _, name = line.partition("  ")
        try:
            if digest_of(environment / name) != digest:
                return name
        except OSError:
            return name
    python = python_of(environment)  # a link to the system's one, which may have gone
    return None if python.exists() else python.relative_to(environment).as_posix()


def _kept(manifest: dict[str, Any]) -> list[str]:
    """Return the files of a bundle that a release keeps: all but the wheels."""
    own = [MANIFEST, SUMS] + ([SIGNATURE] if manifest["version"] is not None else [])
    return own + [name for name in manifest["files"] if "/" not in name]


def _is_same_release(place: Path, bundle: Path, manifest: dict[str, Any], environment: str) -> bool:
    try:
        if (place / "environment.txt").read_text("utf-8").strip() != environment:
            return False
        is_same = (place / SUMS).read_bytes() == (bundle / SUMS).read_bytes()
    except OSError:
        return False
    return is_same and _find_changed(place, manifest["id"]) is None


def _names(name: str) -> Iterator[str]:
    """Yield the name, then others for the case that what has it was damaged."""
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _make_python(folder: Path) -> None:
    """Make an empty environment, without pip and without scripts that hold the folder's name."""

    class Plain(venv.EnvBuilder):
        def setup_scripts(self, context: Any) -> None:
            """Write no scripts for shells: the folder is renamed when it is complete."""

    Plain(symlinks=_HAS_LINKS, with_pip=False).create(folder)


def python_of(environment: Path) -> Path:
    """Return where an environment has its Python."""
    return environment / ("bin/python" if _HAS_LINKS else "Scripts/python.exe")


def site_packages(environment: Path) -> Path:
    """Return where an environment has its packages."""
    if not _HAS_LINKS:
        return environment / "Lib" / "site-packages"
    return environment / "lib" / "python{}.{}".format(*sys.version_info[:2]) / "site-packages"


def members(wheel: zipfile.ZipFile) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """Yield each file of a wheel and its place among the packages.

    Source: the binary distribution format of PyPA. Of its folder ``.data``, packages are taken;
    scripts and headers are none of a device's.

    Raises:
        Refused: a name leads out of the folder.
    """
    for info in wheel.infolist():
        name = info.filename
        parts = name.split("/")
        if info.is_dir():
            continue
        if parts[0].endswith(".data"):
            if parts[1:2] not in (["purelib"], ["platlib"]):
                continue
            parts = parts[2:]
        # An empty part would make the rest an absolute path, "." and ".." another one.
        if not parts or {"", ".", ".."} & set(parts) or "\\" in name or ":" in name:
            raise Refused(f"a wheel has a file '{name}', which leads out of its folder")
        yield info, "/".join(parts)


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack a wheel whose digest was checked.

    Raises:
        Refused: it is no whole zip file; zipfile compares the CRC of every file.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for info, name in members(archive):
                place = folder / name
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, place.open("xb") as file:
                    shutil.copyfileobj(source, file, _BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as cause:
        raise Refused(
            f"'{wheel.name}' cannot be unpacked ({cause}): make the bundle again"
        ) from cause


def verify(target: Path, release: Path) -> None:
    """Run ``edgeport verify`` of a release with its own environment, and import its extras.

    Raises:
        Refused: one of these fails; the sentence is that of ``edgeport verify``, or says what
            cannot be imported, such as a package that needs a library of the system.
    """
    name = (release / "environment.txt").read_text("utf-8").strip()
    environment = target / "environments" / name
    _run(environment, "-m", "edgeport", "verify", str(release / ARTIFACT))
    for module in json.loads((release / MANIFEST).read_bytes()).get("imports", []):
        code = "import importlib, sys; importlib.import_module(sys.argv[1])"
        _run(environment, "-c", code, module, what=f"import {module}")


def _run(environment: Path, *arguments: str, what: str = "") -> None:
    variables = {"PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
    for name in ("SYSTEMROOT", "PATH", "LD_LIBRARY_PATH", "EDGEPORT_THREADS"):
        if name in os.environ:
            variables[name] = os.environ[name]
    done = subprocess.run(  # noqa: S603 - the Python of the environment that was just made
        [str(python_of(environment)), "-I", *arguments],
        cwd=str(environment),
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stdout.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        said = f"it was ended by signal {-done.returncode}" if done.returncode < 0 else lines[-1]
        raise Refused(
            f"'{what or ' '.join(arguments[1:3])}' failed on this device: {said}",
            done.returncode if 1 < done.returncode < 128 else FAILED,  # Python ends with 1
            is_late=True,
        )


# ------------------------------------------------------------------------ links, locks, leftovers


def roll_back(target: Path, others: str | None = None) -> str:
    """Verify the former release, let it serve again, and say so; the two change places.

    Args:
        target: the folder of all releases.
        others: an option that this cannot take.

    Raises:
        Refused: there is none, it changed, or it does not verify; the current one still serves.
    """
    if others is not None:
        raise Refused(
            "--rollback takes neither --bundle nor --public-key, since both releases were checked "
            "when they were installed: leave these out",
            OPTIONS,
        )
    with _locked(target):
        former, current = read_link(target, "former"), read_link(target, "current")
        if former is None or former == current:
            raise Refused(f"'{target}' has no former release", OPTIONS)
        changed = _find_changed_of(target, former)
        if changed is not None:
            raise Refused(
                f"'{changed}' of the former release changed since it was installed; the current "
                "one still serves: install a bundle"
            )
        verify(target, target / "releases" / former)
        switch(target, {"current": former} | ({"former": current} if current else {}))
    return f"serving the former release from {target / 'current'} ({former})"


def read_link(target: Path, name: str) -> str | None:
    """Return the release that ``current`` or ``former`` names; None where there is none."""
    place = target / name
    try:
        text = str(place.readlink()) if _HAS_LINKS else place.read_text("utf-8").strip()
        release = text.replace("\\", "/").rsplit("/", 1)[-1]
        return release if (target / "releases" / release / MANIFEST).is_file() else None
    except OSError:
        return None


def switch(target: Path, links: dict[str, str]) -> None:
    """Let ``current`` and ``former`` name releases: each in one step, one after the other.

    What takes room on the disk is written before the first step.

    Raises:
        OSError: nothing changed; or all did, if it comes from the disk's confirmation.
    """
    for name, release in links.items():
        new = target / f".{name}.new"
        new.unlink(missing_ok=True)
        if _HAS_LINKS:
            new.symlink_to(f"releases/{release}")
        else:
            with new.open("w", encoding="utf-8") as file:
                file.write(release + "\n")
                file.flush()
                os.fsync(file.fileno())
    for name in links:
        (target / f".{name}.new").replace(target / name)
    _sync_folder(target)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as cause:
        if cause.errno != errno.EINVAL:  # file systems that know no such thing
            raise
    finally:
        os.close(handle)


def _sync(folder: Path) -> None:
    """Wait until the disk holds a new folder; a power cut after the switch finds it there.

    Raises:
        OSError: the disk did not take it. ``sync`` is quick for many files, but hides that.
    """
    if hasattr(os, "sync"):
        os.sync()
    for path in [*folder.rglob("*"), folder]:
        if path.is_symlink():
            continue
        if path.is_dir():
            _sync_folder(path)
        elif path.is_file():
            with path.open("rb+" if os.name == "nt" else "rb") as file:
                os.fsync(file.fileno())


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Keep other installers away; the lock ends with the process, however that ends."""
    if not target.is_dir():
        raise Refused(f"'{target}' is no folder with releases: install a bundle there", OPTIONS)
    with (target / ".lock").open("ab") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as cause:
            if cause.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
                raise
            raise Refused(f"another installer is at work in '{target}'", OPTIONS) from cause
        yield


@contextlib.contextmanager
def _unfinished(place: Path) -> Iterator[Path]:
    """Make a folder under another name, and give it its own when the disk holds all of it."""
    made = place.with_name(f".new-{place.name}")
    made.mkdir(parents=True)
    try:
        yield made
        _sync(made)
        made.replace(place)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _folders(target: Path) -> Iterator[Path]:
    for kind in ("releases", "environments"):
        if (target / kind).is_dir():
            yield from sorted((target / kind).iterdir())


def _remove_unfinished(target: Path) -> None:
    for place in _folders(target):
        if place.name.startswith(".new-"):
            shutil.rmtree(place)


def _remove_unused(target: Path) -> None:
    """Remove what neither the current nor the former release needs; a failure harms nothing."""
    used = {read_link(target, "current"), read_link(target, "former")} - {None}
    with contextlib.suppress(OSError):
        for name in tuple(used):
            text = (target / "releases" / str(name) / "environment.txt").read_text("utf-8")
            used.add(text.strip())
        for place in _folders(target):
            if place.name not in used:
                shutil.rmtree(place, ignore_errors=True)


# -------------------------------------------------------------------------------- who made it


def _known_key(target: Path, public_key: str | None) -> bytes | None:
    """Return the key to trust: the given one, or the one that an earlier installation kept."""
    kept = target / KEY
    given = read_key(Path(public_key)) if public_key else None
    known = read_key(kept) if kept.exists() else None
    if given is not None and known is not None and given != known:
        raise Refused(
            f"'{public_key}' is not the key that '{kept}' holds: remove that file first, if the "
            "maker has changed",
            UNTRUSTED,
        )
    return given or known


def _write_key(target: Path, key: bytes) -> None:
    text = base64.b64encode(_PREFIX + key).decode()
    new = target / f".{KEY}.new"
    with new.open("w", encoding="ascii") as file:
        file.write(f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
        file.flush()
        os.fsync(file.fileno())  # an empty key after a power cut would refuse every bundle
    new.replace(target / KEY)


def _refuse_older(target: Path, current: str | None, manifest: dict[str, Any]) -> None:
    """Refuse a signed bundle that is older than the current one; ``--rollback`` is the way back."""
    if current is None or manifest["version"] is None:
        return
    path = target / "releases" / current / SIGNATURE
    served = json.loads(path.read_bytes())["version"] if path.exists() else None
    if served is not None and manifest["version"] < served:
        raise Refused(
            f"the bundle is version {manifest['version']}, and version {served} serves: install a "
            "newer one, or go back with --rollback",
            UNTRUSTED,
        )


_PREFIX = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: a public key of Ed25519 in DER


def read_key(path: Path) -> bytes:
    """Return the 32 bytes of an Ed25519 key in a PEM file, as openssl writes it."""
    try:
        text = path.read_text("ascii")
        found = re.search(r"-----BEGIN PUBLIC KEY-----(.*?)-----END PUBLIC KEY-----", text, re.S)
        data = base64.b64decode(found[1]) if found else b""
    except (OSError, ValueError) as cause:
        raise Refused(f"the public key '{path}' cannot be read ({cause})", OPTIONS) from cause
    if len(data) != 44 or not data.startswith(_PREFIX):
        raise Refused(f"'{path}' is no public key of Ed25519 in PEM form", OPTIONS)
    return data[12:]


# Ed25519 as RFC 8032 defines it, in section 5.1 and the code of section 6. Only signatures are
# checked here, which takes no secret, so that the time it takes tells nothing.
_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
# A point is X, Y, Z, T with x = X/Z, y = Y/Z, x*y = T/Z.


def _add_points(p: Any, q: Any) -> Any:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(number: int, point: Any) -> Any:
    total = (0, 1, 1, 0)
    while number:
        if number & 1:
            total = _add_points(total, point)
        point = _add_points(point, point)
        number >>= 1
    return total


def _point(data: bytes) -> Any:
    """Return the point that 32 bytes stand for, None where there is none."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def is_signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a message was signed with the private part of a key."""
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r = _point(key), _point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= _ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    k = int.from_bytes(digest, "little") % _ORDER
    base = _point((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
    left, right = _times(s, base), _add_points(r, _times(k, a))
    return not (
        (left[0] * right[2] - right[0] * left[2]) % _P
        or (left[1] * right[2] - right[1] * left[2]) % _P
    )


if __name__ == "__main__":
    sys.exit(main())
