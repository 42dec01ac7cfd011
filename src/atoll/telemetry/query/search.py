"""Which traces are asked for: the parameters of a search as values, and as conditions of a statement. Pure.

A trace is found when one of its spans meets all conditions. The text of a condition is ours alone; what was given
stands in the statement's parameters.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.datastructures import QueryParams

from atoll.errors import InvalidValue
from atoll.kit.text import scrub
from atoll.telemetry.query.parameters import NANO, Parameters, checked_text, refusal

NAMES = (
    *("service", "instance", "route", "status", "http", "min_duration", "max_duration", "attribute", "text"),
    *("since", "until", "order", "limit", "cursor"),
)
LIMIT = 1000
ATTRIBUTES = 16
"""Attribute conditions of one search."""
VALUE_LIMIT = 1024
"""Characters of one attribute condition."""
SPAN = {"newest": 24 * 3600.0, "slowest": 3600.0}
"""Seconds that a search looks back when it does not say: the slowest are only known when all were seen."""
EXPLICIT = "resource."
"""Before a key: it is one of the resource, whatever its name."""
RESOURCE = (
    *("service.", "host.", "process.", "telemetry.", "deployment.", "container.", "k8s.", "cloud.", "os.", "faas."),
    *("device.", "webengine.", "aws.ecs.", "aws.eks.", "heroku."),
)
"""How names of resource attributes begin, by OpenTelemetry's conventions; every other key is one of the span."""
FAILED = "(StatusCode = 2 OR HttpStatus >= 500)"
"""A span that failed: by its own word, or a server's 5xx."""
_HTTP = re.compile(r"([1-5])xx|([1-5][0-9]{2})")
_CURSOR = re.compile(r"([0-9]{1,19})-([0-9a-f]{32})")


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is wanted; times in nanoseconds since 1970, `until` excluded."""

    since: int
    until: int
    service: str | None = None
    instance: str | None = None
    route: str | None = None
    status: str | None = None
    http: tuple[int, int] | None = None
    """First and last HTTP status."""
    least: int | None = None
    most: int | None = None
    """Nanoseconds that the span took."""
    attributes: tuple[tuple[str, str | None], ...] = ()
    """A key and its value; None: any value."""
    text: str | None = None
    order: str = "newest"
    limit: int = 20
    after: tuple[int, str] | None = None
    """The last row that was seen: its key (start or duration, nanoseconds) and trace id."""


def read_search(given: QueryParams, wall: float) -> Search:
    """The search that a query string asks for, at this wall time.

    Raises:
        InvalidValue: a parameter is unknown or cannot be used; it says which.
    """
    said = Parameters(given, NAMES)
    order = said.choice("order", tuple(SPAN), "newest")
    until = said.moment("until", wall + 60.0)  # spans may be stamped by clocks that are ahead
    since = said.moment("since", max(0.0, min(until, wall) - SPAN[order]))
    if since >= until:
        raise refusal("since", "is not before until", "ask for an earlier since")
    least, most = said.number("min_duration"), said.number("max_duration")
    if least is not None and most is not None and least > most:
        raise refusal("min_duration", "is above max_duration", "no span is both")
    return Search(
        since=int(since * NANO),
        until=int(until * NANO),
        service=said.text("service"),
        instance=said.text("instance"),
        route=said.text("route", limit=VALUE_LIMIT),
        status=said.choice("status", ("error", "ok"), "") or None,
        http=_http(said),
        least=_nanoseconds(least),
        most=_nanoseconds(most),
        attributes=tuple(_attributes(said)),
        text=said.text("text"),
        order=order,
        limit=said.whole("limit", 20, least=1, most=LIMIT),
        after=_after(said),
    )


def cursor_of(key: int, trace: str) -> str:
    """Where a page ended."""
    return base64.urlsafe_b64encode(f"{key}-{trace}".encode()).decode().rstrip("=")


def conditions(search: Search) -> tuple[str, dict[str, str | int]]:
    """What a span must be, without its time: text of a statement, and its parameters."""
    words: list[str] = []
    values: dict[str, str | int] = {}
    for column, value in (
        ("ServiceName", search.service),
        ("InstanceId", search.instance),
        ("Route", search.route),
    ):
        if value is not None:
            name = column.lower()
            words.append(f"{column} = {{{name}:String}}")
            values[name] = value
    if search.status == "error":
        words.append(FAILED)
    if search.http is not None:
        words.append("HttpStatus BETWEEN {http_first:UInt16} AND {http_last:UInt16}")
        values |= {"http_first": search.http[0], "http_last": search.http[1]}
    if search.least is not None:
        words.append("Duration >= {least:UInt64}")
        values["least"] = search.least
    if search.most is not None:
        words.append("Duration <= {most:UInt64}")
        values["most"] = search.most
    for number, (key, value) in enumerate(search.attributes):
        column, name = _place(key)
        values[f"key{number}"] = name
        if value is None:
            words.append(f"mapContains({column}, {{key{number}:String}})")
        else:
            values[f"value{number}"] = value
            words.append(f"{column}[{{key{number}:String}}] = {{value{number}:String}}")
    if search.text is not None:
        values["text"] = search.text
        words.append(_TEXT)
    return " AND ".join(words) or "1", values


_TEXT = """(
    positionCaseInsensitiveUTF8(SpanName, {text:String}) > 0
    OR positionCaseInsensitiveUTF8(StatusMessage, {text:String}) > 0
    OR arrayExists(value -> positionCaseInsensitiveUTF8(value, {text:String}) > 0, mapValues(SpanAttributes))
    OR arrayExists(one -> arrayExists(
        value -> positionCaseInsensitiveUTF8(value, {text:String}) > 0, mapValues(one)), `Events.Attributes`)
    OR TraceId IN (
        SELECT TraceId FROM logs
        WHERE Timestamp >= fromUnixTimestamp64Nano({from:Int64}, 'UTC')
            AND Timestamp < fromUnixTimestamp64Nano({to:Int64}, 'UTC')
            AND positionCaseInsensitiveUTF8(Body, {text:String}) > 0
            AND TraceId != toFixedString('', 16)))"""
"""In the span itself or in a log record of its trace."""


def _place(key: str) -> tuple[str, str]:
    """The column that an attribute is looked for in, and its name there: one of them, so that its index is used."""
    if key.startswith(EXPLICIT):
        return "ResourceAttributes", key.removeprefix(EXPLICIT)
    return ("ResourceAttributes" if key.startswith(RESOURCE) else "SpanAttributes"), key


def _http(said: Parameters) -> tuple[int, int] | None:
    text = said.text("http")
    if text is None:
        return None
    found = _HTTP.fullmatch(text)
    if found is None:
        raise refusal("http", f"{scrub(text, limit=40)!r} is not a status", "write 503 or 5xx")
    if found[1]:
        return int(found[1]) * 100, int(found[1]) * 100 + 99
    return int(found[2]), int(found[2])


def _nanoseconds(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else min(int(milliseconds * 1_000_000), 2**63 - 1)


def _attributes(said: Parameters) -> Iterator[tuple[str, str | None]]:
    values = said.all("attribute")
    if len(values) > ATTRIBUTES:
        raise refusal("attribute", f"is given more than {ATTRIBUTES} times", "narrow the search by service and time")
    for value in values:
        key, colon, wanted = checked_text("attribute", value, limit=VALUE_LIMIT).partition(":")
        if not key:
            raise refusal("attribute", "has no key", "write key:value, or key alone for any value")
        yield key, wanted if colon else None


def _after(said: Parameters) -> tuple[int, str] | None:
    text = said.text("cursor")
    if text is None:
        return None
    try:
        found = _CURSOR.fullmatch(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii"))
    except (ValueError, binascii.Error):
        found = None
    if found is None or int(found[1]) >= 2**63:
        raise InvalidValue("cursor: is not one of ours", hint="send the `next` of the page before", field="cursor")
    return int(found[1]), found[2]
