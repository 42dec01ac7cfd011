"""Evidence into causes: the rules as a table; and the command against an API that says what the test scripted."""

from __future__ import annotations

import json
from typing import Any

import click
import msgspec
import pytest

from atoll.cli.main import atoll
from atoll.cli.why.evidence import Case, End, Hop, Said
from atoll.cli.why.reading import ends_of, hops_of, trace_of
from atoll.cli.why.rules import focus, judge
from atoll.gateway.problem import ANSWERS
from atoll.model.answers import Record, Verb
from atoll.model.breaker import BreakerState, BreakerWord
from atoll.model.names import InstanceId, ServiceName
from atoll.model.report import BreakerReport, ChildReport, Phase
from atoll.model.service import State
from atoll.model.trace import SpanView, TracePage, TraceView
from atoll.telemetry.logs.answers import LogRecord
from atoll.testing import FakeClock
from tests.unit.cli.fake_api import Cli, FakeApi
from tests.unit.cli.traces_stage import EVIL, TRACE

AT = 1_795_000_000.0
ORDERS = ServiceName("orders")


def hop(status: int, termination: str = "", instance: str = "", **more: Any) -> Hop:
    given: dict[str, Any] = {"edge": "gateway", "id": "g", "service": "orders", "route": "orders", "at": AT, **more}
    said = {"took_ms": 20.0, "method": "GET", "path": "/orders", "host": "shop.test", **given}
    return Hop(status=status, termination=termination, instance=instance, **said)


def inner(status: int, termination: str = "", instance: str = "", **more: Any) -> Hop:
    given = {
        "edge": "mesh",
        "id": "m",
        "above": ("g",),
        "service": "payments",
        "route": "",
        "at": AT + 0.005,
        "host": "",
    }
    return hop(status, termination, instance, **{**given, **more})


def end(words: str, before: float, instance: str = "orders-1", *, asked: bool = False) -> End:
    return End(at=AT - before, service="orders", instance=instance, words=words, asked=asked)


def record(verb: Verb, cause: str = "", before: float = 5, **more: Any) -> Record:
    given: dict[str, Any] = {"state": State.PASSING, "endpoint": "127.0.0.1:1", "instance": "orders-1", **more}
    return Record(at=AT - before, verb=verb, service=ORDERS, cause=cause, **given)


def child(phase: Phase, **more: Any) -> ChildReport:
    return ChildReport(service=ORDERS, instance=InstanceId("orders-1"), phase=phase, **more)


def defined(cause: str, before: float = 5) -> Record:
    return Record(at=AT - before, verb=Verb.DEFINED, service=ORDERS, cause=cause)


