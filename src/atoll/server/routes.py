"""Routes over HTTP: list, read, write, delete. A route that leads nowhere, or takes another one's requests, is refused."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import InvalidName, InvalidValue, NotFound, RouteConflict, StorageFull
from atoll.model import names
from atoll.model.answers import Routes, RouteView, Written
from atoll.model.keys import route_key
from atoll.model.names import RouteName
from atoll.model.route import Route
from atoll.model.snapshot import Snapshot
from atoll.project.routes_valid import check_route, describe, same_match
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint
from atoll.server.exchange import if_match, reply, take


def refuse_route(route: Route, snapshot: Snapshot) -> None:
    """Refuse a route that cannot stand beside what is there.

    Raises:
        InvalidValue: a share of it leads to a service that is unknown or takes no HTTP.
        RouteConflict: another route accepts the same requests.
    """
    for finding in check_route(route, snapshot.services):
        hint = f"did you mean {finding.suggestion!r}?" if finding.suggestion else finding.hint
        field = ".".join(str(part) for part in finding.path[3:])
        raise InvalidValue(finding.message, hint=hint or None, field=field)
    for other in snapshot.routes.values():
        if other.name != route.name and same_match(other.match, route.match):
            raise RouteConflict(
                f"{describe(route.match)} is taken by route {other.name}",
                hint="change the match, or change that route",
                route=other.name,
            )


def _name(request: Request) -> RouteName:
    return names.route_name(request.path_params["route"])


async def list_routes(control: Control, _: Request) -> Response:
    """Every route."""
    facts = control.registry.facts
    views = tuple(
        RouteView(route=route, modified=facts.modified(route_key(name)))
        for name, route in sorted(facts.snapshot.routes.items())
    )
    return reply(Routes(revision=facts.revision, routes=views))


async def get_route(control: Control, request: Request) -> Response:
    """One route, with an ETag to be sent back in If-Match."""
    name, facts = _name(request), control.registry.facts
    found = facts.snapshot.routes.get(name)
    if found is None:
        raise NotFound(f"there is no route {name}", hint="GET /api/v1/routes lists them")
    modified = facts.modified(route_key(name))
    return reply(RouteView(route=found, modified=modified), headers={"ETag": f'"{modified}"'})


async def put_route(control: Control, request: Request) -> Response:
    """Write a route."""
    name = _name(request)
    said = await take(control, request, Route)
    if said.name != name:
        raise InvalidValue(
            f"the body is about {said.name!r}, the path about {name!r}", hint="name the same", field="name"
        )
    route, revision, created = await control.catalog.put_route(said, refuse_route, modified=if_match(request))
    modified = control.registry.facts.modified(route_key(name))
    headers = {"X-Atoll-Revision": str(revision), "ETag": f'"{modified}"'}
    return reply(RouteView(route=route, modified=modified), status=201 if created else 200, headers=headers)


async def delete_route(control: Control, request: Request) -> Response:
    """Remove a route."""
    return reply(Written(revision=await control.catalog.delete_route(_name(request), modified=if_match(request))))


PATH = "/api/v1/routes/{route}"

ENDPOINTS = (
    Endpoint(method="GET", path="/api/v1/routes", summary="Every route.", handler=list_routes, answer=Routes),
    Endpoint(
        method="GET",
        path=PATH,
        summary="One route.",
        handler=get_route,
        answer=RouteView,
        errors=(InvalidName, NotFound),
    ),
    Endpoint(
        method="PUT",
        path=PATH,
        summary="Write a route.",
        handler=put_route,
        body=Route,
        answer=RouteView,
        also=(201,),
        errors=(InvalidName, InvalidValue, RouteConflict, StorageFull),
        conditional=True,
    ),
    Endpoint(
        method="DELETE",
        path=PATH,
        summary="Remove a route.",
        handler=delete_route,
        answer=Written,
        errors=(InvalidName, NotFound, StorageFull),
        conditional=True,
    ),
)
