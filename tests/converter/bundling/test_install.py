"""What the installer refuses, before anything is installed; no made-up engine is ever run."""

import ast
import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from examples import mlp_artifact

import edgeport
from edgeport_converter.bundling import install
from edgeport_converter.bundling.bundle import write_bundle
from edgeport_converter.bundling.wheels import IMPORTS

SOURCE = Path(install.__file__)


@pytest.fixture
def run(tmp_path, capsys):
    """A function that runs the installer and returns its exit code and what it said."""

    def run_installer(bundle, *options):
        arguments = ["--target", str(tmp_path / "target")]
        arguments += [] if bundle is None else ["--bundle", str(bundle)]
        code = install.main([*arguments, *options])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run_installer


@pytest.fixture
def no_engine(monkeypatch):
    """Let nothing be run with the made-up engine, and wait for no disk."""
    monkeypatch.setattr(install, "_run", lambda *arguments: None)
    monkeypatch.setattr(install, "_sync", lambda target: None)


def make_no_python(folder):
    """Let an environment have an empty file in place of its Python."""
    install.python_of(folder).parent.mkdir(parents=True)
    install.python_of(folder).touch()


@pytest.fixture
def compiled_only(monkeypatch, no_engine):
    """As ``no_engine``, but packages are compiled."""
    run = subprocess.run

    def compile_only(environment, *arguments):
        if "compileall" in arguments:
            run([install.python_of(environment), *arguments], cwd=environment, check=True)

    monkeypatch.setattr(install, "_run", compile_only)


def test_the_installer_needs_the_standard_library_alone():
    tree = ast.parse(SOURCE.read_text("utf-8"), feature_version=(3, 7))  # to be able to refuse it
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(node.module.split(".")[0])
    assert roots <= sys.stdlib_module_names
    assert SOURCE.read_text("utf-8").isascii()


def test_a_changed_byte_in_any_file_is_refused_before_anything_is_installed(
    tiny_bundle, unpacked, run, tmp_path
):
    bundle = unpacked(tiny_bundle())
    chance = random.Random(4)  # noqa: S311
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    assert len(files) == 8
    for file in files:
        whole = file.read_bytes()
        for place in (0, chance.randrange(len(whole)), len(whole) - 1):
            changed = bytearray(whole)
            changed[place] ^= 1 << chance.randrange(8)
            file.write_bytes(changed)
            code, said = run(bundle)
            assert code == install.DAMAGED, file.name
            assert said.count("\n") == 1
            assert not (tmp_path / "target").exists()
        file.write_bytes(whole)


def test_a_missing_and_a_strange_file_are_refused(tiny_bundle, unpacked, run, tmp_path):
    bundle = unpacked(tiny_bundle())
    (bundle / "wheels" / "gift.whl").write_text("")
    assert "'wheels/gift.whl' in" in run(bundle)[1]
    (bundle / "wheels" / "gift.whl").unlink()
    (bundle / "model.onnx").unlink()
    assert "the bundle lacks 'model.onnx'" in run(bundle)[1]
    (bundle / "manifest.json").unlink()
    assert "has no manifest.json, expected a bundle that was unpacked as a whole" in run(bundle)[1]
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        ("sys.version_info = (3, 8, 18)", "this is Python 3.8, and bundles are for 3.10 or newer"),
        ("sys.modules['venv'] = None", "this Python has no module 'venv', which comes with"),
    ],
)
def test_a_python_that_cannot_install_is_told_so(before, sentence):
    code = f"import sys, runpy; {before}; runpy.run_path({str(SOURCE)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (install.OPTIONS, 1)
    assert done.stderr.startswith(f"install: {sentence}")


def test_a_strange_module_beside_the_installer_is_not_imported(tiny_bundle, unpacked, tmp_path):
    bundle = unpacked(tiny_bundle())
    (bundle / "zipfile.py").write_text("print('imported')")
    (tmp_path / "json.py").write_text("print('imported')")
    done = subprocess.run(
        [sys.executable, str(bundle / "install.py"), "--target", str(tmp_path / "target")],
        capture_output=True,
        text=True,
        check=False,
        env={"LANG": "C", "PYTHONPATH": f"{tmp_path}{os.pathsep}"},
    )
    assert done.returncode == install.DAMAGED
    assert "imported" not in done.stdout
    assert "'zipfile.py' in" in done.stderr