LOOP = (end("exit 3", 9), end("exit 3", 2))
OPENED = BreakerReport(service=ORDERS, state=BreakerState.OPEN, since=AT - 4, requests=20, failures=8)
WORD = BreakerWord(state=BreakerState.OPEN, since=AT - 9, until=AT + 9, reason="new disk")
KNOWN = frozenset({"orders", "payments", "web"})
CASES: list[tuple[str, Case, str, str]] = [
    ("aborted on purpose", Case(trace=TRACE, hops=(hop(503, "LR", mark="fault-abort:f1"),)), "fault-injected", "(f1) made the gateway answer 503 to GET /orders"),
    ("late on purpose", Case(trace=TRACE, hops=(hop(504, "sH", "orders-1", mark="probe,fault-delay:late"),)), "fault-injected", "(late) held GET /orders up"),
    ("dropped on purpose further in", Case(trace=TRACE, hops=(hop(500, "", "orders-1"), inner(0, "PR", mark="fault-drop:x"))), "fault-injected", "(x) made the gateway drop GET /orders"),
    ("no route", Case(trace=TRACE, hops=(hop(404, "LR", service=""),), routes=("api: path: …",)), "no-route", "(api: path: …)"),
    ("a route since", Case(trace=TRACE, hops=(hop(404, "LR", service=""),), takes="new"), "no-route", "now route new takes it"),
    ("method", Case(trace=TRACE, hops=(hop(405, "LR", service="", method="PUT"),)), "method-not-allowed", "not with PUT"),
    ("host", Case(trace=TRACE, hops=(hop(400, "LR", service=""),), refusal="host 'a~b' is refused"), "host-refused", "a~b"),
    ("path", Case(trace=TRACE, hops=(hop(400, "LR", service=""),), refusal="path '/%2f' is refused"), "path-refused", "%2f"),
    ("slow client", Case(trace=TRACE, hops=(hop(408, "cR", service=""),)), "request-timeout", "whole request"),
    ("mesh name", Case(trace=TRACE, hops=(hop(502, "", "web-1", service="web"), inner(503, "LR", service=""))), "unknown-service", "web called"),
    ("nobody", Case(trace=TRACE, hops=(hop(503, "SC"),), known=KNOWN), "no-instance", "no instance of orders"),
    ("dead", Case(trace=TRACE, hops=(hop(503, "SC"),), ends=(end("killed by SIGKILL", 2),), known=KNOWN), "dead-instance", "2.0 s before"),
    ("loop", Case(trace=TRACE, hops=(hop(503, "SC"),), ends=(end("exit 3", 9), end("exit 3", 2)), known=KNOWN), "crash-loop", "exit 3, 2 times"),
    ("loop as reported", Case(trace=TRACE, hops=(hop(503, "SC"),), children=(child(Phase.CRASH_LOOP, restarts=9, cause="exit 4", started=AT - 1),), known=KNOWN), "crash-loop", "exit 4, restarted 9 times"),
    ("all were killed", Case(trace=TRACE, hops=(hop(503, "SC"),), ends=(end("killed by SIGKILL", 2), end("killed by SIGKILL", 1, "orders-2")), known=KNOWN), "dead-instance", "2 instances of orders were dead (orders-1, orders-2)"),
    ("two ends of two kinds are no loop", Case(trace=TRACE, hops=(hop(503, "SC"),), ends=(end("exit 7", 9), end("killed by SIGKILL", 2)), known=KNOWN), "dead-instance", "killed by SIGKILL 2.0 s"),
    ("an old end is none", Case(trace=TRACE, hops=(hop(503, "SC"),), ends=(end("exit 3", 500),), known=KNOWN), "no-instance", ""),
    ("stopped", Case(trace=TRACE, hops=(hop(503, "SC"),), ends=(end("killed by SIGTERM", 9, asked=True),), stopped=frozenset({"orders"}), known=KNOWN), "stopped", "orders is stopped"),
    ("maint", Case(trace=TRACE, hops=(hop(503, "SC"),), records=(record(Verb.MAINT, "disk"),), known=KNOWN), "out-of-service", "(disk)"),
    ("failing", Case(trace=TRACE, hops=(hop(503, "SC"),), records=(record(Verb.FAILING, "check: L7STS 500"),), known=KNOWN), "failing", "L7STS 500"),
    ("recovered since", Case(trace=TRACE, hops=(hop(503, "SC"),), records=(record(Verb.FAILING, before=-9),), known=KNOWN), "no-instance", ""),
    ("deleted", Case(trace=TRACE, hops=(hop(503, "SC"),)), "unknown-service", "orders is not registered"),
    ("refused", Case(trace=TRACE, hops=(hop(503, "SC", "orders-1"),), known=KNOWN), "upstream-unreachable", "orders-1 could not"),
    ("no room", Case(trace=TRACE, hops=(hop(503, "sQ"),), known=KNOWN), "queue-timeout", "had room"),
    ("maintenance", Case(trace=TRACE, hops=(hop(503, "LR", mark="maintenance"),), known=KNOWN), "maintenance", "orders was in maintenance: an operator took it out"),
    ("busy", Case(trace=TRACE, hops=(hop(503, "LR", mark="busy"),), known=KNOWN), "too-busy", "max_concurrency of the calls of route orders"),
    ("full on the mesh", Case(trace=TRACE, hops=(hop(502, "", "orders-1"), inner(503, "LR", mark="full")), known=KNOWN), "queue-full", "every instance of payments"),
    ("limit", Case(trace=TRACE, hops=(hop(429, "LR", service=""),)), "too-many-requests", "the gateway answered 429"),
    ("hung up", Case(trace=TRACE, hops=(hop(502, "SH", "orders-1"),)), "upstream-answer", "its process lived on"),
    ("died at work", Case(trace=TRACE, hops=(hop(502, "SH", "orders-1"),), ends=(end("exit 7", -0.1),)), "dead-instance", "exit 7"),
    ("another died", Case(trace=TRACE, hops=(hop(502, "SH", "orders-1"),), ends=(end("exit 7", -0.1, "orders-2"),)), "upstream-answer", ""),
    ("broke off", Case(trace=TRACE, hops=(hop(200, "SD", "orders-1"),)), "upstream-answer", "middle of its answer"),
    ("no HTTP", Case(trace=TRACE, hops=(hop(502, "PH", "orders-1"),)), "upstream-answer", "not valid HTTP"),
    ("timeout", Case(trace=TRACE, hops=(hop(504, "sH", "orders-1", took_ms=1000.0),)), "upstream-timeout", "within 1000 ms"),
    ("timeout of a callee", Case(trace=TRACE, hops=(hop(504, "sH", "orders-1", took_ms=1000.0), inner(200, "", "payments-1", took_ms=1500.0))), "upstream-timeout", "it waited for payments-1"),
    ("expired", Case(trace=TRACE, hops=(hop(504, "LR", mark="expired"),), known=KNOWN), "deadline-exceeded", "the time that its caller had was over when it asked orders"),
    ("expired on the mesh", Case(trace=TRACE, hops=(hop(502, "", "orders-1"), inner(504, "LR", mark="expired")), known=KNOWN), "deadline-exceeded", "the time that orders had was over when it asked payments"),
    ("gave up", Case(trace=TRACE, hops=(hop(504, "", "orders-1"), inner(0, "CH", "payments-1"))), "gave-up", "orders gave up waiting for payments-1"),
    ("client left", Case(trace=TRACE, hops=(hop(0, "CH", "orders-1"),)), "client-left", "before orders-1"),
    ("its own error", Case(trace=TRACE, hops=(hop(500, "", "orders-1"),), said=(Said(at=AT, service="orders", level="error", text="Trace\nKeyError: 'x'"),)), "service-error", "KeyError: 'x'"),
    ("disk", Case(trace=TRACE, hops=(hop(500, "", "orders-1"),), said=(Said(at=AT, service="orders", text="[Errno 28] No space left on device", own=False),)), "disk-full", "disk is full"),
    ("auth", Case(trace=TRACE, hops=(hop(401, "", "orders-1"),)), "not-allowed", "(401)"),
    ("its own 404", Case(trace=TRACE, hops=(hop(404, "", "orders-1"),)), "service-refused", "answered 404"),
    ("fine", Case(trace=TRACE, hops=(hop(200, "", "orders-1"),)), "ok", "nothing failed"),
    ("retried", Case(trace=TRACE, hops=(hop(200, "", "orders-2", attempts=2, moved=True),)), "ok", "at attempt 2 on another instance"),
    ("by a failover group", Case(trace=TRACE, hops=(hop(200, "", "lite-1", mark="failover"),)), "ok", "answered 200 by lite-1 in 20.0 ms, by a failover group"),
    ("by a fallback of a failover group", Case(trace=TRACE, hops=(hop(203, mark="failover", fallback="static"),)), "ok", "20.0 ms, by a failover group, by a fallback (static)"),
    ("slow callee", Case(trace=TRACE, hops=(hop(200, "", "orders-1", took_ms=900.0), inner(200, "", "payments-1", took_ms=800.0))), "slow", "800 ms of it in payments-1"),
    ("a failure that was made good", Case(trace=TRACE, hops=(hop(200, "", "orders-1"), inner(503, "SC")), known=KNOWN), "ok", "nothing failed"),
    ("the innermost is the cause", Case(trace=TRACE, hops=(hop(502, "", "orders-1"), inner(503, "SC")), known=KNOWN), "no-instance", "payments"),
    ("open", Case(trace=TRACE, hops=(hop(503, "LR", mark="open"),), breakers=(OPENED,), known=KNOWN), "breaker-open", "8 of 20 requests had failed 4s before"),
    ("forced open", Case(trace=TRACE, hops=(hop(503, "LR", mark="forced"),), words={"orders": WORD}, known=KNOWN), "breaker-open", "forced the circuit breaker of orders open: new disk"),
    ("a probe that failed is no open breaker", Case(trace=TRACE, hops=(hop(500, "", "orders-1", mark="probe"),), breakers=(OPENED,)), "service-error", ""),
    ("a bad command", Case(trace=TRACE, hops=(hop(503, "SC"),), ends=LOOP, records=(defined("run.command changed"),), known=KNOWN), "bad-change", "5s after orders was changed: run.command changed"),
    ("a bad timeout", Case(trace=TRACE, hops=(hop(504, "sH", "orders-1"),), records=(defined("route orders: policy.timeout 5 → 0.1"),)), "bad-change", "policy.timeout 5 → 0.1"),
    ("a change that fits not", Case(trace=TRACE, hops=(hop(503, "SC"),), ends=LOOP, records=(defined("policy.timeout 5 → 0.1"),), known=KNOWN), "crash-loop", ""),
    ("a change of long ago", Case(trace=TRACE, hops=(hop(503, "SC"),), ends=LOOP, records=(defined("run.command changed", 600),), known=KNOWN), "crash-loop", ""),
    ("a change since", Case(trace=TRACE, hops=(hop(503, "SC"),), ends=LOOP, records=(defined("run.command changed", -1),), known=KNOWN), "crash-loop", ""),
    ("no request", Case(trace=TRACE), "no-request", "no request through gateway or mesh"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "code", "words"), [pytest.param(*one[1:], id=one[0]) for one in CASES])
