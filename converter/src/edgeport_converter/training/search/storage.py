"""The database of a study: how its URL is read and told, and how a connection is made.

Optuna's ``RDBStorage`` keeps studies in any database of SQLAlchemy: SQLite, PostgreSQL, MySQL. A
password in the URL is shown nowhere: messages, reports and logs have ``***`` in its place.
"""

from __future__ import annotations

import importlib.util
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from edgeport import OptionError
from edgeport.addresses import HIDDEN, hide_secrets

# What a server is given to answer a new connection; TCP alone waits for minutes.
_CONNECT_S = 10
# What a server that had answered is given to come back, such as after a restart.
_PATIENCE_S, _PAUSE_S = 60.0, 0.5

DATABASE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)

# What stands before the last @ may be a password with anything in it.
_BEFORE_HOST = re.compile(r"(://[^/\s:@]*:)(\S*)@")
# What people write instead of a URL, which SQLite would take for the name of a new file.
_NO_URL = re.compile(
    r"^(?:postgres|mysql|mariadb|sqlite)\w*(?:\+\w+)?(?::|//)"
    r"|\bpassword\s*=|\b(?:host|hostaddr|dbname|user)\s*=\s*\S*\s+\w+\s*=",
    re.IGNORECASE,
)
_POSTGRESQL_DRIVERS = ("psycopg2", "psycopg")


def locate(storage: str, folder: Path) -> str:
    """Return a URL as it is, and the name of an SQLite file as its path from a folder."""
    return storage if "://" in storage else str(folder / storage)


def require_url_or_file(storage: str) -> None:
    """Refuse what is neither, without showing it: it may have a password anywhere.

    Raises:
        OptionError: it begins like a URL and has no ``://``, or has the parts of another notation.
    """
    if "://" not in storage and _NO_URL.search(storage):
        raise OptionError(
            "the storage of the search has the parts of a database's address, but no '://', "
            "expected a URL such as postgresql://user@host/name or an SQLite file: write it so"
        )


def without_password(storage: str, text: str | None = None) -> str:
    """Return a storage, or a text that may quote it, with ``***`` for each password.

    Args:
        storage: a URL or the path of an SQLite file.
        text: None for the storage itself.
    """
    text = storage if text is None else text
    text = hide_secrets(_BEFORE_HOST.sub(rf"\1{HIDDEN}@", text), storage)
    # Drivers take what follows the first @ of such a password for a part of the host's name.
    if found := _BEFORE_HOST.search(storage):
        for piece in filter(None, found[2].split("@")[1:]):
            text = text.replace(f"{piece}@", f"{HIDDEN}@")
    return text


def explain(cause: BaseException, storage: str) -> str:
    """Return why a storage failed: the first line of the driver's message, without a password."""
    if isinstance(cause, ImportError) or isinstance(cause.__cause__, ImportError):
        driver = getattr(cause.__cause__ or cause, "name", None) or "its driver"
        return f"its driver {driver} is not installed here"
    if isinstance(cause, optuna.exceptions.StorageInternalError):  # which says nothing itself
        cause = cause.__cause__ or cause
    original = getattr(cause, "orig", None) or cause
    lines = str(original).strip().splitlines() or [""]
    reason = without_password(storage, " ".join(line.strip() for line in lines[:2]))
    return f"{type(original).__name__}: {reason[:200].rstrip(' .:')}"


def open_database(
    storage: str,
    *,
    heartbeat_s: int,
    dead_after_s: int,
    retry: Callable[[optuna.Study, FrozenTrial], None],
) -> RDBStorage:
    """Return the storage, its tables made if need be.

    Once it is open, a server that goes away, as in a restart, is waited for at the next connection.

    Raises:
        Exception: whatever SQLAlchemy and the driver raise; ``explain`` says it in words.
    """
    url = _as_url(storage)
    is_sqlite = url.get_backend_name() == "sqlite"
    timeout = "timeout" if is_sqlite else "connect_timeout"
    options: dict[str, Any] = {"pool_pre_ping": not is_sqlite}
    if is_sqlite or (
        url.get_backend_name() in ("postgresql", "mysql", "mariadb") and timeout not in url.query
    ):
        options["connect_args"] = {timeout: 60 if is_sqlite else _CONNECT_S}
    with no_warnings():
        database = RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs=options,
            heartbeat_interval=heartbeat_s,
            grace_period=dead_after_s,
            heartbeat_stale_trial_callback=retry,
        )
    if is_sqlite:
        _lock_before_reading(database.engine)
    else:
        _wait_for_server(database.engine)
    _let_heartbeats_miss(database)
    return database


def _as_url(storage: str) -> sqlalchemy.URL:
    """Return the URL; ``postgresql://`` takes the driver that is installed.

    SQLAlchemy 2.0 means psycopg2 by it and 2.1 means psycopg.
    """
    if "://" not in storage:
        return sqlalchemy.make_url(f"sqlite:///{Path(storage).absolute()}")
    url = sqlalchemy.make_url(storage)
    if url.drivername == "postgresql":
        installed = [name for name in _POSTGRESQL_DRIVERS if importlib.util.find_spec(name)]
        return url.set(drivername=f"postgresql+{[*installed, 'psycopg2'][0]}")
    return url


def _wait_for_server(engine: sqlalchemy.Engine) -> None:
    """Let new connections wait for a server that is being restarted."""

    @sqlalchemy.event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _: Any, arguments: Any, keywords: Any) -> Any:
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return dialect.connect(*arguments, **keywords)
            except dialect.loaded_dbapi.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_S)


def _let_heartbeats_miss(database: RDBStorage) -> None:
    """Let a heartbeat fail in Optuna's thread, which would else end, and the next one follow."""
    record = database.record_heartbeat

    def record_if_possible(trial_id: int) -> None:
        with suppress(*DATABASE_ERRORS):
            record(trial_id)

    database.record_heartbeat = record_if_possible  # type: ignore[method-assign]


def _lock_before_reading(engine: sqlalchemy.Engine) -> None:
    """Let SQLite hand a waiting trial to one process only.

    Optuna 5 reads a trial's state with FOR UPDATE before it changes it, and SQLite ignores that:
    two processes then both get the trial. Source: SQLAlchemy's manual on pysqlite, "Serializable
    isolation"; to be removed once Optuna begins its transactions so itself.
    """

    @sqlalchemy.event.listens_for(engine, "connect")
    def leave_begin_to_us(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def lock(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections from before


@contextmanager
def no_warnings() -> Iterator[None]:
    """Drop Optuna's warning that heartbeats are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
