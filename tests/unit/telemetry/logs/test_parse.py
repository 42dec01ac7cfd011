from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.telemetry.logs.parse import LINE_LIMIT, parse_line
from atoll.telemetry.logs.record import ATTRIBUTES, CUT, KEY_LIMIT, TIME, VALUE_LIMIT

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("line", "body", "severity", "level", "scope"),
    [
        ("order 17 created", "order 17 created", 0, "", ""),
        ("", "", 0, "", ""),
        ("INFO:     Started server process [7]", "Started server process [7]", 9, "INFO", "uvicorn.error"),
        ("CRITICAL:  Stop", "CRITICAL:  Stop", 21, "CRITICAL", ""),
        ("ERROR:    Exception in ASGI application", "Exception in ASGI application", 17, "ERROR", "uvicorn.error"),
        ("INFO:app.orders:order 17", "order 17", 9, "INFO", "app.orders"),
        ("WARNING:root:disk is full", "disk is full", 13, "WARNING", "root"),
        ("[2026-11-21 14:02:11 +0000] [123] [INFO] Booting worker", "Booting worker", 9, "INFO", "gunicorn.error"),
        ("[2026-11-21 14:02:11,123: WARNING/MainProcess] Task x", "Task x", 13, "WARNING", "celery"),
        ("[INFO] Starting granian", "Starting granian", 9, "INFO", ""),
        ("2026-11-21 14:02:11,123 - app.orders - ERROR - no", "no", 17, "ERROR", "app.orders"),
        ("2026-11-21 14:02:11,123 INFO app.orders: yes", "yes", 9, "INFO", "app.orders"),
        ("2026-11-21 14:02:11,123 DEBUG plain words", "plain words", 5, "DEBUG", ""),
        ("2026-11-21 14:02:11,123 INFO [app.orders] yes", "yes", 9, "INFO", "app.orders"),
        ("2026-11-21 14:02:11.123 | SUCCESS  | shop.main:run:12 - done", "done", 9, "SUCCESS", "shop.main"),
        ("2026-11-21T14:02:11.123Z [warning  ] slow   order=17", "slow   order=17", 13, "WARNING", ""),
        ("14:02:11.123 [main] WARN  com.shop.App - slow", "slow", 13, "WARN", "com.shop.App"),
        ("2026-11-21T14:02:11.123Z  INFO 7 --- [app] [  main] c.s.App   : up", "up", 9, "INFO", "c.s.App"),
        ("2026-11-21 14:02:11.123 ERROR 7 --- [           main] c.s.App : no", "no", 17, "ERROR", "c.s.App"),
        ("2026/11/21 14:02:11 [error] 31#32: *9 connect() failed", "connect() failed", 17, "ERROR", "nginx"),
        ("2026/11/21 14:02:11 main.go:12: hello", "hello", 0, "", ""),
        ("2026/11/21 14:02:11 hello", "hello", 0, "", ""),
        ("E1121 14:02:11.123456    1234 main.go:12] no", "no", 17, "ERROR", ""),
        ('level=warn msg="slow \\"x\\"" order=17', 'slow "x"', 13, "WARN", ""),
        ("WARNING: this is bad", "WARNING: this is bad", 13, "WARNING", ""),
        ("error: cannot open", "error: cannot open", 17, "ERROR", ""),
        ("an error-free day, INFORMED", "an error-free day, INFORMED", 0, "", ""),
        ("\x1b[32mINFO\x1b[0m:     Application startup", "Application startup", 9, "INFO", "uvicorn.error"),
        ("a=b", "a=b", 0, "", ""),
        ("{not json", "{not json", 0, "", ""),
        ("[1, 2]", "[1, 2]", 0, "", ""),
        ("{}", "{}", 0, "", ""),
    ],
)
def test_usual_formats_give_message_level_and_logger(
    line: str, body: str, severity: int, level: str, scope: str
) -> None:
    found = parse_line(line)
    assert (found.body, found.severity, found.level, found.scope) == (body, severity, level, scope)


@pytest.mark.parametrize(
    ("line", "body", "severity", "scope", "attributes"),
    [
        (
            {"event": "order created", "level": "info", "timestamp": "2026", "logger": "app", "order": 17},
            *("order created", 9, "app", {"order": "17", TIME: "2026"}),
        ),
        (
            {"level": 50, "time": 1795000000123, "pid": 7, "hostname": "h", "msg": "no", "v": 1},
            *("no", 17, "", {"pid": "7", "hostname": "h", "v": "1", TIME: "1795000000123"}),
        ),
        ({"levelname": "WARNING", "message": "m", "name": "app"}, "m", 13, "app", None),
        (
            {"level": "warn", "ts": 1795000000.5, "caller": "a.go:1", "msg": "m"},
            *("m", 13, "", {"caller": "a.go:1", TIME: "1795000000.5"}),
        ),
        ({"@timestamp": "t", "log": {"level": "ERROR", "logger": "l"}, "message": "m"}, "m", 17, "l", {TIME: "t"}),
        (
            {"severity": "CRITICAL", "message": "m", "http": {"status": 5, "ok": True}},
            *("m", 21, "", {"http.status": "5", "http.ok": "true"}),
        ),
        ({"levelno": 30, "msg": "m"}, "m", 13, "", None),
        ({"level": 3, "short_message": "m"}, "m", 17, "", None),
        (
            {"level": "info", "a": None, "b": [1, "x"]},
            '{"level":"info","a":null,"b":[1,"x"]}',
            9,
            "",
            {"a": "null", "b": '[1,"x"]'},
        ),
    ],
)
def test_json_lines_of_usual_loggers(
    line: dict[str, object], body: str, severity: int, scope: str, attributes: dict[str, str] | None
) -> None:
    found = parse_line(json.dumps(line, separators=(",", ":")))
    assert (found.body, found.severity, found.scope, found.attributes) == (body, severity, scope, attributes)


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({"msg": "m", "trace_id": TRACE, "span_id": SPAN}),
        json.dumps({"msg": "m", "traceId": TRACE.upper(), "spanId": SPAN}),
        json.dumps({"msg": "m", "otelTraceID": TRACE, "otelSpanID": SPAN}),
        json.dumps({"msg": "m", "trace": {"id": TRACE}, "span": {"id": SPAN}}),
        json.dumps({"msg": "m", "dd": {"trace_id": TRACE, "span_id": SPAN}}),
        json.dumps({"msg": "m", "logging.googleapis.com/trace": f"projects/p/traces/{TRACE}", "spanId": SPAN}),
        json.dumps({"msg": "m", "traceparent": f"00-{TRACE}-{SPAN}-01"}),
        f"level=info msg=m trace_id={TRACE} span_id={SPAN}",
        f"order created trace_id={TRACE} span_id={SPAN}",
        f"order created traceID: '{TRACE}', spanID: '{SPAN}'",
        f"2026-11-21 14:02:11,123 INFO [app] [main.py:12] [trace_id={TRACE} span_id={SPAN} trace_sampled=True] - m",
        f"got traceparent 00-{TRACE}-{SPAN}-01",
    ],
)
def test_trace_and_span_are_found(line: str) -> None:
    found = parse_line(line)
    assert (found.trace, found.span) == (TRACE, SPAN)


