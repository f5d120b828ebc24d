"""Bundles without a network: tiny made-up wheels, and real ones of what is installed here."""

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from examples import mlp_artifact

import edgeport
from edgeport_converter.bundling import install
from edgeport_converter.bundling.archive import FOLDER
from edgeport_converter.bundling.bundle import write_bundle
from edgeport_converter.bundling.slimming import is_needed
from edgeport_converter.bundling.wheel_zip import slimmed, wheel_of_installed, write_wheel

PYTHON = "{}.{}".format(*sys.version_info[:2])
HERE = install.this_platform()


@pytest.fixture(scope="session")
def make_wheel():
    """A function that writes a wheel: of a module with the given text, or of given files."""

    def make(folder, name, version, tag="py3-none-any", needs=(), files=None, extras=()):
        info = f"{name}-{version}.dist-info"
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {n}" for n in needs)]
        lines += [f"Provides-Extra: {extra}" for extra in extras]
        contents = {
            **(files or {f"{name}/__init__.py": f"__version__ = '{version}'\n".encode()}),
            f"{info}/METADATA": "\n".join(["Metadata-Version: 2.1", *lines, ""]).encode(),
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        }
        path = Path(folder, f"{name}-{version}-{tag}.whl")
        with path.open("wb") as file:
            write_wheel(file, contents, info, 6)
        return path

    return make


@pytest.fixture(scope="session")
def runtime_wheel(make_wheel, tmp_path_factory):
    """A wheel of the runtime that these tests import."""
    package = Path(edgeport.__file__).parent
    files = {
        path.relative_to(package.parent).as_posix(): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    needs = ("numpy>=1.26", "onnxruntime>=1.19", "pillow>=10; extra == 'images'")
    needs += ("cryptography; extra == 'sign'",)
    said = {"needs": needs, "files": files, "extras": ("images", "sign")}
    return make_wheel(tmp_path_factory.mktemp("runtime"), "edgeport", edgeport.__version__, **said)


@pytest.fixture(scope="session")
def tiny_wheels(make_wheel, tmp_path_factory):
    """A folder with made-up wheels of several platforms and versions."""
    folder = tmp_path_factory.mktemp("tiny")
    for tag in ("manylinux_2_28_x86_64", "manylinux2014_aarch64", "macosx_14_0_arm64"):
        make_wheel(folder, "numpy", "2.2.0", f"cp311-cp311-{tag}")
        make_wheel(folder, "numpy", "1.26.4", f"cp311-cp311-{tag}")
        make_wheel(
            *(folder, "onnxruntime", "1.30.0", f"cp311-cp311-{tag}"), needs=("numpy<2", "protobuf")
        )
        make_wheel(folder, "onnxruntime", "1.18.0", f"cp311-cp311-{tag}")
    for python in ("cp312", "cp313"):
        make_wheel(folder, "numpy", "2.2.0", f"{python}-{python}-manylinux_2_28_x86_64")
    # What a package of an extra needs may depend on the device, and have a long list of tags.
    tags = ".".join(f"manylinux_2_{glibc}_aarch64" for glibc in (17, 24, 27, 28, 31, 34, 39))
    needs = ("typing_extensions; python_version < '3.12'", "colors; sys_platform == 'win32'")
    make_wheel(folder, "pillow", "12.0.0", f"cp311-cp311-{tags}", needs=(*needs, "numpy<1.30"))
    make_wheel(folder, "typing_extensions", "4.0.0")
    make_wheel(folder, "cryptography", "50.0.0", "cp311-abi3-manylinux2014_x86_64")
    make_wheel(folder, "onnxruntime", "1.20.0", "cp312-cp312-manylinux_2_28_x86_64")
    return folder


@pytest.fixture(scope="session")
def artifact(tmp_path_factory):
    path = tmp_path_factory.mktemp("artifact") / "mlp.onnx"
    path.write_bytes(mlp_artifact())
    return path


@pytest.fixture
def unpacked(tmp_path):
    """A function that unpacks a bundle and returns its folder."""

    def unpack(archive, name="bundle"):
        with tarfile.open(fileobj=io.BytesIO(Path(archive).read_bytes())) as file:
            file.extractall(tmp_path / name, filter="data")
        return tmp_path / name / FOLDER

    return unpack


@pytest.fixture
def tiny_bundle(artifact, make_wheel, tmp_path):
    """A function that writes a bundle for this machine whose packages are made up; none can run."""
    wheels = tmp_path / "own wheels"
    wheels.mkdir()
    for name, version in (("numpy", "2.2.0"), ("onnxruntime", "1.30.0")):
        make_wheel(wheels, name, version)
    needs = ("numpy", "onnxruntime")
    runtime_wheel = make_wheel(tmp_path, "edgeport", edgeport.__version__, needs=needs)

    def make(name="tiny.tar.gz", source=artifact, **options):
        write_bundle(
            *(source, tmp_path / name),
            platform=HERE,
            python=PYTHON,
            wheel=runtime_wheel,
            wheels=wheels,
            **options,
        )
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def real_wheels(tmp_path_factory):
    """A folder with slim wheels of the numpy and the onnxruntime that are installed here."""
    folder = tmp_path_factory.mktemp("real")
    for module in (np, onnxruntime):
        name, data = wheel_of_installed(module.__name__, Path(module.__file__).parent, level=0)
        (folder / "whole.whl").write_bytes(data)
        slimmed(folder / "whole.whl", is_needed, folder / name, level=1)
    (folder / "whole.whl").unlink()
    return folder
