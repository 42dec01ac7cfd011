"""A ClickHouse server as the engine, over HTTP: what many telemetry processes of a cluster write to.

The same statements and promises as the embedded engine. One client serves all threads: requests are independent, the
server keeps no session. What the network does to an insert cannot be known: one that raised `Overloaded` may have been
stored, and is sent again by the caller (at least once).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from atoll.errors import AtollError, InvalidValue, Overloaded, ProgramMissing
from atoll.kit.garbage import let_go_of_code, let_go_of_heap
from atoll.settings import Telemetry
from atoll.telemetry import answers, codes
from atoll.telemetry.engine import DATABASE, Insert, Limits
from atoll.telemetry.parameters import encode
from atoll.telemetry.schema import migrate

if TYPE_CHECKING:
    import pyarrow as pa

INSERT_TIME = 30
"""Seconds an insert may take; with a slower server nothing would be acknowledged."""
GRACE = 5
"""Seconds after a query's own limit in which the server may say that it was reached."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def open_engine(url: str, knobs: Telemetry) -> ClickHouseEngine:
    """Connect, make the database of the URL's path (default `atoll`) and bring its schema to the newest version.

    Args:
        url: clickhouse://user:password@host:8123/database; clickhouses:// for TLS.
        knobs: Limits of queries.

    Raises:
        InvalidValue: the URL is none of these.
        ProgramMissing: clickhouse-connect is not installed.
        Overloaded: the server does not answer.
        StorageIncompatible: a newer atoll wrote it.
    """
    parts = urlsplit(url)
    database = parts.path.strip("/") or DATABASE
    if parts.scheme not in {"clickhouse", "clickhouses"} or not parts.hostname or not NAME.fullmatch(database):
        raise InvalidValue("not a ClickHouse URL", hint="clickhouse://user:password@host:8123/database")
    secure = parts.scheme == "clickhouses"
    client = _connected(
        host=parts.hostname,
        port=parts.port or (8443 if secure else 8123),
        username=unquote(parts.username or "") or None,
        password=unquote(parts.password or ""),
        secure=secure,
        send_receive_timeout=max(INSERT_TIME, int(knobs.query_time) + GRACE),
        # No session: the server would refuse a second request of it while the first one runs.
        autogenerate_session_id=False,
    )
    engine = ClickHouseEngine(client, Limits(seconds=knobs.query_time, memory=knobs.query_memory))
    try:
        engine.command(f"CREATE DATABASE IF NOT EXISTS {database}")
        client.database = database
        migrate(engine)
    except BaseException:
        engine.close()
        raise
    return engine


def _connected(**how: Any) -> Any:
    try:
        import clickhouse_connect
        from clickhouse_connect import common
    except ImportError as error:
        raise ProgramMissing(
            f"clickhouse-connect cannot be loaded: {error}", hint='pip install "atoll[telemetry]"'
        ) from None
    common.set_setting("dict_parameter_format", "map")
    try:
        return clickhouse_connect.get_client(**how)
    except Exception as error:  # its own classes, those of urllib3, and OSError
        raise _translated(error, codes.of_query) from error


def _translated(error: Exception, of: Callable[[str], AtollError]) -> AtollError:
    text = str(error)
    if codes.CODE.search(text):
        return of(text)
    return Overloaded(f"ClickHouse does not answer: {text[: codes.SHOWN]}", retry_after=5)


class ClickHouseEngine:
    """A connected server; see `engine.Engine`. Made by `open_engine`."""

    def __init__(self, client: Any, limits: Limits) -> None:
        self._client = client
        self._limits = limits

    def insert(self, insert: Insert) -> None:
        """See `engine.Engine`."""
        settings = {**answers.WRITE, **insert.settings}
        if insert.schema:
            settings |= {
                "format_schema_source": "string",
                "format_schema_message_name": insert.message,
                "format_schema": insert.schema,
            }
        try:
            self._client.raw_insert(
                insert.table,
                column_names=insert.columns or None,
                insert_block=b"".join(insert.data),
                settings=settings,
                fmt=insert.format,
            )
        except Exception as error:  # its own classes, those of urllib3, and OSError
            raise _translated(error, codes.of_insert) from error

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
        encode(parameters)  # the same values are refused as by the embedded engine
        # Complete before the first byte: else an error could come in the middle of an answer.
        settings = {**answers.settings(limits or self._limits), **answers.READ, "wait_end_of_query": 1}
        try:
            answer = self._client.raw_query(sql, parameters=_listed(parameters), settings=settings, fmt=shape)
        except Exception as error:  # its own classes, those of urllib3, and OSError
            raise _translated(error, codes.of_query) from error
        return bytes(answer)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """See `engine.Engine`."""
        encode(parameters)  # the same values are refused as by the embedded engine
        try:
            self._client.raw_query(sql, parameters=_listed(parameters), settings=answers.WRITE)
        except Exception as error:  # its own classes, those of urllib3, and OSError
            raise _translated(error, codes.of_query) from error

    def rest(self) -> None:
        """See `engine.Engine`; the server looks after its own memory."""
        let_go_of_heap()
        let_go_of_code()

    def close(self) -> None:
        """See `engine.Engine`."""
        self._client.close()


def _listed(parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The client writes a tuple as ClickHouse's tuple; ours are arrays."""
    if not parameters:
        return None
    return {name: list(value) if isinstance(value, tuple) else value for name, value in parameters.items()}
