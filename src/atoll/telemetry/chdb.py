"""The embedded engine: chDB in this process, on a folder that is ours alone.

Promises: an insert that returned is on disk, and one that raised stored nothing; calls from any thread, each on a
session of its own; parameters are bound, never pasted. Refuses a folder that another process holds, the empty
placeholder that pip installs where there is no chDB, and use in a forked child (it would hang).

Rows go in through a file (a memfd where there are such), never by `send_insert`, which reports rows that it lost, and
never inside the statement, which ends at the first blank line.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from atoll.errors import AlreadyRunning, AtollError, InvalidValue, Overloaded, ProgramMissing, StorageFailed
from atoll.kit.garbage import let_go_of_code, let_go_of_heap
from atoll.settings import Telemetry
from atoll.telemetry import answers, codes
from atoll.telemetry.engine import DATABASE, Insert, Limits
from atoll.telemetry.parameters import encode
from atoll.telemetry.schema import migrate

if TYPE_CHECKING:
    import pyarrow as pa

IDLE = 12
"""Sessions kept for the next call; more are closed."""
UNUSABLE = frozenset("?&#%\n")
"""Characters that chDB reads as something else in a folder's name."""


def open_engine(folder: Path, knobs: Telemetry) -> ChdbEngine:
    """Open (or make) the store in `folder` and bring its schema to the newest version. Takes about a second.

    Raises:
        ProgramMissing: chDB is not installed, or has no build for this platform.
        AlreadyRunning: another process holds the folder, or this one holds another folder.
        StorageIncompatible: a newer atoll wrote it.
        StorageFailed: the engine cannot read what is there.
    """
    connect = _library()
    if UNUSABLE & set(str(folder)):
        raise InvalidValue(f"the telemetry folder's name has a character that its engine cannot take: {folder}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _lock(folder / "lock")
    try:
        config = folder / "config.xml"
        text = files("atoll.telemetry").joinpath("engine_config.xml").read_text("utf-8")
        config.write_text(text.replace("{memory}", escape(str(knobs.memory))), "utf-8")
        engine = ChdbEngine(f"{folder / 'chdb'}?config-file={config}", connect, lock, _limits(knobs))
    except BaseException:
        os.close(lock)
        raise
    try:
        migrate(engine)
    except BaseException:
        engine.close()
        raise
    return engine


def _limits(knobs: Telemetry) -> Limits:
    return Limits(seconds=knobs.query_time, memory=knobs.query_memory)


def _library() -> Any:
    """The class of connections of chDB; importing it takes a third of a second and 200 MB."""
    # chDB imports pyarrow where it can: 43 MB that an idle process does not need. Ours comes with the first `arrow`.
    hidden = "pyarrow" not in sys.modules
    if hidden:
        sys.modules["pyarrow"] = None  # type: ignore[assignment]
    try:
        import chdb

        if not hasattr(chdb, "engine_version"):
            raise _missing("chDB has no build for this platform: pip installed its empty placeholder")
        from chdb.session import Session
    except ImportError as error:
        raise _missing(f"chDB cannot be loaded: {error}") from None
    finally:
        if hidden:
            del sys.modules["pyarrow"]
    return Session


def _missing(detail: str) -> ProgramMissing:
    return ProgramMissing(
        detail,
        hint='pip install "atoll[telemetry]" (Linux with glibc, or macOS on arm64), '
        "or ATOLL_TELEMETRY_CLICKHOUSE=clickhouse://…",
    )


def _lock(path: Path) -> int:
    """The folder's lock, held while the descriptor is open; it has the holder's process id in it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise AlreadyRunning(
            f"process {holder or '?'} holds the telemetry store {path.parent}",
            hint="one process at a time: stop that one, or ask it",
            pid=int(holder) if holder.isdigit() else None,
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise StorageFailed(f"cannot lock {path}: {error.strerror}") from error
    return descriptor


class ChdbEngine:
    """An open store; see `engine.Engine`. Made by `open_engine`."""

    def __init__(self, address: str, connect: Any, lock: int, limits: Limits) -> None:
        self._address = address
        self._connect = connect
        self._lock = lock
        self._limits = limits
        self._pid = os.getpid()
        self._guard = threading.Lock()
        self._free: dict[Limits | None, list[_Session]] = {}
        self._all: set[_Session] = set()
        self._closed = False
        # The last session that ends takes the engine's server with it: one stays open.
        self._keeper = self._opened({}, database="default")
        self._keeper.run(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")

    def insert(self, insert: Insert) -> None:
        """See `engine.Engine`."""
        columns = f" ({', '.join(f'`{column}`' for column in insert.columns)})" if insert.columns else ""
        chosen = dict(insert.settings)
        if insert.schema:
            chosen |= {
                "format_schema_source": "string",
                "format_schema_message_name": insert.message,
                "format_schema": insert.schema,
            }
        settings = f" SETTINGS {', '.join(f'{name} = {_literal(value)}' for name, value in chosen.items())}"
        with _file(insert.data) as path, self._session(None) as session:
            session.run(
                f"INSERT INTO {insert.table}{columns} FROM INFILE '{path}'{settings if chosen else ''} "
                f"FORMAT {insert.format}",
                of=codes.of_insert,
            )

    def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None
    ) -> list[dict[str, Any]]:
        """See `engine.Engine`."""
        return answers.rows(self._read(sql, answers.ROWS, parameters, limits))

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None) -> pa.Table:
        """See `engine.Engine`."""
        return answers.table(self._read(sql, answers.COLUMNS, parameters, limits))

    def _read(self, sql: str, shape: str, parameters: Mapping[str, Any] | None, limits: Limits | None) -> bytes:
        answers.check(sql)
        bound = encode(parameters)
        with self._session(limits or self._limits) as session:
            return session.run(sql, shape, bound)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """See `engine.Engine`."""
        bound = encode(parameters)
        with self._session(None) as session:
            session.run(sql, parameters=bound)

    def rest(self) -> None:
        """See `engine.Engine`."""
        with self._session(None) as session:
            session.run("SYSTEM JEMALLOC PURGE")
        let_go_of_heap()
        let_go_of_code()

    def close(self) -> None:
        """See `engine.Engine`. Waits for what is running; a second call does nothing."""
        with self._guard:
            if self._closed or os.getpid() != self._pid:
                return
            self._closed = True
            sessions = tuple(self._all)
        for session in sessions:
            session.close()
        os.close(self._lock)

    @contextmanager
    def _session(self, limits: Limits | None) -> Iterator[_Session]:
        """A session that nobody else uses meanwhile; opening one takes 2 ms. Without limits it is one that writes.

        A session that reads cannot change its settings, limits included: for other limits there is another session.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("the telemetry engine was opened before a fork: the child must not use it")
        with self._guard:
            if self._closed:
                raise Overloaded("the telemetry engine is closed", retry_after=5)
            free = self._free.get(limits)
            session = free.pop() if free else None
        if session is None:
            session = self._opened(answers.WRITE if limits is None else {**answers.settings(limits), **answers.READ})
        try:
            yield session
        finally:
            with self._guard:
                keep = session.sound and sum(map(len, self._free.values())) < IDLE
                if keep:
                    self._free.setdefault(limits, []).append(session)
                else:
                    self._all.discard(session)
            if not keep:
                session.close()

    def _opened(self, settings: Mapping[str, object], *, database: str = DATABASE) -> _Session:
        try:
            session = _Session(self._connect(self._address))
        except Exception as error:  # chDB raises RuntimeError and its own class, with only a text
            text = str(error)
            if "already initialized" in text:
                raise AlreadyRunning(
                    "this process holds another telemetry store already", hint="one store per process"
                ) from error
            raise StorageFailed(f"the telemetry engine cannot open {self._address}: {text}") from error
        session.run(f"USE {database}")
        for name, value in settings.items():
            session.run(f"SET {name} = {value}")
        with self._guard:
            self._all.add(session)
        return session


class _Session:
    """One session of chDB: used by one thread at a time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._busy = threading.Lock()
        self.sound = True
        """Until a statement fails: chDB puts what it had written of that answer in front of the session's next one."""

    def run(
        self,
        sql: str,
        shape: str = "TabSeparated",
        parameters: Mapping[str, str] | None = None,
        *,
        of: Callable[[str], AtollError] = codes.of_query,
    ) -> bytes:
        """Run one statement to its end."""
        with self._busy:
            if self._connection is None:
                raise Overloaded("the telemetry engine is closed", retry_after=5)
            try:
                return bytes(self._connection.query(sql, shape, params=dict(parameters or {})).bytes())
            except Exception as error:  # chDB raises RuntimeError and its own class, with only a text
                self.sound = False
                raise of(str(error)) from error

    def close(self) -> None:
        """Wait for what is running, then end."""
        with self._busy:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()


def _literal(value: str | int) -> str:
    if isinstance(value, int):
        return str(int(value))
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"


@contextmanager
def _file(data: Sequence[bytes]) -> Iterator[str]:
    """The rows as a file that the engine can read, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("atoll-insert")
        with open(descriptor, "wb", buffering=1 << 16) as file:  # noqa: PTH123 - a descriptor has no path
            file.writelines(data)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.writelines(data)
            file.flush()
            yield file.name
