"""Spans, logs and questions as a shop's day makes them, for the benchmark of the telemetry engine."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

from atoll.telemetry.chdb import ChdbEngine

SERVICES = ("storefront", "orders", "payments", "catalog", "shipping", "accounts", "search", "mail")
CHUNK = 125_000
"""Rows a statement of `fill`: what a part holds."""
HOURS = 72


def _resource(holder: Any, service: str, number: int) -> None:
    for key, value in (
        ("service.name", service),
        ("service.instance.id", f"{service}-{number}"),
        ("service.version", "1.4.2"),
        ("telemetry.sdk.language", "python"),
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.version", "1.39.0"),
        ("host.name", "node-1"),
        ("process.pid", 4000 + number),
    ):
        _set(holder.attributes.add(), key, value)


def _set(attribute: Any, key: str, value: object) -> None:
    attribute.key = key
    if isinstance(value, str):
        attribute.value.string_value = value
    elif isinstance(value, float):
        attribute.value.double_value = value
    elif isinstance(value, int):
        attribute.value.int_value = value


def span_bodies(message: Any, count: int, items: int) -> list[bytes]:
    """`count` OTLP bodies of `items` spans with nine attributes each."""
    chance = random.Random(7)
    bodies = []
    for number in range(count):
        request = message()
        service = SERVICES[number % len(SERVICES)]
        resource = request.resource_spans.add()
        _resource(resource.resource, service, number % 3)
        scope = resource.scope_spans.add()
        scope.scope.name = "opentelemetry.instrumentation.asgi"
        scope.scope.version = "0.60b0"
        for _ in range(items):
            start = time.time_ns() - chance.randrange(2_000_000_000)
            path = chance.choice(("/orders/{id}", "/orders", "/cart", "/items/{sku}"))
            span = scope.spans.add(
                trace_id=chance.randbytes(16), span_id=chance.randbytes(8), parent_span_id=chance.randbytes(8),
                name=f"GET {path}", kind=chance.choice((2, 3)), start_time_unix_nano=start,
                end_time_unix_nano=start + chance.randrange(200_000, 80_000_000),
            )  # fmt: skip
            failed = chance.random() < 0.01
            span.status.code = 2 if failed else 0
            for key, value in (
                ("http.request.method", "GET"), ("http.route", path), ("http.response.status_code", 500 if failed else 200),
                ("url.path", path.replace("{id}", str(chance.randrange(10**6)))), ("server.address", "127.0.0.1"),
                ("server.port", 8080), ("user.id", f"u-{chance.randrange(50_000)}"), ("cart.total", chance.random() * 100),
                ("network.protocol.version", "1.1"),
            ):  # fmt: skip
                _set(span.attributes.add(), key, value)
            if failed:
                event = span.events.add(time_unix_nano=start, name="exception")
                _set(event.attributes.add(), "exception.message", "payment provider did not answer")
        bodies.append(request.SerializeToString())
    return bodies


def log_bodies(message: Any, count: int, items: int) -> list[bytes]:
    """`count` OTLP bodies of `items` log records with four attributes each."""
    chance = random.Random(8)
    bodies = []
    for number in range(count):
        request = message()
        resource = request.resource_logs.add()
        _resource(resource.resource, SERVICES[number % len(SERVICES)], number % 3)
        scope = resource.scope_logs.add()
        scope.scope.name = "shop"
        for _ in range(items):
            record = scope.log_records.add(
                time_unix_nano=time.time_ns() - chance.randrange(2_000_000_000), severity_number=9, severity_text="INFO",
                trace_id=chance.randbytes(16), span_id=chance.randbytes(8),
            )  # fmt: skip
            order, user = chance.randrange(10**6), chance.randrange(50_000)
            record.body.string_value = (
                f"order {order} of user u-{user} accepted: 3 items, {order % 97}.50 EUR, took {user % 90} ms"
            )
            for key, value in (
                ("order.id", order), ("code.filepath", "/srv/shop/orders.py"), ("code.lineno", user % 300), ("queue", "standard"),
            ):  # fmt: skip
                _set(record.attributes.add(), key, value)
        bodies.append(request.SerializeToString())
    return bodies


NAMES = ", ".join(f"'{name}'" for name in SERVICES)
CALLED = "[0, 1, 2, 1, 3, 1, 2, 4]"
"""A trace has eight spans: each is of a service, and is the child of the one before."""

FILL_SPANS = f"""
INSERT INTO spans (Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, InstanceId, Route, HttpMethod,
    HttpStatus, ResourceAttributes, ScopeName, SpanAttributes, Duration, StatusCode, StatusMessage)