@pytest.mark.parametrize("text", ["0" * 32, "x" * 32, TRACE[:31], TRACE + "a"])
def test_what_is_no_trace_id_is_none(text: str) -> None:
    assert parse_line(json.dumps({"msg": "m", "trace_id": text})).trace == ""
    assert parse_line(f"m trace_id={text}").trace == ""


def test_access_lines_tell_method_path_and_status() -> None:
    found = parse_line('INFO:     127.0.0.1:5234 - "GET /items?x=1 HTTP/1.1" 404 Not Found')
    assert found.body == '127.0.0.1:5234 - "GET /items?x=1 HTTP/1.1" 404', "what the logger was told, as OTLP has it"
    assert found.attributes == {
        "client.address": "127.0.0.1:5234",
        "http.request.method": "GET",
        "url.path": "/items",
        "url.query": "x=1",
        "network.protocol.version": "1.1",
        "http.response.status_code": "404",
    }
    line = '10.0.0.9 - - [21/Nov/2026:14:02:11 +0000] "POST /pay HTTP/1.1" 502 12 "-" "curl/8"'
    found = parse_line(line)
    assert (found.body, found.severity) == (line, 17)
    assert found.attributes is not None
    assert found.attributes["user_agent.original"] == "curl/8"
    assert parse_line('[21/Nov/2026 14:02:11] "GET / HTTP/1.1" 200 12').severity == 9


def test_a_stack_trace_in_json_goes_under_the_message() -> None:
    found = parse_line(json.dumps({"event": "failed", "level": "error", "exception": "Traceback\n  x\nValueError: y"}))
    assert found.body == "failed\nTraceback\n  x\nValueError: y"


def test_attributes_are_bounded_and_what_is_cut_is_counted() -> None:
    many = {f"k{number}": number for number in range(ATTRIBUTES + 10)}
    found = parse_line(json.dumps({"msg": "m", **many}))
    assert found.attributes is not None
    assert len(found.attributes) == ATTRIBUTES + 1
    assert found.attributes[CUT] == "10"
    found = parse_line(json.dumps({"msg": "m", "a": "x" * 5000, "k" * 500: 1}))
    assert found.attributes == {"a": "x" * VALUE_LIMIT, CUT: "2"}
    assert KEY_LIMIT < 500


def test_a_line_is_looked_at_up_to_its_limit() -> None:
    assert len(parse_line("x" * (1 << 20)).body) == LINE_LIMIT
    assert len(parse_line("{" * (1 << 20)).body) == LINE_LIMIT


PIECES = st.sampled_from(
    [
        "{",
        "}",
        '"',
        "[",
        "]",
        "INFO",
        ": ",
        "=",
        "\\",
        "2026-11-21 14:02:11 ",
        "\x1b[",
        "\x1b]",
        "GET / ",
        " - ",
        "a.b",
        "\0",
        "é",
        "00-",
        "trace_id=",
        TRACE,
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES | st.text(max_size=8), max_size=30).map("".join))
def test_no_line_makes_it_raise_and_no_column_holds_what_it_may_not(line: str) -> None:
    found = parse_line(line)
    assert 0 <= found.severity <= 24
    assert len(found.level) <= 13
    assert found.trace == "" or (len(found.trace) == 32 and int(found.trace, 16))
    assert found.span == "" or len(found.span) == 16
    assert all(len(key) <= KEY_LIMIT for key in found.attributes or {})


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["msg", "level", "levelno", "trace_id", "log", "error", "stack", "severity_number", "x"]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    )
)
def test_no_json_makes_it_raise(value: object) -> None:
    parse_line(json.dumps(value))


@pytest.mark.parametrize(
    "unit",
    ['a="', '"\\', "a=b ", "\x1b]", "[", '{"a":', "trace_id= ", "1.2.3.4 - - ", "INFO ", "00-", "2026-11-21 14:02:11 "],
)
def test_the_time_grows_with_the_line_and_not_faster(unit: str) -> None:
    text = unit * (LINE_LIMIT // len(unit))
    times = []
    for _ in range(3):
        began = time.process_time()
        parse_line(text)
        times.append(time.process_time() - began)
    assert min(times) < 0.5, "64 KiB that were looked at more than once take seconds"
