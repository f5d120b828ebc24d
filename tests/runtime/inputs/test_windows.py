"""Windows of a recording: the same ones wherever its pieces begin and end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import identity, mlp_artifact, two_inputs
from hypothesis import given
from hypothesis import strategies as st
from recordings import Array, echo, strided, wav

from edgeport import ArtifactError, InputError, OptionError, Predictor
from edgeport.artifact.card import ModelCard
from edgeport.artifact.signal_format import SignalFormat
from edgeport.inputs.windows import Cutter, file_windows


def windows(card: ModelCard, pieces: Any) -> list[Array]:
    assert card.signal is not None
    cutter = Cutter(card.inputs[0], card.signal)
    return [window for piece in pieces for window in cutter.cut(piece)]


def cut_at(recording: Array, lengths: list[int]) -> Iterator[Array]:
    begin = 0
    for length in lengths:
        yield recording[begin : begin + length]
        begin += length
    yield recording[begin:]


@given(
    st.integers(0, 80),
    st.integers(1, 20),
    st.integers(1, 45),
    st.lists(st.integers(0, 30), max_size=8),
    st.sampled_from([0, 1, 3]),
    st.sampled_from(["int16", "float32"]),
)
def test_pieces_give_the_windows_of_numpys_strides(
    length: int, window: int, hop: int, lengths: list[int], channels: int, dtype: str
) -> None:
    shape = (length, channels) if channels else (length,)
    recording = np.random.default_rng(length).integers(-32768, 32768, shape).astype(dtype)
    found = windows(echo(window, hop, channels, dtype).card, cut_at(recording, lengths))
    wanted = strided(recording, window, hop)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


@pytest.mark.parametrize("size", [1, 7, 160, 16_000, 48_001])
def test_pieces_of_a_microphone_give_the_answers_of_the_whole_recording(size: int) -> None:
    recording = np.random.default_rng(7).integers(-32768, 32768, 100_000).astype(np.int16)
    with Predictor.load(echo(16_000, 8_000, rate=16_000).artifact()) as predictor:
        pieces = (recording[begin : begin + size] for begin in range(0, len(recording), size))
        answers = np.stack(list(predictor.windows(pieces)))
        assert answers.tobytes() == predictor.predict(strided(recording, 16_000, 8_000)).tobytes()
        assert answers.tobytes() == np.stack(list(predictor.windows([recording]))).tobytes()
    assert len(answers) == 11


@given(st.lists(st.integers(0, 11), max_size=10), st.sampled_from([bytes, bytearray, memoryview]))
def test_bytes_may_break_off_within_a_sample(lengths: list[int], kind: Any) -> None:
    recording = np.arange(-40, 40, dtype="<i2").reshape(-1, 2)
    data = np.frombuffer(recording.tobytes(), np.uint8)
    pieces = [kind(piece.tobytes()) for piece in cut_at(data, lengths)]
    found = windows(echo(5, 3, 2).card, pieces)
    assert [one.tolist() for one in found] == strided(recording, 5, 3).tolist()


def test_an_answer_comes_before_the_next_piece_is_asked_for() -> None:
    read: list[int] = []

    def pieces() -> Iterator[Array]:
        for number in range(100):
            read.append(number)
            yield np.full(4, number, np.int16)

    with Predictor.load(echo(4, 4).artifact()) as predictor:
        for number, answer in enumerate(predictor.windows(pieces())):
            assert answer.tolist() == [number] * 4
            assert len(read) == number + 1


def test_a_buffer_may_be_filled_again() -> None:
    buffer = np.zeros(3, np.int16)

    def pieces() -> Iterator[Array]:
        for number in range(4):
            buffer[:] = number
            yield buffer

    with Predictor.load(echo(6, 6).artifact()) as predictor:
        answers = [answer.tolist() for answer in predictor.windows(pieces())]
    assert answers == [[0] * 3 + [1] * 3, [2] * 3 + [3] * 3]


def test_several_windows_of_a_piece_are_run_in_batches() -> None:
    recording = np.arange(1000, dtype=np.int16)
    with Predictor.load(echo(8, 1).artifact()) as predictor:
        for batch_size in (1, 7, 2000):
            answers = list(predictor.windows([recording], batch_size=batch_size))
            assert np.stack(answers).tolist() == strided(recording, 8, 1).tolist()


def test_channels_are_mixed_to_the_nearest_even_level_if_the_card_says_so() -> None:
    piece = np.array([[1, 2], [3, 4], [-32768, 32767], [32767, 32767], [-3, -2]], np.int16)
    found = windows(echo(5, 5, mix_down=True).card, [piece])
    assert found[0].tolist() == [2, 4, 0, 32767, -2]
    mixed = windows(echo(2, 2, dtype="float32", mix_down=True).card, [np.ones((2, 2), "f4") / 3])
    assert mixed[0].tolist() == [np.float32(1 / 3)] * 2
    with pytest.raises(InputError, match=r"has shape \(5, 2\), expected int16 of .*\(T, 1\)"):
        windows(echo(5, 5).card, [piece])


def test_pieces_that_are_mixed_have_as_many_channels_each_time() -> None:
    pieces = [np.zeros((2, 3), np.int16), np.zeros((2, 4), np.int16)]  # perhaps (C, T)
    with pytest.raises(InputError, match=r"has shape \(2, 4\), .*as many each time"):
        windows(echo(4, 4, mix_down=True).card, pieces)


@pytest.mark.parametrize("later", [np.zeros(4, np.int16), np.zeros((4, 1), np.int16)])
def test_one_channel_after_two_that_were_mixed_is_refused(later: Array) -> None:
    pieces = [np.zeros((2, 2), np.int16), later]  # perhaps the channels alternate in it
    with pytest.raises(InputError, match=r"piece 1 .*as many each time"):
        windows(echo(4, 4, mix_down=True).card, pieces)


def test_bytes_do_not_say_how_many_channels_are_to_be_mixed() -> None:
    with pytest.raises(InputError, match=r"is a bytes, .*reshape\(-1, channels\)"):
        windows(echo(4, 4, mix_down=True).card, [bytes(16)])


@pytest.mark.parametrize("empty", [np.empty(0, np.int16), np.empty((0, 2), np.int16)])
def test_an_empty_piece_says_nothing_of_the_channels_to_mix(empty: Array) -> None:
    pieces = [empty, np.ones((4, 2), np.int16), empty]
    assert windows(echo(4, 4, mix_down=True).card, pieces)[0].tolist() == [1] * 4


class Lost:
    """A tensor on a device that is gone."""

    dtype = np.dtype(np.int16)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise RuntimeError("device lost")


def test_pieces_that_hide_values_or_cannot_be_read_are_refused() -> None:
    hidden = np.ma.masked_equal(np.arange(4, dtype=np.int16), 2)
    with pytest.raises(InputError, match=r"a masked array \(1 of its values hidden\)"):
        windows(echo(4, 4).card, [hidden])
    with pytest.raises(InputError, match=r"cannot turn into an array \(device lost\)"):
        windows(echo(4, 4).card, [Lost()])


def test_the_order_of_bytes_is_that_of_the_array() -> None:
    assert windows(echo(3, 3).card, [np.array([1, -2, 300], ">i2")])[0].tolist() == [1, -2, 300]


@pytest.mark.parametrize(
    ("card", "piece", "message"),
    [
        (echo(4, 4).card, np.zeros(4), r"holds float64, expected int16 .*rint\(piece \* 32768\)"),
        (echo(4, 4).card, np.zeros(4, np.int32), "holds int32, expected int16"),
        (echo(4, 4).card, np.zeros(4, np.uint8), "holds uint8, expected int16"),
        (echo(4, 4).card, [1, 2, 3], r"is a list, expected .*np.asarray\(piece, np.int16\)"),
        (echo(4, 4).card, None, "is a NoneType"),
        (echo(4, 4).card, memoryview(np.zeros(4, "f4")), "holds float32"),
        (echo(4, 4, 2).card, np.zeros(8, np.int16), r"shape \(8,\).*piece.reshape\(-1, 2\)"),
        (echo(4, 4, 2).card, np.zeros((2, 9), np.int16), r"swapped, piece\.T"),
        (echo(4, 4, 2).card, np.zeros((9, 3), np.int16), r"\(9, 3\), expected int16 .*\(T, 2\)"),
        (echo(4, 4, mix_down=True).card, np.zeros((2, 160), np.int16), r"swapped, piece\.T"),
        (echo(4, 4, 3, "float32").card, np.zeros((2, 3), np.int16), "holds int16, expected float"),
        (echo(4, 4, 3, "float32").card, b"abcd", "is a bytes"),
    ],
)
def test_other_pieces_are_refused_by_their_number(
    card: ModelCard, piece: Any, message: str
) -> None:
    good = np.zeros((1, *card.inputs[0].shape[2:]), card.inputs[0].dtype)
    with pytest.raises(InputError, match=f"piece 1 of the signal for input 'x' .*{message}"):
        windows(card, [good, piece])


def test_a_bad_piece_is_named_after_the_answers_before_it() -> None:
    pieces = [np.zeros(4, np.int16), np.ones(4, np.int16), np.zeros(4)]
    with Predictor.load(echo(4, 4).artifact()) as predictor:
        answers = predictor.windows(pieces)
        assert [next(answers).tolist(), next(answers).tolist()] == [[0] * 4, [1] * 4]
        with pytest.raises(InputError, match="piece 2"):
            next(answers)


def test_arrays_after_half_a_sample_are_refused() -> None:
    with pytest.raises(InputError, match="begins within a sample"):
        windows(echo(4, 4).card, [b"abc", np.zeros(3, np.int16)])


@pytest.mark.parametrize("recording", [np.zeros(9, np.int16), b"\0" * 9, 5])
def test_a_recording_that_is_no_iterable_of_pieces_is_refused(recording: Any) -> None:
    with (
        Predictor.load(echo(4, 4).artifact()) as predictor,
        pytest.raises(InputError, match="expected an iterable of chunks"),
    ):
        predictor.windows(recording)


def test_models_without_a_signal_are_refused() -> None:
    with (
        Predictor.load(mlp_artifact()) as predictor,
        pytest.raises(OptionError, match="says nothing of a signal"),
    ):
        predictor.windows([])
    signal = {"input": "left", "rate": 8, "window": 4, "hop": 4}
    with (
        Predictor.load(two_inputs().artifact(signal=signal)) as predictor,
        pytest.raises(OptionError, match="the inputs 'left', 'right', expected the signal alone"),
    ):
        predictor.windows([])
    joined = echo(4, 4).artifact(samples_interact=True, format_version=2)
    with (
        Predictor.load(joined) as predictor,
        pytest.raises(OptionError, match="depend on the whole batch"),
    ):
        predictor.windows([])


def test_a_reload_between_pieces_answers_with_the_new_model() -> None:
    changes = {"name": "second"}
    with Predictor.load(echo(4, 4).artifact()) as predictor:
        answers = predictor.windows([np.zeros(6, np.int16), np.ones(6, np.int16)])
        next(answers)
        predictor.reload(echo(4, 4).artifact(**changes))
        assert predictor.card.name == "second"
        assert [answer.tolist() for answer in answers] == [[0, 0, 1, 1], [1, 1, 1, 1]]


def test_a_reload_with_another_signal_is_refused() -> None:
    with (
        Predictor.load(echo(4, 4).artifact()) as predictor,
        pytest.raises(ArtifactError, match=r"the signal 'x: 8 Hz.*one every 2 .*served"),
    ):
        predictor.reload(echo(4, 2).artifact())


def test_a_file_is_cut_as_its_samples_in_one_piece(tmp_path: Path) -> None:
    recording = np.random.default_rng(3).integers(-32768, 32768, 70_001).astype("<i2")
    path = tmp_path / "sound.wav"
    path.write_bytes(wav(recording.tobytes()))
    card = echo(1000, 300).card
    assert card.signal is not None
    found = list(file_windows(str(path), card.inputs[0], card.signal))
    assert np.stack(found).tolist() == strided(recording, 1000, 300).tolist()


def test_a_short_file_is_padded_where_the_card_says_so_and_else_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    path.write_bytes(wav(np.array([1, 2], "<i2").tobytes()))
    padded, strict = echo(4, 4, pad=True).card, echo(4, 4).card
    assert padded.signal is not None
    assert strict.signal is not None
    (found,) = file_windows(str(path), padded.inputs[0], padded.signal)
    assert found.tolist() == [1, 2, 0, 0]
    with pytest.raises(InputError, match=r"'.*short.wav' has 2 samples, expected at least one win"):
        list(file_windows(str(path), strict.inputs[0], strict.signal))
    path.write_bytes(wav(b""))
    with pytest.raises(InputError, match="has 0 samples"):
        list(file_windows(str(path), padded.inputs[0], padded.signal))


def test_another_rate_or_number_of_channels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(wav(bytes(32), rate=44_100))
    card = echo(4, 4).card
    assert card.signal is not None
    with pytest.raises(InputError, match="has 44100 samples a second, expected 8: record"):
        list(file_windows(str(path), card.inputs[0], card.signal))
    path.write_bytes(wav(bytes(32), channels=2))
    with pytest.raises(InputError, match="has 2 channels, expected 1: choose or mix"):
        list(file_windows(str(path), card.inputs[0], card.signal))
    mixing = SignalFormat("x", 8, 4, 4, mix_down=True)
    path.write_bytes(wav(np.array([[2, 4]] * 4, "<i2").tobytes(), channels=2))
    assert [one.tolist() for one in file_windows(str(path), card.inputs[0], mixing)] == [[3] * 4]


def test_more_channels_than_are_mixed_are_refused_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    mixing = echo(4, 4, mix_down=True).card
    assert mixing.signal is not None
    for channels in (8, 9):
        path.write_bytes(wav(bytes(2 * 4 * channels), channels=channels))
        found = file_windows(str(path), mixing.inputs[0], mixing.signal)
        if channels == 8:
            assert [one.tolist() for one in found] == [[0] * 4]
        else:
            with pytest.raises(InputError, match=r"sound.wav' has 9 channels, expected 1 to 8: "):
                list(found)


def test_a_free_time_axis_takes_the_windows_of_the_card() -> None:
    signal = {"input": "x", "rate": 8, "window": 5, "hop": 2}
    artifact = identity("int16", ("N", "T")).artifact(signal=signal)
    recording = np.arange(12, dtype=np.int16)
    with Predictor.load(artifact) as predictor:
        answers = np.stack(list(predictor.windows([recording])))
        assert answers.tolist() == strided(recording, 5, 2).tolist()
