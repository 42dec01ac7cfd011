"""`atoll ps`: every instance, registered or run by a node, with what is known of it."""

from __future__ import annotations

import threading
from typing import Any

import click

from atoll.cli.facts import children, held_out, nodes, parse_services, plain, require_services, servers, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import age, size
from atoll.cli.options import command, complete_services
from atoll.cli.show import Cell, Show, service_cell, state_cell
from atoll.model.keys import INSTANCES, SERVICES
from atoll.model.names import InstanceId, ServiceName
from atoll.model.report import ChildReport, Phase
from atoll.model.service import Instance, Service
from atoll.model.snapshot import Snapshot

COLUMNS = ("SERVICE", "INSTANCE", "STATE", "ENDPOINT", "VERSION", "PID", "CPU", "MEMORY", "RESTARTS", "AGE", "CAUSE")
REFRESH = 1.0
"""Seconds between two pictures of `--watch`."""
QUIET_PHASES = frozenset({Phase.RUNNING, Phase.STARTING})
"""Phases in which the registry's word on an instance says more than the node's."""


@command("ps", reads=True)
@click.argument("services", nargs=-1, metavar="[SERVICE]...", shell_complete=complete_services)
@click.option("-w", "--watch", is_flag=True, help="Show again every second, until Ctrl-C.")
def ps(invocation: Invocation, services: tuple[str, ...], *, watch: bool) -> None:
    """List instances with state, endpoint, CPU, memory and restarts."""
    wanted = parse_services(services)
    show = invocation.show
    while True:
        facts = snapshot(invocation.api, SERVICES, INSTANCES)
        require_services(facts, wanted)
        seen, wall = nodes(invocation.api), invocation.clock.wall()
        found = rows(facts, children(seen), wanted)
        for row in found:
            row.ejected = held_out(servers(seen).get((ServiceName(row.service), InstanceId(row.instance))), wall)
        if watch:
            show.screen()
        _print(show, found, wall, endless=watch)
        if facts.quarantined and not watch:
            invocation.talk.warning(f"{len(facts.quarantined)} records cannot be read", "see `atoll doctor`")
        if not watch:
            break
        show.flush()
        threading.Event().wait(REFRESH)


class Row:
    """What is shown of one instance: the registry's word, the node's, or both."""

    def __init__(self, service: str, instance: str, fact: Instance | None, child: ChildReport | None) -> None:
        self.service = service
        self.instance = instance
        self.fact = fact
        self.child = child
        self.ejected = ""
        """Whether the gateway holds it out, in words."""

    @property
    def state(self) -> str:
        """The registry's state; the node's phase where that says more (a child that is not just running)."""
        if self.child is not None and (self.fact is None or self.child.phase not in QUIET_PHASES):
            return str(self.child.phase)
        return str(self.fact.state) if self.fact is not None else ""

    @property
    def cause(self) -> str:
        """Why it is in that state."""
        told = [part.cause for part in (self.child, self.fact) if part is not None and part.cause]
        return self.ejected or (told[0] if told else "")

    @property
    def endpoint(self) -> str:
        """host:port."""
        if self.fact is not None:
            host = f"[{self.fact.host}]" if ":" in self.fact.host else self.fact.host
            return f"{host}:{self.fact.port}"
        return f"127.0.0.1:{self.child.port}" if self.child is not None and self.child.port else ""

    def cells(self, wall: float) -> list[str | Cell]:
        """The columns of COLUMNS."""
        child = self.child
        since = (child.started if child is not None else 0.0) or (
            self.fact.registered if self.fact is not None else 0.0
        )
        return [
            service_cell(self.service),
            self.instance,
            state_cell(self.state),
            self.endpoint,
            (self.fact.version if self.fact is not None else None) or "",
            str(child.pid) if child is not None and child.pid else "",
            f"{child.cpu:.1f}%" if child is not None and child.pid else "",
            size(child.memory) if child is not None and child.pid else "",
            str(child.restarts) if child is not None else "",
            age(wall - since) if since else "",
            self.cause,
        ]

    def json(self) -> dict[str, Any]:
        """The row for scripts: what is shown, and both sources whole."""
        return {
            "service": self.service,
            "instance": self.instance,
            "state": self.state,
            "cause": self.cause,
            "endpoint": self.endpoint,
            "registration": None if self.fact is None else _without_lease(self.fact),
            "process": plain(self.child),
        }


def _without_lease(fact: Instance) -> dict[str, Any]:
    """The fact without its lease: who has that can renew in the instance's name."""
    return {name: value for name, value in plain(fact).items() if name != "lease"}


def rows(
    facts: Snapshot, run: dict[tuple[ServiceName, InstanceId], ChildReport], wanted: tuple[ServiceName, ...] = ()
) -> list[Row]:
    """One row per instance known to the registry or to a node, and one per service that has none."""
    keys: set[tuple[ServiceName, InstanceId]] = {*facts.instances, *run}
    present = {service for service, _ in keys}
    keys |= {(name, InstanceId("")) for name in facts.services if name not in present}
    found: list[Row] = []
    for service, instance in sorted(keys):
        if wanted and service not in wanted:
            continue
        if instance:
            fact = facts.instances.get((service, instance))
            found.append(Row(service, instance, fact, run.get((service, instance))))
        else:
            found.append(_Absent(facts.services[service]))
    return found


class _Absent(Row):
    """A service without any instance."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.name, "", None, None)
        self._stopped = service.run is not None and service.run.stopped

    @property
    def state(self) -> str:
        return "stopped" if self._stopped else "absent"

    @property
    def cause(self) -> str:
        return "by `atoll stop`" if self._stopped else "no instance is registered"


def _print(show: Show, found: list[Row], wall: float, *, endless: bool) -> None:
    if show.as_json:
        answer = [row.json() for row in found]
        show.json_line(answer) if endless else show.json(answer)
    else:
        show.table(COLUMNS, [row.cells(wall) for row in found])
