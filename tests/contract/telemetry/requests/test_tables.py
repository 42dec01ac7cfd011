"""What the engine makes of the request log's lines."""

from __future__ import annotations

import time
from typing import Any

import pytest

from atoll.telemetry.engine import Engine, Insert
from atoll.telemetry.requests.buckets import quantile
from atoll.telemetry.requests.receiver import LINES
from tests.contract.gateway.lines import COLUMNS

TRACE, SPAN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "aaaaaaaaaaaaaaaa"
NOW = int(time.time() * 1e6)
PLAIN = {
    "Edge": "gateway",
    "Client": "10.0.0.1",
    "Run": "1795306669000",
    "Line": "0",
    "Started": str(NOW - 12_345),
    "Ended": str(NOW),
    "Trace": f"00-{TRACE}-{SPAN}-01",
    "Parent": "-",
    "Target": "orders-api|slot:http:1|orders",
    "Server": "orders-1:0123abcd",
    "Caller": "-",
    "Method": "GET",
    "Protocol": "HTTP/1.1",
    "Status": "200",
    "Termination": "--",
    "Retries": "0",
    "Reading": "0",
    "Waiting": "0",
    "Connecting": "1",
    "Answering": "11",
    "Active": "12",
    "BytesIn": "230",
    "BytesOut": "500",
    "Mark": "-",
    "Headers": "{|shop.example|curl/8}",
    "Path": "/api/orders/7",
    "Complete": ".2",
}


def write(engine: Engine, *lines: dict[str, str] | bytes) -> None:
    rows = [each if isinstance(each, bytes) else text(each) for each in lines]
    engine.insert(Insert(table="raw_requests", format="TSVRaw", data=rows, settings=LINES))


def text(changes: dict[str, str]) -> bytes:
    return ("\t".join({**PLAIN, **changes}.values()) + "\n").encode()


def spans(engine: Engine) -> list[dict[str, Any]]:
    return engine.rows(
        "SELECT lower(hex(s.TraceId)) AS trace, lower(hex(s.SpanId)) AS span, lower(hex(s.ParentSpanId)) AS parent, "
        "SpanName, ServiceName, toString(Source) AS source, Route, HttpMethod, HttpStatus, SpanKind, StatusCode, StatusMessage, "
        "SpanAttributes, Duration, toUnixTimestamp64Micro(Timestamp) AS began FROM spans AS s ORDER BY SpanName"
    )


def test_the_example_is_a_line() -> None:
    assert list(PLAIN) == COLUMNS


def test_a_request_becomes_a_span(engine: Engine) -> None:
    write(engine, {"Parent": f"00-{TRACE}-{PARENT}-01", "Headers": "{mine-7|shop.example|curl/8}"})
    (span,) = spans(engine)
    assert span == {
        "trace": TRACE,
        "span": SPAN,
        "parent": PARENT,
        "SpanName": "GET orders-api",
        "ServiceName": "gateway",
        "source": "gateway",
        "Route": "orders-api",
        "HttpMethod": "GET",
        "HttpStatus": 200,
        "SpanKind": 2,
        "StatusCode": 0,
        "StatusMessage": "",
        "Duration": 12_345_000,
        "began": NOW - 12_345,
        "SpanAttributes": {
            "http.request.method": "GET",
            "http.response.status_code": "200",
            "http.request.size": "230",
            "http.response.size": "500",
            "url.path": "/api/orders/7",
            "server.address": "shop.example",
            "client.address": "10.0.0.1",
            "user_agent.original": "curl/8",
            "network.protocol.version": "1.1",
            "atoll.request.id": "mine-7",
            "atoll.upstream": "orders",
            "atoll.instance": "orders-1",
            "atoll.connect_ms": "1",
            "atoll.response_ms": "11",
        },
    }


def test_a_call_on_the_mesh_says_who_called_and_how_often_it_was_tried(engine: Engine) -> None:
    write(
        engine,
        {
            "Edge": "mesh",
            "Target": "|orders|orders",
            "Caller": "web",
            "Status": "503",
            "Termination": "SC",
            "Retries": "+3",
        },
    )
    (span,) = spans(engine)
    assert (span["ServiceName"], span["source"], span["SpanName"]) == ("mesh", "mesh", "GET orders")
    assert (span["StatusCode"], span["StatusMessage"]) == (2, "no instance took the connection")
    said = span["SpanAttributes"]
    assert (said["atoll.caller"], said["atoll.attempts"], said["atoll.redispatched"]) == ("web", "4", "true")
    assert (said["http.request.resend_count"], said["error.type"], said["atoll.termination"]) == ("3", "503", "SC")


