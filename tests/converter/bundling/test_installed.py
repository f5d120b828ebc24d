"""Bundles of real wheels, installed by the real installer, without a network."""

import subprocess
import sys
import tarfile

import numpy as np
import pytest
from examples import doubler, golden, mlp, mlp_artifact

from edgeport import SelfTestError
from edgeport_converter.bundling import bundle, install
from edgeport_converter.bundling.archive import FOLDER

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no bin/python"),
]

ANSWER = """
import sys
import numpy as np
from edgeport import Predictor
with Predictor.load(sys.argv[1]) as predictor:
    np.save(sys.argv[3], predictor.predict(np.load(sys.argv[2])))
"""


@pytest.fixture
def device(tmp_path, real_wheels, runtime_wheel):
    """A device: a folder, and functions that install and ask."""

    class Device:
        target = tmp_path / "opt" / "a folder with 'spaces'"

        def bundle(self, name, artifact):
            (tmp_path / f"{name}.onnx").write_bytes(artifact)
            archive = tmp_path / f"{name}.tar.gz"
            bundle.write_bundle(
                *(tmp_path / f"{name}.onnx", archive),
                platform=install.this_platform(),
                python="{}.{}".format(*sys.version_info[:2]),
                wheel=runtime_wheel,
                wheels=real_wheels,
            )
            with tarfile.open(archive) as file:
                file.extractall(tmp_path / name, filter="data")
            return tmp_path / name / FOLDER

        def install(self, folder, *options):
            return subprocess.run(
                [sys.executable, str(folder / "install.py"), "--target", self.target, *options],
                capture_output=True,
                text=True,
                check=False,
                env={"LANG": "C"},  # no home, no path
            )

        def answers(self, x):
            np.save(tmp_path / "x.npy", x)
            current = self.target / "current"
            given = (current / "model.onnx", tmp_path / "x.npy", tmp_path / "y.npy")
            python = current / "bin" / "python"
            subprocess.run([python, "-I", "-c", ANSWER, *given], check=True, env={})
            return np.load(tmp_path / "y.npy")

    return Device()


def test_an_update_a_damaged_bundle_and_a_rollback(device, monkeypatch):
    x = np.random.default_rng(5).uniform(-1, 1, (7, 6)).astype("f4")
    first = device.bundle("first", mlp_artifact())
    done = device.install(first)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("serving mlp from ")
    np.testing.assert_allclose(device.answers(x), mlp().formula(x), atol=1e-5)
    said = subprocess.run(
        [device.target / "current/bin/edgeport", "info", device.target / "current/model.onnx"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "cat" in said

    small = x[:, :3]
    sample = golden(small[:1], doubler().formula(small[:1]))
    second = device.bundle("second", doubler().artifact(sample))
    done = device.install(second)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(device.answers(small), 2 * small)
    assert len(list((device.target / "environments").iterdir())) == 1  # the wheels are the same

    third = device.bundle("third", mlp().artifact())
    for name in ("model.onnx", "manifest.json"):
        whole = (third / name).read_bytes()
        changed = bytearray(whole)
        changed[len(whole) // 2] ^= 1
        (third / name).write_bytes(changed)
        done = device.install(third)
        assert (done.returncode, done.stderr.count("\n")) == (install.DAMAGED, 1)
        np.testing.assert_array_equal(device.answers(small), 2 * small)
        (third / name).write_bytes(whole)

    # Every digest is right, but this device does not compute what the golden sample says.
    monkeypatch.setattr(bundle, "_check", lambda artifact: doubler().card)
    wrong = doubler().artifact(golden(small[:1], 3 * small[:1]))
    done = device.install(device.bundle("wrong", wrong))
    assert done.returncode == SelfTestError.exit_code
    assert "'edgeport verify' failed on this device" in done.stderr
    np.testing.assert_array_equal(device.answers(small), 2 * small)

    # The copy of the installer that was installed takes bundles, too.
    done = device.install(device.target / "current", "--rollback")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(device.answers(x), mlp().formula(x), atol=1e-5)
    done = device.install(device.target / "current", "--bundle", str(second))
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(device.answers(small), 2 * small)
    assert sorted(path.name for path in device.target.iterdir()) == [
        *(".lock", "current", "environments", "former", "releases")
    ]
