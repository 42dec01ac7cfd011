"""Trace context through a real HAProxy: what comes, what goes on, what the client is told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.gateway.request_log import RequestLog
from atoll.gateway.trace import BAGGAGE_LIMIT, STATE_LIMIT
from tests.contract.gateway.rig import Answer, Echo, Running, instance, running, service, small_settings, snapshot_of
from tests.unit.gateway.facts import route

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"
SHAPE = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]")


@pytest.fixture(scope="module")
def haproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("trace")
    with Echo("one") as echo:
        facts = snapshot_of(
            [service("orders"), service("empty")],
            [instance("orders", echo.port)],
            [route("orders", "orders", path="/orders"), route("empty", "empty", path="/empty")],
        )
        # nobody listens at the socket: that is nothing that a request would notice
        log = RequestLog(socket=folder / "nobody.sock", ring_bytes=1 << 20)
        with running(facts, folder, small_settings(), log) as haproxy:
            yield haproxy


def sent_on(answer: Answer) -> str:
    (header,) = answer.seen_header("traceparent")
    assert SHAPE.fullmatch(header)
    return header


def ask(haproxy: Running, *headers: tuple[str, str]) -> Answer:
    answer = haproxy.ask("/orders", headers=headers)
    assert answer.status == 200
    return answer


def test_a_request_without_a_trace_begins_one_and_its_client_is_told(haproxy: Running) -> None:
    answer = ask(haproxy)
    _, trace, span, flags = sent_on(answer).split("-")
    assert flags == "01"
    assert {trace, span}.isdisjoint({"0" * 32, "0" * 16})
    assert answer.header("x-trace-id") == trace
    assert answer.seen_header("x-request-id") == [f"{trace}-{span}"]


def test_no_two_requests_share_an_id(haproxy: Running) -> None:
    traces = [sent_on(ask(haproxy)) for _ in range(20)]
    # and on one connection
    head = b"GET /orders HTTP/1.1\r\nHost: t\r\n\r\n"
    answers = haproxy.raw(head * 19 + head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    traces += [found[0] for found in re.finditer(SHAPE.pattern, answers.decode())]
    assert len(traces) == 40
    for part in (1, 2):
        assert len({each.split("-")[part] for each in traces}) == 40


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (VALID, "01"),
        (f"00-{TRACE}-{SPAN}-00", "00"),
        (f"00-{TRACE}-{SPAN}-03", "01"),
        (f"00-{TRACE}-{SPAN}-fe", "00"),
        (f"00-{TRACE}-{SPAN}-ff", "01"),
        (f"cc-{TRACE}-{SPAN}-01", "01"),
        (f"cc-{TRACE}-{SPAN}-00-what-the-future-holds", "00"),
        (f"01-{TRACE}-{SPAN}-01-", "01"),
        (f"  {VALID}  ", "01"),
    ],
)
@pytest.mark.parametrize("edge", ["gateway", "mesh"])
def test_a_valid_trace_goes_on_with_a_span_of_ours(haproxy: Running, header: str, flags: str, edge: str) -> None:
    port, host = (None, "t") if edge == "gateway" else (haproxy.settings.mesh_port, "orders")
    answer = haproxy.ask("/orders", headers=[("traceparent", header), ("tracestate", "a=1")], port=port, host=host)
    version, trace, span, sampled = sent_on(answer).split("-")
    assert (version, trace, sampled) == ("00", TRACE, flags)
    assert span != SPAN
    assert answer.seen_header("tracestate") == ["a=1"]
    assert answer.header("x-trace-id") == (TRACE if edge == "gateway" else None)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01more",
        f"cc-{TRACE.replace('4', 'x')}-{SPAN}-01",
        f"{VALID},{VALID}",
        "%[env(HOME)]${HOME}",
        "x" * 8000,
        f"00-{TRACE}-{SPAN}-01" + "1" * 8000,
    ],
)
def test_what_is_not_valid_counts_as_none_and_its_tracestate_goes_too(haproxy: Running, header: str) -> None:
    answer = ask(haproxy, ("traceparent", header), ("tracestate", "a=1"))
    assert sent_on(answer).split("-")[1] != TRACE
    assert answer.seen_header("tracestate") == []


def test_two_traces_are_none(haproxy: Running) -> None:
    assert sent_on(ask(haproxy, ("traceparent", VALID), ("Traceparent", VALID))).split("-")[1] != TRACE


def test_no_trace_header_above_its_limit_goes_on(haproxy: Running) -> None:
    for name, limit in (("tracestate", STATE_LIMIT), ("baggage", BAGGAGE_LIMIT)):
        fits = ask(haproxy, ("traceparent", VALID), (name, "a=" + "x" * (limit - 2)))
        assert [len(value) for value in fits.seen_header(name)] == [limit]
        assert ask(haproxy, ("traceparent", VALID), (name, "a=" + "x" * (limit - 1))).seen_header(name) == []
    thousand = ",".join(f"key{number}=value" for number in range(1000))[: 2 * BAGGAGE_LIMIT - 2000]
    assert ask(haproxy, ("baggage", thousand)).seen_header("baggage") == []
    # what fills the buffer is refused whole, and reaches nobody
    assert haproxy.ask("/orders", headers=[("traceparent", "0" * (64 << 10))]).status in {400, 431}


def test_a_refusal_names_its_trace(haproxy: Running) -> None:
    for path, status in (("/nothing", 404), ("/a%2f", 400), ("/empty", 503)):
        answer = haproxy.ask(path, headers=[("traceparent", VALID)])
        assert (answer.status, answer.json()["trace_id"], answer.header("x-trace-id")) == (status, TRACE, TRACE)
    answer = haproxy.ask("/orders", host="a~b")
    assert re.fullmatch("[0-9a-f]{32}", answer.json()["trace_id"])
    mesh = haproxy.ask("/", host="nobody", port=haproxy.settings.mesh_port, headers=[("traceparent", VALID)])
    assert (mesh.status, mesh.json()["trace_id"]) == (503, TRACE)


def test_a_request_id_that_is_harmless_is_kept(haproxy: Running) -> None:
    assert ask(haproxy, ("x-request-id", "mine-7")).seen_header("x-request-id") == ["mine-7"]
    (made,) = ask(haproxy, ("x-request-id", "no\tgood")).seen_header("x-request-id")
    assert re.fullmatch("[0-9a-f]{32}-[0-9a-f]{16}", made)


def test_the_share_of_traces_that_are_recorded_changes_while_haproxy_runs(haproxy: Running) -> None:
    def flags() -> set[str]:
        return {sent_on(ask(haproxy)).split("-")[3] for _ in range(10)}

    assert flags() == {"01"}
    haproxy.command("experimental-mode on; set var proc.unsampled int(10000)")
    try:
        assert flags() == {"00"}
        # who began a trace has decided
        assert sent_on(ask(haproxy, ("traceparent", VALID))).endswith("-01")
    finally:
        haproxy.command("experimental-mode on; set var proc.unsampled int(0)")
    assert flags() == {"01"}


def test_a_share_of_none_is_written_into_the_file(tmp_path: Path) -> None:
    with Echo("one") as echo:
        facts = snapshot_of(
            [service("orders")], [instance("orders", echo.port)], [route("orders", "orders", path="/orders")]
        )
        log = RequestLog(socket=tmp_path / "nobody.sock", ring_bytes=1 << 20, sampling=0.0)
        with running(facts, tmp_path, small_settings(), log) as haproxy:
            assert sent_on(ask(haproxy)).endswith("-00")


def test_without_telemetry_trace_headers_are_left_alone(tmp_path: Path) -> None:
    with Echo("one") as echo:
        facts = snapshot_of(
            [service("orders")], [instance("orders", echo.port)], [route("orders", "orders", path="/orders")]
        )
        with running(facts, tmp_path) as haproxy:
            answer = ask(haproxy, ("traceparent", "anything"))
            assert answer.seen_header("traceparent") == ["anything"]
            assert answer.header("x-trace-id") is None
            assert "trace_id" not in json.loads(haproxy.ask("/nothing").body)