@pytest.mark.parametrize(
    ("system", "machine", "bits", "name"),
    [
        ("linux", "x86_64", 8, "linux-x86_64"),
        ("linux", "aarch64", 8, "linux-aarch64"),
        ("linux", "aarch64", 4, "linux-armv7l"),
        ("linux", "armv7l", 4, "linux-armv7l"),
        ("win32", "AMD64", 8, "windows-x86_64"),
        ("win32", "ARM64", 8, "windows-arm64"),
        ("darwin", "arm64", 8, "macos-arm64"),
    ],
)
def test_each_system_has_the_name_of_its_platform(monkeypatch, system, machine, bits, name):
    monkeypatch.setattr(install.sys, "platform", system)
    monkeypatch.setattr(install.platform, "machine", lambda: machine)
    monkeypatch.setattr(install.struct, "calcsize", lambda kind: bits)
    assert install.this_platform() == name


def test_another_platform_python_or_c_library_is_refused(
    tiny_bundle, unpacked, run, monkeypatch, tmp_path
):
    manifest = install.read_manifest(unpacked(tiny_bundle()), None)
    for changed, sentence in (
        ({"platform": "linux-riscv64"}, "the bundle is for linux-riscv64, and this Python is for"),
        ({"python": "3.99"}, r"run 'python3\.99 install\.py', or make one with"),
        ({"system": {"what": "glibc", "version": "9.1"}}, "the wheels need glibc 9.1 or newer"),
    ):
        with pytest.raises(install.Refused, match=sentence):
            install.check_platform({**manifest, **changed})
    monkeypatch.setattr(install, "_system_version", lambda: None)  # musl
    with pytest.raises(install.Refused, match="this system has another one"):
        install.check_platform({**manifest, "system": {"what": "glibc", "version": "2.17"}})
    monkeypatch.setattr(install.sysconfig, "get_config_var", lambda name: 1)
    with pytest.raises(install.Refused, match="free-threaded"):
        install.check_platform(manifest)


