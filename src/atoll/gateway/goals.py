"""Where requests lead and what counts there: of each service, of each share of a route, of each call.

Most routes and services say nothing, and share the goal of their upstream; only what has a policy of its own is merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import msgspec

from atoll.gateway.bound import Bound
from atoll.gateway.config import NOBODY, Entries, Traits
from atoll.gateway.fallback import Guard, guard_of, guarded
from atoll.gateway.maps import Goal, service_verdict
from atoll.gateway.policies import policy_line
from atoll.gateway.retries import first_seconds
from atoll.gateway.upstream import Upstream, upstream_of
from atoll.gateway.variant import varied
from atoll.model import effective
from atoll.model.names import ServiceName
from atoll.model.policy import Policy
from atoll.model.route import Route, Share
from atoll.model.service import Protocol, Service

Call = tuple[Service, Service]
"""Who calls, and whom."""
_NOTHING = Policy()


class Goals(msgspec.Struct, frozen=True, dict=True):
    """Of services that speak HTTP: the facts, and the section of every upstream. Equal when all goals are."""

    services: Mapping[ServiceName, Service]
    traits: Mapping[ServiceName, Traits]
    """Of each service's usual section."""
    sections: Mapping[Upstream, str]
    failing_over: frozenset[ServiceName] = frozenset()
    """Services with groups."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Goals) and self.usual == other.usual

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def usual(self) -> dict[Upstream, Goal]:
        """What holds where only the service itself says something."""
        return {
            upstream: self._goal(upstream, self._of_service(upstream.service))
            for upstream in self.sections
            if not upstream.variant
        }

    def of_service(self, name: ServiceName) -> Goal | None:
        """Where those who call the service are led; None: it has no section."""
        return self.usual.get(Upstream(name))

    def of_share(self, route: Route, share: Share) -> Goal:
        """Where a share of a route leads; nobody answers for a service that is not here."""
        upstream = upstream_of(route, share)
        if share.service not in self.services:
            return Goal(NOBODY, share.service)
        return self._goal(upstream, self._of_share(route, share)) if _says(route) else self.usual[upstream]

    def of_call(self, call: Call) -> Goal:
        """Where a call is led."""
        return self._goal(Upstream(call[1].name), _of_call(call))

    def lines(self, routes: Iterable[Route], calls: Iterable[Call]) -> Entries:
        """The policies map."""
        bounds = [*self.bounds(routes, calls)]
        bounds += filter(None, map(self._instead, bounds))
        return tuple(sorted({bound.who: line for bound in bounds if (line := policy_line(bound))}.items()))

    def guards(self, routes: Iterable[Route], calls: Iterable[Call], refused: list[str]) -> Iterator[Guard]:
        """What is said about fallbacks; another service that cannot be asked is left out, and named in `refused`."""
        for bound in self.bounds(routes, calls):
            said = bound.effective.policy
            if guarded(said, bound.callee):
                verdict = self._other(bound, refused)
                if not self._goes_around(bound):
                    continue
                yield guard_of(bound.who, said, bound.callee, verdict)

    def _goes_around(self, bound: Bound) -> bool:
        """Whether requests pass a door: something is said, and of gRPC there is somebody who can be asked instead."""
        if not guarded(bound.effective.policy, bound.callee):
            return False
        return bound.callee.protocol is not Protocol.GRPC or self._instead(bound) is not None

    def _other(self, bound: Bound, refused: list[str]) -> str:
        """The verdict of the service that is asked instead: as all who call it get it, but without its own fallback."""
        said = bound.effective.policy.fallback
        if said is None or said.service is None:
            return ""
        other = self._instead(bound)
        if other is None:
            speaks = "gRPC" if bound.callee.protocol is Protocol.GRPC else "HTTP"
            what = "the service itself" if said.service.service == bound.service else f"no service that speaks {speaks}"
            refused.append(f"fallback of {bound.who}: {said.service.service} is {what}; it is left out")
            return ""
        return service_verdict(msgspec.structs.replace(self._goal(Upstream(other.service), other), guard=""))

    def _instead(self, bound: Bound) -> Bound | None:
        """What counts when the other service is asked; None: there is none, or it cannot be."""
        said = bound.effective.policy.fallback
        if said is None or said.service is None:
            return None
        name = said.service.service
        if name not in self.services or Upstream(name) not in self.sections or name == bound.service:
            return None
        if (self.services[name].protocol is Protocol.GRPC) != (bound.callee.protocol is Protocol.GRPC):
            return None
        usual = self._of_service(name)
        if said.service.timeout is None:
            return usual
        policy = msgspec.structs.replace(usual.effective.policy, timeout=said.service.timeout)
        counts = msgspec.structs.replace(usual.effective, policy=policy)
        return msgspec.structs.replace(usual, who=f"{bound.who}~instead", effective=counts)

    def bounds(self, routes: Iterable[Route], calls: Iterable[Call]) -> Iterator[Bound]:
        """What counts for every service, for every call, and for routes that say something."""
        yield from (self._of_service(upstream.service) for upstream in self.sections)
        for route in filter(_says, routes):
            yield from (self._of_share(route, share) for share in route.shares if share.service in self.services)
        yield from map(_of_call, calls)

    def _of_service(self, name: ServiceName) -> Bound:
        return Bound(name, name, effective.of_service(self.services[name]), self.services[name])

    def _of_share(self, route: Route, share: Share) -> Bound:
        scope = effective.route_scope(route, share.service)
        service = self.services[share.service]
        return Bound(scope, share.service, effective.of_route(route, service), service)

    def _goal(self, upstream: Upstream, bound: Bound) -> Goal:
        service = self.services[upstream.service]
        policy = bound.effective.policy
        timeout = first_seconds(policy)
        section, _ = varied(upstream, self.traits[upstream.service], policy)
        return Goal(
            self.sections[section],
            service.name,
            sticky=service.sticky,
            timeout=0 if timeout is None else max(1, round(timeout * 1000)),
            policy=bound.who if policy_line(bound) else "",
            guard=bound.who if self._goes_around(bound) else "",
            grpc=service.protocol is Protocol.GRPC,
            failover=upstream == Upstream(service.name) and service.name in self.failing_over,
        )


def upstreams(
    services: Mapping[ServiceName, Service],
    traits: Mapping[ServiceName, Traits],
    routes: Iterable[Route],
    calls: Iterable[Call],
) -> dict[Upstream, Traits]:
    """Every upstream that routes and calls lead to, and the traits that its section must have."""
    found: dict[Upstream, Traits] = {}
    for route in routes:
        for share in route.shares:
            if share.service in services:
                service, usual = services[share.service], traits[share.service]
                policy = effective.of_route(route, service).policy if _says(route) else service.policy
                upstream, wanted = varied(upstream_of(route, share), usual, policy)
                found[upstream] = wanted
    for caller, callee in calls:
        upstream, wanted = varied(Upstream(callee.name), traits[callee.name], effective.of_call(caller, callee).policy)
        found[upstream] = wanted
    return found


def _says(route: Route) -> bool:
    return route.policy != _NOTHING or route.defaults != _NOTHING


def _of_call(call: Call) -> Bound:
    caller, callee = call
    return Bound(effective.call_scope(caller, callee), callee.name, effective.of_call(caller, callee), callee)