def test_the_cause_that_fits_best_comes_first(case: Case, code: str, words: str) -> None:
    found = judge(case)
    assert found[0].code == code, found
    assert words in found[0].cause
    assert [one.weight for one in found] == sorted((one.weight for one in found), reverse=True)
    assert all(0 < one.weight <= 100 for one in found)


def test_a_code_of_the_gateway_has_the_origin_that_the_gateway_says() -> None:
    said = {answer.code: answer.origin for answer in ANSWERS if not answer.codes}
    judged = {one.code: one.origin for _, case, *_ in CASES for one in judge(case) if one.code in said}
    assert len(judged) >= 8
    assert judged == {code: said[code] for code in judged}


def test_every_command_that_is_advised_can_be_given() -> None:
    advised = {text for _, case, *_ in CASES for one in judge(case) for text in one.next if text.startswith("atoll ")}
    assert len(advised) > 10
    for text in advised:
        command: click.Command = atoll
        words = text.split()[1:]
        context = click.Context(atoll, **atoll.context_settings)
        while isinstance(command, click.Group) and words:
            _, found, words = command.resolve_command(context, words)
            assert found is not None, text
            command = found
        command.make_context("atoll", words, parent=context)


def test_what_went_wrong_on_the_way_of_a_success_is_told_second() -> None:
    found = judge(Case(trace=TRACE, hops=(hop(200, "", "orders-1"), inner(503, "SC")), known=KNOWN))
    assert found[1].cause.startswith("on the way: no instance of payments")


