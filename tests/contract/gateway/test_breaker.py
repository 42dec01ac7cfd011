"""The circuit breaker on a real HAProxy: opens after its minimum, lets only probes through, closes by itself."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atoll.gateway.breaker import TABLE
from atoll.gateway.counts import BreakerRow, parse_breakers
from atoll.gateway.intent import intend
from atoll.gateway.plan import Plan, make_plan
from atoll.gateway.request_log import RequestLog
from atoll.model.breaker import Breaker, BreakerState, BreakerWord, SlowCalls
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.policy import Call, Policy
from atoll.model.route import Match, Route, Share
from atoll.model.snapshot import Snapshot
from tests.contract.gateway.lines import Lines
from tests.contract.gateway.rig import (
    Answer,
    Echo,
    Running,
    free_range,
    instance,
    running,
    service,
    small_settings,
    snapshot_of,
)  # fmt: skip

LEAST, PROBES = 5, 2
TEMPER = Breaker(enabled=True, min_requests=LEAST, open=60, probes=PROBES)
BRIEF = msgspec.structs.replace(TEMPER, open=1)
"""For who waits until it is tried again; whoever asks while it is open would be in a hurry."""
ROUTES = [
    Route(name=RouteName(name), match=Match(path=PathText(f"/{name}")), shares=(Share(service=ServiceName(name)),))
    for name in ("moody", "calm")
]


class Moody(Echo):
    """Answers with `status`."""

    status = 500
    pause = 0.0
    """Seconds before an answer."""

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        time.sleep(self.pause)
        if self.status == 200:
            super().respond(handler, asked)
            return
        handler.send_response(self.status)
        handler.send_header("content-length", "0")
        handler.end_headers()


def facts(moody: Echo, calm: Echo, routes: list[Route] = ROUTES, **values: Any) -> Snapshot:
    services = [service("moody", **{"policy": Policy(circuit_breaker=TEMPER), **values}), service("calm", mesh_index=1)]
    return snapshot_of(services, [instance("moody", moody.port), instance("calm", calm.port)], routes)


def row(haproxy: Running, name: str = "moody") -> BreakerRow:
    return next(each for each in parse_breakers(haproxy.command(f"show table {TABLE}")) if each.who == name)


def is_open(answer: Answer) -> bool:
    return answer.status == 503 and b'"code":"breaker-open"' in answer.body


def until_open(haproxy: Running) -> None:
    """Exactly as many failures as it takes: the first one only wakes the counting."""
    assert [haproxy.ask("/moody/x").status for _ in range(LEAST + 1)] == [500] * (LEAST + 1)


def change(haproxy: Running, snapshot: Snapshot) -> None:
    """Other facts, as the node takes them: only maps, no reload."""
    after = intend(snapshot, haproxy.config, haproxy.settings).config
    assert isinstance(make_plan(haproxy.config, after), Plan)
    for name, entries in after.maps.items():
        haproxy.command(f"clear map {name}.map")
        for key, value in entries:
            haproxy.command(f"add map {name}.map {key} {value}")


def test_a_service_that_fails_is_left_alone(tmp_path: Path) -> None:
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        until_open(haproxy)
        refused = haproxy.ask("/moody/x")
        assert is_open(refused)
        assert refused.json()["service"] == "moody"
        assert refused.header("content-type") == "application/problem+json"
        assert 55 <= int(refused.header("retry-after") or 0) <= 60
        assert all(is_open(haproxy.ask("/moody/x", method="POST", body=b"x")) for _ in range(20))
        assert len(moody.seen) == LEAST + 1


def test_a_service_that_was_left_alone_is_probed_and_taken_back(tmp_path: Path) -> None:
    soon = Policy(circuit_breaker=BRIEF)
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm, policy=soon), tmp_path) as haproxy:
        until_open(haproxy)
        # a bad probe opens it again; the service sees nothing else
        haproxy.wait_for(lambda: not is_open(haproxy.ask("/moody/x")))
        assert row(haproxy).opened == 2
        assert len(moody.seen) == LEAST + 2
        moody.status = 200
        haproxy.wait_for(lambda: haproxy.ask("/moody/x").status == 200)
        assert {haproxy.ask("/moody/x").status for _ in range(30)} == {200}
        assert row(haproxy).until == 0
        assert row(haproxy).opened == 2


def test_the_first_failure_after_a_long_calm_only_wakes_the_counting(tmp_path: Path) -> None:
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        haproxy.command("experimental-mode on; set var proc.attentive int(0)")
        moody.status = 200
        assert haproxy.ask("/moody/x").status == 200
        assert list(parse_breakers(haproxy.command(f"show table {TABLE}"))) == []
        moody.status = 500
        assert [haproxy.ask("/moody/x").status for _ in range(LEAST + 3)] == [500] * (LEAST + 1) + [503] * 2


def test_a_breaker_is_of_one_service(tmp_path: Path) -> None:
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        until_open(haproxy)
        assert is_open(haproxy.ask("/moody/x"))
        assert {haproxy.ask("/calm/x").status for _ in range(10)} == {200}


def test_answers_that_blame_the_client_never_open_it(tmp_path: Path) -> None:
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        assert haproxy.ask("/moody/x").status == 500
        moody.status = 404
        assert {haproxy.ask("/moody/x").status for _ in range(3 * LEAST)} == {404}
        assert (row(haproxy).requests, row(haproxy).failures) == (3 * LEAST, 0)


def test_too_small_a_share_of_failures_does_not_open_it(tmp_path: Path) -> None:
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        assert haproxy.ask("/moody/x").status == 500
        for status in (200, 200, 500) * (2 * LEAST):
            moody.status = status
            assert haproxy.ask("/moody/x").status == status
        moody.status = 500
        while not is_open(haproxy.ask("/moody/x")):
            assert len(moody.seen) < 100
        assert (row(haproxy).requests, row(haproxy).failures) == (40, 20)


def test_a_service_that_cannot_be_reached_fails_as_well(tmp_path: Path) -> None:
    with Echo("calm") as calm, Echo("gone") as gone:
        soon = msgspec.structs.replace(TEMPER, min_requests=2)
        snapshot = facts(gone, calm, policy=Policy(circuit_breaker=soon))
        gone.close()
        # four tries, and a pause as long before each but the first
        with running(snapshot, tmp_path, small_settings(connect_timeout=0.1)) as haproxy:
            codes = [haproxy.ask("/moody/x").json()["code"] for _ in range(5)]
            assert codes == ["upstream-unreachable"] * 3 + ["breaker-open"] * 2


def test_a_service_without_instances_says_so_and_is_tried_as_soon_as_one_returns(tmp_path: Path) -> None:
    slow = Breaker(enabled=True, min_requests=LEAST, open=60, probes=PROBES)
    with (
        Moody("moody") as moody,
        Echo("calm") as calm,
        running(facts(moody, calm, policy=Policy(circuit_breaker=slow)), tmp_path) as haproxy,
    ):
        (server,) = (name for backend, name in haproxy.servers() if backend == "moody")
        until_open(haproxy)
        assert is_open(haproxy.ask("/moody/x"))
        haproxy.command(f"set server moody/{server} state maint")
        assert [haproxy.ask("/moody/x").json()["code"] for _ in range(3 * LEAST)] == ["no-instance"] * 3 * LEAST
        moody.status = 200
        haproxy.command(f"set server moody/{server} state ready")
        assert [haproxy.ask("/moody/x").status for _ in range(10)] == [200] * 10


def test_gateway_and_mesh_share_a_breaker(tmp_path: Path) -> None:
    ports = free_range(2)
    settings = small_settings(mesh_ports=ports, mesh_count=2)
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path, settings) as haproxy:
        until_open(haproxy)
        assert is_open(haproxy.ask("/x", port=ports))
        assert is_open(haproxy.ask("/x", host="moody", port=settings.mesh_port))
        assert haproxy.ask("/x", port=ports + 1).status == 200


def test_a_line_of_the_request_log_says_what_the_breaker_did(tmp_path: Path) -> None:
    path = tmp_path / "requests.sock"
    log = RequestLog(socket=path, ring_bytes=1 << 20)
    with (
        Moody("moody") as moody,
        Echo("calm") as calm,
        Lines(path) as lines,
        running(facts(moody, calm), tmp_path, log=log) as haproxy,
    ):
        until_open(haproxy)
        assert is_open(haproxy.ask("/moody/x"))
        haproxy.command(f"set table {TABLE} key moody data.gpt {int(time.time()) - 1}")  # its term is over
        assert not is_open(haproxy.ask("/moody/x"))

        def marks() -> list[str]:
            return [line["Mark"] for line in lines.requests]

        # two threads write: a line may overtake any other
        haproxy.wait_for(lambda: marks().count("-") == LEAST + 1 and {"open", "probe"} <= set(marks()))
        assert set(marks()) == {"-", "open", "probe"}


def test_other_thresholds_hold_at_once_without_a_reload(tmp_path: Path) -> None:
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        other = Breaker(enabled=True, min_requests=12, open=60, probes=1)
        change(haproxy, facts(moody, calm, policy=Policy(circuit_breaker=other)))
        assert [haproxy.ask("/moody/x").status for _ in range(16)] == [500] * 13 + [503] * 3


def test_an_operator_opens_it_while_all_is_well_and_the_word_ends_by_itself(tmp_path: Path) -> None:
    with Echo("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        word = BreakerWord(state=BreakerState.OPEN, until=time.time() + 60)
        change(haproxy, facts(moody, calm, breaker_word=word))
        refused = haproxy.ask("/moody/x")
        assert is_open(refused)
        assert 50 <= int(refused.header("retry-after") or 0) <= 61
        assert haproxy.ask("/calm/x").status == 200
        change(haproxy, facts(moody, calm, breaker_word=msgspec.structs.replace(word, until=time.time() + 1)))
        haproxy.wait_for(lambda: haproxy.ask("/moody/x").status == 200)


def test_an_operator_holds_it_closed_and_resets_it(tmp_path: Path) -> None:
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        slow = Breaker(enabled=True, min_requests=LEAST, open=60)
        change(haproxy, facts(moody, calm, policy=Policy(circuit_breaker=slow)))
        until_open(haproxy)
        assert is_open(haproxy.ask("/moody/x"))
        held = BreakerWord(state=BreakerState.CLOSED, until=time.time() + 60)
        change(haproxy, facts(moody, calm, policy=Policy(circuit_breaker=slow), breaker_word=held))
        assert {haproxy.ask("/moody/x").status for _ in range(3 * LEAST)} == {500}
        change(haproxy, facts(moody, calm, policy=Policy(circuit_breaker=slow)))
        assert is_open(haproxy.ask("/moody/x"))
        moody.status = 200
        anew = BreakerWord(reset=time.time() + 1)
        change(haproxy, facts(moody, calm, policy=Policy(circuit_breaker=slow), breaker_word=anew))
        assert {haproxy.ask("/moody/x").status for _ in range(10)} == {200}
        assert row(haproxy).until == 0


def test_a_service_that_wants_none_has_none(tmp_path: Path) -> None:
    off = Policy(circuit_breaker=Breaker(enabled=False))
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm, policy=off), tmp_path) as haproxy:
        assert {haproxy.ask("/moody/x").status for _ in range(6 * LEAST)} == {500}


def asleep(haproxy: Running) -> None:
    """As after a long calm: nobody counts."""
    haproxy.command("experimental-mode on; set var proc.attentive int(0)")


def test_answers_that_come_late_open_it_although_they_are_good(tmp_path: Path) -> None:
    picky = msgspec.structs.replace(TEMPER, slow_calls=SlowCalls(longer_than=0.4, share=50))
    with (
        Moody("moody") as moody,
        Echo("calm") as calm,
        running(facts(moody, calm, policy=Policy(circuit_breaker=picky)), tmp_path) as haproxy,
    ):
        asleep(haproxy)
        moody.status = 200
        assert {haproxy.ask("/moody/x").status for _ in range(3 * LEAST)} == {200}
        moody.pause = 0.5
        before = len(moody.seen)
        haproxy.wait_for(lambda: is_open(haproxy.ask("/moody/x")), 20)
        # the first one wakes the counting; where the machine made one of the others slow, that one did
        assert len(moody.seen) - before <= LEAST + 1
        told = row(haproxy)
        assert (told.opened, told.failures, told.rejected) == (1, 0, 1)
        assert 2 * told.slow >= told.requests >= LEAST


def test_a_probe_that_comes_late_opens_it_again(tmp_path: Path) -> None:
    picky = msgspec.structs.replace(BRIEF, slow_calls=SlowCalls(longer_than=0.4, share=50))
    with (
        Moody("moody") as moody,
        Echo("calm") as calm,
        running(facts(moody, calm, policy=Policy(circuit_breaker=picky)), tmp_path) as haproxy,
    ):
        assert {haproxy.ask("/moody/x").status for _ in range(LEAST)} == {500}  # it counts from the first one on
        assert row(haproxy).opened == 1
        moody.status, moody.pause = 200, 0.5
        haproxy.wait_for(lambda: haproxy.ask("/moody/x").status in {200, 503} and row(haproxy).opened == 2, 20)
        moody.pause = 0.0
        # closed, not only probed: a probe that the machine made late opens it again
        haproxy.wait_for(lambda: haproxy.ask("/moody/x").status == 200 and row(haproxy).until == 0, 20)
        assert {haproxy.ask("/moody/x").status for _ in range(10)} == {200}


@pytest.mark.parametrize(
    ("failures", "opens", "never"),
    [
        (("5xx", "429"), (429, 500, 503), (404, 418)),
        (("503", "timeout"), (503, 504), (500, 429)),
        (("4xx",), (404,), (500,)),
    ],
    ids=str,
)
def test_only_the_statuses_that_were_named_count(
    tmp_path: Path, failures: tuple[str, ...], opens: tuple[int, ...], never: tuple[int, ...]
) -> None:
    said = msgspec.structs.replace(TEMPER, failures=failures)
    with (
        Moody("moody") as moody,
        Echo("calm") as calm,
        running(facts(moody, calm, policy=Policy(circuit_breaker=said)), tmp_path) as haproxy,
    ):
        asleep(haproxy)
        for status in never:
            moody.status = status
            assert {haproxy.ask("/moody/x").status for _ in range(2 * LEAST)} == {status}
        seen = len(moody.seen)
        for turn in range(20 * LEAST):
            moody.status = opens[turn % len(opens)]
            if is_open(haproxy.ask("/moody/x")):
                break
        # one that wakes it at most, and what the window held before
        assert LEAST <= len(moody.seen) - seen <= LEAST + 1 + 4 * LEAST


def by_route(**values: Any) -> list[Route]:
    """The usual routes, and one more to the same service."""
    other = Route(
        name=RouteName("other"), match=Match(path=PathText("/other")), shares=(Share(service=ServiceName("moody")),),
        **values,
    )  # fmt: skip
    return [*ROUTES, other]


def test_a_routes_own_breaker_counts_only_its_requests(tmp_path: Path) -> None:
    off, own = Policy(circuit_breaker=Breaker(enabled=False)), Policy(circuit_breaker=TEMPER)
    with (
        Moody("moody") as moody,
        Echo("calm") as calm,
        running(facts(moody, calm, by_route(policy=own), policy=off), tmp_path) as haproxy,
    ):
        assert [haproxy.ask("/other/x").status for _ in range(LEAST + 2)] == [500] * (LEAST + 1) + [503]
        assert {haproxy.ask("/moody/x").status for _ in range(3 * LEAST)} == {500}
        assert is_open(haproxy.ask("/other/x"))
        assert row(haproxy, "route:other").rejected == 2


def test_a_route_may_do_without_its_services_breaker(tmp_path: Path) -> None:
    off = Policy(circuit_breaker=Breaker(enabled=False))
    with (
        Moody("moody") as moody,
        Echo("calm") as calm,
        running(facts(moody, calm, by_route(policy=off)), tmp_path) as haproxy,
    ):
        assert {haproxy.ask("/other/x").status for _ in range(3 * LEAST)} == {500}
        until_open(haproxy)
        assert is_open(haproxy.ask("/moody/x"))
        assert haproxy.ask("/other/x").status == 500


def calls(moody: Echo, calm: Echo, call: Call, **values: Any) -> Snapshot:
    """`calm` calls `moody` on a port of its own, the third one."""
    said = {ServiceName("moody"): msgspec.structs.replace(call, mesh_index=2, **values)}
    snapshot = facts(moody, calm, policy=Policy())
    caller = msgspec.structs.replace(snapshot.services[ServiceName("calm")], calls=said)
    snapshot.services[caller.name] = caller
    return snapshot


def test_a_calls_own_breaker_counts_only_that_callers_requests(tmp_path: Path) -> None:
    ports = free_range(3)
    settings = small_settings(mesh_ports=ports, mesh_count=3)
    own = Call(policy=Policy(circuit_breaker=TEMPER))
    with (
        Moody("moody") as moody,
        Echo("calm") as calm,
        running(calls(moody, calm, own), tmp_path, settings) as haproxy,
    ):
        statuses = [haproxy.ask("/x", port=ports + 2).status for _ in range(LEAST + 2)]
        assert statuses == [500] * (LEAST + 1) + [503]
        assert {haproxy.ask("/x", port=ports).status for _ in range(3 * LEAST)} == {500}
        assert haproxy.ask("/moody/x").status == 500
        assert row(haproxy, "calm>moody").opened == 1


def test_an_operators_word_on_a_call_or_a_route_is_for_that_one_and_the_nearer_word_counts(tmp_path: Path) -> None:
    ports = free_range(3)
    settings = small_settings(mesh_ports=ports, mesh_count=3)
    opened = BreakerWord(state=BreakerState.OPEN, until=time.time() + 60)
    closed = BreakerWord(state=BreakerState.CLOSED, until=time.time() + 60)
    with (
        Echo("moody") as moody,
        Echo("calm") as calm,
        running(calls(moody, calm, Call()), tmp_path, settings) as haproxy,
    ):
        change(haproxy, calls(moody, calm, Call(), breaker_word=opened))
        assert is_open(haproxy.ask("/x", port=ports + 2))
        assert haproxy.ask("/x", port=ports).status == 200
        change(haproxy, facts(moody, calm, by_route(breaker_word=opened)))
        assert is_open(haproxy.ask("/other/x"))
        assert haproxy.ask("/moody/x").status == 200
        change(haproxy, facts(moody, calm, by_route(breaker_word=closed), breaker_word=opened))
        assert haproxy.ask("/other/x").status == 200
        assert is_open(haproxy.ask("/moody/x"))
        gone = msgspec.structs.replace(closed, until=time.time() - 5)
        change(haproxy, facts(moody, calm, by_route(breaker_word=gone), breaker_word=opened))
        assert is_open(haproxy.ask("/other/x"))


def test_who_did_not_fail_is_not_counted_while_others_are(tmp_path: Path) -> None:
    with Moody("moody") as moody, Echo("calm") as calm:
        snapshot = facts(moody, calm)
        own = msgspec.structs.replace(snapshot.services[ServiceName("calm")], policy=Policy(circuit_breaker=TEMPER))
        snapshot.services[own.name] = own
        with running(snapshot, tmp_path) as haproxy:
            until_open(haproxy)
            assert {haproxy.ask("/calm/x").status for _ in range(10)} == {200}
            assert [each.who for each in parse_breakers(haproxy.command(f"show table {TABLE}"))] == ["moody"]
