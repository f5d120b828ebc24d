"""What is in a bundle, which wheels it takes, and what is refused with nothing written."""

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import socket
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from examples import identity

import edgeport
from edgeport import ArtifactError, OptionError, Predictor
from edgeport.cli.main import main
from edgeport.device import tuning_file
from edgeport_converter.bundling import install
from edgeport_converter.bundling.archive import FOLDER
from edgeport_converter.bundling.bundle import write_bundle
from edgeport_converter.bundling.command import add_bundle
from edgeport_converter.bundling.wheels import system_version


@pytest.fixture(scope="module")
def write(artifact, runtime_wheel, tiny_wheels):
    """A function that writes a bundle from made-up wheels."""

    def write_tiny(path, source=artifact, **options):
        defaults = {"platform": "linux-aarch64", "python": "3.11", "wheels": tiny_wheels}
        write_bundle(source, path, **{**defaults, "wheel": runtime_wheel, **options})
        return path

    return write_tiny


def tuning_of(path, **changes):
    """Return what `edgeport tune` writes for an artifact on a device with the made-up wheels."""
    with Predictor.load(path, tuning=False) as predictor:
        found = tuning_file.circumstances(predictor.card.sha256)
    choice = {"threads": 4, "spinning": False, "optimization": "all"}
    return {**found, "onnxruntime": "1.30.0 build", "usable_cpus": 4, "choice": choice, **changes}


@pytest.fixture(scope="module")
def device(write, artifact, tmp_path_factory):
    """A bundle for linux-aarch64, with all that can be added."""
    folder = tmp_path_factory.mktemp("device")
    variant, tuning = folder / "mlp.none.onnx", folder / "tuned.json"
    variant.write_bytes(artifact.read_bytes())
    tuning.write_text(json.dumps(tuning_of(artifact)))
    added = {"variants": [variant], "tuning": tuning, "with_containerfile": True, "slim": True}
    return write(folder / "device.tar.gz", **added), added


def read(bundle):
    with tarfile.open(bundle) as archive:
        return {
            info.name.removeprefix(f"{FOLDER}/"): archive.extractfile(info).read()
            for info in archive.getmembers()
        }


def test_the_wheels_fit_the_platform_the_card_and_each_other(device):
    manifest = json.loads(read(device[0])["manifest.json"])
    # numpy 2.2 is newer, but this onnxruntime needs numpy<2; onnxruntime 1.18 is too old.
    assert manifest["versions"]["numpy"] == "1.26.4"
    assert manifest["versions"]["onnxruntime"] == "1.30.0"
    assert [name for name in sorted(manifest["files"]) if name.endswith(".whl")] == [
        f"wheels/edgeport-{edgeport.__version__}-py3-none-any.whl",
        "wheels/numpy-1.26.4-cp311-cp311-manylinux2014_aarch64.whl",
        "wheels/onnxruntime-1.30.0-cp311-cp311-manylinux2014_aarch64.whl",
    ]


def test_an_extra_brings_what_it_needs_on_that_device(write, tmp_path):
    bundle = read(write(tmp_path / "device.tar.gz", extras=["images"]))
    versions = json.loads(bundle["manifest.json"])["versions"]
    assert versions.pop("edgeport") == edgeport.__version__
    assert versions == {
        "numpy": "1.26.4",
        "onnxruntime": "1.30.0",
        "pillow": "12.0.0",
        "typing-extensions": "4.0.0",
    }
    assert max(map(len, bundle)) > 150  # more than the first format of tar has room for


def test_an_extra_that_edgeport_has_not_is_refused(write, tmp_path):
    sentence = "has no extra 'audio', expected one of images, sign: correct --extras"
    refused(write, tmp_path, sentence, extras=["images", "audio"])