def test_of_several_failures_the_last_innermost_one_is_looked_at() -> None:
    first, second = inner(503, "SC", id="m1"), inner(503, "SC", id="m2", at=AT + 1, service="catalog")
    assert focus((hop(502), first, second)) is second
    assert focus(()) is None


def test_hostile_words_do_not_reach_the_terminal_raw() -> None:
    said = (Said(at=AT, service="orders", level="error", text=EVIL),)
    for case in (
        Case(trace=TRACE, hops=(hop(500, "", "orders-1"),), said=said),
        Case(trace=TRACE, hops=(hop(404, "LR", service="", path=EVIL, host=EVIL),)),
    ):
        assert "\x1b" not in judge(case)[0].cause


@pytest.mark.parametrize(
    ("said", "trace"),
    [
        (TRACE, TRACE),
        (TRACE.upper(), TRACE),
        (f"{TRACE}-00f067aa0ba902b7", TRACE),
        (TRACE[:8], TRACE[:8]),
        ("123", ""),
        ("order-7", ""),
        ("3f2b8c1e-77aa-4c1e-9f00-0123456789ab", ""),
    ],
)
def test_a_request_id_that_the_gateway_made_names_its_trace(said: str, trace: str) -> None:
    assert trace_of(said) == trace


def test_an_end_that_the_keeper_and_the_registry_tell_of_is_one() -> None:
    nanos = int(AT * 1e9)
    notes = [
        LogRecord(time="", nanos=nanos, service="orders", instance="orders-1", source="stdout", kind="note", text=text)
        for text in ("ended: 3", "started: 17")
    ]
    lie = LogRecord(time="", nanos=nanos, service="orders", instance="orders-1", source="stdout", text="ended: 9")
    records = [record(Verb.DRAINING, "exit 3", before=-0.2), record(Verb.DRAINING, "a new version", before=-50)]
    (found,) = ends_of([*notes, lie], records)
    assert abs(found.at - AT) < 0.001
    assert (found.words, found.asked) == ("exit 3", False)


