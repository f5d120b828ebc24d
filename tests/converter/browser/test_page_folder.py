"""What `edgeport page` refuses, with nothing written. Pages that work are in tests/browser."""

import os
from dataclasses import replace

import pytest
from examples import doubler, identity, mlp_artifact

from edgeport import ArtifactError, OptionError, Requirements
from edgeport.cli.main import main
from edgeport_converter.browser.command import add_page
from edgeport_converter.browser.folder import write_page
from edgeport_converter.browser.onnxruntime_web import FILES, VERSION, engine_files


@pytest.fixture
def mlp_file(tmp_path):
    path = tmp_path / "mlp.onnx"
    path.write_bytes(mlp_artifact())
    return path


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    """A machine without npm whose user never made a page."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.usefixtures("nothing_installed")
def test_without_npm_one_sentence_says_what_to_install(mlp_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("edgeport.cli.main._installed_commands", lambda: [add_page])
    assert main(["page", str(mlp_file), "-o", str(tmp_path / "page")]) == OptionError.exit_code
    sentence = capsys.readouterr().err
    assert len(sentence.splitlines()) == 1
    assert f"a page needs onnxruntime-web {VERSION}" in sentence
    assert "npm is not installed: install it (Debian: apt install npm)" in sentence
    assert not (tmp_path / "page").exists()


@pytest.mark.skipif(os.name == "nt", reason="writes a shell script")
@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("script", ["echo npm error no network >&2; exit 1", "> a.tgz"])
def test_an_npm_that_fails_or_brings_another_file_is_refused(tmp_path, script):
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    expected = "no network" if "exit 1" in script else f"not the file of onnxruntime-web {VERSION}"
    with pytest.raises(OptionError, match=expected):
        engine_files(None)
    assert not (tmp_path / "cache").exists()


def test_a_folder_of_another_version_is_refused(tmp_path):
    with pytest.raises(OptionError, match=f"expected a folder of onnxruntime-web {VERSION}"):
        engine_files(tmp_path)
    (tmp_path / "dist").mkdir()
    for name in FILES:
        (tmp_path / "dist" / name).write_text("another version")
    with pytest.raises(OptionError, match=f"is not the file of onnxruntime-web {VERSION}"):
        engine_files(tmp_path)


def test_what_no_browser_can_run_is_refused(tmp_path):
    newer = replace(identity().card, requires=Requirements(8, 17, "1.32"))
    for example, sentence in (
        (doubler("float16"), "has 'x' in float16, expected numbers that every browser has"),
        (replace(identity(), card=newer), "needs onnxruntime 1.32"),
    ):
        path = tmp_path / "model.onnx"
        path.write_bytes(example.artifact())
        with pytest.raises(ArtifactError, match=sentence):
            write_page(path, tmp_path / "page")


def test_a_file_without_a_card_or_with_a_changed_byte_is_refused(mlp_file, tmp_path):
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(identity().onnx)
    with pytest.raises(ArtifactError, match=r"plain.onnx' has no card, expected an artifact"):
        write_page(plain, tmp_path / "page")
    data = bytearray(mlp_file.read_bytes())
    data[-1] ^= 1
    mlp_file.write_bytes(data)
    with pytest.raises(ArtifactError, match="is damaged"):
        write_page(mlp_file, tmp_path / "page")


def test_a_folder_with_other_files_stays_as_it_is(mlp_file, tmp_path):
    target = tmp_path / "page"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(OptionError, match=r"holds 'thesis.txt', expected a new folder"):
        write_page(mlp_file, target)
    (target / "thesis.txt").rename(target / "index.html")
    with pytest.raises(OptionError, match="holds files of another page"):
        write_page(mlp_file, target)
    assert (target / "index.html").read_text() == "years of work"
    with pytest.raises(OptionError, match="is a file or a link, expected a folder"):
        write_page(mlp_file, mlp_file)
