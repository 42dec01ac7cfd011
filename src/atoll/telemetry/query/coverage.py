"""Which services tell spans, metrics and lines, and which of their libraries nobody sees into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.datastructures import QueryParams

from atoll.model.telemetry import Coverage, Told
from atoll.telemetry.metrics.conditions import TOLD_AGAIN
from atoll.telemetry.query.app import Queries
from atoll.telemetry.query.parameters import NANO, Parameters
from atoll.telemetry.query.traces import WINDOW
from atoll.telemetry.query.window import ROLLED, read_window

SERVICES = 5_000
LIBRARIES = 50
"""Of one service."""
LOOK_BACK = 7 * 86_400
"""Seconds before the end in which a process that still runs may have said which libraries it uses: it says so once."""

_SPANS = f"SELECT DISTINCT toString(ServiceName) AS service FROM spans WHERE {WINDOW} AND Source = 'otlp'"  # noqa: S608
_LINES = f"SELECT DISTINCT toString(ServiceName) AS service FROM logs WHERE {WINDOW} AND Source != 'platform'"  # noqa: S608
_METRICS = """SELECT DISTINCT Labels['service'] AS service FROM series
WHERE LastSeen >= fromUnixTimestamp64Nano({told:Int64}) AND Labels['job'] != 'node' AND MetricName != 'up'"""
_REQUESTS = f"""SELECT toString(Service) AS service, sum(Count) AS requests FROM requests
WHERE {ROLLED} AND Edge != 'tcp' AND Service != '' GROUP BY service"""  # noqa: S608 - constants
_UNSEEN = f"""SELECT toString(ServiceName) AS service, arraySort(groupUniqArray({LIBRARIES})(LogAttributes['atoll.unseen'])) AS unseen
FROM logs WHERE Timestamp >= fromUnixTimestamp64Nano({{said:Int64}}) AND ScopeName = 'atoll' AND Source = 'otlp'
AND LogAttributes['atoll.unseen'] != '' GROUP BY service"""  # noqa: S608 - constants


async def get_coverage(queries: Queries, given: QueryParams) -> Coverage:
    """What a query string asks for; the last hour when it says nothing.

    Raises:
        InvalidValue: a parameter cannot be used.
        LimitReached, Overloaded: see `Engine.rows`.
    """
    window = read_window(Parameters(given, ("since", "until")), queries.clock.wall())
    values = {**window.parameters, "said": max(0, window.until - LOOK_BACK * NANO)}
    values["told"] = max(0, window.since - 2 * TOLD_AGAIN * NANO // 1000)

    async def ask(sql: str) -> list[dict[str, Any]]:
        found = await queries.pool.rows(sql, values, limits=queries.limits(rows=SERVICES))
        assert isinstance(found, list)
        return found

    spans, lines, metrics = [{row["service"] for row in await ask(sql)} for sql in (_SPANS, _LINES, _METRICS)]
    requests = {row["service"]: int(row["requests"]) for row in await ask(_REQUESTS)}
    unseen = {row["service"]: tuple(row["unseen"]) for row in await ask(_UNSEEN)}

    def told() -> Iterator[Told]:
        for name in sorted({*spans, *lines, *metrics, *requests}):
            yield Told(
                service=name,
                spans=name in spans,
                metrics=name in metrics,
                lines=name in lines,
                requests=requests.get(name, 0),
                unseen=unseen.get(name, ()),
            )

    return Coverage(**window.words(), services=tuple(told()))
