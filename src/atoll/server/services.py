"""Services over HTTP: read, write, delete; scale, stop, start, restart; and the history of their instances."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import Conflict, InvalidName, InvalidValue, LimitReached, NotFound, StillInUse, StorageFull
from atoll.model.answers import (
    FailoverRequest,
    History,
    LeaderView,
    Receivers,
    RestartRequest,
    Scale,
    ServiceFact,
    Services,
    ServiceView,
    Written,
    shown,
)
from atoll.model.breaker import WORD_CEILING
from atoll.model.failover import FailoverWord, parse_group
from atoll.model.keys import service_key
from atoll.model.leader import Leader
from atoll.model.names import ServiceName
from atoll.model.service import Instance, Mode, Run, Service
from atoll.registry.catalog import unknown_service
from atoll.registry.expiry import GLOBAL
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint, Query
from atoll.server.exchange import flag, if_match, moment, reply, service_in, take, take_or, whole

HISTORY_LIMIT = 10_000
"""Records of one answer."""
FOREVER = 1e11
"""Wall seconds beyond every record."""


def instances_of(control: Control, service: ServiceName) -> tuple[Instance, ...]:
    """The instances of a service, by id."""
    return tuple(shown(instance) for instance in control.registry.facts.of(service))


def _view(control: Control, service: Service) -> ServiceView:
    verdict = control.registry.verdict
    hold = "expiry is on hold: too many leases lapsed at once" if verdict.holding(service.name) else ""
    if hold and GLOBAL in verdict.holds and not verdict.holds[GLOBAL].spent:
        hold += ", over all services"
    return ServiceView(
        service=service,
        modified=control.registry.facts.modified(service_key(service.name)),
        instances=instances_of(control, service.name),
        hold=hold,
    )


def _found(control: Control, name: ServiceName) -> Service:
    found = control.registry.facts.snapshot.services.get(name)
    if found is None:
        raise unknown_service(name)
    return found


async def list_services(control: Control, _: Request) -> Response:
    """Every service."""
    facts = control.registry.facts
    views = tuple(_view(control, service) for _, service in sorted(facts.snapshot.services.items()))
    return reply(Services(revision=facts.revision, services=views))


async def get_service(control: Control, request: Request) -> Response:
    """One service, with an ETag to be sent back in If-Match."""
    view = _view(control, _found(control, service_in(request)))
    return reply(view, headers={"ETag": f'"{view.modified}"'})


async def put_service(control: Control, request: Request) -> Response:
    """Write a service."""
    name = service_in(request)
    said = await take(control, request, Service)
    if said.name != name:
        raise InvalidValue(
            f"the body is about {said.name!r}, the path about {name!r}", hint="name the same", field="name"
        )
    service, revision = await control.catalog.put_service(said, modified=if_match(request))
    return reply(ServiceFact(service=service, revision=revision))


async def delete_service(control: Control, request: Request) -> Response:
    """Remove a service."""
    revision = await control.catalog.delete_service(
        service_in(request), force=flag(request, "force"), modified=if_match(request)
    )
    return reply(Written(revision=revision))


async def scale(control: Control, request: Request) -> Response:
    """Say how many instances shall run; a stopped service stays stopped."""
    name = service_in(request)
    said = await take(control, request, Scale)
    return await _change(control, name, lambda run: msgspec.structs.replace(run, replicas=said.replicas))


async def start(control: Control, request: Request) -> Response:
    """Take the word `stop` back."""
    name = service_in(request)
    return await _change(control, name, lambda run: msgspec.structs.replace(run, stopped=False))


async def stop(control: Control, request: Request) -> Response:
    """Let no instance run."""
    name = service_in(request)
    return await _change(control, name, lambda run: msgspec.structs.replace(run, stopped=True))


async def restart(control: Control, request: Request) -> Response:
    """Replace every running instance."""
    name = service_in(request)
    said = await take_or(control, request, RestartRequest, RestartRequest())
    return await _change(
        control, name, lambda run: msgspec.structs.replace(run, restarts=run.restarts + 1, rolling=said.rolling)
    )


async def _change(control: Control, name: ServiceName, change: Callable[[Run], Run]) -> Response:
    service, revision = await control.catalog.change_run(name, change)
    return reply(ServiceFact(service=service, revision=revision))


async def failover(control: Control, request: Request) -> Response:
    """Send a service's requests to one of its groups for a while, or back to the first one."""
    name = service_in(request)
    said = await take(control, request, FailoverRequest)
    now = control.clock.wall()
    if not said.reason.strip():
        raise InvalidValue("a word on a failover needs a reason", hint="say why", field="reason")
    if not 1 <= said.seconds <= WORD_CEILING:
        raise InvalidValue(f"seconds {said.seconds:g} is not 1 to {WORD_CEILING:g}", field="seconds")
    to = None if said.to is None else parse_group(said.to, field="to")
    until = 0.0 if to is None else now + said.seconds
    word = FailoverWord(to=to, until=until, reason=said.reason, since=now)

    def worded(known: Service) -> Service:
        groups = known.failover.groups if known.failover is not None else ()
        if not groups or (to is not None and to not in groups):
            there = ", ".join(map(str, groups))
            hint = f"its groups are: {there}" if there else "say `failover: {groups: [...]}` in the project file"
            what = f"{to} is none of its groups" if groups else "it has no failover groups"
            raise InvalidValue(f"{name}: {what}", hint=hint, field="to")
        return msgspec.structs.replace(known, failover_word=word)

    service, revision = await control.catalog.change_service(name, worded)
    return reply(ServiceFact(service=service, revision=revision))