SELECT
    fromUnixTimestamp64Nano(toInt64(start + place * 1000000), 'UTC'),
    toFixedString(concat(reinterpretAsFixedString(cityHash64(trace)), reinterpretAsFixedString(cityHash64(trace, 1))), 16),
    reinterpretAsFixedString(cityHash64(trace, place, 2)),
    if(place = 0, toFixedString('', 8), reinterpretAsFixedString(cityHash64(trace, place - 1, 2))),
    concat('GET ', path), if(place % 2 = 0, 2, 3), service, concat(service, '-', toString(trace % 3)), path, 'GET',
    if(failed, 500, 200),
    CAST((['service.name', 'service.instance.id', 'service.version', 'telemetry.sdk.language', 'host.name', 'process.pid'],
        [service, concat(service, '-', toString(trace % 3)), '1.4.2', 'python', 'node-1', toString(4000 + trace % 3)]),
        'Map(LowCardinality(String), String)'),
    'opentelemetry.instrumentation.asgi',
    CAST((['http.request.method', 'http.route', 'http.response.status_code', 'url.path', 'server.address', 'server.port', 'user.id',
        'cart.total', 'network.protocol.version'],
        ['GET', path, if(failed, '500', '200'), concat(path, '/', toString(trace % 1000003)), '127.0.0.1', '8080',
        concat('u-', toString(cityHash64(trace) % 50000)), toString(trace % 10000 / 100), '1.1']),
        'Map(LowCardinality(String), String)'),
    200000 + cityHash64(number) % 80000000, if(failed, 2, 0), if(failed, 'payment provider did not answer', '')
FROM
(
    SELECT number, intDiv(number, 8) AS trace, number % 8 AS place, [{NAMES}][{CALLED}[place + 1] + 1] AS service,
        ['/orders/:id', '/orders', '/cart', '/items/:sku'][cityHash64(trace, service) % 4 + 1] AS path,
        cityHash64(trace) % 100 = 0 AS failed,
        {{now:UInt64}} - trace * intDiv({{span:UInt64}}, {{traces:UInt64}}) AS start
    FROM numbers({{first:UInt64}}, {{count:UInt64}})
)
"""

FILL_LOGS = f"""
INSERT INTO logs (Timestamp, TraceId, SpanId, SeverityNumber, SeverityText, ServiceName, InstanceId, Source, Body, LogAttributes,
    ResourceAttributes, ScopeName)
SELECT
    fromUnixTimestamp64Nano(toInt64(start + place * 1000000), 'UTC'),
    toFixedString(concat(reinterpretAsFixedString(cityHash64(trace)), reinterpretAsFixedString(cityHash64(trace, 1))), 16),
    reinterpretAsFixedString(cityHash64(trace, place, 2)),
    if(failed, 17, 9), if(failed, 'ERROR', 'INFO'), service, concat(service, '-', toString(trace % 3)), if(place % 2 = 0, 'otlp', 'stdout'),
    multiIf(failed, concat('payment of order ', toString(trace), ' failed: provider did not answer in 2000 ms'),
        number % 1000003 = 77, concat('unusual zebrafish', toString(number), ' seen by user u-', toString(trace % 50000)),
        place = 0, concat('order ', toString(trace), ' of user u-', toString(cityHash64(trace) % 50000), ' accepted: 3 items'),
        place = 1, concat('GET ', path, '/', toString(trace), ' 200 ', toString(cityHash64(number) % 80), ' ms'),
        place = 2, concat('cache miss for item ', toString(cityHash64(number) % 20000), ', asking catalog'),
        concat('worker ', toString(place), ' finished job ', hex(cityHash64(number)), ' in ', toString(number % 500), ' ms')),
    CAST((['order.id', 'code.filepath', 'code.lineno', 'queue'], [toString(trace), '/srv/shop/orders.py', toString(place * 17), 'standard']),
        'Map(LowCardinality(String), String)'),
    CAST((['service.name', 'service.instance.id', 'host.name'], [service, concat(service, '-', toString(trace % 3)), 'node-1']),
        'Map(LowCardinality(String), String)'), 'shop'
