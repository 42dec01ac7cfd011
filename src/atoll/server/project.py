"""A whole project over HTTP: what applying it would do, and doing it as one commit."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import (
    InvalidName,
    InvalidValue,
    LimitReached,
    OriginConflict,
    ProjectInvalid,
    RouteConflict,
    StorageFull,
)
from atoll.model import names
from atoll.model.answers import Applied
from atoll.model.checked import checked_route, checked_service
from atoll.model.project import Plan, Project
from atoll.model.snapshot import Snapshot
from atoll.project.plan import make_plan, operations
from atoll.project.routes_valid import check_matches, describe
from atoll.project.valid import check_project
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint
from atoll.server.exchange import reply, take
from atoll.server.routes import refuse_route
from atoll.store.base import Delete, Put


def checked_project(said: Project) -> Project:
    """A project whose every fact has been parsed and whose routes can stand side by side.

    Raises:
        InvalidName, InvalidValue: a fact that is not as it must be, or a name twice.
        RouteConflict: two routes accept the same requests.
    """
    project = Project(
        name=str(names.route_name(said.name, field="name")),
        services=tuple(map(checked_service, said.services)),
        routes=tuple(map(checked_route, said.routes)),
    )
    for kind, found in (("service", project.services), ("route", project.routes)):
        seen: set[str] = set()
        for fact in found:
            if fact.name in seen:
                raise InvalidValue(f"{kind} {fact.name} stands twice in the project", hint="name it once", field=kind)
            seen.add(fact.name)
    for earlier, later in check_matches(project.routes):
        raise RouteConflict(
            f"{describe(later.match)} is taken by route {earlier.name}", hint=f"change the match of {later.name}"
        )
    return project


def refuse_project(project: Project, snapshot: Snapshot) -> None:
    """Refuse what leads to services that are neither in the project nor there already, and what could never start.

    Raises:
        InvalidValue: a route leads nowhere.
        ProjectInvalid: unknown or circular dependencies, or fixed ports that clash; all of them are told.
    """
    known = {**snapshot.services, **{service.name: service for service in project.services}}
    for route in project.routes:
        refuse_route(route, Snapshot(services=known))
    check_project(project, snapshot.services)


async def plan(control: Control, request: Request) -> Response:
    """What would be done."""
    project = checked_project(await take(control, request, Project))
    snapshot = control.registry.facts.snapshot
    refuse_project(project, snapshot)
    return reply(make_plan(snapshot, project))


async def apply(control: Control, request: Request) -> Response:
    """Do it; answers what was done."""
    project = checked_project(await take(control, request, Project))
    done: list[Plan] = []

    def build(snapshot: Snapshot) -> Sequence[Put | Delete]:
        refuse_project(project, snapshot)
        done[:] = [make_plan(snapshot, project)]
        return operations(snapshot, project)

    revision = await control.catalog.apply(build)
    return reply(Applied(revision=revision, steps=done[0].steps))


ERRORS = (InvalidName, InvalidValue, ProjectInvalid, RouteConflict, OriginConflict, LimitReached)

ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/project/plan",
        summary="What applying a project would create, change and delete.",
        handler=plan,
        body=Project,
        answer=Plan,
        errors=ERRORS,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/project/apply",
        summary="Apply a project as one commit; touches only what differs.",
        handler=apply,
        body=Project,
        answer=Applied,
        errors=(*ERRORS, StorageFull),
    ),
)
