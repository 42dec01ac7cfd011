"""The circuit breaker on a real HAProxy: opens after its minimum, lets only probes through, closes by itself."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from atoll.gateway.breaker import TABLE, breaker_entries
from atoll.gateway.readback import BreakerRow, parse_breakers
from atoll.gateway.request_log import RequestLog
from atoll.model.breaker import Breaker, BreakerState, BreakerWord
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.policy import Policy
from atoll.model.route import Match, Route, Share
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
TEMPER = Breaker(enabled=True, min_requests=LEAST, open=1, probes=PROBES)
ROUTES = [
    Route(name=RouteName(name), match=Match(path=PathText(f"/{name}")), shares=(Share(service=ServiceName(name)),))
    for name in ("moody", "calm")
]


class Moody(Echo):
    """Answers with `status`."""

    status = 500

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        if self.status == 200:
            super().respond(handler, asked)
            return
        handler.send_response(self.status)
        handler.send_header("content-length", "0")
        handler.end_headers()


def facts(moody: Echo, calm: Echo, **values: Any) -> Any:
    services = [service("moody", **{"policy": Policy(circuit_breaker=TEMPER), **values}), service("calm", mesh_index=1)]
    return snapshot_of(services, [instance("moody", moody.port), instance("calm", calm.port)], ROUTES)


def row(haproxy: Running, name: str = "moody") -> BreakerRow:
    return next(each for each in parse_breakers(haproxy.command(f"show table {TABLE}")) if each.service == name)


def is_open(answer: Answer) -> bool:
    return answer.status == 503 and answer.json()["code"] == "breaker-open"


def until_open(haproxy: Running) -> None:
    """Exactly as many failures as it takes: a new process counts from the first one on."""
    assert [haproxy.ask("/moody/x").status for _ in range(LEAST)] == [500] * LEAST


def set_words(haproxy: Running, name: str, **values: Any) -> None:
    """Change a service's line in the map as the node does: no reload."""
    ((_, line), *forced) = breaker_entries([service(name, **values)])
    haproxy.command(f"set map breakers.map {name} {line}")
    for key, value in forced:
        haproxy.command(f"add map breakers.map {key} {value}")


def test_a_service_that_fails_is_left_alone_probed_and_taken_back(tmp_path: Path) -> None:
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        until_open(haproxy)
        refused = haproxy.ask("/moody/x")
        assert is_open(refused)
        assert refused.json()["service"] == "moody"
        assert refused.header("content-type") == "application/problem+json"
        assert refused.header("retry-after") == "1"
        assert all(is_open(haproxy.ask("/moody/x", method="POST", body=b"x")) for _ in range(20))
        assert len(moody.seen) == LEAST
        # a bad probe opens it again; the service sees nothing else
        haproxy.wait_for(lambda: not is_open(haproxy.ask("/moody/x")))
        assert is_open(haproxy.ask("/moody/x"))
        assert len(moody.seen) == LEAST + 1
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
        moody.status = 404
        assert {haproxy.ask("/moody/x").status for _ in range(3 * LEAST)} == {404}
        assert (row(haproxy).requests, row(haproxy).failures) == (3 * LEAST, 0)


def test_too_small_a_share_of_failures_does_not_open_it(tmp_path: Path) -> None:
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        for status in (200, 200, 500) * (2 * LEAST):
            moody.status = status
            assert haproxy.ask("/moody/x").status == status
        moody.status = 500
        while not is_open(haproxy.ask("/moody/x")):
            assert len(moody.seen) < 100
        assert (row(haproxy).requests, row(haproxy).failures) == (40, 20)


def test_a_service_that_cannot_be_reached_fails_as_well(tmp_path: Path) -> None:
    with Echo("calm") as calm, Echo("gone") as gone:
        snapshot = facts(gone, calm)
        gone.close()
        with running(snapshot, tmp_path) as haproxy:
            codes = [haproxy.ask("/moody/x").json()["code"] for _ in range(LEAST + 2)]
            assert codes == ["upstream-unreachable"] * LEAST + ["breaker-open"] * 2


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
        haproxy.wait_for(lambda: not is_open(haproxy.ask("/moody/x")))
        lines.next(lambda line: line["Mark"] == "probe")
        assert [line["Mark"] for line in lines.requests][: LEAST + 1] == ["-"] * LEAST + ["open"]


def test_other_thresholds_hold_at_once_without_a_reload(tmp_path: Path) -> None:
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        set_words(
            haproxy, "moody", policy=Policy(circuit_breaker=Breaker(enabled=True, min_requests=12, open=1, probes=1))
        )
        assert [haproxy.ask("/moody/x").status for _ in range(15)] == [500] * 12 + [503] * 3


def test_an_operator_opens_it_while_all_is_well_and_the_word_ends_by_itself(tmp_path: Path) -> None:
    with Echo("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        word = BreakerWord(state=BreakerState.OPEN, until=time.time() + 2)
        set_words(haproxy, "moody", policy=Policy(circuit_breaker=TEMPER), breaker_word=word)
        refused = haproxy.ask("/moody/x")
        assert is_open(refused)
        assert 1 <= int(refused.header("retry-after") or 0) <= 3
        assert haproxy.ask("/calm/x").status == 200
        haproxy.wait_for(lambda: haproxy.ask("/moody/x").status == 200)


def test_an_operator_holds_it_closed_and_resets_it(tmp_path: Path) -> None:
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm), tmp_path) as haproxy:
        slow = Breaker(enabled=True, min_requests=LEAST, open=60)
        set_words(haproxy, "moody", policy=Policy(circuit_breaker=slow))
        until_open(haproxy)
        assert is_open(haproxy.ask("/moody/x"))
        held = BreakerWord(state=BreakerState.CLOSED, until=time.time() + 60)
        set_words(haproxy, "moody", policy=Policy(circuit_breaker=slow), breaker_word=held)
        assert {haproxy.ask("/moody/x").status for _ in range(3 * LEAST)} == {500}
        set_words(haproxy, "moody", policy=Policy(circuit_breaker=slow))
        assert is_open(haproxy.ask("/moody/x"))
        moody.status = 200
        set_words(
            haproxy, "moody", policy=Policy(circuit_breaker=slow), breaker_word=BreakerWord(reset=time.time() + 1)
        )
        assert {haproxy.ask("/moody/x").status for _ in range(10)} == {200}
        assert row(haproxy).until == 0


def test_a_service_that_wants_none_has_none(tmp_path: Path) -> None:
    values = {"policy": Policy(circuit_breaker=Breaker(enabled=False))}
    with Moody("moody") as moody, Echo("calm") as calm, running(facts(moody, calm, **values), tmp_path) as haproxy:
        assert {haproxy.ask("/moody/x").status for _ in range(6 * LEAST)} == {500}