@pytest.mark.slow
def test_an_extra_without_a_wheel_is_refused_with_what_exists(write, tmp_path):
    sentence = (
        "there is no wheel of cryptography for linux-aarch64 and Python 3.11; there are some for "
        "linux-x86_64 with Python 3.11: choose one of these"
    )
    refused(write, tmp_path, sentence, extras=["sign"])


def test_every_digest_is_that_of_the_file(device):
    found = read(device[0])
    files = json.loads(found["manifest.json"])["files"]
    for name, entry in files.items():
        assert hashlib.sha256(found[name]).hexdigest() == entry["sha256"]
        assert len(found[name]) == entry["bytes"]
    assert set(found) - set(files) == {"manifest.json", "SHA256SUMS"}
    assert {"mlp.none.onnx", "model.onnx", "model.onnx.tune.json", "install.py"} < set(files)
    assert b"--platform linux/arm64" in found["Containerfile"]
    assert b"HEALTHCHECK" in found["Containerfile"]


def test_the_same_inputs_give_the_same_bytes(device, write, artifact, tmp_path, monkeypatch):
    """On another day, in another time zone, folder and locale, with other rights and times."""
    day, added = time.time() + 400 * 86400, {**device[1]}
    for name in ("mlp.none.onnx", "tuned.json"):
        copy = tmp_path / "other folder" / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes((device[0].parent / name).read_bytes())
        copy.chmod(0o600)
        os.utime(copy, (1e9, 1e9))
    added["variants"] = [tmp_path / "other folder" / "mlp.none.onnx"]
    added["tuning"] = tmp_path / "other folder" / "tuned.json"
    source = tmp_path / "other name.onnx"
    source.write_bytes(artifact.read_bytes())
    monkeypatch.setattr(time, "time", lambda: day)
    for name, text in (("TZ", "Asia/Kathmandu"), ("LC_ALL", "C"), ("SOURCE_DATE_EPOCH", "5")):
        monkeypatch.setenv(name, text)
    monkeypatch.chdir(tmp_path)
    time.tzset()
    mask = os.umask(0o077)
    try:
        again = write(Path("again.tar.gz"), source=source, **added).read_bytes()
    finally:
        os.umask(mask)
        monkeypatch.undo()
        time.tzset()
    assert again == device[0].read_bytes()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"artifact": "0" * 64}, "it was made for another artifact"),
        ({"format": 9}, "it was made for another format"),
        ({"choice": {"threads": 5, "spinning": False, "optimization": "all"}}, "it chooses .*=5"),
        ({"choice": {"threads": 1}}, "it lacks 'spinning'"),
        ({"choice": ["all"]}, "it holds other JSON than"),
        (
            {"onnxruntime": "1.18.0 x"},
            "it was measured with onnxruntime 1.18.0, the bundle has 1.30.0",
        ),
        (None, "Expecting value"),
    ],
)
def test_a_tuning_that_no_device_would_use_is_refused(write, artifact, tmp_path, changes, reason):
    tuning = tmp_path / "tuned.json"
    text = "half a fi" if changes is None else json.dumps(tuning_of(artifact, **changes))
    tuning.write_text(text)
    refused(write, tmp_path, f"tuned.json' .{reason}.*or leave --tuning out", tuning=tuning)


def test_a_wheel_that_its_own_record_does_not_fit_is_refused(write, tiny_wheels, tmp_path):
    folder = tmp_path / "wheels"
    shutil.copytree(tiny_wheels, folder)
    wheel = next(folder.glob("numpy-1.26.4*aarch64.whl"))
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("numpy/more.py", "")
    sentence = rf"'{wheel.name}' .*'numpy/more.py'.* RECORD"
    for slim in (True, False):
        refused(write, tmp_path, sentence, wheels=folder, slim=slim)


