"""Which services are ready, decided from facts and reports. Pure.

An instance counts when the registry says it passes, no gateway's own check says otherwise, and the node that runs it
(if one does) has it running. A service that listens nowhere has no registrations; its running children count. One that
runs once and ends well counts when it has ended. What is ready is found once the gateways run the facts that say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from atoll.model.names import InstanceId, ServiceName
from atoll.model.report import ChildReport, GatewayReport, NodeReport, Phase, ServerReport
from atoll.model.service import Restart, Service, State
from atoll.model.snapshot import Snapshot


class Readiness(NamedTuple):
    """Of one service: instances that pass, instances wanted, and (when not ready) why."""

    passing: int
    wanted: int
    cause: str = ""
    routed: bool = True
    """Whether every gateway knows what it is to know of it."""

    @property
    def ready(self) -> bool:
        """Whether everything wanted passes and is found; a service nobody wants an instance of is ready."""
        return self.passing >= self.wanted and self.routed


def readiness(
    facts: Snapshot,
    run: Mapping[tuple[ServiceName, InstanceId], ChildReport],
    checked: Mapping[tuple[ServiceName, InstanceId], ServerReport],
    services: tuple[ServiceName, ...] = (),
    behind: str = "",
) -> dict[str, Readiness]:
    """Of each of `services` (all, if none is named), by name; services that do not exist are absent, not ready.

    `behind`: why requests may not find yet what the facts say; see `behind`.
    """
    return {
        name: _of(facts, facts.services.get(name), name, run, checked, behind)
        for name in services or sorted(facts.services)
    }


def behind(reports: Iterable[NodeReport], revision: int) -> str:
    """Why requests may not find what the facts of `revision` say; empty: every gateway runs them."""
    for report in reports:
        if report.gateway.address and (cause := lag(report.gateway, revision)):
            return f"the gateway of node {report.node} {cause}"
    return ""


def lag(gateway: GatewayReport, revision: int) -> str:
    """What keeps a gateway from running the facts of `revision`; empty: it runs them."""
    if gateway.revision >= revision:
        return ""
    return f"does not run the newest facts yet{gateway.last_error and ': '}{gateway.last_error}"


def _of(
    facts: Snapshot,
    service: Service | None,
    name: ServiceName,
    run: Mapping[tuple[ServiceName, InstanceId], ChildReport],
    checked: Mapping[tuple[ServiceName, InstanceId], ServerReport],
    behind: str,
) -> Readiness:
    if service is None:
        return Readiness(0, 1, "it is not registered")
    ours = [child for (owner, _), child in run.items() if owner == name]
    wanted = 1 if service.run is None else 0 if service.run.stopped else service.run.replicas
    if service.run is not None and service.run.port is None:
        passing = sum(child.phase is Phase.RUNNING or _completed(service, child) for child in ours)
        return Readiness(min(passing, wanted), wanted, _cause(ours, [], []) if passing < wanted else "")
    passing = 0
    states: list[str] = []
    refused: list[str] = []
    for instance in facts.of(name):
        check = checked.get((name, instance.id))
        child = run.get((name, instance.id))
        if instance.state is not State.PASSING:
            states.append(f"{instance.id} is {instance.state}" + (f": {instance.cause}" if instance.cause else ""))
        elif check is not None and not check.up:
            refused.append(f"{instance.id}: {check.cause or 'the gateway cannot reach it'}")
        elif child is None or child.phase is Phase.RUNNING:
            passing += 1
    cause = _cause(ours, refused, states) if passing < wanted else behind if wanted else ""
    return Readiness(min(passing, wanted), wanted, cause, routed=not (behind and wanted))


def _completed(service: Service, child: ChildReport) -> bool:
    once = service.run is not None and service.run.restart is not Restart.ALWAYS
    return once and child.phase is Phase.EXITED and child.exit_code == 0


def _cause(children: list[ChildReport], refused: list[str], states: list[str]) -> str:
    for child in children:
        if child.phase is not Phase.RUNNING:
            return f"{child.instance} is {child.phase}" + (f": {child.cause}" if child.cause else "")
    return (refused or states or ["no instance is registered"])[0]