async def leader(control: Control, request: Request) -> Response:
    """Who leads, with the fencing number of the term."""
    name = service_in(request)
    facts = control.registry.facts
    if _found(control, name).mode is not Mode.ACTIVE_PASSIVE:
        raise NotFound(f"{name} has no leader: all its instances work", hint="say `mode: active-passive`", service=name)
    found = facts.snapshot.leaders.get(name, Leader(service=name))
    return reply(
        LeaderView(
            service=name,
            instance=found.instance,
            fencing=found.fencing,
            since=found.since,
            cause=found.cause,
            revision=facts.revision,
        )
    )


async def history(control: Control, request: Request) -> Response:
    """What happened to the instances of a service; with `at`, who could receive traffic then."""
    name = service_in(request)
    at = moment(request, "at", None)
    if at is not None:
        return reply(await control.archive.receivers(name, at))
    limit = whole(request, "limit", 1000, least=1, most=HISTORY_LIMIT)
    found = await control.archive.query(
        name,
        since=moment(request, "since", 0.0) or 0.0,
        until=moment(request, "until", FOREVER) or 0.0,
        limit=limit or HISTORY_LIMIT,
    )
    if not found.records and not control.registry.facts.knows(name):
        raise unknown_service(name)
    return reply(found)


PATH = "/api/v1/services/{service}"
WRITES = (InvalidName, InvalidValue, NotFound, Conflict, StorageFull)


def _command(verb: str, summary: str, handler: Callable[..., object], body: type | None = None) -> Endpoint:
    return Endpoint(
        method="POST",
        path=f"{PATH}/{verb}",
        summary=summary,
        handler=handler,  # type: ignore[arg-type]
        body=body,
        answer=ServiceFact,
        errors=WRITES,
    )


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/services",
        summary="Every service with its instances.",
        handler=list_services,
        answer=Services,
    ),
    Endpoint(
        method="GET",
        path=PATH,
        summary="One service with its instances.",
        handler=get_service,
        answer=ServiceView,
        errors=(InvalidName, NotFound),
    ),
    Endpoint(
        method="PUT",
        path=PATH,
        summary="Write a service; `mesh_index` is given by the registry.",
        handler=put_service,
        body=Service,
        answer=ServiceFact,
        errors=(InvalidName, InvalidValue, LimitReached, StorageFull),
        conditional=True,
    ),
    Endpoint(
        method="DELETE",
        path=PATH,
        summary="Remove a service that has no instances; with `force`, also one that has.",
        handler=delete_service,
        answer=Written,
        errors=(InvalidName, NotFound, StillInUse, StorageFull),
        query=(Query("force", "Remove its instances as well.", "boolean"),),
        conditional=True,
    ),
    Endpoint(
        method="GET",
        path=f"{PATH}/leader",
        summary="Who leads a service of mode active-passive, with the fencing number of the term.",
        handler=leader,
        answer=LeaderView,
        errors=(InvalidName, NotFound),
    ),
    _command("scale", "Say how many instances shall run.", scale, Scale),
    _command("start", "Start a stopped service.", start),
    _command("stop", "Stop every instance and start none.", stop),
    _command("failover", "Send its requests to one of its groups for a while, or back.", failover, FailoverRequest),
    _command("restart", "Replace every running instance.", restart, RestartRequest),
    Endpoint(
        method="GET",
        path=f"{PATH}/history",
        summary="What happened to the instances of a service; with `at`, who could receive traffic then.",
        handler=history,
        answer=History | Receivers,  # type: ignore[arg-type]
        errors=(InvalidName, InvalidValue, NotFound),
        query=(
            Query("since", "From this time on (wall seconds, or ISO 8601)."),
            Query("until", "Before this time."),
            Query("at", "Answer who could receive traffic at this time."),
            Query("limit", f"The newest so many records, 1 to {HISTORY_LIMIT}.", "integer"),
        ),
    ),
)