@pytest.fixture
def keys(tmp_path):
    """A private key's file and its public one."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    private, public = tmp_path / "private.pem", tmp_path / "maker.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


@pytest.mark.usefixtures("no_engine")
def test_a_device_that_knows_its_maker_refuses_others(tiny_bundle, unpacked, run, keys, tmp_path):
    private, public = keys
    unsigned = unpacked(tiny_bundle(), "unsigned")
    code, said = run(unsigned, "--public-key", str(public))
    assert (code, "the bundle is not signed" in said) == (install.UNTRUSTED, True)
    assert not (tmp_path / "target").exists()

    signed = unpacked(tiny_bundle("signed.tar.gz", key=private, version=7), "signed")
    code, said = run(signed, "--target", str(tmp_path / "trusting"))
    assert (code, "its signature was not checked: name" in said) == (0, True)
    code, said = run(signed, "--public-key", str(public))
    assert (code, "not checked" in said) == (0, False)
    # The key is kept: from now on the device asks for it by itself.
    assert "the bundle is not signed" in run(unsigned)[1]
    older = unpacked(tiny_bundle("older.tar.gz", key=private, version=6), "older")
    assert "is version 6, and version 7 serves" in run(older)[1]

    other = tmp_path / "other.pem"
    other.write_bytes(
        Ed25519PrivateKey.from_private_bytes(bytes(32))
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert "is not the key that" in run(signed, "--public-key", str(other))[1]
    shutil.rmtree(tmp_path / "target")
    code, said = run(signed, "--public-key", str(other))
    assert (code, "signed with another key" in said) == (install.UNTRUSTED, True)


# RFC 8032, section 7.1: tests 1, 2 and 3.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701c"
        "f9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0"
        "f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f76098"
        "4dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_signatures_are_checked_as_the_standard_says(key, message, signature):
    key, message, signature = map(bytes.fromhex, (key, message, signature))
    assert install.is_signed(key, message, signature)
    assert not install.is_signed(key, message + b"x", signature)
    for place in (0, 31, 32, 63):
        changed = bytearray(signature)
        changed[place] ^= 4
        assert not install.is_signed(key, message, bytes(changed))
    number = int.from_bytes(signature[32:], "little") + install._ORDER
    assert not install.is_signed(key, message, signature[:32] + number.to_bytes(32, "little"))


@pytest.mark.parametrize("place", ["../../{}", "x.data/purelib/{}", "x.data/platlib//{}", "x/./{}"])
def test_a_wheel_that_leads_out_of_its_folder_is_refused(place, tmp_path):
    escaped = tmp_path / "escaped.py"
    with zipfile.ZipFile(tmp_path / "bad.whl", "w") as wheel:
        wheel.writestr(place.format("escaped.py" if place.startswith("..") else escaped), "")
    with pytest.raises(install.Refused, match="leads out of its folder"):
        install.unpack(tmp_path / "bad.whl", tmp_path / "site")
    assert not escaped.exists()


def write_sums(bundle):
    """Let SHA256SUMS fit what is there, as whoever changes a bundle can do without a key."""
    names = (install.MANIFEST, install.SIGNATURE)
    texts = [(bundle / n).read_bytes() if (bundle / n).exists() else None for n in names]
    (bundle / install.SUMS).write_bytes(install.sums_of(*texts))


@pytest.mark.usefixtures("no_engine")
def test_a_version_as_text_is_no_way_around_the_order_of_versions(
    tiny_bundle, unpacked, run, keys, tmp_path
):
    private, public = keys
    for version in (10, 9):
        bundle = unpacked(tiny_bundle(f"{version}.gz", key=private, version=version), f"{version}")
        said = json.loads((bundle / install.SIGNATURE).read_bytes())
        # The signed text is the same; as texts, "9" would be newer than "10".
        (bundle / install.SIGNATURE).write_text(json.dumps({**said, "version": str(version)}))
        write_sums(bundle)
        code, found = run(bundle, "--public-key", str(public))
        assert (code, "cannot be read" in found) == (install.DAMAGED, True)
        assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (install.MANIFEST, "no JSON"),
        (install.MANIFEST, "[]"),
        (install.MANIFEST, '{"format": 1}'),
        (install.MANIFEST, '{"format": 1, "files": {"model.onnx": {}}}'),
        (install.SIGNATURE, "{}"),
        (install.SIGNATURE, '{"version": 1, "ed25519": "zz"}'),
    ],
)
def test_a_manifest_of_another_form_is_refused_in_a_sentence(
    tiny_bundle, unpacked, run, keys, tmp_path, name, text
):
    bundle = unpacked(tiny_bundle())
    (bundle / name).write_text(text)
    write_sums(bundle)
    code, said = run(bundle, "--public-key", str(keys[1]))
    assert code in (install.DAMAGED, install.UNTRUSTED)
    assert said.count("\n") == 1
    (bundle / name).write_text(text)
    code, said = run(bundle)
    assert code == install.DAMAGED
    assert said.count("\n") == 1
    assert not (tmp_path / "target").exists()


@pytest.mark.usefixtures("no_engine")
def test_a_bundle_that_knows_no_imports_is_installed(tiny_bundle, unpacked, run):
    bundle = unpacked(tiny_bundle())
    manifest = json.loads((bundle / install.MANIFEST).read_bytes())
    del manifest["imports"]
    (bundle / install.MANIFEST).write_text(json.dumps(manifest))
    write_sums(bundle)
    assert run(bundle)[0] == 0


@pytest.mark.usefixtures("no_engine")
def test_a_key_that_comes_while_a_bundle_is_checked_counts(
    tiny_bundle, unpacked, run, keys, monkeypatch, tmp_path
):
    target, check = tmp_path / "target", install.check_files

    def check_slowly(*arguments):
        check(*arguments)
        target.mkdir()
        install._write_key(target, install.read_key(keys[1]))

    monkeypatch.setattr(install, "check_files", check_slowly)
    code, said = run(unpacked(tiny_bundle()))
    assert (code, "another installer" in said) == (install.UNTRUSTED, True)
    assert not (target / "current").exists()


@pytest.mark.parametrize("name", ["model.onnx", "install.py", install.MANIFEST, "wheels"])
@pytest.mark.usefixtures("no_engine")
def test_a_file_that_changes_after_its_check_is_not_served(
    tiny_bundle, unpacked, run, monkeypatch, tmp_path, name
):
    bundle, check = unpacked(tiny_bundle()), install.check_files
    file = bundle / name if name != "wheels" else next((bundle / name).glob("numpy*"))

    def check_and_change(*arguments):
        check(*arguments)
        # The end of a wheel may be any text: as a zip file it is the same.
        file.write_bytes(file.read_bytes() + b" ")

    monkeypatch.setattr(install, "check_files", check_and_change)
    code, said = run(bundle)
    assert (code, "changed while it was installed" in said) == (install.DAMAGED, True)
    assert not (tmp_path / "target" / "current").exists()


@pytest.mark.usefixtures("no_engine")
def test_a_name_that_is_no_text_is_refused_or_written_as_its_bytes(
    tiny_bundle, unpacked, run, monkeypatch, tmp_path
):
    bundle, target = unpacked(tiny_bundle()), tmp_path / os.fsdecode(b"ger\xe4t of 'Ann'")
    code, said = run(bundle, "--target", str(target))
    assert (code, "is no text in this locale" in said) == (install.OPTIONS, True)
    monkeypatch.setattr(install, "_make_python", make_no_python)
    assert run(bundle, "--target", str(target))[0] == 0
    script = (target / "current" / "bin" / "edgeport").read_bytes()
    assert b"/ger\xe4t of '\\''Ann'\\''/" in script


@pytest.mark.usefixtures("no_engine")
def test_without_links_a_text_file_names_the_release(tiny_bundle, unpacked, monkeypatch, tmp_path):
    """As on Windows, where links need a privilege. Its folders are made here by the same code."""
    bundle, target = unpacked(tiny_bundle()), tmp_path / "target"
    monkeypatch.setattr(install, "_HAS_LINKS", False)
    monkeypatch.setattr(install, "_make_python", make_no_python)
    install.install(bundle, target, None)
    release = (target / "current").read_text().strip()
    assert not (target / "current").is_symlink()
    script = (target / "releases" / release / "bin" / "edgeport.cmd").read_text()
    (environment,) = (path.name for path in (target / "environments").iterdir())
    python = rf"%~dp0..\..\..\environments\{environment}\Scripts\python.exe"
    assert script == f'@"{python}" -I -m edgeport %*\n'
    assert list((target / "environments").glob("*/Lib/site-packages/edgeport/__init__.py"))
    install.install(bundle, target, None)
    with pytest.raises(install.Refused, match="has no former release"):
        install.roll_back(target)


class WindowsLocks:
    """What Windows has instead of fcntl: a byte of a file that one handle alone may lock."""

    LK_NBLCK = 2

    def __init__(self):
        self.holders = {}

    def locking(self, handle, mode, length):
        assert (mode, length) == (self.LK_NBLCK, 1)
        file = os.fstat(handle).st_ino
        if self.holders.get(file, handle) != handle:
            raise PermissionError(errno.EACCES, "Permission denied")
        self.holders[file] = handle


@pytest.mark.parametrize("system", ["posix", "nt"])
@pytest.mark.usefixtures("no_engine")
def test_two_installers_do_not_work_at_the_same_time(
    tiny_bundle, unpacked, run, monkeypatch, tmp_path, system
):
    if system == "nt":
        monkeypatch.setattr(install, "fcntl", None)
        monkeypatch.setitem(sys.modules, "msvcrt", WindowsLocks())
    bundle = unpacked(tiny_bundle())
    (tmp_path / "target").mkdir()
    with install._locked(tmp_path / "target"):
        for options in ((), ("--rollback",)):
            code, said = run(None if options else bundle, *options)
            assert (code, "another installer is at work" in said) == (install.OPTIONS, True)
    assert not (tmp_path / "target" / "current").exists()


@pytest.mark.usefixtures("no_engine")
def test_a_target_that_cannot_be_one_is_refused_first(tiny_bundle, unpacked, run, tmp_path):
    bundle = unpacked(tiny_bundle())
    before = {path.name for path in bundle.iterdir()}
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "way").symlink_to(bundle)
    for name, sentence in (
        ("file", "is no folder"),
        ("loop", "is no folder"),
        ("gone", "is no folder"),
        ("file/below", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("bundle/edgeport-bundle", "is in the bundle's folder"),
        ("bundle/edgeport-bundle/opt", "is in the bundle's folder"),
        ("way/opt", "is in the bundle's folder"),
    ):
        code, said = run(bundle, "--target", str(tmp_path / name))
        assert code in (install.OPTIONS, install.FAILED), name
        assert sentence in said
        assert said.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"
    assert {path.name for path in bundle.iterdir()} == before


@pytest.mark.usefixtures("no_engine")
def test_no_target_is_not_the_current_folder(tiny_bundle, unpacked, run, monkeypatch, tmp_path):
    bundle = unpacked(tiny_bundle())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=str(install.OPTIONS)):
        run(bundle, "--target", "")
    assert not (tmp_path / "current").exists()


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.usefixtures("no_engine")
def test_root_is_told_of_a_folder_that_no_service_may_enter(
    tiny_bundle, unpacked, run, monkeypatch, tmp_path, user
):
    monkeypatch.setattr(install.os, "geteuid", lambda: user, raising=False)
    (tmp_path / "mine").mkdir(mode=0o700)
    code, said = run(unpacked(tiny_bundle()), "--target", str(tmp_path / "mine" / "target"))
    assert (code, "no other user can run it, since '" in said) == (0, user == 0)


@pytest.mark.usefixtures("no_engine")
def test_the_installed_installer_asks_for_the_bundle(tiny_bundle, unpacked, run, tmp_path):
    assert run(unpacked(tiny_bundle()))[0] == 0
    code, said = run(tmp_path / "target" / "current")
    assert (code, "name the unpacked bundle with --bundle" in said) == (install.OPTIONS, True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe in a folder")
def test_a_pipe_in_place_of_a_file_is_refused(tiny_bundle, unpacked, run, tmp_path):
    bundle = unpacked(tiny_bundle())
    os.mkfifo(bundle / "wheels" / "more.whl")
    assert "does not belong to the bundle" in run(bundle)[1]
    (bundle / "wheels" / "more.whl").unlink()
    (bundle / "model.onnx").unlink()
    os.mkfifo(bundle / "model.onnx")
    assert "does not belong to the bundle" in run(bundle)[1]
    assert not (tmp_path / "target").exists()


@pytest.mark.usefixtures("no_engine")
def test_a_wheel_that_is_no_zip_file_is_refused_in_a_sentence(tiny_bundle, unpacked, run, tmp_path):
    bundle = unpacked(tiny_bundle())
    manifest = json.loads((bundle / install.MANIFEST).read_bytes())
    wheel = next((bundle / "wheels").glob("numpy*"))
    wheel.write_bytes(b"no zip file")
    entry = {"bytes": 11, "sha256": install.digest_of(wheel)}
    manifest["files"][f"wheels/{wheel.name}"] = entry
    (bundle / install.MANIFEST).write_text(json.dumps(manifest))
    write_sums(bundle)
    code, said = run(bundle)
    assert (code, said.count("\n")) == (install.DAMAGED, 1)
    assert f"'{wheel.name}' cannot be unpacked" in said


@pytest.mark.skipif(os.name == "nt", reason="Windows has no bin/python")
@pytest.mark.usefixtures("no_engine")
def test_a_program_that_runs_during_an_update_keeps_its_packages(
    tiny_bundle, unpacked, run, make_wheel, tmp_path
):
    for version in ("2.2.0", "2.3.0"):
        text = f"__version__ = '{version}'\n".encode()
        files = {"numpy/__init__.py": text, "numpy/late.py": text}
        make_wheel(tmp_path / "own wheels", "numpy", version, files=files)
        assert run(unpacked(tiny_bundle(f"{version}.tar.gz"), version))[0] == 0
        if version == "2.2.0":
            code = "import numpy as n; print(); input(); import numpy.late as m; "
            code += "print(n.__version__, m.__version__)"
            program = subprocess.Popen(
                [tmp_path / "target" / "current" / "bin" / "python", "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={},
            )
            program.stdout.readline()
    assert program.communicate(b"\n")[0].split() == [b"2.2.0", b"2.2.0"]


def test_an_extra_that_cannot_be_imported_on_the_device_is_refused(
    artifact, make_wheel, unpacked, run, monkeypatch, tmp_path
):
    monkeypatch.setattr(install, "_sync", lambda folder: None)
    wheels = tmp_path / "own wheels"
    wheels.mkdir()
    for name in ("numpy", "onnxruntime"):
        make_wheel(wheels, name, "2.0.0")
    runtime = make_wheel(
        *(tmp_path, "edgeport", edgeport.__version__),
        needs=("numpy", "onnxruntime", "pillow; extra == 'images'"),
        files={"edgeport/__init__.py": b"", "edgeport/__main__.py": b""},
        extras=("images",),
    )
    lacks = "raise ImportError('libopenjp2.so.7: cannot open shared object file')"
    for text in (lacks, ""):
        files = {"PIL/__init__.py": b"", "PIL/Image.py": text.encode()}
        make_wheel(wheels, "pillow", "12.0.0", files=files)
        write_bundle(
            *(artifact, tmp_path / "device.tar.gz"),
            platform=install.this_platform(),
            python="{}.{}".format(*sys.version_info[:2]),
            extras=["images"],
            wheel=runtime,
            wheels=wheels,
        )
        code, said = run(unpacked(tmp_path / "device.tar.gz", f"bundle {len(text)}"))
        if text:
            assert code == install.FAILED
            assert "'import PIL.Image' failed on this device: ImportError: libopenjp2" in said
            assert said.endswith("; nothing serves yet\n")
            assert serving(tmp_path) is None
    assert code == 0


def test_every_extra_of_the_runtime_has_its_imports():
    project = tomllib.loads(
        Path(__file__).parents[3].joinpath("runtime", "pyproject.toml").read_text("utf-8")
    )["project"]
    assert IMPORTS.keys() == project["optional-dependencies"].keys()


def serving(tmp_path):
    return install.read_link(tmp_path / "target", "current")


@pytest.fixture
def two_releases(tiny_bundle, unpacked, run, artifact, tmp_path, no_engine, monkeypatch):
    """A target with two releases, and the bundle of the first one."""
    monkeypatch.setattr(install, "_make_python", make_no_python)
    variant = tmp_path / "mlp.none.onnx"
    variant.write_bytes(artifact.read_bytes())
    bundle = unpacked(tiny_bundle("1.tar.gz", variants=[variant]), "1")
    assert run(bundle)[0] == 0
    assert run(unpacked(tiny_bundle("2.tar.gz"), "2"))[0] == 0
    return bundle


def test_the_disk_holds_every_new_file_before_it_has_its_name(
    tiny_bundle, unpacked, run, keys, monkeypatch, tmp_path
):
    """Unlike sync, fsync tells what the disk did not take."""
    held, target, failing = set(), tmp_path / "target", {"model.onnx"}

    def fsync(handle):
        held.add(os.fstat(handle).st_ino)
        if (target / "releases").exists() and failing:
            (made,) = (target / "releases").glob(".new-*/model.onnx")
            if os.path.sameopenfile(handle, os.open(made, os.O_RDONLY)):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(install, "_run", lambda *arguments: None)
    monkeypatch.setattr(install.os, "sync", lambda: None)
    monkeypatch.setattr(install.os, "fsync", fsync)
    bundle = unpacked(tiny_bundle(key=keys[0], version=1))
    code, said = run(bundle, "--public-key", str(keys[1]))
    assert (code, "nothing serves yet" in said) == (install.FAILED, True)
    assert serving(tmp_path) is None
    failing.clear()
    assert run(bundle, "--public-key", str(keys[1]))[0] == 0
    new = {path for path in target.rglob("*") if not path.is_symlink()} - {target / ".lock"}
    assert {path.stat().st_ino for path in new} <= held

    # What a running program has open or mapped is not opened for writing, which Windows refuses.
    held.clear()
    kept = (target / install.KEY).stat().st_ino
    second = unpacked(
        tiny_bundle("2.gz", key=keys[0], version=2, variants=[variant(tmp_path)]), "2"
    )
    assert run(second)[0] == 0
    (environment,) = (target / "environments").iterdir()
    assert not held & {path.lstat().st_ino for path in environment.rglob("*")}
    assert (target / install.KEY).stat().st_ino == kept


def variant(tmp_path):
    path = tmp_path / "mlp.none.onnx"
    path.write_bytes(mlp_artifact())
    return path


@pytest.mark.parametrize("repairs", [False, True])
def test_a_damaged_current_release_is_not_kept_to_go_back_to(
    two_releases, tiny_bundle, unpacked, run, tmp_path, repairs
):
    target = tmp_path / "target"
    former, current = (install.read_link(target, name) for name in ("former", "current"))
    (target / "current" / "model.onnx").write_bytes(b"damaged")
    other = [variant(tmp_path).rename(tmp_path / "mlp.other.onnx")]
    options = {} if repairs else {"variants": other}
    assert run(unpacked(tiny_bundle("3.tar.gz", **options), "3"))[0] == 0
    assert (serving(tmp_path) == f"{current}-2") == repairs
    assert install.read_link(target, "former") == former
    assert run(None, "--rollback")[0] == 0


@pytest.mark.usefixtures("no_engine")
def test_an_environment_whose_python_has_gone_is_not_used_again(
    tiny_bundle, unpacked, run, tmp_path
):
    bundle, environments = unpacked(tiny_bundle()), tmp_path / "target" / "environments"
    assert run(bundle)[0] == 0
    (first,) = environments.iterdir()
    for damage in ("python", "pyvenv.cfg"):
        if damage == "python":
            (first / "bin" / "python").unlink()
            (first / "bin" / "python").symlink_to("/nowhere/python3")
        else:
            (first / "pyvenv.cfg").write_bytes(b"")
        assert run(bundle)[0] == 0
        (first,) = environments.iterdir()
        assert (first / "bin" / "python").exists()
        assert "home" in (first / "pyvenv.cfg").read_text()


@pytest.mark.parametrize("options", [(), ("--rollback",)])
def test_a_disk_that_fails_after_the_switch_is_told_as_it_is(
    two_releases, run, monkeypatch, tmp_path, options
):
    sync = install._sync_folder

    def refuse(folder):
        if folder == tmp_path / "target":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))
        sync(folder)

    former = install.read_link(tmp_path / "target", "former")
    monkeypatch.setattr(install, "_sync_folder", refuse)
    code, said = run(None if options else two_releases, *options)
    assert code == install.FAILED
    assert f"release {former} serves now, but a power cut may bring back" in said
    assert serving(tmp_path) == former
    assert run(None, "--rollback")[0] == install.FAILED
    assert serving(tmp_path) != former


def test_a_rollback_takes_no_option_that_it_would_ignore(two_releases, run, keys, tmp_path):
    before = serving(tmp_path)
    for options in (("--bundle", str(two_releases)), ("--public-key", str(keys[1]))):
        code, said = run(None, "--rollback", *options)
        assert (code, "--rollback takes neither" in said) == (install.OPTIONS, True)
    assert serving(tmp_path) == before
    assert run(None, "--rollback")[0] == 0
    assert serving(tmp_path) != before


@pytest.mark.parametrize("failing", [1, 2])
def test_a_rollback_without_room_changes_neither_link(
    two_releases, run, monkeypatch, tmp_path, failing
):
    target, calls, link = tmp_path / "target", [], Path.symlink_to

    def refuse(path, place):
        calls.append(place)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        link(path, place)

    before = [install.read_link(target, name) for name in ("current", "former")]
    monkeypatch.setattr(Path, "symlink_to", refuse)
    code, said = run(None, "--rollback")
    assert (code, "what served before still serves" in said) == (install.FAILED, True)
    assert [install.read_link(target, name) for name in ("current", "former")] == before
    assert run(None, "--rollback")[0] == 0


@pytest.mark.usefixtures("no_engine")
def test_an_interrupt_is_a_sentence_and_leaves_nothing_half(
    tiny_bundle, unpacked, run, monkeypatch, tmp_path
):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "unpack", interrupt)
    code, said = run(unpacked(tiny_bundle()))
    assert (code, said) == (130, "install: interrupted; nothing serves yet: install again\n")
    assert list((tmp_path / "target" / "environments").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="writes to a disk that is always full")
def test_a_full_disk_for_the_output_is_no_failure():
    code = "import sys, install; sys.exit(install._say('serving', 0))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            env={"PYTHONPATH": str(SOURCE.parent)},
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("damaged", ["edgeport/__init__.py", "numpy/__pycache__/*.pyc"])
@pytest.mark.usefixtures("compiled_only")
def test_a_damaged_environment_is_not_used_again(tiny_bundle, unpacked, run, tmp_path, damaged):
    bundle, environments = unpacked(tiny_bundle()), tmp_path / "target" / "environments"
    assert run(bundle)[0] == 0
    assert run(bundle)[0] == 0
    (first,) = environments.iterdir()
    next(first.rglob(damaged)).write_bytes(b"damaged")
    assert run(bundle)[0] == 0
    assert f"{first.name}-2" in {path.name for path in environments.iterdir()}
    current = (tmp_path / "target" / "current" / "environment").resolve()
    assert current.name == f"{first.name}-2"


@pytest.mark.parametrize("damaged", ["mlp.none.onnx", "install.py", "numpy/__init__.py", "*.pyc"])
@pytest.mark.usefixtures("compiled_only")
def test_a_damaged_former_release_is_not_rolled_back_to(
    tiny_bundle, unpacked, run, artifact, make_wheel, tmp_path, damaged
):
    target, variant = tmp_path / "target", tmp_path / "mlp.none.onnx"
    variant.write_bytes(artifact.read_bytes())
    assert run(unpacked(tiny_bundle("1.tar.gz", variants=[variant]), "1"))[0] == 0
    make_wheel(tmp_path / "own wheels", "numpy", "2.3.0")
    assert run(unpacked(tiny_bundle("2.tar.gz"), "2"))[0] == 0
    former, current = (install.read_link(target, name) for name in ("former", "current"))
    folder = target / "releases" / former
    for place in (folder, (folder / "environment").resolve()):
        for file in list(place.rglob(damaged))[:1]:
            file.write_bytes(b"damaged")
    code, said = run(None, "--rollback")
    assert (code, "changed since it was installed" in said) == (install.DAMAGED, True)
    assert install.read_link(target, "current") == current


CUT = """
import errno, os, sys, zipfile
sys.path.insert(0, sys.argv[1])
import install
import venv  # before the first cut
from pathlib import Path
old, new, target = map(Path, sys.argv[2:5])
install._run = lambda *arguments: None
install._sync = lambda target: None  # the disk of this machine is not cut
install.install(old, target, None)
first = install.read_link(target, "current")
EVENTS = ("open", "os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir")

