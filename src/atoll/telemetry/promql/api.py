"""Prometheus' HTTP API under `/prometheus/api/v1`: what Grafana, promtool and their like ask.

Eleven endpoints, each by GET or a posted form where Prometheus takes both. Nothing here writes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from atoll.errors import BadRequest
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.telemetry.metrics.series import Labels, Matcher
from atoll.telemetry.metrics.source import Source as Metrics
from atoll.telemetry.promql import answer, ast, reply
from atoll.telemetry.promql.evaluate import LOOKBACK
from atoll.telemetry.promql.form import FIRST, LAST, BadParameter, Form, read_form
from atoll.telemetry.promql.format import pretty
from atoll.telemetry.promql.number import api
from atoll.telemetry.promql.parse import parse
from atoll.telemetry.promql.query import SECONDS, STEPS, Evaluator, Question
from atoll.telemetry.promql.source import Source
from atoll.telemetry.promql.value import Grid, Value
from atoll.telemetry.query import problem
from atoll.telemetry.query.app import queries_of

PREFIX = "/prometheus/api/v1"
SAMPLE_ROWS = 5_000_000
"""Rows that one reading of the storage may give."""
METADATA_LIMIT = 10_000
SPEAKS = "2.42.0"
"""The Prometheus whose answers these are compared with; clients choose their features by it."""
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
log = Log("telemetry")

Ask = Callable[[Request], tuple[Source, Clock]]
Answer = Callable[[Source, Clock, Form, Request], Awaitable[bytes]]


def stored(request: Request) -> tuple[Source, Clock]:
    """All metrics, behind the frame of the query application."""
    queries = queries_of(request)
    return Metrics(queries.pool, limits=queries.limits(rows=SAMPLE_ROWS)), queries.clock


def make_routes(ask: Ask) -> tuple[Route, ...]:
    """The routes over a source."""
    evaluator = Evaluator()

    async def query(source: Source, clock: Clock, form: Form, _: Request) -> bytes:
        moment = form.time("time", round(clock.wall() * 1000))
        question = _question(form, Grid(moment, moment, 1), parse(form.get("query")))
        limit = form.limit()
        return await evaluator.answer(source, question, clock, lambda value, grid: _vector(value, grid, limit))

    async def query_range(source: Source, clock: Clock, form: Form, _: Request) -> bytes:
        question = _question(form, _grid(form), _ranged(form.get("query")))
        limit = form.limit()
        return await evaluator.answer(source, question, clock, lambda value, grid: _matrix(value, grid, limit))

    return (
        _route("/query", ask, query, "GET", "POST"),
        _route("/query_range", ask, query_range, "GET", "POST"),
        _route("/query_exemplars", ask, query_exemplars, "GET", "POST"),
        _route("/format_query", ask, format_query, "GET", "POST"),
        _route("/labels", ask, labels, "GET", "POST"),
        _route("/label/{name}/values", ask, label_values, "GET"),
        _route("/series", ask, series, "GET", "POST"),
        _route("/metadata", ask, metadata, "GET"),
        _route("/rules", ask, rules, "GET"),
        _route("/alerts", ask, alerts, "GET"),
        _route("/status/buildinfo", ask, buildinfo, "GET"),
    )


def _route(path: str, ask: Ask, handler: Answer, *methods: str) -> Route:
    async def handle(request: Request) -> Response:
        try:
            source, clock = ask(request)
            return reply.good(await handler(source, clock, await read_form(request), request))
        except Exception as cause:  # noqa: BLE001 - the door: every error becomes an answer
            error = problem.as_error(cause)
            if error is not cause:
                log.error("a query failed", path=path, error=repr(cause))
            return reply.refused(error)

    return Route(PREFIX + path, handle, methods=list(methods))


def _grid(form: Form) -> Grid:
    start, end = form.time("start"), form.time("end")
    if end < start:
        raise BadParameter("end", "end timestamp must not be before start time")
    step = form.duration("step")
    if step <= 0:
        raise BadParameter(
            "step", "zero or negative query resolution step widths are not accepted. Try a positive integer"
        )
    if (end - start) // step > STEPS:
        raise BadRequest(
            f"exceeded maximum resolution of {STEPS:,} points per timeseries. "
            "Try decreasing the query resolution (?step=XX)"
        )
    return Grid(start, end, step)


def _ranged(query: str) -> ast.Expr:
    expr = parse(query)
    kind = ast.kind_of(expr)
    if kind not in (ast.Kind.SCALAR, ast.Kind.VECTOR):
        said = "range vector" if kind is ast.Kind.MATRIX else kind.value
        raise BadRequest(f'invalid expression type "{said}" for range query, must be Scalar or instant Vector')
    return expr


def _question(form: Form, grid: Grid, expr: ast.Expr) -> Question:
    lookback = form.duration("lookback_delta", LOOKBACK)
    if lookback <= 0:
        raise BadParameter("lookback_delta", "must be positive")
    seconds = form.duration("timeout", round(SECONDS * 1000)) / 1000
    return Question(expr, grid, lookback, seconds)


def _vector(value: Value, grid: Grid, limit: int) -> bytes:
    return _limited(answer.instant(value, grid), limit)


def _matrix(value: Value, grid: Grid, limit: int) -> bytes:
    return _limited(answer.matrix(value, grid), limit)


def _limited(data: dict[str, Any], limit: int) -> bytes:
    warnings: list[str] = []
    if data["resultType"] in ("vector", "matrix"):
        data["result"], warnings = _cut(data["result"], limit)
    return reply.content(data, warnings)


def _cut(items: list[Any], limit: int) -> tuple[list[Any], list[str]]:
    if limit and len(items) > limit:
        return items[:limit], ["results truncated due to limit"]
    return items, []


def _span(form: Form) -> tuple[int, int]:
    start, end = form.time("start", FIRST), form.time("end", LAST)
    if end < start:
        raise BadRequest("end timestamp must not be before start timestamp")
    return start, end


def _sets(form: Form) -> Sequence[tuple[Matcher, ...]]:
    return form.matchers() or [()]


async def labels(source: Source, _: Clock, form: Form, __: Request) -> bytes:
    """Names of labels."""
    start = _span(form)[0]
    names: set[str] = set()
    for matchers in _sets(form):
        names.update(await source.label_names(matchers, start))
    return reply.content(*_cut(sorted(names), form.limit()))


async def label_values(source: Source, _: Clock, form: Form, request: Request) -> bytes:
    """Values of a label."""
    name = request.path_params["name"]
    if not _LABEL.fullmatch(name):
        raise BadRequest(f'invalid label name: "{name}"')
    start = _span(form)[0]
    values: set[str] = set()
    for matchers in _sets(form):
        values.update(await source.label_values(name, matchers, start))
    return reply.content(*_cut(sorted(values), form.limit()))


async def series(source: Source, _: Clock, form: Form, __: Request) -> bytes:
    """Series by selectors."""
    sets = form.matchers()
    if not sets:
        raise BadRequest("no match[] parameter provided")
    start, end = _span(form)
    found: set[Labels] = set()
    for matchers in sets:
        found.update(await source.series(matchers, start, end))
    return reply.content(*_cut([dict(one) for one in sorted(found)], form.limit()))


async def metadata(source: Source, _: Clock, form: Form, __: Request) -> bytes:
    """Type, unit and help of metrics."""
    limit = form.limit()
    told = await source.metadata(form.get("metric"), min(limit or METADATA_LIMIT, METADATA_LIMIT))
    return reply.content({one.family: [{"type": one.kind, "help": one.help, "unit": one.unit}] for one in told})


async def query_exemplars(source: Source, _: Clock, form: Form, __: Request) -> bytes:
    """Exemplars of the series that an expression reads."""
    start, end = _span(form)
    found: dict[Labels, list[dict[str, Any]]] = {}
    for selector in dict.fromkeys(ast.selectors(parse(form.get("query")))):
        for one in await source.exemplars(selector.matchers, start, end):
            shown = {"labels": dict(one.labels), "value": api(one.value), "timestamp": answer.seconds(one.at)}
            known = found.setdefault(one.series, [])
            if shown not in known:
                known.append(shown)
    return reply.content([{"seriesLabels": dict(one), "exemplars": found[one]} for one in sorted(found)])


async def format_query(_: Source, __: Clock, form: Form, ___: Request) -> bytes:
    """An expression in its usual layout."""
    return reply.content(pretty(parse(form.get("query"))))


async def rules(_: Source, __: Clock, ___: Form, ____: Request) -> bytes:
    """No rules are evaluated here."""
    return reply.content({"groups": []})


async def alerts(_: Source, __: Clock, ___: Form, ____: Request) -> bytes:
    """Without rules there are no alerts."""
    return reply.content({"alerts": []})


async def buildinfo(_: Source, __: Clock, ___: Form, ____: Request) -> bytes:
    """What answers, and which Prometheus it speaks like."""
    return reply.content(
        {
            "version": SPEAKS,
            "revision": f"atoll {version('atoll')}",
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
            "application": "atoll",
        }
    )


ROUTES = make_routes(stored)
