"""Which policies cannot stand: absurd numbers, calls of services that do not exist, policies of what is no HTTP. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from atoll.model import effective
from atoll.model.bulkhead import room_problems
from atoll.model.names import ServiceName
from atoll.model.policy import Effective, Policy, policy_problems
from atoll.model.project import Project
from atoll.model.service import Protocol, Service
from atoll.project.finding import Code, Finding, Path
from atoll.project.node import KEY
from atoll.project.routes_valid import unknown_service


def check_policies(
    project: Project, services: Mapping[ServiceName, Service], off: Collection[str], also: Collection[str]
) -> Iterator[Finding]:
    """What is wrong with the project's policies, given every service that will exist.

    `off`: services whose profiles are not on. `also`: names that are not unknown.
    """
    for service in project.services:
        here: Path = ("services", service.name)
        yield from _absurd(service.policy, here)
        for at, wrong in room_problems(service.instance_concurrency, service.queue):
            yield Finding(code=Code.INVALID_VALUE, message=wrong, path=(*here, *at))
        if service.protocol is Protocol.TCP:
            yield from _bytes(service, service.policy, here)
            if service.instance_concurrency is not None:
                yield _no_answers(service, (*here, "instance_concurrency"))
        for name, call in service.calls.items():
            path: Path = (*here, "calls", name)
            yield from _absurd(call.policy, path)
            callee = services.get(name)
            if callee is not None and callee.protocol is Protocol.TCP:
                yield from _bytes(callee, call.policy, path)
            if callee is None and name not in off and name not in also:
                yield unknown_service(name, services, (*path, KEY), "calls")
            if callee is not None:
                yield from _contradicting(effective.of_call(service, callee), path)
    for route in project.routes:
        yield from _absurd(route.policy, ("gateway", "routes", route.name))
        for name in dict.fromkeys(share.service for share in route.shares if share.service in services):
            yield from _contradicting(effective.of_route(route, services[name]), ("gateway", "routes", route.name))
    seen: list[Policy] = []
    for route in project.routes:
        if route.defaults not in seen:
            seen.append(route.defaults)
            yield from _absurd(route.defaults, ("gateway", "defaults"))


def _absurd(policy: Policy, here: Path) -> Iterator[Finding]:
    for path, wrong in policy_problems(policy):
        yield Finding(code=Code.INVALID_VALUE, message=wrong, path=(*here, *path))


def _contradicting(said: Effective, here: Path) -> Iterator[Finding]:
    """A try that two places together make longer than all tries."""
    timeout, one = said.policy.timeout, said.policy.try_timeout
    if timeout is None or one is None or one <= timeout:
        return
    origins = said.layers["timeout"].origin, said.layers["try_timeout"].origin
    if origins[0] != origins[1]:
        yield Finding(
            code=Code.INVALID_VALUE,
            message=f"one try of {one:g} s ({origins[1]}) is longer than the {timeout:g} s of all ({origins[0]})",
            path=here,
            hint="say both timeouts in one place",
        )


def _bytes(callee: Service, policy: Policy, here: Path) -> Iterator[Finding]:
    off = policy.circuit_breaker is not None and not policy.circuit_breaker.enabled
    for field in policy.__struct_fields__:
        if getattr(policy, field) is not None and not (field == "circuit_breaker" and off):
            yield _no_answers(callee, (*here, field))


def _no_answers(callee: Service, here: Path) -> Finding:
    message = f"`{callee.name}` speaks tcp, of which no answer can be judged"
    return Finding(code=Code.INVALID_VALUE, message=message, path=here, hint="leave it out")