def happens_before(number, cut):
    # Count the file operations that write, and cut one of them off.
    def hook(event, arguments):
        nonlocal number
        if event not in EVENTS:
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        number -= 1
        if number == 0:
            cut()
    sys.addaudithook(hook)
    return lambda: number <= 0

def power():
    os._exit(77)

def disk():
    raise OSError(errno.ENOSPC, "No space left on device")

def check(where):
    release = install.read_link(target, "current")
    assert release is not None, where
    folder = target / "releases" / release
    bundle = old if release == first else new
    manifest = install.read_manifest(folder, None)
    assert manifest["id"] == release.partition("-")[0], where
    for name in install._kept(manifest):
        assert install.digest_of(folder / name) == install.digest_of(bundle / name), where
    place = target / "environments" / (folder / "environment.txt").read_text().strip()
    assert install._find_damaged(place) is None, where
    for wheel in (bundle / "wheels").iterdir():
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                assert (install.site_packages(place) / name).read_bytes() == archive.read(name)
    return release

seen = set()
for cut in (power, disk):
    number = 0
    while True:
        number += 1
        child = os.fork()
        if child == 0:
            was_cut = happens_before(number, cut)
            code = install.main(["--bundle", str(new), "--target", str(target)])
            os._exit(code or was_cut() * 79)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        now = check((cut.__name__, number, code))
        seen.add((cut.__name__, now == first))
        if code == 0:  # more numbers than file operations
            assert now != first
            break
        if now != first:  # the switch was done: back to the beginning
            install.roll_back(target)
        assert number < 200
    install.roll_back(target)
    (target / "former").unlink()
    install._remove_unused(target)
    assert check("between") == first
