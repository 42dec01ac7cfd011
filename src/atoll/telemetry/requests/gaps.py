"""How many requests have no line: HAProxy numbers its lines, what is missing among the numbers was lost on the way.

Lines are lost when HAProxy's ring was full, when nobody listened for longer than it holds, a few with each reload,
and what this process held when it was killed.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

_GAPS = """
SELECT toInt64(sum(written)) AS lines, toInt64(sum(greatest(toInt64(latest) + 1 - toInt64(written), 0))) AS lost
FROM (SELECT max(Last) AS latest, sum(Lines) AS written FROM request_lines GROUP BY Run, Edge)
"""


class Rows(Protocol):
    """What we need of `EnginePool`."""

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        """See `EnginePool.rows`."""


class Gaps(msgspec.Struct, frozen=True):
    """Of all that the store remembers."""

    lines: int
    """Requests and tcp connections with a line."""
    lost: int
    """Those without."""


async def read_gaps(pool: Rows) -> Gaps:
    """Count them. Lines that are on their way count as lost when a later one was faster: ask again in a second."""
    (row,) = await pool.rows(_GAPS)
    return Gaps(lines=int(row["lines"]), lost=int(row["lost"]))
