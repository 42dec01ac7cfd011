"""`atoll service …`: look at and edit the registry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import click

from atoll.cli.commands.service_edit import deregister, drain, maint, register, undrain
from atoll.cli.commands.service_history import history
from atoll.cli.facts import (
    children,
    held_out,
    nodes,
    parse_services,
    plain,
    require_services,
    servers,
    snapshot,
)
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import age
from atoll.cli.options import AtollGroup, command, complete_services
from atoll.cli.show import Cell, service_cell, state_cell
from atoll.model.cadence import out_within
from atoll.model.keys import INSTANCES, LEADERS, MAINTENANCE, ROUTES, SERVICES, maintenance_key
from atoll.model.maintenance import Target
from atoll.model.names import ServiceName
from atoll.model.report import ChildReport, Phase
from atoll.model.service import Mode, Service, State
from atoll.model.snapshot import Snapshot

_NAME = click.argument("name", metavar="SERVICE", shell_complete=complete_services)


@click.group("service", cls=AtollGroup)
def service() -> None:
    """Look at and edit the registry."""


@command("ls", reads=True)
def ls(invocation: Invocation) -> None:
    """List services with how many of their instances pass."""
    facts = snapshot(invocation.api, SERVICES, INSTANCES)
    run = children(nodes(invocation.api)).values()
    show = invocation.show
    if show.as_json:
        show.json([_summary(facts.services[name], _states(facts, name, run)) for name in sorted(facts.services)])
        return
    rows: list[list[str | Cell]] = []
    for name in sorted(facts.services):
        found = facts.services[name]
        states = _states(facts, name, run)
        others = ", ".join(f"{count} {state}" for state, count in states.items() if state != State.PASSING)
        wanted = "" if found.run is None else "stopped" if found.run.stopped else str(found.run.replicas)
        rows.append(
            [
                service_cell(name),
                str(found.protocol),
                str(states.get(State.PASSING, 0)),
                wanted,
                others,
                str(found.check.kind),
                found.origin,
            ]
        )
    show.table(("SERVICE", "PROTOCOL", "PASSING", "WANTED", "OTHERS", "CHECK", "ORIGIN"), rows)


def _states(facts: Snapshot, name: ServiceName, run: Iterable[ChildReport]) -> dict[str, int]:
    """How many instances are in each state; of a service that listens nowhere, its running children count as passing."""
    service = facts.services[name]
    states = [str(instance.state) for instance in facts.of(name)]
    if service.run is not None and service.run.port is None:
        ours = (child.phase for child in run if child.service == name)
        states = [str(State.PASSING if phase is Phase.RUNNING else phase) for phase in ours]
    return dict(Counter(states))


def _summary(found: Service, states: dict[str, int]) -> dict[str, Any]:
    return {**_masked(found), "instances": states}


def _masked(found: Service) -> dict[str, Any]:
    """A service for the screen; values of environment variables may be credentials and stay away from it."""
    document: dict[str, Any] = plain(found)
    if document["run"]:
        document["run"]["environment"] = dict.fromkeys(document["run"]["environment"], "***")
    return document


@command("show", reads=True)
@_NAME
def show(invocation: Invocation, name: str) -> None:
    """Show one service: settings, instances, routes."""
    (wanted,) = parse_services((name,))
    facts = snapshot(invocation.api, SERVICES, INSTANCES, ROUTES, MAINTENANCE, LEADERS)
    require_services(facts, (wanted,))
    found = facts.services[wanted]
    routes = [route.name for route in facts.routes.values() if any(share.service == wanted for share in route.shares)]
    seen = nodes(invocation.api)
    run, checked = children(seen), servers(seen)
    word = facts.maintenance.get(maintenance_key(Target(service=wanted)))
    leader = facts.leaders.get(wanted)
    out = invocation.show
    if out.as_json:
        instances = [
            {
                **{key: value for key, value in plain(instance).items() if key != "lease"},
                "process": plain(run.get((wanted, instance.id))),
                "gateway": plain(checked.get((wanted, instance.id))),
            }
            for instance in facts.of(wanted)
        ]
        out.json(
            {
                **_masked(found),
                "instances": instances,
                "routes": routes,
                "maintenance": plain(word),
                "leader": plain(leader),
            }
        )
        return
    check = found.check
    out.fields(
        [
            ("service", service_cell(wanted)),
            ("protocol", str(found.protocol)),
            ("check", f"{check.kind} {check.path if check.kind == 'http' else check.grpc_service}".strip()
             + f" every {check.interval:g}s, out after {check.fall} (one that stands still within {out_within(check):.3g}s), back after {check.rise}"),
            ("balance", str(found.balance.kind) + (f" on {found.balance.hash_on}" if found.balance.kind == "hash" else "")),
            ("maintenance", "" if word is None else word.reason),
            ("failover", "" if found.failover is None else " → ".join(map(str, found.failover.groups))),
            ("mode", str(found.mode) if found.mode is Mode.ACTIVE_PASSIVE else ""),
            ("leader", "" if leader is None else f"{leader.instance or 'nobody'}, fencing number {leader.fencing}"),
            ("sticky", "yes" if found.sticky else ""),
            ("origin", found.origin),
            ("command", " ".join(found.run.command) if found.run is not None else ""),
            ("replicas", str(found.run.replicas) if found.run is not None else ""),
            ("stopped", "yes, by `atoll stop`" if found.run is not None and found.run.stopped else ""),
            ("environment", ", ".join(sorted(found.run.environment)) if found.run is not None else ""),
            ("routes", ", ".join(sorted(routes))),
        ]
    )  # fmt: skip
    wall = invocation.clock.wall()
    out.text()
    out.table(
        ("INSTANCE", "STATE", "ENDPOINT", "VERSION", "ZONE", "WEIGHT", "NODE", "SINCE", "CAUSE"),
        [
            [
                instance.id,
                state_cell(str(instance.state)),
                f"{instance.host}:{instance.port}",
                instance.version or "",
                instance.zone or "",
                str(instance.weight),
                instance.node or "",
                age(wall - instance.since) if instance.since else "",
                held_out(checked.get((wanted, instance.id)), wall) or instance.cause,
            ]
            for instance in facts.of(wanted)
        ],
    )


for _command in (ls, show, history, register, deregister, drain, undrain, maint):
    service.add_command(_command)
