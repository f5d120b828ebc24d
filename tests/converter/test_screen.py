"""Progress is a bar on a terminal and plain lines elsewhere."""

import io
import re

import pytest

from edgeport_converter.progress import telling, track
from edgeport_converter.screen import Screen


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def plain(monkeypatch):
    """No colours, whatever the environment asks for."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TERM"):
        monkeypatch.delenv(name, raising=False)


def after_last_bar(written):
    """Return what is seen after the last line that was cleared."""
    return re.sub(r"\x1b\[[?\d;]*[a-zA-Z]|\r", "", written.rpartition("\x1b[2K")[2])


def run(stream):
    with Screen(stream) as screen:
        screen.stage("fit: 80 [bold] samples")
        for epoch in (1, 2):
            for step in (1, 2):
                screen.batch(epoch, 2, step, 2, 0.25)
            figures = {"loss": 0.5, "val_accuracy": 0.75, "learning_rate": 0.00012345}
            screen.epoch(epoch, 2, figures)
    return stream.getvalue()


def test_a_file_gets_a_line_for_each_stage_and_epoch(plain):
    stage, first, second = run(io.StringIO()).splitlines()
    assert stage.endswith(" s] fit: 80 [bold] samples")
    assert first.startswith("epoch 1/2  loss 0.5000  val_accuracy 0.7500  learning_rate 0.0001234")
    assert second == "epoch 2/2  loss 0.5000  val_accuracy 0.7500  learning_rate 0.0001234"


def test_a_file_gets_lines_of_a_long_epoch(plain, monkeypatch):
    monkeypatch.setattr("edgeport_converter.screen._FIRST_PLAIN_LINE", 0.0)
    _, first, _, second, _ = run(io.StringIO()).splitlines()
    assert " s] epoch 1/2: 1 of 2  " in first
    assert first.endswith(" s left, loss 0.2500")
    assert " s] epoch 2/2: 1 of 2  " in second


def test_a_file_gets_a_first_line_of_long_work_after_seconds(plain, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("edgeport_converter.screen.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    task = Screen(stream).task("data", 20)
    for seconds in (3.0, 6.0, 20.0, 30.0, 37.0):
        now[0] = seconds
        task.advance()
    first, second = stream.getvalue().splitlines()
    assert first == "[  6.0 s] data: 2 of 20  54 s left"
    assert second == "[ 37.0 s] data: 5 of 20  1:51 min left"


def test_a_terminal_gets_a_bar_that_is_taken_away(plain):
    written = run(Terminal())
    assert "epoch 2/2" in written
    assert "100%" in written
    assert after_last_bar(written) == ""
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h")  # the cursor is back


def test_a_bar_is_taken_away_after_an_error(plain):
    stream = Terminal()

    def fail():
        with Screen(stream) as screen:
            screen.batch(1, 2, 1, 2, 0.25)
            raise ValueError("oh")

    with pytest.raises(ValueError, match="oh"):
        fail()
    assert "\x1b[?25h" in stream.getvalue()


def test_a_piece_of_work_gets_a_bar_and_the_best_so_far_on_a_terminal(plain):
    stream = Terminal()
    with Screen(stream, shown_after=0) as screen:
        screen.stage("quantize")
        task = screen.task("candidates", 4)
        task.note("best so far: static int8")
        for _ in range(4):
            task.advance()
        task.end()
        screen.finish()
    written = stream.getvalue()
    assert "candidates" in written
    assert "best so far: static int8" in written
    assert "100%" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h")
    assert "seconds" in after_last_bar(written)


def test_bars_of_inner_work_come_and_go(plain):
    stream = Terminal()
    with Screen(stream, shown_after=0) as screen, telling(screen):
        for _ in track(range(2), "outer"):
            for _ in track(range(3), "inner"):
                pass
    written = stream.getvalue()
    assert "outer" in written
    assert "inner" in written
    assert after_last_bar(written) == ""


def test_short_work_gets_no_bar(plain):
    stream = Terminal()
    with Screen(stream, shown_after=3600) as screen, telling(screen):
        list(track(range(3), "work"))
    assert stream.getvalue() == ""


def test_a_file_gets_lines_of_long_work_and_no_table(plain, monkeypatch):
    for name in ("_FIRST_PLAIN_LINE", "_PLAIN_LINE_EVERY"):
        monkeypatch.setattr(f"edgeport_converter.screen.{name}", 0.0)
    stream = io.StringIO()
    with Screen(stream) as screen:
        screen.stage("measure")
        task = screen.task("data", 4)
        task.advance(2)
        task.note("best so far: int8")
        task.advance()
        task.end()
        screen.finish()
    first, second, third, last = stream.getvalue().splitlines()
    assert first.endswith(" s] measure")
    assert "data: 2 of 4" in second
    assert third.endswith(" s left, best so far: int8")
    assert last.endswith(" s] done")