@pytest.mark.parametrize(
    ("status", "termination", "failed"),
    [
        ("200", "--", False),
        ("404", "--", False),
        ("404", "LR", False),
        ("500", "--", True),
        ("504", "sH", True),
        ("200", "SD", True),
        ("200", "CD", False),
        ("-1", "CH", False),
        ("101", "SD", False),
        ("101", "--", False),
    ],
)
def test_what_failed_is_the_services_fault_not_the_clients(
    engine: Engine, status: str, termination: str, failed: bool
) -> None:
    write(engine, {"Status": status, "Termination": termination})
    assert [span["StatusCode"] for span in spans(engine)] == [2 if failed else 0]
    assert engine.rows("SELECT sum(Failed) AS failed FROM requests") == [{"failed": int(failed)}]


def test_a_request_that_was_dropped_on_purpose_failed_though_nobody_was_answered(engine: Engine) -> None:
    write(engine, {"Status": "-1", "Termination": "PR", "Mark": "fault-drop:orders.drop"})
    (span,) = spans(engine)
    assert (span["StatusCode"], span["SpanAttributes"]["atoll.mark"]) == (2, "fault-drop:orders.drop")
    assert engine.rows("SELECT sum(Failed) AS failed FROM requests") == [{"failed": 1}]


@pytest.mark.parametrize(("code", "failed"), [("5", False), ("12", True), ("14", True), ("99", False), ("x", False)])
def test_a_grpc_status_of_the_services_making_is_its_failure(engine: Engine, code: str, failed: bool) -> None:
    write(engine, {"Mark": f"grpc={code}"})
    (span,) = spans(engine)
    assert (span["StatusCode"], span["HttpStatus"]) == (2 if failed else 0, 200)
    assert span["SpanAttributes"].get("rpc.grpc.status_code", "x") == code
    assert engine.rows("SELECT sum(Failed) AS failed FROM requests") == [{"failed": int(failed)}]
    if code == "14":
        assert span["StatusMessage"] == "the service answered with gRPC status UNAVAILABLE"
        assert span["SpanAttributes"]["error.type"] == "UNAVAILABLE"
        assert "atoll.mark" not in span["SpanAttributes"]


def test_what_nobody_sampled_is_counted_and_has_no_span(engine: Engine) -> None:
    write(engine, {"Trace": f"00-{TRACE}-{SPAN}-00"})
    assert spans(engine) == []
    assert engine.rows("SELECT sum(Count) AS n FROM requests") == [{"n": 1}]


def test_a_request_that_was_never_understood_has_a_span_of_its_own(engine: Engine) -> None:
    nothing = {
        "Trace": "-",
        "Started": "-",
        "Target": "-",
        "Server": "<NOSRV>",
        "Method": "<BADREQ>",
        "Protocol": "-",
        "Status": "400",
    }
    write(engine, nothing, nothing)
    one, other = spans(engine)
    assert one["trace"] != other["trace"] != "0" * 32
    assert (one["SpanName"], one["HttpStatus"], one["parent"]) == ("_OTHER refused", 400, "0" * 16)


def test_tcp_is_counted_by_service(engine: Engine) -> None:
    write(
        engine,
        {"Edge": "tcp:15104", "Target": "|db:v:1.2|", "Trace": "-", "Method": "-", "Status": "0", "Started": "-"},
    )
    assert spans(engine) == []
    (row,) = engine.rows(
        "SELECT toString(Edge) AS edge, Service, Instance, Method, Status, Count, DurationSum FROM requests"
    )
    assert row == {
        "edge": "tcp", "Service": "db", "Instance": "orders-1", "Method": "", "Status": 0, "Count": 1, "DurationSum": 12_000,
    }  # fmt: skip


