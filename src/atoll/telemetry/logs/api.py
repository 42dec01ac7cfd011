"""The routes of logs: search, live tail, patterns, histogram. Parameters in, an answer out as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from atoll.telemetry.logs.answers import LogRecord, Tail
from atoll.telemetry.logs.reading import page_of
from atoll.telemetry.logs.search import FILTER_NAMES, read_search
from atoll.telemetry.logs.summaries import BUCKETS, histogram_of, patterns_of
from atoll.telemetry.logs.tail import LOOK, Follow, Tails
from atoll.telemetry.query.app import Queries, queries_of
from atoll.telemetry.query.parameters import NANO, Parameters

WAIT = 10
"""Seconds that a question for the tail may wait for something new, at most: the control plane forwards with a limit."""
USUAL_WAIT = 5
SPAN = 3600.0
"""Seconds that histogram and patterns look back when they are not told."""
AHEAD = 60.0
"""Seconds into the future that they look: clocks of services may be ahead."""
ALIVE = 15.0
"""Seconds between two signs of life in a stream of events."""


def _reply(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), headers={"Cache-Control": "no-store"}, media_type="application/json")


async def logs(request: Request) -> Response:
    """Records that a search finds, a page at a time."""
    return _reply(await page_of(queries_of(request), read_search(request.query_params)))


async def patterns(request: Request) -> Response:
    """Similar lines; `new=true`: those that the last deployment brought."""
    search = read_search(request.query_params, (*FILTER_NAMES, "limit", "new"))
    queries = queries_of(request)
    if not search.since:
        search = replace(search, since=max(0, int((queries.clock.wall() - SPAN) * NANO)))
    new = Parameters(request.query_params, request.query_params).choice("new", ("true", "false"), "false")
    return _reply(await patterns_of(queries, search, new=new == "true"))


async def histogram(request: Request) -> Response:
    """How many records of each level over time."""
    search = read_search(request.query_params, (*FILTER_NAMES, "buckets"))
    queries = queries_of(request)
    until = min(search.until, int((queries.clock.wall() + AHEAD) * NANO))
    since = search.since or max(0, until - int((SPAN + AHEAD) * NANO))
    said = Parameters(request.query_params, request.query_params).whole("buckets", 60, least=1, most=BUCKETS)
    return _reply(await histogram_of(queries, replace(search, since=since, until=max(until, since + 1)), buckets=said))


class TailRoute:
    """The live tail: as server-sent events, or asked again and again with the cursor of the last answer."""

    def __init__(self) -> None:
        self._tails = Tails()

    async def __call__(self, request: Request) -> Response:
        """One question: at once when it begins a tail, else when something is new or `wait` seconds are over."""
        queries = queries_of(request)
        said = Parameters(request.query_params, (*FILTER_NAMES, "cursor", "wait"))
        cursor = said.text("cursor")
        wait = said.whole("wait", USUAL_WAIT, least=0, most=WAIT)
        if cursor is None:
            filters = request.query_params
            identity, follow = await self._tails.begin(queries, read_search(filters, (*FILTER_NAMES, "wait")))
            records, skipped = await follow.look(queries)  # what cannot be asked is refused now
            if "text/event-stream" in request.headers.get("accept", ""):
                return StreamingResponse(
                    self._events(queries, identity, follow),
                    headers={"Cache-Control": "no-store"},
                    media_type="text/event-stream",
                )
            return _reply(Tail(records=records, cursor=identity, skipped=skipped))
        follow = self._tails.find(cursor, queries.clock)
        until = queries.clock.now() + wait
        while True:
            records, skipped = await follow.look(queries)
            if records or queries.clock.now() >= until:
                return _reply(Tail(records=records, cursor=cursor, skipped=skipped))
            await queries.clock.sleep(LOOK)

    async def _events(self, queries: Queries, identity: str, follow: Follow) -> AsyncIterator[bytes]:
        told = queries.clock.now()
        yield b"retry: 1000\n\n"
        while True:
            self._tails.find(identity, queries.clock)
            records, skipped = await follow.look(queries)
            for record in records:
                yield _event("record", record)
            if skipped:
                yield f'event: skipped\ndata: {{"skipped":{skipped}}}\n\n'.encode()
            if records or queries.clock.now() - told > ALIVE:
                told = queries.clock.now()
                yield b": alive\n\n"
            await queries.clock.sleep(LOOK)


def _event(name: str, record: LogRecord) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(record) + b"\n\n"


ROUTES = (
    Route("/api/v1/logs", logs),
    Route("/api/v1/logs/tail", TailRoute().__call__),
    Route("/api/v1/logs/patterns", patterns),
    Route("/api/v1/logs/histogram", histogram),
)
"""Of the application of queries."""
