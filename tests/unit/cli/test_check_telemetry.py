"""What the doctor says of services that could tell more."""

from __future__ import annotations

from atoll.cli.check import Verdict
from atoll.cli.check_telemetry import told
from atoll.model.answers import ServiceView
from atoll.model.service import Otel, Run
from atoll.model.telemetry import Coverage, Told
from tests.unit.gateway.facts import instance, service


def view(name: str, *, otel: bool = True, runs: bool = True) -> ServiceView:
    run = Run(command=("x",), otel=Otel(enabled=otel))
    return ServiceView(
        service=service(name, run=run), modified=1, instances=(instance(name, f"{name}-1", 1),) if runs else ()
    )


def coverage(*services: Told) -> Coverage:
    return Coverage(since="", until="", services=services)


def test_a_service_that_tells_everything_is_not_mentioned() -> None:
    assert not list(told(coverage(Told(service="web", spans=True, lines=True, requests=9)), [view("web")]))


def test_requests_without_spans_and_silence_and_unseen_libraries_are_told_with_what_to_do() -> None:
    found = coverage(
        Told(service="legacy", requests=120, lines=True),
        Told(service="orders", spans=True, requests=9, unseen=("asyncpg", "pika")),
    )
    findings = list(told(found, [view("legacy"), view("orders"), view("worker")]))
    assert [one.detail for one in findings] == [
        "orders uses asyncpg, pika, whose calls have no spans",
        "no spans of their own in the last hour: legacy (120 requests); only gateway and mesh tell of them",
        "nothing at all was heard in the last hour of worker",
    ]
    assert all(one.fix and one.verdict is Verdict.OK for one in findings)


def test_who_was_switched_off_or_does_not_run_is_nobodys_business() -> None:
    quiet = [view("off", otel=False), view("gone", runs=False)]
    assert not list(told(coverage(Told(service="off", requests=3)), quiet))