FROM
(
    SELECT number, intDiv(number, 8) AS trace, number % 8 AS place, [{NAMES}][{CALLED}[place + 1] + 1] AS service,
        ['/orders/:id', '/orders', '/cart', '/items/:sku'][cityHash64(trace, service) % 4 + 1] AS path,
        cityHash64(trace) % 100 = 0 AS failed,
        {{now:UInt64}} - trace * intDiv({{span:UInt64}}, {{traces:UInt64}}) AS start
    FROM numbers({{first:UInt64}}, {{count:UInt64}})
)
"""


def fill(engine: ChdbEngine, rows: int) -> Iterator[dict[str, Any]]:
    """`rows` spans and logs over the last 72 hours, unless they are there; says what they take on disk."""
    for table, statement in (("spans", FILL_SPANS), ("logs", FILL_LOGS)):
        there = engine.rows(f"SELECT count() AS n FROM {table}")[0]["n"]
        for first in range(there, rows, CHUNK):
            values = {
                "now": time.time_ns(), "span": HOURS * 3600 * 10**9, "traces": max(1, rows // 8),
                "first": first, "count": min(CHUNK, rows - first),
            }  # fmt: skip
            text = statement
            for name, value in values.items():
                text = text.replace(f"{{{name}:UInt64}}", str(value))
            engine.command(text)
        engine.command(f"OPTIMIZE TABLE {table}")
        size = engine.rows(
            f"SELECT sum(bytes_on_disk) / {rows} AS bytes, count() AS parts FROM system.parts WHERE active AND table = '{table}'"
        )[0]
        yield {
            "name": f"{table} on disk",
            "value": round(size["bytes"], 1),
            "unit": "bytes",
            "note": f"{size['parts']} parts",
        }


HOUR_BEFORE = "SELECT toInt64(toUnixTimestamp64Nano(max(Timestamp)) - 3600 * 1000000000) AS value FROM spans"

QUERIES: dict[str, tuple[int, str, dict[str, Any]]] = {
    "trace by id": (
        50,
        "SELECT *, hex(TraceId) AS trace, hex(SpanId) AS span FROM all_spans WHERE TraceId = unhex({id:String}) ORDER BY Timestamp",
        {"id": "SELECT hex(TraceId) AS value FROM spans WHERE ServiceName = 'orders' AND StatusCode = 2 LIMIT 1"},
    ),
    "latest 100 errors of a service": (
        100,
        (
            "SELECT Timestamp, hex(TraceId) AS trace, SpanName, Duration, StatusMessage FROM all_spans "
            "WHERE ServiceName = {service:String} AND StatusCode = 2 ORDER BY Timestamp DESC LIMIT 100"
        ),
        {"service": "orders"},
    ),
    "RED per minute, one service, 1 h": (
        50,
        (
            "SELECT toStartOfMinute(Timestamp) AS minute, count() AS requests, countIf(StatusCode = 2) AS errors, "
            "quantiles(0.5, 0.95, 0.99)(Duration) AS durations FROM all_spans WHERE ServiceName = {service:String} AND SpanKind = 2 "
            "AND Timestamp >= fromUnixTimestamp64Nano({since:Int64}) GROUP BY minute ORDER BY minute"
        ),
        {"service": "payments", "since": HOUR_BEFORE},
    ),
    "rare word in all logs": (
        50,
        "SELECT Timestamp, ServiceName, Body FROM logs WHERE hasToken(Body, {word:String}) ORDER BY Timestamp DESC LIMIT 100",
        {
            "word": "SELECT extract(Body, 'zebrafish[0-9]+') AS value FROM logs WHERE startsWith(Body, 'unusual') LIMIT 1"
        },
    ),
    "service map, 1 h": (
        200,
        # The id of a span alone is the key of the join, and the trace is compared after it: a key of both is four times
        # as slow. `!=` under NOT, or the planner makes a key of it again.
        """
        SELECT parent.ServiceName AS caller, child.ServiceName AS callee, count() AS calls, countIf(child.StatusCode = 2) AS errors,
            quantiles(0.5, 0.95, 0.99)(child.Duration) AS durations
        FROM (SELECT TraceId, ParentSpanId, ServiceName, StatusCode, Duration FROM all_spans
            WHERE Timestamp >= fromUnixTimestamp64Nano({since:Int64})) AS child
        INNER JOIN (SELECT TraceId, SpanId, ServiceName FROM all_spans
            WHERE Timestamp >= fromUnixTimestamp64Nano({since:Int64})) AS parent
        ON child.ParentSpanId = parent.SpanId
        WHERE NOT (child.TraceId != parent.TraceId) AND caller != callee
        GROUP BY caller, callee
        """,
        {"since": HOUR_BEFORE},
    ),
    "logs of a trace": (
        50,
        "SELECT Timestamp, ServiceName, Body FROM logs WHERE TraceId = unhex({id:String}) ORDER BY Timestamp",
        {"id": "SELECT hex(TraceId) AS value FROM spans WHERE ServiceName = 'orders' AND StatusCode = 2 LIMIT 1"},
    ),
    "latest 100 lines of a service": (
        50,
        "SELECT Timestamp, Body FROM logs WHERE ServiceName = {service:String} ORDER BY Timestamp DESC LIMIT 100",
        {"service": "orders"},
    ),
    "latest 100 slow traces of an hour": (
        100,
        (
            "SELECT Timestamp, hex(TraceId) AS trace, SpanName, Duration FROM all_spans WHERE ServiceName = {service:String} "
            "AND Duration > 79000000 AND Timestamp >= fromUnixTimestamp64Nano({since:Int64}) ORDER BY Timestamp DESC LIMIT 100"
        ),
        {"service": "orders", "since": HOUR_BEFORE},
    ),
    "spans with an attribute's value, 72 h": (
        100,
        (
            "SELECT Timestamp, hex(TraceId) AS trace, SpanName FROM all_spans WHERE SpanAttributes['user.id'] = {user:String} "
            "ORDER BY Timestamp DESC LIMIT 100"
        ),
        {"user": "u-4711"},
    ),
}
"""Name → target in ms, statement, parameters (a SELECT stands for what it answers)."""
