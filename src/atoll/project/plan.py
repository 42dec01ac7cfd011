"""The difference between the facts and a project, and the commit that removes it. Pure.

Promises: applying twice plans nothing the second time. Facts of another origin are never touched; a name or match they
hold already is an OriginConflict. What an operator said of a service (`stopped`, `restarts`, `rolling`, `breaker_word`, `failover_word`,
and `replicas` scaled by hand) survives until the file's own number changes. A mesh port, once given, stays. A service that is gone
from the file while somebody else's instances are registered under it is handed back to the registry, not deleted.
"""

from __future__ import annotations

import msgspec

from atoll.errors import OriginConflict
from atoll.model.breaker import BreakerWord
from atoll.model.difference import leaves
from atoll.model.failover import FailoverWord
from atoll.model.keys import route_key, service_key
from atoll.model.mesh import placed
from atoll.model.names import Key, ServiceName
from atoll.model.policy import Call
from atoll.model.project import FieldChange, Plan, Project, Step, Verb
from atoll.model.route import Route
from atoll.model.service import Run, Service
from atoll.model.snapshot import Snapshot, encode
from atoll.project.routes_valid import describe, same_match
from atoll.store.base import Delete, Put

REGISTRATION = "registration"
"""Origin of a service that came with its first instance; a project may adopt it."""

Fact = Service | Route
_Difference = tuple[Key, Fact | None, Fact | None]


def make_plan(snapshot: Snapshot, project: Project) -> Plan:
    """What applying `project` to `snapshot` would do: services, then routes; deletions last, routes before services.

    Raises:
        OriginConflict: a name or a match belongs to another origin; all of them are told.
    """
    return Plan(snapshot.revision, tuple(_step(*difference) for difference in _differences(snapshot, project)))


def operations(snapshot: Snapshot, project: Project) -> list[Put | Delete]:
    """The one commit that makes the facts of `snapshot` those of `project`; empty when nothing would change.

    Raises:
        OriginConflict: as `make_plan`.
    """
    return [
        Delete(key) if wanted is None else Put(key, encode(wanted))
        for key, _, wanted in _differences(snapshot, project)
    ]


def _differences(snapshot: Snapshot, project: Project) -> list[_Difference]:
    _refuse_foreign(snapshot, project)
    wanted_services = _services(snapshot, project)
    wanted_routes = {
        route.name: msgspec.structs.replace(
            route, origin=project.name, breaker_word=_said_of(snapshot.routes.get(route.name))
        )
        for route in project.routes
    }
    puts: list[_Difference] = [
        (service_key(name), snapshot.services.get(name), service) for name, service in wanted_services.items()
    ]
    puts += [(route_key(name), snapshot.routes.get(name), route) for name, route in wanted_routes.items()]
    gone: list[_Difference] = [
        (route_key(name), route, None)
        for name, route in sorted(snapshot.routes.items())
        if route.origin == project.name and name not in wanted_routes
    ]
    gone += [
        (service_key(name), service, _left_behind(snapshot, service))
        for name, service in sorted(snapshot.services.items())
        if service.origin == project.name and name not in wanted_services
    ]
    return [difference for difference in puts if difference[1] != difference[2]] + gone


def _refuse_foreign(snapshot: Snapshot, project: Project) -> None:
    conflicts = []
    for service in project.services:
        current = snapshot.services.get(service.name)
        if current is not None and current.origin not in {project.name, REGISTRATION}:
            conflicts.append(f"service `{service.name}` belongs to {_owner(current.origin)}")
    foreign = [route for route in snapshot.routes.values() if route.origin != project.name]
    for route in project.routes:
        held = snapshot.routes.get(route.name)
        if held is not None and held.origin != project.name:
            conflicts.append(f"route `{route.name}` belongs to {_owner(held.origin)}")
            continue
        for other in foreign:
            if same_match(other.match, route.match):
                shown = describe(route.match)
                conflicts.append(f"route `{route.name}`: {shown} is taken by `{other.name}` of {_owner(other.origin)}")
    if conflicts:
        raise OriginConflict(
            "; ".join(conflicts),
            hint="rename yours, or remove the other one first",
            conflicts=conflicts,
        )


def _owner(origin: str) -> str:
    return "the API" if origin == "api" else f"project `{origin}`"


def _services(snapshot: Snapshot, project: Project) -> dict[ServiceName, Service]:
    """The project's services as facts: mesh ports given, operator words kept."""
    wanted: dict[ServiceName, Service] = {}
    held = dict(snapshot.services)
    for service in project.services:
        current = snapshot.services.get(service.name)
        fact = msgspec.structs.replace(
            service,
            origin=project.name,
            failover_word=FailoverWord() if current is None else current.failover_word,
            breaker_word=_said_of(current),
            calls={
                name: msgspec.structs.replace(call, breaker_word=_said_of(current and current.calls.get(name)))
                for name, call in service.calls.items()
            },
            run=None if service.run is None else _run(service.run, None if current is None else current.run),
        )
        wanted[service.name] = held[service.name] = placed(fact, current, held.values())
    return wanted


def _said_of(held: Service | Route | Call | None) -> BreakerWord:
    """What an operator said of its circuit breaker."""
    return BreakerWord() if held is None else held.breaker_word


def _run(said: Run, current: Run | None) -> Run:
    """What the file says, with what an operator said since."""
    if current is None:
        return msgspec.structs.replace(said, declared_replicas=said.replicas, stopped=False, restarts=0, rolling=False)
    scaled = current.declared_replicas == said.replicas and not said.port
    return msgspec.structs.replace(
        said,
        declared_replicas=said.replicas,
        replicas=current.replicas if scaled else said.replicas,
        stopped=current.stopped,
        restarts=current.restarts,
        rolling=current.rolling,
    )


def _left_behind(snapshot: Snapshot, service: Service) -> Service | None:
    """What remains of a service that is gone from the file: nothing, unless instances registered themselves."""
    if any(instance.node is None for instance in snapshot.of(service.name)):
        return msgspec.structs.replace(service, origin=REGISTRATION, run=None)
    return None


_UNSAID = frozenset({"name", "origin", "mesh_index", "run.declared_replicas"})
"""Fields of a new fact that the file did not write."""


def _step(key: Key, before: Fact | None, after: Fact | None) -> Step:
    if after is None:
        return Step(Verb.DELETE, key)
    new = dict(leaves(after))
    if before is None:
        usual = dict(leaves(_bare(after)))
        said = (path for path, value in new.items() if usual.get(path) != value)
        return Step(Verb.CREATE, key, tuple(FieldChange(path, None, new[path]) for path in said if path not in _UNSAID))
    old = dict(leaves(before))
    differing = (path for path in dict.fromkeys((*new, *old)) if old.get(path) != new.get(path))
    return Step(Verb.CHANGE, key, tuple(FieldChange(path, old.get(path), new.get(path)) for path in differing))


def _bare(fact: Fact) -> Fact:
    """A fact of which nothing but the name was said."""
    if isinstance(fact, Route):
        return Route(name=fact.name, shares=())
    return Service(name=fact.name, run=Run(command=()))