def test_every_changed_byte_of_the_archive_is_found_by_tar_or_the_installer(device, tmp_path):
    """Or it changes nothing of what is unpacked: the archive's own headers say little of files."""
    whole, chance = device[0].read_bytes(), random.Random(3)  # noqa: S311
    files, inner = read(device[0]), gzip.decompress(whole)
    ends = [*range(20), *range(-20, 0)]
    found = {"tar": 0, "installer": 0, "nothing": 0}
    for data, places in (
        (whole, [*ends, *(chance.randrange(len(whole)) for _ in range(20))]),
        # As if nobody minded what gzip says of its own check sum.
        (inner, [*ends, *range(512, 700, 3), *(chance.randrange(len(inner)) for _ in range(60))]),
    ):
        for place in places:
            changed = bytearray(data)
            changed[place] ^= 1 << chance.randrange(8)
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            try:
                with tarfile.open(fileobj=io.BytesIO(changed)) as archive:
                    archive.extractall(folder, filter="data")
            except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError):
                found["tar"] += 1
                continue
            bundle = folder / FOLDER
            try:
                install.check_files(bundle, install.read_manifest(bundle, None))
            except (install.Refused, OSError):
                found["installer"] += 1
                continue
            found["nothing"] += 1
            for name, content in files.items():
                assert (bundle / name).read_bytes() == content
    assert min(found.values()) > 0, found
    garbage = tmp_path / "garbage.tar.gz"
    garbage.write_bytes(whole + b"garbage")
    assert read(garbage) == files


@pytest.mark.parametrize(
    ("tags", "oldest"),
    [
        (["any"], None),
        (["win_amd64"], None),
        (["any", "manylinux2014_aarch64"], "2.17"),
        (["manylinux_2_27_x86_64.manylinux_2_28_x86_64", "manylinux2014_x86_64"], "2.27"),
        (["macosx_11_0_arm64", "macosx_14_0_arm64"], "14.0"),
    ],
)
def test_the_tags_say_how_old_a_system_may_be(tags, oldest):
    wheels = [Path(f"numpy-2.0-cp311-cp311-{tag}.whl") for tag in tags]
    assert system_version(wheels) == oldest


def refused(write, tmp_path, match, error=OptionError, **options):
    (tmp_path / "device.tar.gz").write_text("as it was")
    with pytest.raises(error, match=match):
        write(tmp_path / "device.tar.gz", **options)
    assert (tmp_path / "device.tar.gz").read_text() == "as it was"


def test_the_systemd_unit_is_for_linux_alone(device, write, tmp_path):
    assert "edgeport-app.service" in read(device[0])
    other = write(tmp_path / "other.tar.gz", platform="macos-arm64")
    manifest = json.loads(read(other)["manifest.json"])
    assert "edgeport-app.service" not in manifest["files"]
    assert manifest["system"] == {"what": "macOS", "version": "14.0"}
    assert sorted(read(other)) == sorted([*manifest["files"], "manifest.json", "SHA256SUMS"])


def test_a_platform_without_a_wheel_is_refused_with_what_exists(write, tmp_path):
    sentence = (
        "there is no wheel of onnxruntime>=1.19 for linux-x86_64 and Python 3.13; there are some "
        "for linux-x86_64 with Python 3.11, linux-x86_64 with Python 3.12: choose one of these"
    )
    refused(write, tmp_path, sentence, platform="linux-x86_64", python="3.13")


