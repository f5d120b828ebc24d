"""Parts shared with helpers: each is done once, and the first error is raised."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from edgeport.engine import helpers


def test_sharing_does_each_part_once_and_raises_the_first_error() -> None:
    done: list[int] = []
    helpers.share(done.append, range(1000), 4)
    assert sorted(done) == list(range(1000))
    seen: list[int] = []

    def failing(part: int) -> None:
        seen.append(part)
        raise ValueError(f"part {part}")

    with pytest.raises(ValueError, match="part"):
        helpers.share(failing, range(1000), 3)
    assert len(seen) <= 3


def test_where_no_thread_can_be_started_the_caller_does_it_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full:
        allocate_lock = staticmethod(threading.Lock)

        @staticmethod
        def start_new_thread(*_: Any) -> None:
            raise RuntimeError("can't start new thread")

    helpers._forget()
    monkeypatch.setattr(helpers, "native_thread", lambda: Full)
    done: list[int] = []
    helpers.share(done.append, range(5), 4)
    assert done == [0, 1, 2, 3, 4]
