"""Progress is a bar on a terminal and plain lines elsewhere."""

import io

import pytest

from edgeport_converter.progress import Screen


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def plain(monkeypatch):
    """No colours, whatever the environment asks for."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TERM"):
        monkeypatch.delenv(name, raising=False)


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


def test_a_terminal_gets_a_bar_that_is_taken_away(plain):
    written = run(Terminal())
    assert "epoch 2/2" in written
    assert "100%" in written
    assert written.endswith("\x1b[2K")  # the bar's own line is cleared
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
