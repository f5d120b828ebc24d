"""What is written appears whole or not at all, and never in the place of something else."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from examples import in_threads

from edgeport import OptionError
from edgeport.atomic_files import check_target, replacing

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes, devices and locks of POSIX")

CONTENT = os.urandom(300_000)  # more than a pipe holds


def write(path: str | Path, content: bytes = CONTENT, **options: object) -> None:
    with replacing(path, **options) as file:
        file.write(content)


def write_and_fail(path: Path, error: type[BaseException]) -> None:
    with replacing(path) as file:
        file.write(CONTENT)
        file.flush()
        raise error


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_replaced_in_one_step_and_keeps_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_bytes(b"old")
    target.chmod(0o640)
    with replacing(target) as file:
        file.write(CONTENT)
        file.flush()
        assert target.read_bytes() == b"old"
        assert Path(file.name).read_bytes() == CONTENT
    assert target.read_bytes() == CONTENT
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert names(tmp_path) == {"out.csv"}


def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    write(tmp_path / "new")
    (tmp_path / "plain").write_bytes(b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "plain")}
    assert len(modes) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_leaves_the_target_as_it_was(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_bytes(b"old")
    with pytest.raises(OptionError if error is OSError else error):
        write_and_fail(target, error)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == {"out.csv"}


def test_a_link_stays_a_link_also_to_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to("folder/real")
    for content in (b"first", b"second"):
        write(link, content)
        assert link.is_symlink()
        assert (tmp_path / "folder" / "real").read_bytes() == content
    assert names(tmp_path / "folder") == {"real"}


# What is no regular file stays what it is.


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_a_link_that_another_user_planted_in_a_shared_folder_is_refused(tmp_path: Path) -> None:
    """As Linux does (fs.protected_symlinks): else root would write wherever the other likes."""
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    shared.mkdir()
    shared.chmod(0o1777)
    link = shared / "out"
    for content in (b"precious", None):
        if content is None:
            victim.unlink()
        else:
            victim.write_bytes(content)
        link.unlink(missing_ok=True)
        link.symlink_to(victim)
        os.lchown(link, 1234, 1234)
        (tmp_path / "way").unlink(missing_ok=True)
        (tmp_path / "way").symlink_to(link)
        for name in (link, tmp_path / "way"):
            with pytest.raises(OptionError, match="user 1234 planted"):
                check_target(name)
            with pytest.raises(OptionError, match="user 1234 planted"):
                write(name)
        assert victim.exists() == (content is not None)
    assert names(shared) == {"out"}
    os.lchown(link, 0, 0)
    write(link)
    assert victim.read_bytes() == CONTENT
    assert link.is_symlink()


def test_a_named_pipe_gets_the_bytes_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write(pipe)
    reader.join()
    assert received == [CONTENT]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == {"pipe.csv"}


def test_a_pipe_gets_nothing_of_what_failed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    with pytest.raises(ZeroDivisionError):
        write_and_fail(pipe, ZeroDivisionError)
    reader.join()
    assert received == [b""]


def test_a_reader_that_left_is_named(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writing = contextlib.ExitStack()
    writing.enter_context(replacing(pipe)).write(CONTENT)
    os.close(reader)
    with pytest.raises(OptionError, match=r"pipe' cannot be written \(Broken pipe\)"):
        writing.close()


def test_the_null_device_stays_a_device() -> None:
    before = Path(os.devnull).stat()
    write(os.devnull)
    after = Path(os.devnull).stat()
    assert (after.st_mode, after.st_ino, after.st_rdev) == (
        before.st_mode,
        before.st_ino,
        before.st_rdev,
    )


def test_a_terminal_gets_the_bytes_and_stays_a_device() -> None:
    """A character device that any user may make, where /dev/null needs root to be lost."""
    leader, follower = os.openpty()
    try:
        name = os.ttyname(follower)
        write(name, b"answer\n")
        assert os.read(leader, 100) == b"answer\r\n"  # as terminals end their lines
        assert stat.S_ISCHR(Path(name).stat().st_mode)
    finally:
        os.close(leader)
        os.close(follower)


WRITE_STDOUT = """
import sys
from edgeport.atomic_files import replacing
print("before", flush=True)
with replacing(sys.argv[1]) as file:
    file.write(b"content\\n")
print("after")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("kind", ["file", "pipe", "socket"])
def test_the_own_standard_output_is_written_through(name: str, kind: str, tmp_path: Path) -> None:
    if name.startswith("/") and not os.path.lexists(name):
        pytest.skip(f"this system has no {name}")
    (tmp_path / "link").symlink_to("/dev/stdout")
    command = [sys.executable, "-c", WRITE_STDOUT, str(tmp_path / name)]  # absolute names stay
    if kind == "file":
        with (tmp_path / "shown").open("wb") as shown:
            subprocess.run(command, stdout=shown, check=True, timeout=60)
        found = (tmp_path / "shown").read_bytes()
    elif kind == "pipe":
        found = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    else:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            subprocess.run(command, stdout=theirs, check=True, timeout=60)
            theirs.close()
            with ours.makefile("rb") as stream:
                found = stream.read()
    assert found == b"before\ncontent\nafter\n"
    assert names(tmp_path) == {"link"} | ({"shown"} if kind == "file" else set())


