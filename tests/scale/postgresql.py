"""A PostgreSQL server of Debian's package, for a test: in a folder of its own, on a free port."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PASSWORD = "pass/word:with@signs"  # noqa: S105 - of a server that lives as long as a test
USER, QUOTED = "edgeport", "pass%2Fword%3Awith%40signs"


def find_programs() -> Path | None:
    """Return the newest folder with the server's programs, which Debian keeps out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Server:
    """A server that is started and stopped; its data stays until ``run_server`` ends."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # The server refuses to run as root.
        self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        if os.getuid():
            self._as_user = []
        else:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            *("initdb", "-D", folder / "data", "-U", USER, f"--pwfile={secret}"),
            *("-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync"),
        )
        self.start()

    def url(self, password: str = QUOTED) -> str:
        return f"postgresql+psycopg2://{USER}:{password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("start", "-l", self._folder / "log", "-o", options)

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def restart(self, away_s: float) -> None:
        self.stop()
        time.sleep(away_s)
        self.start()

    def _control(self, *arguments: object) -> None:
        self._run("pg_ctl", "-D", self._folder / "data", "-w", *arguments)

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as_user, self._programs / program, *map(str, arguments)]
        # Not into a pipe, which the server would hold open.
        with (self._folder / "said").open("ab") as said:
            subprocess.run(command, check=True, cwd="/", stdout=said, stderr=said, timeout=60)


@contextlib.contextmanager
def run_server(programs: Path) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="edgeport-postgresql-"))  # the server's user reads it
    try:
        server = Server(programs, folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
