"""Which records are asked for: the parameters as values, and as conditions of a statement. Pure.

The text of a condition is ours alone; what was given stands in the statement's parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from starlette.datastructures import QueryParams

from atoll.errors import InvalidValue
from atoll.kit.text import scrub
from atoll.telemetry.logs.ids import trace_id
from atoll.telemetry.logs.levels import FILTERS
from atoll.telemetry.query.parameters import NANO, Parameters, checked_text, refusal

FILTER_NAMES = ("service", "instance", "level", "grep", "words", "trace", "since", "until", "source", "run")
NAMES = (*FILTER_NAMES, "limit", "cursor", "order")
SOURCES = ("otlp", "stdout", "platform")
LIMIT = 5000
"""Records of one page at most."""
USUAL = 100
"""Records of a page when nothing is said."""
GREP_LIMIT = 1024
"""Characters of a regular expression or of words."""
MANY = 64
"""Values of one parameter that may be repeated."""
FOREVER = 1 << 63
_CURSOR = re.compile(r"(\d{1,19})\.(\d{1,6})")
_WORD = re.compile(r"[0-9A-Za-z\u0080-\U0010ffff]")

COLUMNS = (
    "toUnixTimestamp64Nano(Timestamp) AS at, toString(Source) AS source, ServiceName AS service, InstanceId AS instance, "
    "SeverityNumber AS severity, SeverityText AS level, lower(hex(TraceId)) AS trace, lower(hex(SpanId)) AS span, "
    "Body AS text, LogAttributes AS attributes, ScopeName AS scope, Run AS run"
)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is wanted; times in nanoseconds since 1970, `until` excluded."""

    since: int = 0
    until: int = FOREVER
    services: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    least: int = 0
    """Severity number at least."""
    grep: str = ""
    words: str = ""
    """Whole words that all occur, in any order."""
    trace: str = ""
    sources: tuple[str, ...] = ()
    run: str = ""
    limit: int = USUAL
    newest: bool = True
    """The newest first; else the oldest."""
    after: tuple[int, int] | None = None
    """The last record seen: its time, and how many of exactly that time were seen."""


def read_search(given: QueryParams, names: Iterable[str] = NAMES) -> Search:
    """The search that a query string asks for.

    Raises:
        InvalidValue: a parameter is unknown or cannot be used; it says which.
    """
    said = Parameters(given, names)
    since, until = said.moment("since", 0.0), said.moment("until", FOREVER / NANO - 1)
    if since >= until:
        raise refusal("since", "is not before until", "ask for an earlier since")
    level = (said.text("level") or "").lower()
    if level and level not in FILTERS:
        raise refusal("level", f"{scrub(level, limit=40)!r} is no level", f"say one of {', '.join(FILTERS)}")
    trace = said.text("trace") or ""
    if trace and not trace_id(trace):
        raise refusal("trace", f"{scrub(trace, limit=40)!r} is no trace id", "give 32 hex digits")
    words = said.text("words", limit=GREP_LIMIT) or ""
    if words and not _WORD.search(words):
        raise refusal("words", "has no letter or digit", "give whole words, or a regular expression as grep")
    sources = _many(said, "source")
    for one in sources:
        if one not in SOURCES:
            raise refusal("source", f"{scrub(one, limit=40)!r} is no source", f"say {', '.join(SOURCES)}")
    return Search(
        since=int(since * NANO),
        until=min(int(until * NANO), FOREVER - 1),
        services=_many(said, "service"),
        instances=_many(said, "instance"),
        least=FILTERS.get(level, 0),
        grep=said.text("grep", limit=GREP_LIMIT) or "",
        words=words,
        trace=trace_id(trace),
        sources=sources,
        run=said.text("run") or "",
        limit=said.whole("limit", USUAL, least=1, most=LIMIT),
        newest=said.choice("order", ("newest", "oldest"), "newest") == "newest",
        after=_cursor(said.text("cursor")),
    )


def conditions(search: Search) -> tuple[str, dict[str, Any]]:
    """The WHERE of a statement and its parameters; the page's cursor is not in it."""
    found = [
        "Timestamp >= fromUnixTimestamp64Nano({since:Int64})",
        "Timestamp < fromUnixTimestamp64Nano({until:Int64})",
    ]
    values: dict[str, Any] = {"since": search.since, "until": min(search.until, FOREVER - 1)}
    table: tuple[tuple[str, str, Any], ...] = (
        ("services", "ServiceName IN {services:Array(String)}", list(search.services)),
        ("instances", "InstanceId IN {instances:Array(String)}", list(search.instances)),
        ("least", "SeverityNumber >= {least:UInt8}", search.least),
        ("words", "hasAllTokens(Body, {words:String})", search.words),
        ("grep", "match(Body, {grep:String})", search.grep),
        ("trace", "TraceId = unhex({trace:String})", search.trace),
        ("sources", "toString(Source) IN {sources:Array(String)}", list(search.sources)),
        ("run", "Run = {run:String}", search.run),
    )
    for name, condition, value in table:
        if value:
            found.append(condition)
            values[name] = value
    return " AND ".join(found), values


def page_statement(search: Search) -> tuple[str, dict[str, Any]]:
    """The records of one page and one more, so that it is known whether there is another."""
    skip = 0
    if search.after is not None:
        at, skip = search.after
        within = (
            replace(search, until=min(search.until, at + 1))
            if search.newest
            else replace(search, since=max(search.since, at))
        )
        where, values = conditions(within)
    else:
        where, values = conditions(search)
    way = "DESC" if search.newest else "ASC"
    order = ", ".join(f"{column} {way}" for column in ("Timestamp", "ServiceName", "InstanceId", "Source", "Body"))
    values |= {"limit": search.limit + 1, "skip": skip}
    return (
        f"SELECT {COLUMNS} FROM logs WHERE {where} ORDER BY {order} LIMIT {{limit:UInt64}} OFFSET {{skip:UInt64}}",  # noqa: S608 - our own words
        values,
    )


def next_cursor(search: Search, times: list[int]) -> str:
    """Where the page after the records of these times begins."""
    last = times[-1]
    seen = 0
    for at in reversed(times):
        if at != last:
            break
        seen += 1
    if seen == len(times) and search.after is not None and search.after[0] == last:
        seen += search.after[1]
    return f"{last}.{seen}"


def _cursor(said: str | None) -> tuple[int, int] | None:
    if said is None:
        return None
    match = _CURSOR.fullmatch(said)
    if match is None or int(match[1]) >= FOREVER - 1:
        raise refusal("cursor", "is not one of ours", "give the `cursor` of the page before")
    return int(match[1]), int(match[2])


def _many(said: Parameters, name: str) -> tuple[str, ...]:
    values = tuple(value for value in said.all(name) if value)
    if len(values) > MANY:
        raise InvalidValue(f"{name} is given more than {MANY} times", hint="give fewer", field=name)
    return tuple(checked_text(name, value) for value in values)