def test_the_roll_up_adds_up(engine: Engine) -> None:
    for share in range(2):
        write(
            engine,
            *(
                {
                    "Line": str(100 * share + number),
                    "Started": str(NOW - 1000 * (number + 1)),
                    "Retries": "+1" if number < 10 else "0",
                }
                for number in range(100)
            ),
        )
    write(engine, {"Status": "500"}, {"Method": "EVIL"}, {"Edge": "mesh", "Target": "|orders|orders"})
    rows = engine.rows(
        "SELECT toString(Edge) AS edge, Service, Route, Instance, Method, Status, sum(Count) AS n, sum(Failed) AS failed, "
        "sum(DurationSum) AS took, sumMap(Buckets) AS buckets, sum(Retries) AS retries, sum(Redispatches) AS moved, "
        "sum(ConnectingSum) AS connecting, sum(BytesOut) AS bytes FROM requests GROUP BY ALL ORDER BY n DESC"
    )
    most = rows[0]
    assert (most["edge"], most["Service"], most["Route"], most["Instance"]) == (
        "gateway",
        "orders",
        "orders-api",
        "orders-1",
    )
    assert (most["Method"], most["Status"], most["n"], most["failed"]) == ("GET", 200, 200, 0)
    assert most["took"] == 2 * sum(range(1000, 101_000, 1000))
    assert (most["retries"], most["moved"], most["connecting"], most["bytes"]) == (20, 20, 200, 100_000)
    buckets = {int(lower): count for lower, count in most["buckets"].items()}
    assert sum(buckets.values()) == 200
    assert quantile(buckets, 0.5) == pytest.approx(50_000, rel=0.06)
    # a bound belongs to the bucket that it ends
    assert buckets[800] == 2
    assert {(row["edge"], row["Method"], row["Status"], row["n"]) for row in rows[1:]} == {
        ("gateway", "GET", 500, 1), ("gateway", "_OTHER", 200, 1), ("mesh", "GET", 200, 1),
    }  # fmt: skip


def test_a_websocket_counts_with_the_time_until_its_upgrade(engine: Engine) -> None:
    write(
        engine,
        {"Status": "101", "Started": str(NOW - 3_600_000_000), "Reading": "2", "Connecting": "1", "Answering": "7"},
    )
    assert engine.rows("SELECT sum(DurationSum) AS took FROM requests") == [{"took": 10_000}]
    assert [span["Duration"] for span in spans(engine)] == [3_600_000_000_000]


def test_nothing_in_a_line_makes_the_insert_fail(engine: Engine) -> None:
    odd = [
        "",
        "-",
        "x",
        "-1",
        "99999999999999999999999",
        "\\N",
        "||||",
        "{",
        "{||}",
        "{#|#0|#ZZ%41#}",
        "{#00#FF|%|%%25}",
        "|",
        "%",
        "é",
        "00-zz-\\x00-0g",
        "A" * 5000,
        "'; DROP TABLE spans",
    ]
    lines = [{name: value} for name in COLUMNS[:-1] for value in odd]
    write(engine, *lines)
    assert engine.rows("SELECT sum(Count) AS n FROM requests") == [{"n": len(lines)}]
    assert len(spans(engine)) > len(lines) // 2
    assert engine.rows(
        "SELECT count() AS n FROM spans WHERE Timestamp > now64() + 86400 OR Timestamp < now64() - 200 * 86400"
    ) == [{"n": 0}]


def test_what_is_no_whole_line_of_this_layout_is_left_out(engine: Engine) -> None:
    write(engine, b"gateway\t1\n", b"\n", {"Complete": ".1"}, text({})[:-2] + b"\n", text({})[:-1] + b"\textra\n")
    assert engine.rows("SELECT sum(Count) AS n FROM requests") == [{"n": 1}]


def test_what_a_client_wrote_is_stored_as_it_wrote_it(engine: Engine) -> None:
    write(engine, {"Path": r'/a"b\N\c', "Headers": "{no good|a|tab#09here#1B[31m 100%41 #C3#A9 #FF #7C#7C}"})
    (span,) = spans(engine)
    assert span["SpanAttributes"]["url.path"] == r'/a"b\N\c'
    assert span["SpanAttributes"]["user_agent.original"] == "tab\there\x1b[31m 100%41 é \N{REPLACEMENT CHARACTER} ||"
    assert "atoll.request.id" not in span["SpanAttributes"]


