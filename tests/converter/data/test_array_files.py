"""Damaged files of numpy: one sentence that names the file, the array and the sample."""

import contextlib
import io
import struct
import zipfile

import numpy as np
import pytest

from edgeport import InputError, OptionError, TensorSpec
from edgeport_converter.data.datasets import read_dataset

SPEC = (TensorSpec("x", np.dtype(np.float32), ("N", 3), ("N", "F")),)
X = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)


def npy(array=X):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(save=np.savez, **arrays):
    stream = io.BytesIO()
    save(stream, **(arrays or {"x": X, "y": np.arange(2000) % 2}))
    return stream.getvalue()


def with_header(text, version=1):
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode()


def changed(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def archived(name, content, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


PLAIN, SQUEEZED = npz(), npz(np.savez_compressed)
DAMAGED = {
    "empty": (b"", "is empty, expected a .npy, .npz or .csv file"),
    "magic alone": (npy()[:6], "cannot be read"),
    "cut in the header": (npy()[:40], "cannot be read"),
    "cut in the data": (npy()[:-13], "it was cut short in sample 1998"),
    "header is no Python": (with_header("{'descr': '<f4', 'fortran_order':"), "cannot be read"),
    "header is code": (with_header("{'descr': open('x'), 'shape': 1}"), "cannot be read"),
    "huge header": (with_header("{" + " " * 60_000 + "}"), "cannot be read"),
    "header of 4 GiB": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "cannot be read"),
    "unknown version": (b"\x93NUMPY\x09\x00" + b"\0" * 80, "cannot be read"),
    "more samples than bytes": (
        with_header(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (10**15, 3), }".replace(
                "10**15", "1000000000000000"
            )
        ),
        "it was cut short in sample 0",
    ),
    "large samples": (
        with_header("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 99999999999999), }"),
        "it was cut short in sample 0",
    ),
    "negative shape": (
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3), }"),
        "the shape is \\(-2, 3\\)",
    ),
    "objects": (npy(np.array([{}, 1], object)), "holds Python objects"),
    "cut archive": (PLAIN[:-40], "cannot be read as .npy or .npz"),
    "changed byte": (changed(PLAIN, 9000, b"\x55\xaa"), "Bad CRC-32.*sample 0 of the array 'x'"),
    "changed deflated byte": (changed(SQUEEZED, 9000, b"\0" * 64), "of the array 'x'"),
    "encrypted": (changed(PLAIN, PLAIN.rindex(b"PK\1\2") + 8, b"\1"), "cannot be read"),
    "unknown method": (changed(PLAIN, PLAIN.index(b"PK\1\2") + 10, b"\x63"), "cannot be read"),
    "short member": (archived("x.npy", npy()[:-13]), "cut short in sample 1998 of the array 'x'"),
    "member that is no array": (archived("x.npy", b"hello"), "cannot be read"),
    "archive of nothing": (archived("note.txt", b"hello"), "has the arrays none"),
    "objects in an archive": (npz(x=np.array([{}, 1], object)), "holds Python objects"),
    "labels in objects": (npz(x=X[:2], y=np.array([{}, 1], object)), "holds Python objects"),
    "single number": (npy(np.float32(1)), "holds a single number"),
}


@pytest.mark.parametrize("form", DAMAGED)
def test_a_damaged_file_is_named(form, tmp_path):
    content, found = DAMAGED[form]
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(OptionError, match=rf"data.npz'.*{found}") as refused:
        read_dataset(path, SPEC, "calibration")
    assert "\n" not in str(refused.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for _ in range(2):
            archive.writestr("x.npy", npy())
    with pytest.raises(OptionError, match=r"data.npz' has two arrays 'x', expected a name for"):
        read_dataset(path, SPEC, "calibration")


@pytest.mark.parametrize("seed", range(3))
def test_files_with_random_damage_are_read_or_refused(seed, tmp_path):
    generator = np.random.default_rng(seed)
    path = tmp_path / "data.npz"
    small = {"x": X[:40], "y": np.arange(40) % 2}
    contents = (npy(X[:40]), npz(**small), npz(np.savez_compressed, **small))
    for number in range(150):
        data = bytearray(contents[number % 3])
        for at in generator.integers(0, len(data), 4):
            data[at] = generator.integers(0, 256)
        path.write_bytes(data if number % 2 else data[: generator.integers(0, len(data))])
        with contextlib.suppress(OptionError, InputError):
            read_dataset(path, SPEC, "calibration")
