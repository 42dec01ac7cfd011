"""Maintenance over HTTP: take a service, an instance, a zone or a machine out of the traffic, and back; see what is out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import Conflict, InvalidName, InvalidValue, LimitReached, NotFound, StorageFull
from atoll.model.answers import MaintenanceEnd, MaintenanceRequest, Maintenances, MaintenanceView, Written
from atoll.model.breaker import WORD_CEILING
from atoll.model.maintenance import Maintenance, parse_target
from atoll.registry import maintenance
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint
from atoll.server.exchange import reply, take


async def begin(control: Control, request: Request) -> Response:
    """Say a word, or another reason and end for one that holds."""
    said = await take(control, request, MaintenanceRequest)
    now = control.clock.wall()
    if said.seconds is not None and not 1 <= said.seconds <= WORD_CEILING:
        raise InvalidValue(f"seconds {said.seconds:g} is not 1 to {WORD_CEILING:g}", field="seconds")
    until = 0.0 if said.seconds is None else now + said.seconds
    word = Maintenance(target=said.target, reason=said.reason, since=now, until=until)
    _, revision = await maintenance.begin(control.registry, word)
    return reply(Written(revision=revision))


async def end(control: Control, request: Request) -> Response:
    """Take a word back."""
    said = await take(control, request, MaintenanceEnd)
    return reply(Written(revision=await maintenance.end(control.registry, parse_target(said.target))))


async def every(control: Control, _: Request) -> Response:
    """All words."""
    snapshot, wall = control.registry.facts.snapshot, control.clock.wall()
    out: dict[str, list[str]] = {}
    for instance in snapshot.instances.values():
        if instance.maintenance:
            out.setdefault(instance.maintenance, []).append(f"{instance.service}/{instance.id}")
    words = tuple(
        MaintenanceView(
            target=word.target,
            reason=word.reason,
            since=word.since,
            until=word.until,
            instances=tuple(sorted(out.get(word.target, ()))),
        )
        for word in sorted(snapshot.maintenance.values(), key=lambda each: each.target)
        if word.holds(wall)
    )
    return reply(Maintenances(revision=control.registry.facts.revision, words=words))


PATH = "/api/v1/maintenance"

ENDPOINTS = (
    Endpoint(
        method="GET",
        path=PATH,
        summary="What an operator took out of the traffic: services, instances, zones, machines.",
        handler=every,
        answer=Maintenances,
    ),
    Endpoint(
        method="POST",
        path=PATH,
        summary="Take a service, an instance, a zone or a machine out of the traffic, for a while or until it is ended.",
        handler=begin,
        body=MaintenanceRequest,
        answer=Written,
        errors=(InvalidName, InvalidValue, NotFound, LimitReached, Conflict, StorageFull),
    ),
    Endpoint(
        method="POST",
        path=f"{PATH}/end",
        summary="Give a service, an instance, a zone or a machine its traffic back.",
        handler=end,
        body=MaintenanceEnd,
        answer=Written,
        errors=(InvalidName, NotFound, Conflict, StorageFull),
    ),
)
