"""What counts for a request on a route, for a call, and for whoever else calls a service: the layers of each."""

from __future__ import annotations

from atoll.model.names import ServiceName
from atoll.model.policy import Effective, Layer, merged
from atoll.model.route import Route
from atoll.model.service import Service


def of_service(service: Service) -> Effective:
    """What counts for those who call `service` and of whom nothing is said."""
    return merged((_callee(service),))


def of_route(route: Route, service: Service) -> Effective:
    """What counts for the requests that `route` sends to `service`."""
    scope = route_scope(route, service.name)
    defaults = Layer("gateway.defaults", route.defaults, scope)
    return merged((defaults, _callee(service), Layer(f"gateway.routes.{route.name}", route.policy, scope)))


def of_call(caller: Service, callee: Service) -> Effective:
    """What counts when `caller` calls `callee`."""
    call = caller.calls[callee.name]
    origin = f"services.{caller.name}.calls.{callee.name}"
    return merged((_callee(callee), Layer(origin, call.policy, call_scope(caller, callee))))


def route_scope(route: Route, service: ServiceName) -> str:
    """Whose state it is what a route's policy counts: the route's, for each of its services."""
    several = len({share.service for share in route.shares}) > 1
    return f"route:{route.name}>{service}" if several else f"route:{route.name}"


def caller_of(scope: str) -> str:
    """Who calls: `web`, `route:shop`, or empty for everybody of whom nothing else is said."""
    caller, named, _ = scope.partition(">")
    return caller if named or scope.startswith("route:") else ""


def call_scope(caller: Service, callee: Service) -> str:
    """Whose state it is what the policy of a call counts."""
    return f"{caller.name}>{callee.name}"


def _callee(service: Service) -> Layer:
    return Layer(f"services.{service.name}", service.policy, service.name)
