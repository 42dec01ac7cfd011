"""Where each fact stands in the store. Prefixes end with `/`, so `web/` never catches `web2`."""

from __future__ import annotations

from atoll.model.names import InstanceId, Key, RouteName, ServiceName

SERVICES = "services/"
INSTANCES = "instances/"
ROUTES = "routes/"
HISTORY = "history/"
FACTS = (SERVICES, INSTANCES, ROUTES)
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


def history_key(service: ServiceName, wall: float, order: int) -> Key:
    """`history/<service>/<milliseconds>-<order>`: sorts by time, then by order within the millisecond."""
    return Key(f"{HISTORY}{service}/{int(wall * 1000):013d}-{order:06d}")
