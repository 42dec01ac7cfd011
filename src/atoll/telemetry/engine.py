"""What a telemetry engine promises: ClickHouse's SQL, embedded (`chdb`) or a server's (`clickhouse`).

All calls block and may come from any thread; each thread has a session of its own, so a query does not wait for an
insert. What an insert returned from is in the table. One dialect: a statement that works on one engine works on the
other, and the contract suite runs over both. A value never becomes text of a statement: `{name:Type}` stands in the
SQL, the value in `parameters`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

DATABASE = "atoll"
"""All tables are in this database; statements name them without it."""


@dataclass(frozen=True, kw_only=True)
class Insert:
    """Rows for one table: `data` is joined as it is."""

    table: str
    format: str
    """ClickHouse's name of the format: Protobuf, TSV, JSONEachRow, Arrow, …"""
    data: Sequence[bytes]
    columns: tuple[str, ...] = ()
    """Empty: all, in the table's order."""
    schema: str = ""
    """With Protobuf: the text of the .proto file."""
    message: str = ""
    """With Protobuf: the message's name in it. Messages in `data` have a varint length in front."""
    settings: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a query may take."""

    seconds: float = 10.0
    memory: int = 256 << 20
    """Bytes."""
    rows: int = 1_000_000
    """Rows of an answer."""


class Engine(Protocol):
    """See the module. Made by `telemetry.chdb.open_engine` and `telemetry.clickhouse.open_engine`."""

    def insert(self, insert: Insert) -> None:
        """Commit rows: all or none.

        Raises:
            BadRequest: the data is not what the format says; nothing was stored.
            StorageFull: no room on disk; nothing was stored, reads go on.
            Overloaded: the engine's memory is used up, or it is away; later may go better.
        """
        ...

    def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None
    ) -> list[dict[str, Any]]:
        """The answer as dicts: numbers as int and float, DateTime64 as text unless the SQL converts, FixedString as
        text only when the SQL says `hex(…)`. NaN and infinite numbers are None. Read-only: a statement with SETTINGS, or
        with a table function like file() or url(), is refused.

        Raises:
            InvalidValue: the statement cannot be understood, or a parameter is not of its type.
            LimitReached: over `limits`; the process lives on.
            Overloaded: the engine is away.
        """
        ...

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None) -> pa.Table:
        """The answer as columns, for NumPy. Read-only; raises as `rows`."""
        ...

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """A statement of ours that changes something: the schema, or rows made out of rows. Raises as `rows`; an
        INSERT … SELECT also `StorageFull`.
        """
        ...

    def rest(self) -> None:
        """Give back memory that earlier calls needed. Whatever comes next may be some milliseconds slower."""
        ...

    def close(self) -> None:
        """Close every session; what was inserted is on disk."""
        ...
