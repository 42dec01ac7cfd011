"""Where each fact stands in the store. Prefixes end with `/`, so `web/` never catches `web2`."""

from __future__ import annotations

from atoll.model.fault import FaultName
from atoll.model.maintenance import Target
from atoll.model.names import InstanceId, Key, RouteName, ServiceName

SERVICES = "services/"
INSTANCES = "instances/"
ROUTES = "routes/"
FAULTS = "faults/"
HISTORY = "history/"
MAINTENANCE = "maintenance/"
LEADERS = "leaders/"
FACTS = (SERVICES, INSTANCES, ROUTES, MAINTENANCE, LEADERS, FAULTS)
"""The prefixes that make up a snapshot."""


def service_key(name: ServiceName) -> Key:
    """`services/<name>`."""
    return Key(SERVICES + name)


def instance_key(service: ServiceName, instance: InstanceId) -> Key:
    """`instances/<service>/<id>`."""
    return Key(f"{INSTANCES}{service}/{instance}")


def route_key(name: RouteName) -> Key:
    """`routes/<name>`."""
    return Key(ROUTES + name)


def maintenance_key(target: Target) -> Key:
    """`maintenance/service/<name>`, `maintenance/instance/<service>/<id>`, `maintenance/zone/<zone>` or `maintenance/node/<node>`."""
    if target.node is not None:
        return Key(f"{MAINTENANCE}node/{target.node}")
    if target.zone is not None:
        return Key(f"{MAINTENANCE}zone/{target.zone}")
    if target.instance is not None:
        return Key(f"{MAINTENANCE}instance/{target.service}/{target.instance}")
    return Key(f"{MAINTENANCE}service/{target.service}")


def leader_key(service: ServiceName) -> Key:
    """`leaders/<service>`."""
    return Key(LEADERS + service)


def fault_key(name: FaultName) -> Key:
    """`faults/<name>`."""
    return Key(FAULTS + name)


def history_key(service: ServiceName, wall: float, order: int) -> Key:
    """`history/<service>/<milliseconds>-<order>`: sorts by time, then by order within the millisecond."""
    return Key(f"{HISTORY}{service}/{int(wall * 1000):013d}-{order:06d}")