def test_a_call_with_a_port_of_its_own_tells_who_calls(engine: Engine) -> None:
    write(engine, {"Edge": "mesh", "Target": "web>orders|slot:http:1|orders", "Headers": "{}"})
    (span,) = spans(engine)
    assert (span["Route"], span["SpanAttributes"]["atoll.caller"], span["ServiceName"]) == ("", "web", "mesh")


def test_a_request_with_a_way_around_tells_who_answered_it(engine: Engine) -> None:
    write(engine, {"Server": "main", "Mark": "probe@orders-2:0123abcd@+1"})
    (span,) = spans(engine)
    told = span["SpanAttributes"]
    assert (told["atoll.instance"], told["atoll.attempts"], told["atoll.redispatched"], told["atoll.mark"]) == (
        "orders-2", "2", "true", "probe",
    )  # fmt: skip
    assert not {"atoll.fallback", "atoll.failure"} & told.keys()


def test_a_fallback_is_one_request_that_went_well_and_its_attempt_and_the_other_services_call_stand_below(
    engine: Engine,
) -> None:
    def below(span: str) -> dict[str, str]:
        return {
            "Trace": f"00-{TRACE}-{span}-01",
            "Parent": PLAIN["Trace"],
            "Client": "-",
            "Started": "-",
            "Headers": "-",
        }

    write(
        engine,
        {"Server": "alt", "Retries": "+1", "Mark": "fallback-service@@0"},
        {
            **below("b" * 16),
            "Edge": "attempt",
            "Status": "503",
            "Mark": "no-instance",
            "Termination": "CD",
            "Server": "<NOSRV>",
        },
        {**below("c" * 16), "Edge": "instead", "Target": "|best|best", "Caller": "orders", "Server": "best-1:0123abcd"},
    )
    found = {span["span"]: span for span in spans(engine)}
    request, attempt, other = found[SPAN], found["b" * 16], found["c" * 16]
    assert (request["ServiceName"], request["HttpStatus"], request["StatusCode"]) == ("gateway", 200, 0)
    assert request["SpanAttributes"]["atoll.fallback"] == "service"
    assert (
        not {"atoll.instance", "atoll.attempts", "atoll.redispatched", "atoll.mark"} & request["SpanAttributes"].keys()
    )
    assert attempt["parent"] == other["parent"] == SPAN
    assert (attempt["ServiceName"], attempt["HttpStatus"], attempt["StatusCode"]) == ("attempt", 503, 2)
    assert (attempt["SpanAttributes"]["atoll.failure"], attempt["StatusMessage"]) == ("no-instance", "")
    assert (other["ServiceName"], other["SpanAttributes"]["atoll.instance"]) == ("mesh", "best-1")
    sums = engine.rows(
        "SELECT toString(Edge) AS edge, Service, Caller, Instance, Fallback, sum(Count) AS count, sum(Failed) AS failed "
        "FROM requests GROUP BY ALL ORDER BY edge"
    )
    assert [tuple(row.values()) for row in sums] == [
        ("gateway", "orders", "", "", "service", 1, 0),
        ("mesh", "best", "orders", "best-1", "", 1, 0),
    ]


def test_a_fixed_answer_tells_what_had_failed(engine: Engine) -> None:
    write(engine, {"Server": "main", "Mark": "fallback-static:breaker-open@@0"})
    (span,) = spans(engine)
    told = span["SpanAttributes"]
    assert (told["atoll.fallback"], told["atoll.failure"], "atoll.instance" in told) == (
        "static",
        "breaker-open",
        False,
    )


@pytest.mark.parametrize(
    ("mark", "fallback", "said"),
    [
        ("@lite-1:0123abcd@0@failover", None, "failover"),
        ("probe@lite-1:0123abcd@0@failover", None, "probe"),
        ("fallback-static:503@@0@failover", "static", "failover"),
    ],
)
def test_a_way_around_a_failover_group_does_not_hide_that_there_was_one(
    engine: Engine, mark: str, fallback: str | None, said: str
) -> None:
    write(engine, {"Server": "main", "Mark": mark})
    (span,) = spans(engine)
    told = span["SpanAttributes"]
    assert (told.get("atoll.fallback"), told["atoll.mark"]) == (fallback, said)
