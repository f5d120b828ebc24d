"""WAV files: every form beside numpy's own arithmetic or Python's ``wave``, and refusals."""

from __future__ import annotations

import wave
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import Array, wav

from edgeport import InputError
from edgeport.inputs.wav import WavFile

INT16, FLOAT32 = np.dtype(np.int16), np.dtype(np.float32)
LEVELS = np.array([0, 1, -1, 255, -256, 32767, -32768], np.int16)


def read(path: Path, content: bytes, dtype: np.dtype[Any] = INT16) -> Array:
    path.write_bytes(content)
    with WavFile(str(path)) as file:
        return np.concatenate(list(file.pieces(dtype)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sound.wav"


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_files_of_pythons_wave_module_are_read(path: Path, channels: int) -> None:
    recording = np.random.default_rng(1).integers(-32768, 32768, (40_000, channels)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, 16_000, 0, "NONE", ""))
        file.writeframes(recording.tobytes())
    with WavFile(str(path)) as found:
        assert (found.rate, found.channels, found.samples) == (16_000, channels, 40_000)
        assert np.concatenate(list(found.pieces(INT16))).tobytes() == recording.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(
    ("bits", "tag", "pack"),
    [
        (16, 1, lambda order: LEVELS.astype(f"{order}i2")),
        (32, 1, lambda order: (LEVELS.astype(np.int64) * 65536).astype(f"{order}i4")),
        (32, 3, lambda order: (LEVELS / 32768).astype(f"{order}f4")),
        (64, 3, lambda order: (LEVELS / 32768).astype(f"{order}f8")),
    ],
)
def test_forms_that_16_bits_hold(
    path: Path, order: str, extensible: bool, bits: int, tag: int, pack: Any
) -> None:
    content = wav(pack(order).tobytes(), bits=bits, tag=tag, order=order, extensible=extensible)
    assert read(path, content)[:, 0].tolist() == LEVELS.tolist()


@pytest.mark.parametrize("order", ["<", ">"])
def test_24_bits(path: Path, order: str) -> None:
    side = "little" if order == "<" else "big"
    data = b"".join((int(level) * 256).to_bytes(3, side, signed=True) for level in LEVELS)
    assert read(path, wav(data, bits=24, order=order))[:, 0].tolist() == LEVELS.tolist()
    one_more = (-32768 * 256 + 1).to_bytes(3, side, signed=True)
    with pytest.raises(
        InputError, match=r"numbers of 24 bits that 16 bits do not hold, such as -2"
    ):
        read(path, wav(data + one_more, bits=24, order=order))


def test_8_bits_have_their_middle_at_128(path: Path) -> None:
    found = read(path, wav(bytes([0, 127, 128, 129, 255]), bits=8))
    assert (found[:, 0] / 32768).tolist() == [-1, -1 / 128, 0, 1 / 128, 127 / 128]


@pytest.mark.parametrize("value", [1.0, -1.5, 0.1, float("nan"), float("inf")])
def test_floats_that_16_bits_do_not_hold_are_refused(path: Path, value: float) -> None:
    data = np.array([0, value], "<f4").tobytes()
    with pytest.raises(
        InputError, match=r"floats of 32 bits that 16 bits do not hold, .*pcm_s16le"
    ):
        read(path, wav(data, bits=32, tag=3))
    assert read(path, wav(data, bits=32, tag=3), FLOAT32).astype("<f4").tobytes() == data


@pytest.mark.filterwarnings("error")
def test_floats_beyond_every_level_are_refused_without_a_warning(path: Path) -> None:
    signalling = np.array([0x7FA00001], "<u4").tobytes()  # a NaN that floating-point units report
    for bits, data in ((64, np.array([1e308], "<f8").tobytes()), (32, signalling)):
        with pytest.raises(InputError, match=f"floats of {bits} bits that 16 bits do not hold"):
            read(path, wav(data, bits=bits, tag=3))
    far = wav(np.array([0.1, 1e308], "<f8").tobytes(), bits=64, tag=3)
    with pytest.raises(InputError, match=r"such as 1e\+308, expected .*float32"):
        read(path, far, FLOAT32)
    infinite = wav(np.array([0.1, np.inf], "<f8").tobytes(), bits=64, tag=3)
    assert read(path, infinite, FLOAT32)[:, 0].tolist() == [np.float32(0.1), np.inf]


def test_whole_numbers_for_a_model_of_floats_are_refused(path: Path) -> None:
    with pytest.raises(InputError, match="whole numbers of 16 bits, expected floats"):
        read(path, wav(bytes(8)), FLOAT32)


def test_other_chunks_are_passed_over(path: Path) -> None:
    odd = b"LIST\x03\x00\x00\x00abc\x00"  # an odd size is filled up to an even one
    assert read(path, wav(LEVELS.astype("<i2").tobytes(), before=odd) + odd)[:, 0].tolist() == (
        LEVELS.tolist()
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty, expected a WAV file"),
        (b"hello", "does not begin as a WAV file"),
        (b"RIFF\x10\0\0\0AVI ", "does not begin as a WAV file"),
        (b"RF64" + bytes(20), "is RF64"),
        (b"fLaC" + bytes(20), "is FLAC"),
        (b"OggS" + bytes(20), "is Ogg"),
        (b"FORM" + bytes(20), "is AIFF"),
        (wav(bytes(8))[:12], "ends before a format"),
        (wav(bytes(8))[:30], "has a format of 10 bytes"),
        (wav(bytes(8))[:40], "ends before sound data"),
        (wav(bytes(8))[:-3], "ends after 5 bytes of sound, expected 8, as its header says"),
        (wav(bytes(8), size=0xFFFFFFFF), "ends after 8 bytes of sound, expected 4,294,967,295"),
        (wav(bytes(7)), "ends 1 bytes into a sample"),
        (wav(bytes(8), bits=8, tag=6), "has A-law, expected 8, 16, 24 or 32 bits or floats, not c"),
        (wav(bytes(8), bits=8, tag=7), "has mu-law"),
        (wav(bytes(8), tag=85), "has MP3"),
        (wav(bytes(8), tag=4711), "has the encoding 4711"),
        (wav(bytes(8), bits=12), "has whole numbers of 12 bits"),
        (wav(bytes(8), bits=16, tag=3), "has floats of 16 bits"),
        (wav(bytes(8), channels=0), "has 0 channels"),
        (wav(bytes(8), rate=0), "has 1 channels, 0 samples a second"),
    ],
)
def test_what_is_no_such_file_is_refused(path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=f"'.*sound.wav' ({message})"):
        read(path, content)


def test_every_file_cut_short_is_refused_in_one_sentence(path: Path) -> None:
    content = wav(LEVELS.astype("<i2").tobytes(), extensible=True)
    for length in range(len(content)):
        with pytest.raises(InputError, match=r", expected .*: "):
            read(path, content[:length])


def test_a_damaged_header_is_read_or_refused(path: Path) -> None:
    content = wav(LEVELS.astype("<i2").tobytes(), extensible=True)
    for place in range(len(content) - 2 * len(LEVELS)):
        for value in (0, 1, 3, 127, 255):
            damaged = content[:place] + bytes([value]) + content[place + 1 :]
            path.write_bytes(damaged)
            with suppress(InputError), WavFile(str(path)) as file:
                for piece in file.pieces(INT16):
                    assert piece.shape[1:] == (file.channels,)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'.*none.wav' cannot be opened \(No such file"):
        WavFile(str(tmp_path / "none.wav"))