@contextlib.contextmanager
def listening(path: Path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        yield


def test_folders_and_sockets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in (tmp_path / "folder", f"{tmp_path}/new/", ".", str(tmp_path)):
        with pytest.raises(OptionError, match=r"is a folder, expected a file: choose a name ins"):
            write(name)
    with listening(tmp_path / "s"), pytest.raises(OptionError, match="is a socket or a disk"):
        write(tmp_path / "s")
    assert names(tmp_path) == {"folder", "s"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/out", r"there is no folder '.*missing'"),
        ("file/out", r"Not a directory"),
        ("loop", r"Too many levels of symbolic links"),
        ("x" * 300, r"File name too long"),
        ("a\0b", r"null"),
        ("", r"there is no folder|is a folder"),
    ],
)
def test_what_no_file_can_be_is_refused_before_the_work(
    name: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OptionError, match=reason):
        check_target(f"{tmp_path}/{name}" if name else "")
    assert (tmp_path / "file").read_bytes() == b"kept"


# What is read is never written.


def test_what_is_read_is_refused_under_each_of_its_names(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"precious")
    (tmp_path / "soft").symlink_to(data)
    os.link(data, tmp_path / "hard")
    for out in (data, tmp_path / "soft", tmp_path / "hard", f"{tmp_path}/./data"):
        for read in (data, tmp_path / "soft", tmp_path / "hard"):
            expected = f"'{out}' would be overwritten, but '{read}' is read by the same call"
            with pytest.raises(OptionError, match=re.escape(expected)):
                write(out, reads=(tmp_path / "missing", read))
    assert data.read_bytes() == b"precious"
    assert names(tmp_path) == {"data", "soft", "hard"}


def test_what_lies_in_a_folder_that_is_read_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "saved" / "variables"
    inner.mkdir(parents=True)
    part = inner / "variables.index"
    part.write_bytes(b"precious")
    (inner / "up").symlink_to(tmp_path / "saved")  # a circle
    far = tmp_path / "photo.png"
    far.write_bytes(b"precious")
    (inner / "photo.png").symlink_to(far)
    for out in (part, far, tmp_path / "saved" / "variables" / "up" / "variables" / part.name):
        with pytest.raises(OptionError, match=r"saved' is read by the same call and is or holds"):
            write(out, reads=[tmp_path / "saved"])
        assert out.read_bytes() == b"precious"
    write(inner / "new.onnx", reads=[tmp_path / "saved"])  # nothing is lost


def test_what_comes_in_as_standard_input_is_told_by_identity(tmp_path: Path) -> None:
    data = tmp_path / "x.csv"
    data.write_bytes(b"precious")
    code = "import sys; from edgeport.atomic_files import check_target as c; "
    code += "c(sys.argv[1], reads=['/dev/stdin'])"
    with data.open("rb") as given:
        done = subprocess.run(
            [sys.executable, "-c", code, str(data)],
            stdin=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert "OptionError" in done.stderr
    assert "'/dev/stdin' is read by the same call" in done.stderr


def test_a_pipe_that_is_read_is_refused_and_a_device_is_not(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OptionError, match="is read by the same call"):
        write(tmp_path / "pipe", reads=[tmp_path / "pipe"])
    write(os.devnull, reads=[os.devnull])


# What a killed process leaves.

WAIT = """
import sys
from edgeport.atomic_files import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_writer(target: Path):
    """A process in the middle of its writing."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def test_the_next_write_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 200)
    with another_writer(target) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    assert len(names(tmp_path)) == 1
    write(target)
    assert names(tmp_path) == {target.name}


def test_the_file_of_a_living_writer_is_never_removed(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with another_writer(target) as process:
        for _ in range(3):
            write(target)
        assert len(names(tmp_path)) == 2
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert target.read_bytes() == b"half"
    assert names(tmp_path) == {"out"}


def test_files_of_others_with_like_names_stay(tmp_path: Path) -> None:
    others = {".out.tmp", ".out.edgeport-1234.tmp", ".other.edgeport-12345678.tmp", ".out.x.tmp"}
    for name in others:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".out.edgeport-12345678.tmp").mkdir()
    (tmp_path / ".out.edgeport-abcdef12.tmp").symlink_to(tmp_path / ".out.tmp")
    before = names(tmp_path)
    write(tmp_path / "out")
    assert names(tmp_path) == before | {"out"}


def test_many_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "out"
    contents = [bytes([letter]) * 100_000 for letter in b"abcdefgh"]

    def work(content: bytes) -> None:
        for _ in range(20):
            write(target, content)

    in_threads(work, contents)
    assert target.read_bytes() in contents
    assert names(tmp_path) == {"out"}