assert ("power", True) in seen and ("disk", True) in seen, seen
print("cuts", number, file=sys.stderr)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="cuts the power in child processes")
def test_a_power_cut_and_a_full_disk_at_any_moment_leave_the_old_or_the_new(
    tiny_bundle, unpacked, make_wheel, tmp_path
):
    old = unpacked(tiny_bundle(), "old")
    make_wheel(tmp_path / "own wheels", "numpy", "2.3.0")  # so that the environment is a new one
    new = unpacked(tiny_bundle("new.tar.gz"), "new")
    done = subprocess.run(
        [sys.executable, "-c", CUT, str(SOURCE.parent), str(old), str(new), tmp_path / "target"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "cuts" in done.stderr


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.usefixtures("no_engine")
def test_what_the_system_refuses_is_one_sentence(tiny_bundle, unpacked, run, monkeypatch, failure):
    def refuse(*arguments):
        raise OSError(failure, os.strerror(failure), "/opt/edgeport/x")

    monkeypatch.setattr(install, "unpack", refuse)
    code, said = run(unpacked(tiny_bundle()))
    assert code == install.FAILED
    assert said.count("\n") == 1
    assert f"{os.strerror(failure)} ('/opt/edgeport/x'); nothing serves yet: make room" in said


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert install.digest_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()
