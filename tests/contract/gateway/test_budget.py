"""The retry budget on a real HAProxy: few retries always, a tenth of the requests beyond, per service, and back again."""

from __future__ import annotations

from pathlib import Path

from atoll.gateway import budget
from atoll.model.breaker import Breaker
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.policy import Policy
from atoll.model.route import Match, Route, Share
from tests.contract.gateway.rig import Echo, instance, running, service, snapshot_of
from tests.contract.gateway.test_traps_retry import Hangup

ROUTES = [
    Route(name=RouteName(name), match=Match(path=PathText(f"/{name}")), shares=(Share(service=ServiceName(name)),))
    for name in ("bad", "half")
]
OFF = Breaker(enabled=False)
LAST = 3
"""Retries of one request: of the first one, which nobody counts, and of the one that is let go a moment too late."""


def test_a_service_that_always_fails_is_not_asked_three_times_for_every_request(tmp_path: Path) -> None:
    with Hangup("bad") as bad:
        facts = snapshot_of(
            [service("bad", policy=Policy(circuit_breaker=OFF))], [instance("bad", bad.port)], ROUTES[:1]
        )
        with running(facts, tmp_path) as haproxy:
            statuses = [haproxy.ask("/bad/x").status for _ in range(200)]
            assert set(statuses) == {502}
            assert 200 + budget.FLOOR <= len(bad.seen) <= 200 + budget.FLOOR + 200 / budget.SHARE + 2 * LAST


def test_a_budget_that_one_service_spent_is_not_anothers(tmp_path: Path) -> None:
    with Hangup("bad") as bad, Hangup("a") as worse, Echo("b") as better:
        half = [instance("half", worse.port, "a"), instance("half", better.port, "b")]
        facts = snapshot_of(
            [service("bad", policy=Policy(circuit_breaker=OFF)), service("half")],
            [instance("bad", bad.port), *half],
            ROUTES,
        )
        with running(facts, tmp_path) as haproxy:
            for _ in range(100):
                haproxy.ask("/bad/x")
            assert {haproxy.ask("/half/x").status for _ in range(10)} == {200}
            assert worse.seen
