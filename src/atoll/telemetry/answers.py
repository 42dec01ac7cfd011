"""How answers come out of an engine: the settings that readers have, and bytes made into rows and columns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from atoll.errors import InvalidValue
from atoll.telemetry.engine import Limits

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = "JSONEachRow"
COLUMNS = "ArrowStream"

READ: dict[str, int] = {
    "output_format_json_array_of_rows": 1,
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_validate_utf8": 1,
    "max_threads": 4,
    "enable_time_series_aggregate_functions": 1,
    "readonly": 1,
}
"""Settings of whatever reads. `readonly` comes last: nothing can be set after it, not even by a statement's SETTINGS,
and it shuts the table functions that read files and talk to other servers."""

WRITE: dict[str, int] = {
    "async_insert": 0,
    "max_threads": 2,
    "max_insert_threads": 1,
    "max_partitions_per_insert_block": 0,
    "alter_sync": 0,
}
"""Settings of whatever writes. Old spans may make many partitions at once; macros.PAST_DAYS is the limit. A new
TTL is worked out for old parts in the background: on a full disk, waiting for it would be for ever."""


WORD = re.compile(r"\s*(?:--[^\n]*\n\s*)*\(*\s*(\w+)")
ASKING = frozenset({"SELECT", "WITH", "EXPLAIN", "DESCRIBE", "SHOW", "EXISTS"})


def check(sql: str) -> None:
    """Refuse what is no question: `readonly` lets SYSTEM statements through.

    Raises:
        InvalidValue: it begins with another word.
    """
    found = WORD.match(sql)
    if not found or found[1].upper() not in ASKING:
        raise InvalidValue("only SELECT can be asked here")


def settings(limits: Limits) -> dict[str, str]:
    """What holds a query to its limits; over one of them it ends with an error, never with half an answer."""
    return {
        "max_execution_time": f"{limits.seconds:.3f}",
        "max_memory_usage": str(limits.memory),
        "max_result_rows": str(limits.rows),
    }


def rows(answer: bytes) -> list[dict[str, Any]]:
    """An answer in the format ROWS. NaN and infinite numbers are None."""
    return msgspec.json.decode(answer, type=list[dict[str, Any]]) if answer.strip() else []


def table(answer: bytes) -> pa.Table:
    """An answer in the format COLUMNS."""
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(answer)) as reader:
        return reader.read_all()
