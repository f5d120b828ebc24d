"""The Containerfile of a bundle, built by buildah, which needs neither a daemon nor a registry."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
from examples import mlp_artifact

from edgeport import IntegrityError
from edgeport_converter.bundling import install
from edgeport_converter.bundling.archive import FOLDER
from edgeport_converter.bundling.bundle import write_bundle


def why_nothing_is_built():
    """Return why no image can be built here; None where it can."""
    if shutil.which("buildah") is None:
        return "needs buildah (Debian: apt install buildah)"
    if os.geteuid() != 0:
        return "buildah unpacks the base image as root alone, and this is another user"
    return None


WHY_NOT = why_nothing_is_built()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


@pytest.fixture
def buildah(tmp_path):
    """A function that runs buildah with a storage of its own, and returns what it printed."""
    storage = tmp_path / "storage"

    def run(*arguments, code=0):
        done = subprocess.run(
            [*("buildah", "--storage-driver", "vfs", "--root", storage), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
        )
        assert done.returncode == code, done.stderr[-2000:]
        return done.stdout

    yield run
    shutil.rmtree(storage)


@pytest.fixture
def base(buildah, tmp_path):
    """The name of an image with this Python, a shell and the libraries that both load."""
    python = Path(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info[:2]))
    library = Path(sysconfig.get_path("stdlib"))
    programs = [python, Path("/bin/sh"), *library.rglob("*.so")]
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    words = {Path(word) for word in said.split() if word.startswith("/") and ":" not in word}
    # onnxruntime loads these of the system, too.
    others = [path for path in Path("/lib").glob("*-linux-gnu/lib*.so*") if path.name in OTHERS]
    with tarfile.open(tmp_path / "base.tar", "w", dereference=True) as archive:
        for path in sorted({*words, *others, *programs[:2], Path("/etc/ld.so.cache")}):
            archive.add(path)
        archive.add(library, filter=lambda info: None if "-packages" in info.name else info)
        link = tarfile.TarInfo("usr/bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, str(python)
        archive.addfile(link)
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(folder)
    made = buildah("from", "scratch").strip()
    buildah("add", "--quiet", made, str(tmp_path / "base.tar"), "/")
    buildah("config", "--env", "PATH=/usr/bin:/bin", made)
    buildah("commit", "--quiet", made, "localhost/base")
    return "localhost/base"


OTHERS = {"libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "librt.so.1", "libdl.so.2"}


def test_the_containerfile_builds_and_its_health_check_notices_damage(
    buildah, base, real_wheels, runtime_wheel, tmp_path
):
    artifact, archive = tmp_path / "mlp.onnx", tmp_path / "device.tar.gz"
    artifact.write_bytes(mlp_artifact())
    write_bundle(
        *(artifact, archive),
        platform=install.this_platform(),
        python="{}.{}".format(*sys.version_info[:2]),
        wheel=runtime_wheel,
        wheels=real_wheels,
        with_containerfile=True,
    )
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    built = ("bud", "--format", "docker", "--build-arg", f"BASE={base}", "--tag", "device")
    buildah(*built, str(tmp_path / FOLDER))

    image = json.loads(buildah("inspect", "--type", "image", "localhost/device"))["Docker"]
    command = image["config"]["Healthcheck"]["Test"]
    assert command[0] == "CMD"
    device = buildah("from", "localhost/device").strip()
    said = buildah("run", device, "--", *command[1:])
    assert "within tolerance" in said
    assert "mlp" in buildah("run", device, "--", *image["config"]["Cmd"])
    # Not root: a program in this image cannot change the release.
    buildah("run", device, "--", "/bin/sh", "-c", "echo > /opt/edgeport/current/model.onnx", code=2)
    (tmp_path / "damaged.onnx").write_bytes(mlp_artifact()[:-9] + b"\0" * 9)
    release = install.read_manifest(tmp_path / FOLDER, None)["id"]
    place = f"/opt/edgeport/releases/{release}/model.onnx"
    buildah("copy", "--quiet", device, str(tmp_path / "damaged.onnx"), place)
    buildah("run", device, "--", *command[1:], code=IntegrityError.exit_code)
