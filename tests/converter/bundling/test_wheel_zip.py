"""Wheels that are made of an installed package, and smaller ones."""

import json
import zipfile
from importlib import metadata
from pathlib import Path

import packaging
import pytest

from edgeport import OptionError
from edgeport_converter.bundling.slimming import is_needed
from edgeport_converter.bundling.wheel_zip import slimmed, wheel_of_installed


@pytest.fixture
def installed(make_wheel, tmp_path, monkeypatch):
    """A package ``gadget`` as pip installs it: unpacked, with what pip adds."""
    site = tmp_path / "site"
    with zipfile.ZipFile(make_wheel(tmp_path, "gadget", "1.2")) as wheel:
        wheel.extractall(site)
    info = site / "gadget-1.2.dist-info"
    (info / "INSTALLER").write_text("pip\n")
    with (info / "RECORD").open("a") as record:
        record.write("gadget-1.2.dist-info/INSTALLER,,\n../../bin/gadget,,\n")
    monkeypatch.syspath_prepend(str(site))
    return site


def test_an_installed_package_becomes_the_wheel_that_it_was(installed, tmp_path):
    name, data = wheel_of_installed("gadget", installed / "gadget")
    assert name == "gadget-1.2-py3-none-any.whl"
    assert data == (tmp_path / name).read_bytes()


def test_the_name_has_every_tag_of_the_wheel():
    name, _ = wheel_of_installed("packaging", Path(packaging.__file__).parent)
    assert name == f"packaging-{metadata.version('packaging')}-py3-none-any.whl"


def test_a_file_that_changed_since_it_was_installed_is_refused(installed):
    (installed / "gadget" / "__init__.py").write_text("changed = True\n")
    with pytest.raises(OptionError, match="changed since 'gadget' was installed"):
        wheel_of_installed("gadget", installed / "gadget")


def test_an_editable_package_is_refused(installed):
    info = installed / "gadget-1.2.dist-info"
    (info / "RECORD").write_text("gadget.pth,,\ngadget-1.2.dist-info/METADATA,,\n")
    (info / "direct_url.json").write_text(json.dumps({"dir_info": {"editable": True}}))
    with pytest.raises(OptionError, match=r"editable one.*name it with --wheel"):
        wheel_of_installed("gadget", installed / "gadget")


def test_a_package_that_is_imported_from_elsewhere_is_refused(installed, tmp_path):
    with pytest.raises(OptionError, match=r"is imported from .*elsewhere.*--wheel"):
        wheel_of_installed("gadget", tmp_path / "elsewhere" / "gadget")
    with pytest.raises(OptionError, match="'gizmo' is not installed"):
        wheel_of_installed("gizmo", installed / "gizmo")


def test_a_slim_wheel_lacks_tests_and_has_a_record_of_its_own(make_wheel, tmp_path):
    files = {
        "numpy/__init__.py": b"",
        "numpy/_core/tests/test_x.py": b"12345",
        "numpy/testing/__init__.py": b"",
        "numpy/__init__.pyi": b"678",
        "onnxruntime/capi/libonnxruntime.so.1.32.0": b"90",
        "onnxruntime/capi/onnxruntime_pybind11_state.so": b"",
        "onnxruntime/capi/libonnxruntime_providers_shared.so": b"",
    }
    wheel = make_wheel(tmp_path, "numpy", "2.0", files=files)
    left_out = slimmed(wheel, is_needed, tmp_path / "slim.whl")
    with zipfile.ZipFile(tmp_path / "slim.whl") as slim:
        assert {name for name in files if name not in slim.namelist()} == {
            "numpy/_core/tests/test_x.py",
            "numpy/__init__.pyi",
            "onnxruntime/capi/libonnxruntime.so.1.32.0",
        }
        record = slim.read("numpy-2.0.dist-info/RECORD").decode()
        assert {line.split(",")[0] for line in record.split()} == set(slim.namelist())
    assert left_out == len(b"12345" + b"678" + b"90")
