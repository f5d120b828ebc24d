"""`edgeport score` on an object store that fails amid the run: no half result, and it goes on."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from commands import Capture
from examples import Array, mlp

from edgeport.cli.main import main

pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

ROWS = 400


class Store(AbstractFileSystem):  # type: ignore[misc]
    """Files in memory, read by requests for ranges as those of s3 and http are.

    Attributes:
        fault: what is wrong with every request after the first ``good`` ones.
        asked: how many requests there were.
        needed: the password that opens the store.
        listed: sizes and marks as a listing has told them, which ``info`` repeats.
    """

    protocol = "store"
    contents: ClassVar[dict[str, bytes]] = {}
    listed: ClassVar[dict[str, dict[str, Any]]] = {}
    fault, good, asked, needed = "", 0.0, 0, ""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:  # as that of ftp does
        return str(super()._strip_protocol(path)).rpartition("@")[2]

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        login = path.removeprefix("store://").rpartition("@")[0]
        return {"login": login} if login else {}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        found = [self.info(name) for name in self.contents]
        return found if detail else [each["name"] for each in found]

    def unstrip_protocol(self, name: str) -> str:
        return f"store://{name}"

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        name = self._strip_protocol(path)
        if Store.needed not in self.storage_options.get("login", ""):
            raise PermissionError("no password was given")
        if name not in self.contents:
            raise FileNotFoundError(name)
        content = self.contents[name]
        found = {"name": name, "size": len(content), "type": "file", "ETag": hash(content)}
        return self.listed.setdefault(name, found)

    def invalidate_cache(self, path: str | None = None) -> None:
        self.listed.clear()

    def _open(self, path: str, mode: str = "rb", **options: Any) -> AbstractBufferedFile:
        return StoreFile(self, path, mode, **{**options, "block_size": 1000})


class StoreFile(AbstractBufferedFile):  # type: ignore[misc]
    def _fetch_range(self, start: int, end: int) -> bytes:
        Store.asked += 1
        content = Store.contents[self.path][start:end]
        if Store.asked <= Store.good or not Store.fault:
            return content
        if Store.fault == "500":
            raise OSError("500, message='Internal Server Error'")
        if Store.fault == "me:s3cret":
            raise PermissionError(f"login as {Store.fault} failed")
        if Store.fault == "cut":
            raise ConnectionResetError("Connection reset by peer")
        return content[: len(content) // 2] if Store.fault == "short" else b""


@pytest.fixture(autouse=True)
def store() -> Iterator[type[Store]]:
    fsspec.register_implementation("store", Store, clobber=True)
    Store.clear_instance_cache()
    Store.contents.clear()
    Store.listed.clear()
    Store.fault, Store.good, Store.asked, Store.needed = "", 0.0, 0, ""
    yield Store
    Store.fault = ""


def content_of(kind: str, x: Array) -> bytes:
    file = io.BytesIO()
    if kind == "npy":
        np.save(file, x)
    elif kind == "npz":
        np.savez(file, x=x)
    elif kind == "parquet":
        lists = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), 6)
        pq.write_table(pa.table({"x": lists}), file, row_group_size=50)
    else:
        for row in x.tolist():
            line = json.dumps({"x": row}) if kind == "jsonl" else ",".join(map(repr, row))
            file.write(line.encode() + b"\n")
    return file.getvalue()


def score(capsys: Capture, *arguments: object) -> tuple[int, str]:
    command = ["score", *map(str, arguments), "--workers", "1", "--part-size", "3K"]
    return main(command), capsys.readouterr().err


def rows_of(out: Path) -> list[list[float]]:
    paths = sorted((out / "scores").iterdir())
    found: list[list[float]] = [
        row for path in paths for row in pq.read_table(path)["scores"].to_pylist()
    ]
    return found


@pytest.mark.parametrize("fault", ["500", "cut", "short", "empty"])
@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "jsonl", "parquet"])
def test_a_store_that_fails_amid_the_run_leaves_no_half_result_and_it_goes_on(
    kind: str, fault: str, tmp_path: Path, mlp_file: Path, capsys: Capture, store: type[Store]
) -> None:
    x = np.random.default_rng(5).normal(size=(ROWS, 6)).astype("f4")
    store.contents["bucket/x." + kind] = content_of(kind, x)
    command = (f"store://bucket/x.{kind}", "--model", mlp_file, "-o")
    assert score(capsys, *command, tmp_path / "whole")[0] == 0
    requests = store.asked
    for share in (0.4, 1 - 1 / requests):
        out = tmp_path / f"out-{share}"
        store.asked, store.good, store.fault = 0, math.floor(requests * share), fault
        code, said = score(capsys, *command, out)
        assert code == 7
        last = said.splitlines()[-1]
        assert f"'store://bucket/x.{kind}' cannot be read (" in last
        assert "Traceback" not in said
        done = [json.loads(path.read_bytes()) for path in (out / "done").glob("*")]
        assert sum(record["rejected"] for record in done) == 0
        assert sum(record["rows"] for record in done) < ROWS
        store.fault = ""
        assert score(capsys, *command, out)[0] == 0
        np.testing.assert_allclose(rows_of(out), mlp().formula(x), atol=1e-6)
        assert score(capsys, *command, out, "--verify")[0] == 0


def test_an_object_that_is_replaced_amid_the_run_is_refused(
    tmp_path: Path, mlp_file: Path, capsys: Capture, store: type[Store], monkeypatch: Any
) -> None:
    x = np.ones((ROWS, 6), "f4")
    store.contents["bucket/x.npy"] = content_of("npy", x)
    fetch = StoreFile._fetch_range

    def replace_later(self: StoreFile, start: int, end: int) -> bytes:
        if store.asked == 4:
            store.contents["bucket/x.npy"] = content_of("npy", x + 1)
        return bytes(fetch(self, start, end))

    monkeypatch.setattr(StoreFile, "_fetch_range", replace_later)
    command = ("store://bucket/x.npy", "--model", mlp_file, "-o", tmp_path / "out")
    code, said = score(capsys, *command)
    assert code == 7
    assert "changed while it was scored" in said


def test_a_store_that_tells_no_size_is_one_sentence(
    tmp_path: Path, mlp_file: Path, capsys: Capture, store: type[Store]
) -> None:
    about = {"name": "b/x.npy", "size": None, "type": "file"}
    store.contents["b/x.npy"], store.listed["b/x.npy"] = b"", about
    code, said = score(capsys, "store://b/x.npy", "--model", mlp_file, "-o", tmp_path / "out")
    assert code == 7
    assert "its server tells no size" in said


@pytest.mark.parametrize("address", ["me:s3cret@bucket/x.npy", "me:s3cret@bucket/*.npy"])
def test_a_password_in_an_address_opens_it_and_is_written_nowhere(
    address: str, tmp_path: Path, mlp_file: Path, capsys: Capture, store: type[Store]
) -> None:
    x = np.random.default_rng(5).normal(size=(ROWS, 6)).astype("f4")
    store.contents["bucket/x.npy"] = content_of("npy", x)
    store.needed = "s3cret"
    out = tmp_path / "out"
    command = ("store://" + address, "--model", mlp_file, "-o", out)
    store.fault, store.good = "me:s3cret", 2
    said = ""
    for code, more in ((7, ()), (0, ()), (0, ("--verify",))):
        found = score(capsys, *command, *more)
        assert found[0] == code, found[1]
        said, store.fault = said + found[1], ""
    np.testing.assert_allclose(rows_of(out), mlp().formula(x), atol=1e-6)
    texts = [said, *(path.read_bytes().decode("latin-1") for path in out.rglob("*.*"))]
    assert not [text for text in texts if "s3cret" in text]
    assert "store://me:***@bucket/x.npy" in (out / "manifest.json").read_text()
    assert "'store://me:***@bucket/x.npy' cannot be read (login as me:*** failed)" in said


class Web(Store):
    """A web server, whose keys of files are their addresses, password and all."""

    protocol = "https"

    def ukey(self, path: str) -> str:
        return f"{path} {self.storage_options}"


def test_a_run_goes_on_with_another_password_of_a_web_server(
    tmp_path: Path, mlp_file: Path, capsys: Capture, store: type[Store], monkeypatch: Any
) -> None:
    by_protocol = sys.modules["fsspec.registry"]._registry
    monkeypatch.setitem(by_protocol, "https", Web)
    x = np.random.default_rng(5).normal(size=(ROWS, 6)).astype("f4")
    store.contents["host/x.npy"] = content_of("npy", x)
    command = ("--model", mlp_file, "-o", tmp_path / "out")
    store.good, store.fault = 3.0, "500"
    assert score(capsys, "https://me:first@host/x.npy", *command)[0] == 7
    store.fault = ""
    code, said = score(capsys, "https://me:second@host/x.npy", *command)
    assert code == 0, said
    np.testing.assert_allclose(rows_of(tmp_path / "out"), mlp().formula(x), atol=1e-6)
