"""Where a drill takes place: the service that is meant, its running instances, and where the gateway listens. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

from atoll.drill.aim import Place
from atoll.errors import InvalidValue, NotFound, NotReady
from atoll.kit.text import closest, scrub
from atoll.model.answers import NodeView
from atoll.model.names import InstanceId, ServiceName
from atoll.model.report import GatewayReport
from atoll.model.route import Route
from atoll.model.service import Service
from atoll.model.snapshot import Snapshot


class Victim(msgspec.Struct, frozen=True):
    """One instance that a node of this machine runs."""

    instance: InstanceId
    pid: int


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """All that a drill has to know before it begins."""

    service: Service
    target: str
    """As the user said it: the service, or one of its instances."""
    victims: tuple[Victim, ...]
    """Whom the fault concerns."""
    endpoints: tuple[tuple[str, int], ...]
    """Every registered instance of the service: id and port."""
    routes: tuple[Route, ...]
    gateway: Place | None
    mesh: Place | None


def scene_of(facts: Snapshot, nodes: Sequence[NodeView], target: str) -> Scene:
    """What `target` means now.

    Raises:
        NotFound: neither a service nor an instance has this name.
        InvalidValue: instances of several services have it.
    """
    service, instance = _named(facts, target)
    instances = {key[1]: one for key, one in facts.instances.items() if key[0] == service.name}
    pids = {
        child.instance: child.pid
        for node in nodes
        for child in node.report.children
        if child.service == service.name and child.pid is not None
    }
    wanted = sorted(pids) if instance is None else [instance] if instance in pids else []
    gateway = gateway_of(nodes)
    return Scene(
        service=service,
        target=target,
        victims=tuple(Victim(one, pids[one]) for one in wanted),
        endpoints=tuple(sorted((str(name), one.port) for name, one in instances.items())),
        routes=tuple(facts.routes.values()),
        gateway=place_of(gateway.address),
        mesh=place_of(gateway.mesh),
    )


def require_victims(scene: Scene) -> tuple[Victim, ...]:
    """Whom a signal can be sent to.

    Raises:
        NotReady: nobody of them runs here.
    """
    if not scene.victims:
        raise NotReady(
            f"no node here runs a process of {scene.target}",
            hint="`atoll ps` shows what runs; an instance that registered itself is not ours to signal",
        )
    return scene.victims


def _named(facts: Snapshot, target: str) -> tuple[Service, InstanceId | None]:
    if (service := facts.services.get(ServiceName(target))) is not None:
        return service, None
    owners = sorted(key[0] for key in facts.instances if key[1] == target)
    if len(owners) > 1:
        raise InvalidValue(f"{scrub(target, limit=80)} is an instance of {', '.join(owners)}", field="target")
    if not owners or owners[0] not in facts.services:
        known = [*facts.services, *(key[1] for key in facts.instances)]
        near = closest(target, known)
        raise NotFound(
            f"neither a service nor an instance is called `{scrub(target, limit=80)}`"
            + (f"; did you mean `{near}`?" if near else ""),
            hint="`atoll ps` lists them",
        )
    return facts.services[owners[0]], InstanceId(target)


def gateway_of(nodes: Sequence[NodeView]) -> GatewayReport:
    """The gateway that a node reports.

    Raises:
        NotReady: none does.
    """
    for node in nodes:
        if node.report.gateway.address:
            return node.report.gateway
    raise NotReady("no node reports a gateway", hint="`atoll doctor` shows what is wrong")


def place_of(address: str) -> Place | None:
    """`host:port` as a place to connect to from this machine; None when it is none."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isascii() or not port.isdigit():
        return None
    try:
        anywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return Place(host, int(port))
    return Place(("::1" if ":" in host else "127.0.0.1") if anywhere else host, int(port))


def beyond_loopback(gateway: GatewayReport) -> bool:
    """Whether others than this machine may be sending requests."""
    host = gateway.address.rpartition(":")[0].strip("[]")
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