def span(identity: str, source: str, parent: str = "", **more: Any) -> SpanView:
    return SpanView(id=identity, parent=parent, depth=0, source=source, at_ms=1, duration_ms=5, **more)


def test_a_hop_knows_the_hops_it_happened_in_through_spans_between() -> None:
    spans = (
        span("a", "gateway", attributes={"atoll.attempts": "x"}),
        span("b", "otlp", "a"),
        span("c", "mesh", "b", attributes={"atoll.attempts": "3", "atoll.upstream": "payments"}),
        span("d", "mesh", "d"),
    )
    view = TraceView(
        id=TRACE, start="2026-11-21T14:02:11Z", duration_ms=5, root="", service="", services=(), span_count=4, errors=0, spans=spans
    )  # fmt: skip
    found = {one.id: one for one in hops_of(view)}
    assert found["c"].above == ("a",)
    assert (found["a"].attempts, found["c"].attempts, found["c"].service) == (1, 3, "payments")


@pytest.fixture
def cli(folder: Any) -> Cli:
    return Cli(folder, FakeClock(wall=AT))


def test_without_telemetry_it_says_what_is_missing(cli: Cli, api: FakeApi) -> None:
    problem = {"code": "telemetry-unavailable", "detail": "telemetry is off", "title": "x", "status": 503}
    api.answers["GET", f"/api/v1/traces/{TRACE}"] = (503, problem)
    done = cli("why", TRACE)
    assert done.code == 1
    assert "its spans and its log lines are not there: telemetry is off" in done.err
    assert "atoll service history" in done.err


def test_a_clients_request_id_is_looked_for_and_the_trace_is_told(cli: Cli, api: FakeApi) -> None:
    view = TraceView(
        id=TRACE, start="2026-11-01T14:02:11Z", duration_ms=5, root="", service="", services=(), span_count=1, errors=0,
        spans=(span("a", "gateway", http_status=404, method="GET", attributes={"atoll.termination": "LR", "url.path": "/x"}),),
    )  # fmt: skip
    row = {"id": TRACE, "start": "", "duration_ms": 5, "root": "", "service": ""}
    api.answers["GET", "/api/v1/traces"] = (200, msgspec.to_builtins(msgspec.convert({"traces": [row]}, TracePage)))
    api.answers["GET", f"/api/v1/traces/{TRACE}"] = (200, json.loads(msgspec.json.encode(view)))
    done = cli("why", "mine-7", "--json")
    assert done.code == 0, done.err
    assert (done.json["code"], done.json["trace"]) == ("no-route", TRACE)
    asked = next(one for one in api.sent("GET") if one.path == "/api/v1/traces")
    assert ("attribute", "atoll.request.id:mine-7") in asked.query


@pytest.mark.parametrize(
    ("records", "first"),
    [
        ((record(Verb.DRILL, "drill: kill under GET /", before=2),), "drill"),
        ((record(Verb.DRILL, "chaos: pause for 6 s", before=5),), "drill"),
        ((record(Verb.DRILL, "drill: kill", before=300),), "no-instance"),
        (
            (record(Verb.DRILL, "drill: kill", before=9), record(Verb.DRILL, "drill ended: lost 3", before=4)),
            "no-instance",
        ),
        ((record(Verb.DRILL, "drill: kill", before=2, instance="x-1"),), "drill"),
    ],
)
def test_a_drill_is_the_cause_of_what_fails_while_it_lasts(records: tuple[Record, ...], first: str) -> None:
    found = judge(Case(trace="t", hops=(hop(503, "SC"),), records=records, known=frozenset({"orders"})))
    assert found[0].code == first
    fine = judge(Case(trace="t", hops=(hop(200, instance="orders-1"),), records=records, known=frozenset({"orders"})))
    assert fine[0].code != "drill", "what went well has no cause"