def test_a_folder_of_wheels_is_the_only_place_whatever_the_user_tells_pip(
    write, tiny_wheels, tmp_path, monkeypatch
):
    (tmp_path / "none").mkdir()
    (tmp_path / "pip.conf").write_text(f"[global]\nfind-links = {tiny_wheels}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny_wheels))
    sentence = "there is no wheel of numpy.* none for any other platform"
    refused(write, tmp_path, sentence, wheels=tmp_path / "none")


def test_what_exists_is_found_where_pip_installs_for_the_user(
    write, tiny_wheels, tmp_path, monkeypatch
):
    settings = f"[global]\nno-index = true\nfind-links = {tiny_wheels}\n[install]\nuser = true\n"
    (tmp_path / "pip.conf").write_text(settings)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    options = {"platform": "linux-x86_64", "python": "3.13", "wheels": None}
    refused(write, tmp_path, r"there are some for linux-x86_64 with Python 3\.11", **options)


def test_an_index_that_does_not_answer_is_none_without_wheels(write, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        for name, text in (("CONFIG_FILE", os.devnull), ("FIND_LINKS", ""), ("RETRIES", "1")):
            monkeypatch.setenv(f"PIP_{name}", text)
        refused(write, tmp_path, "pip cannot download .*simple.* does not answer", wheels=None)


@pytest.mark.parametrize("place", ["INDEX_URL", "EXTRA_INDEX_URL"])
def test_an_index_that_is_down_beside_another_place_is_no_older_version(
    place, write, tiny_wheels, tmp_path, monkeypatch
):
    empty = tmp_path / "simple"
    empty.mkdir()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings = {"CONFIG_FILE": os.devnull, "FIND_LINKS": str(tiny_wheels), "RETRIES": "0"}
        settings |= {"INDEX_URL": empty.as_uri(), "EXTRA_INDEX_URL": ""}
        settings[place] = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        for name, text in settings.items():
            monkeypatch.setenv(f"PIP_{name}", text)
        sentence = rf"pip cannot download .*\({settings[place]}/numpy/ does not answer"
        refused(write, tmp_path, sentence, wheels=None)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"platform": "amiga"}, "expected one of linux-x86_64, linux-aarch64"),
        ({"python": "3.9"}, "the device's Python is '3.9', expected one of 3.10"),
        ({"key": "private.pem"}, "give --key and --version"),
        ({"version": 3}, "give --key and --version"),
        ({"platform": "windows-x86_64", "with_containerfile": True}, "no containers for windows"),
    ],
)
def test_options_that_cannot_be_are_refused_first(write, tmp_path, options, match):
    refused(write, tmp_path, match, **options)


def test_a_file_without_a_card_is_refused(write, tmp_path):
    (tmp_path / "plain.onnx").write_bytes(identity().onnx)
    refused(write, tmp_path, "has no card", ArtifactError, source=tmp_path / "plain.onnx")


@pytest.mark.parametrize(
    "name", ["my model.onnx", "mod\u00e8le.onnx", ".onnx", "install.py", "Model.ONNX", "x" * 120]
)
def test_a_variant_with_a_name_that_no_device_takes_is_refused(write, artifact, tmp_path, name):
    (tmp_path / name).write_bytes(artifact.read_bytes())
    refused(write, tmp_path, "rename the variant", variants=[tmp_path / name])


def test_a_file_of_versions_is_not_overwritten(write, tmp_path):
    target = tmp_path / "device.tar.gz"
    refused(write, tmp_path, "is read by the same call", constraints=target)


def test_a_wheel_of_another_version_of_edgeport_is_refused(write, make_wheel, tmp_path):
    wheel = make_wheel(tmp_path, "edgeport", "0.0.9")
    refused(write, tmp_path, "no wheel of edgeport", wheel=wheel)


def test_the_command_says_what_to_do_on_the_device(
    artifact, runtime_wheel, tiny_wheels, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("edgeport.cli.main._installed_commands", lambda: [add_bundle])
    output = tmp_path / "device.tar.gz"
    given = ["--wheel", str(runtime_wheel), "--wheels", str(tiny_wheels)]
    target = ["--platform", "linux-aarch64", "--python", "3.11", "-o", str(output)]
    assert main(["bundle", str(artifact), *target, *given]) == 0
    said = capsys.readouterr().out
    assert f"sha256       {hashlib.sha256(output.read_bytes()).hexdigest()}\n" in said
    assert "linux-aarch64, Python 3.11, glibc 2.17 or newer: edgeport" in said
    assert "python3.11 edgeport-bundle/install.py --target" in said
