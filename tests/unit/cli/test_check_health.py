from __future__ import annotations

from typing import Any

import msgspec
import pytest

from atoll.cli.check import Verdict
from atoll.cli.check_health import REFUSED, control_plane_findings, maintenance_findings, node_findings
from atoll.model.answers import HoldView, NodeView, Status
from atoll.model.keys import maintenance_key
from atoll.model.maintenance import Maintenance, parse_target
from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.report import ChildReport, GatewayReport, LoopReport, NodeReport, Phase
from atoll.model.service import Instance
from atoll.model.snapshot import Snapshot
from atoll.sdk.problem import known_codes

WELL = Status(version="0.1.0", pid=1, node="local", uptime=99.0, revision=70, health="ok")
GATEWAY = GatewayReport(pid=5, revision=70, last_good_age=1.0)
NODE = NodeReport(node=NodeName("n1"), facts_age=4.0, gateway=GATEWAY)


def child(phase: Phase, **more: Any) -> ChildReport:
    return ChildReport(service=ServiceName("orders"), instance=InstanceId("orders-1"), phase=phase, **more)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"loop_lag": 0.6}, "the control plane's event loop is 0.60 s late"),
        ({"holds": (HoldView(service="", seconds=12.0, ends_in=588.0),)}, "expiry of everything is on hold for 12 s"),
        ({"quarantined": {"services/x": "not JSON"}}, "the record services/x cannot be read: not JSON"),
        ({"commits_waiting": 5000}, "5000 writes wait for the disk"),
        ({"watch_backlog": 5000}, "5000 unread changes"),
        ({"resyncs": 3}, "3 watchers were told to start over"),
        ({"watchers_cut": 2}, "2 did not read and were cut"),
        ({"refusals_lately": {"unauthorized": 4}}, "4 requests were refused lately: unauthorized"),
        ({"refusals_lately": {"not-found": 40}}, "40 requests were refused lately: not-found"),
        ({"warnings": ("the event loop was blocked for 2.0 s, 3 s ago, by x",)}, "blocked for 2.0 s"),
    ],
)
def test_each_number_of_the_control_plane_that_is_not_well_is_one_finding_with_a_fix(
    numbers: dict[str, Any], said: str
) -> None:
    (found,) = control_plane_findings(msgspec.structs.replace(WELL, **numbers))
    assert said in found.detail
    assert found.verdict is Verdict.WARNING
    assert found.fix


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"loop": LoopReport(lag=0.5)}, "node n1's event loop is 0.50 s late"),
        ({"facts_age": 90.0}, "facts that are 90 s old"),
        ({"control_plane_restarts": 5}, "ended unasked 5 times"),
        (
            {"children": (child(Phase.CRASH_LOOP, restarts=9, cause="exit 7"),)},
            "orders-1 does not stay up (9 restarts)",
        ),
        ({"children": (child(Phase.RUNNING, lines_dropped=12),)}, "12 lines of output"),
        ({"gateway": GatewayReport(revision=60, last_good_age=40.0)}, "wanted for 40 s (10 revisions behind)"),
        ({"gateway": GatewayReport(revision=70, last_error="no")}, "n1: no"),
        ({"gateway": GatewayReport(revision=70, address=":80", last_error="taken")}, "HAProxy does not run: taken"),
        ({"gateway": GatewayReport(revision=70, refused=2)}, "2 facts cannot be run"),
        ({"gateway": GatewayReport(revision=70, restarts=4)}, "HAProxy ended unasked 4 times"),
    ],
)
def test_each_number_of_a_node_that_is_not_well_is_one_finding_with_a_fix(report: dict[str, Any], said: str) -> None:
    (found,) = node_findings(WELL, [NodeView(report=msgspec.structs.replace(NODE, **report), age=0.5)])
    assert said in found.detail
    assert found.fix


def test_what_haproxy_needs_to_run_again_is_the_fix() -> None:
    gateway = GatewayReport(revision=70, address=":80", last_error="port 80 is taken", last_hint="stop it (kill 7)")
    (found,) = node_findings(WELL, [NodeView(report=msgspec.structs.replace(NODE, gateway=gateway), age=0.5)])
    assert (found.verdict, found.fix) == (Verdict.BROKEN, "stop it (kill 7)")


def test_a_platform_that_is_well_has_no_findings() -> None:
    usual = msgspec.structs.replace(WELL, refusals_lately={"not-found": 5, "lease-conflict": 1}, loop_lag=0.01)
    assert list(control_plane_findings(usual)) == []
    assert list(node_findings(usual, [NodeView(report=NODE, age=0.5)])) == []


def test_a_silent_node_is_broken_and_its_old_numbers_are_not_judged() -> None:
    old = msgspec.structs.replace(NODE, facts_age=500.0)
    (found,) = node_findings(WELL, [NodeView(report=old, age=60.0)])
    assert found.verdict is Verdict.BROKEN
    assert "last reported 60 s ago" in found.detail
    (nobody,) = node_findings(WELL, [])
    assert "no node reports" in nobody.detail


def test_there_are_never_too_many_findings() -> None:
    many = tuple(child(Phase.CRASH_LOOP) for _ in range(500))
    assert len(list(node_findings(WELL, [NodeView(report=msgspec.structs.replace(NODE, children=many), age=0.5)]))) < 30
    sick = msgspec.structs.replace(WELL, quarantined={str(number): "x" for number in range(100)})
    assert len(list(control_plane_findings(sick))) < 30


def test_every_code_with_a_fix_of_its_own_exists() -> None:
    assert REFUSED.keys() <= known_codes().keys() | {"internal"}


def test_what_is_in_maintenance_is_told_and_a_service_of_which_nobody_is_left_is_a_warning() -> None:
    facts = Snapshot(1)
    for name, node, word in (("orders", "m1", "node:m1"), ("users", "m1", "node:m1"), ("users", "m2", "")):
        key = ServiceName(name), InstanceId(f"{name}-{node}")
        facts.instances[key] = Instance(
            service=key[0], id=key[1], host="h", port=1, node=NodeName(node), maintenance=word
        )
    said = Maintenance(target="node:m1", reason="memory", since=1.0, until=1000.0)
    facts.maintenance = {maintenance_key(parse_target("node:m1")): said}
    known, alone = maintenance_findings(facts, 400.0)
    assert (known.verdict, known.detail) == (Verdict.OK, "node:m1 is out for 10m more, 2 instances with it: memory")
    assert (alone.verdict, alone.detail) == (Verdict.WARNING, "every instance of orders is out, by node:m1")
    assert alone.fix == "atoll maint off node:m1"
    facts.maintenance = {}
    facts.instances = {}
    assert not list(maintenance_findings(facts, 400.0))
