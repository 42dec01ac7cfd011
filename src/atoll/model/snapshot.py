"""All facts at one revision, and how changes move them on.

One bad record never hides the others: what cannot be decoded is kept under `quarantined` with the reason, counted by
whoever watches, and everything else is served.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from atoll.errors import AtollError
from atoll.kit.text import scrub
from atoll.model.fault import Fault, FaultName
from atoll.model.keys import (
    FAULTS,
    INSTANCES,
    LEADERS,
    MAINTENANCE,
    ROUTES,
    SERVICES,
    fault_key,
    instance_key,
    leader_key,
    maintenance_key,
    route_key,
    service_key,
)
from atoll.model.leader import Leader
from atoll.model.maintenance import Maintenance, Target, parse_target
from atoll.model.names import InstanceId, RouteName, ServiceName
from atoll.model.route import Route
from atoll.model.service import Instance, Service

T = TypeVar("T")


@dataclass
class Snapshot:
    """Services, instances, routes, words of maintenance, leaders and injected faults at `revision`.

    Mutable on purpose: one owner applies events to it in order.
    """

    revision: int = 0
    services: dict[ServiceName, Service] = field(default_factory=dict)
    instances: dict[tuple[ServiceName, InstanceId], Instance] = field(default_factory=dict)
    routes: dict[RouteName, Route] = field(default_factory=dict)
    maintenance: dict[str, Maintenance] = field(default_factory=dict)
    """By key."""
    leaders: dict[ServiceName, Leader] = field(default_factory=dict)
    faults: dict[FaultName, Fault] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)

    def put(self, key: str, value: bytes) -> None:
        """Take over one fact; a record that cannot be read goes to `quarantined`."""
        self.delete(key)
        try:
            if key.startswith(SERVICES):
                service = decode(value, Service)
                _same(key, service_key(service.name))
                self.services[service.name] = service
            elif key.startswith(INSTANCES):
                instance = decode(value, Instance)
                _same(key, instance_key(instance.service, instance.id))
                self.instances[instance.service, instance.id] = instance
            elif key.startswith(ROUTES):
                route = decode(value, Route)
                _same(key, route_key(route.name))
                self.routes[route.name] = route
            elif key.startswith(MAINTENANCE):
                word = decode(value, Maintenance)
                _same(key, maintenance_key(parse_target(word.target)))
                self.maintenance[key] = word
            elif key.startswith(LEADERS):
                leader = decode(value, Leader)
                _same(key, leader_key(leader.service))
                self.leaders[leader.service] = leader
            elif key.startswith(FAULTS):
                fault = decode(value, Fault)
                _same(key, fault_key(fault.name))
                self.faults[fault.name] = fault
        except (msgspec.DecodeError, ValueError, RecursionError, AtollError) as error:
            self.quarantined[key] = scrub(str(error), limit=200)

    def delete(self, key: str) -> None:
        """Forget one fact."""
        self.quarantined.pop(key, None)
        kind, _, rest = key.partition("/")
        if f"{kind}/" == SERVICES:
            self.services.pop(ServiceName(rest), None)
        elif f"{kind}/" == ROUTES:
            self.routes.pop(RouteName(rest), None)
        elif f"{kind}/" == MAINTENANCE:
            self.maintenance.pop(key, None)
        elif f"{kind}/" == LEADERS:
            self.leaders.pop(ServiceName(rest), None)
        elif f"{kind}/" == FAULTS:
            self.faults.pop(FaultName(rest), None)
        elif f"{kind}/" == INSTANCES:
            service, _, instance = rest.partition("/")
            self.instances.pop((ServiceName(service), InstanceId(instance)), None)

    def of(self, service: ServiceName) -> list[Instance]:
        """The instances of one service, by id."""
        found = (instance for (name, _), instance in self.instances.items() if name == service)
        return sorted(found, key=lambda instance: instance.id)

    def kept_out(self, instance: Instance, wall: float) -> Maintenance | None:
        """The word of maintenance that keeps `instance` out at `wall`: its own, its service's, its machine's or its zone's."""
        if not self.maintenance:
            return None
        targets = [Target(service=instance.service, instance=instance.id), Target(service=instance.service)]
        if instance.node is not None:
            targets.append(Target(node=instance.node))
        if instance.zone is not None:
            targets.append(Target(zone=instance.zone))
        for target in targets:
            word = self.maintenance.get(maintenance_key(target))
            if word is not None and word.holds(wall):
                return word
        return None

    @classmethod
    def load(cls, revision: int, facts: Iterable[tuple[str, bytes]]) -> Snapshot:
        """The snapshot made of `facts` (key, value) as listed at `revision`."""
        snapshot = cls(revision)
        for key, value in facts:
            snapshot.put(key, value)
        return snapshot


def _same(key: str, said: str) -> None:
    """Refuse a record that stands under another name than its own: it would hide somebody else's."""
    if key != said:
        raise ValueError(f"the record says it is {said}")


def decode(value: bytes, kind: type[T]) -> T:
    """A fact from its stored bytes.

    Raises:
        msgspec.DecodeError: it is not JSON, or not of this shape.
    """
    return msgspec.json.decode(value, type=kind)


def encode(fact: msgspec.Struct) -> bytes:
    """A fact as stored: JSON, default values left out, keys in definition order."""
    return msgspec.json.encode(fact, order="deterministic")
