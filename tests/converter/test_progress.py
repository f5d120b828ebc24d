"""What stages tell of their work, and that nobody hears of it who did not ask."""

import pytest

from edgeport_converter.progress import Progress, Task, begin, telling, track, track_batches


class Listener(Progress):
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def task(self, what, total):
        told = self.told

        class Told(Task):
            def advance(self, steps=1):
                told.append((what, steps))

            def end(self):
                told.append((what, "end"))

        told.append((what, total))
        return Told()


def test_items_are_told_one_by_one():
    listener = Listener()
    with telling(listener):
        assert list(track("ab", "letters")) == ["a", "b"]
    assert listener.told == [("letters", 2), ("letters", 1), ("letters", 1), ("letters", "end")]


def test_a_pass_that_is_not_ended_ends_its_task():
    listener = Listener()
    batches = track_batches(lambda size: [{"x": [0] * size}, {"x": [0]}], "data", 4)
    with telling(listener):
        assert len(list(batches(3))) == 2
        next(iter(batches(3)))
    whole = [("data", 4), ("data", 3), ("data", 1), ("data", "end")]
    assert listener.told == [*whole, ("data", 4), ("data", "end")]


def test_an_error_ends_its_task():
    listener = Listener()
    with pytest.raises(ValueError, match="oh"), telling(listener), begin("work", None):
        raise ValueError("oh")
    assert listener.told == [("work", None), ("work", "end")]


def test_nothing_is_told_after_the_block_and_without_a_listener():
    listener = Listener()
    with telling(listener):
        pass
    assert list(track(iter("ab"), "letters")) == ["a", "b"]
    assert listener.told == []
