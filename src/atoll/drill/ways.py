"""The ways by which requests come to a service: its routes, and the services that call it. Pure.

A caller that says `calls:` of the service has a mesh port of its own, so its way is asked there; the others share the
service's own. What protects a way is its effective policy.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from atoll.drill.aim import Aim, Place, leads, mesh_aim, route_aims
from atoll.model.effective import of_call, of_route, of_service
from atoll.model.policy import Effective
from atoll.model.service import Protocol, Service
from atoll.model.snapshot import Snapshot


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way to a service, what may be asked on it (the best first), and what protects it."""

    callee: str
    route: str = ""
    caller: str = ""
    own: bool = False
    """The caller says something of this call itself (`calls:`)."""
    aims: tuple[Aim, ...]
    policy: Effective

    @property
    def name(self) -> str:
        """`route:shop` or `web>orders`."""
        return f"route:{self.route}" if self.route else f"{self.caller}>{self.callee}"

    @property
    def text(self) -> str:
        """For people."""
        return f"route {self.route}" if self.route else f"{self.caller} → {self.callee}"

    def advice(self, key: str) -> str:
        """Where to say a policy's key, such as `timeout: 2s`."""
        if self.route:
            return f"say `{key}` in the route {self.route}, or in services.{self.callee} for all who call it"
        return f"say `calls: {{{self.callee}: {{{key}}}}}` in services.{self.caller}"


def ways_to(service: Service, facts: Snapshot, gateway: Place | None, mesh: Place | None, ports: int) -> list[Way]:
    """The ways to `service`; `ports` is where the mesh ports begin. None for what speaks tcp."""
    if service.protocol is Protocol.TCP:
        return []
    return [*_routes(service, facts, gateway), *_calls(service, facts, mesh, ports)]


def _routes(service: Service, facts: Snapshot, gateway: Place | None) -> Iterator[Way]:
    for _, route in sorted(facts.routes.items()):
        aims = tuple(route_aims(service, route, gateway)) if gateway and leads(route, service.name) else ()
        if aims:
            yield Way(callee=service.name, route=route.name, aims=aims, policy=of_route(route, service))


def _calls(service: Service, facts: Snapshot, mesh: Place | None, ports: int) -> Iterator[Way]:
    for name, caller in sorted(facts.services.items()):
        call = caller.calls.get(service.name)
        depends = caller.run is not None and service.name in caller.run.depends_on
        if mesh is None or (call is None and not depends):
            continue
        own = call is not None and ports > 0
        place = Place(mesh.host, ports + call.mesh_index) if call is not None and own else mesh
        aim = mesh_aim(service, place, way=f"{name}>{service.name}")
        policy = of_call(caller, service) if call is not None else of_service(service)
        yield Way(callee=service.name, caller=name, own=own, aims=(aim,), policy=policy)
