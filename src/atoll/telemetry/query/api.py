"""The routes of traces, map and RED figures: parameters in, an answer out as JSON."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from atoll.telemetry.query.app import queries_of
from atoll.telemetry.query.compare import compare
from atoll.telemetry.query.coverage import get_coverage
from atoll.telemetry.query.map import get_map
from atoll.telemetry.query.parameters import Parameters
from atoll.telemetry.query.red import get_latency, get_red
from atoll.telemetry.query.search import read_search
from atoll.telemetry.query.trace import get_trace
from atoll.telemetry.query.traces import list_traces


def reply(answer: msgspec.Struct) -> Response:
    """An answer as JSON."""
    return Response(msgspec.json.encode(answer), headers={"Cache-Control": "no-store"}, media_type="application/json")


async def traces(request: Request) -> Response:
    """Traces that a search finds."""
    queries = queries_of(request)
    return reply(await list_traces(queries, read_search(request.query_params, queries.clock.wall())))


async def trace(request: Request) -> Response:
    """One trace with everything."""
    Parameters(request.query_params, ())
    return reply(await get_trace(queries_of(request), request.path_params["trace"]))


async def comparison(request: Request) -> Response:
    """Two traces side by side."""
    Parameters(request.query_params, ())
    queries = queries_of(request)
    first = await get_trace(queries, request.path_params["trace"])
    second = await get_trace(queries, request.path_params["other_trace"])
    return reply(compare(first, second))


async def service_map(request: Request) -> Response:
    """Who calls whom."""
    return reply(await get_map(queries_of(request), request.query_params))


async def red(request: Request) -> Response:
    """Rates, errors, durations."""
    return reply(await get_red(queries_of(request), request.query_params))


async def latency(request: Request) -> Response:
    """Durations in buckets, with exemplars."""
    return reply(await get_latency(queries_of(request), request.query_params))


async def coverage(request: Request) -> Response:
    """Who tells what."""
    return reply(await get_coverage(queries_of(request), request.query_params))


ROUTES = (
    Route("/api/v1/traces", traces),
    Route("/api/v1/traces/{trace}", trace),
    Route("/api/v1/traces/{trace}/compare/{other_trace}", comparison),
    Route("/api/v1/map", service_map),
    Route("/api/v1/red", red),
    Route("/api/v1/red/latency", latency),
    Route("/api/v1/telemetry/coverage", coverage),
)
