"""Injected faults over HTTP: list, add, clear. Nothing else can make one: they stand in no project file."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import Conflict, InvalidName, InvalidValue, LimitReached, NotFound, StorageFull
from atoll.model.answers import FaultFact, FaultRequest, Faults, Written
from atoll.model.fault import Fault, FaultName, default_name, fault_name
from atoll.model.names import HeaderName, HeaderValue, RouteName, ServiceName
from atoll.registry.faults import clear_faults, put_fault
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint
from atoll.server.exchange import reply, take

PATH = "/api/v1/faults"


async def list_faults(control: Control, _: Request) -> Response:
    """Every fault that is not over."""
    facts, wall = control.registry.facts, control.clock.wall()
    found = tuple(fault for _, fault in sorted(facts.snapshot.faults.items()) if fault.holds(wall))
    return reply(Faults(revision=facts.revision, faults=found))


async def add_fault(control: Control, request: Request) -> Response:
    """Let something go wrong for a while."""
    said = await take(control, request, FaultRequest)
    fault, revision = await put_fault(control.registry, _fault(said, control.clock.wall()))
    return reply(FaultFact(fault=fault, revision=revision), status=201)


async def clear_fault(control: Control, request: Request) -> Response:
    """Take one fault back."""
    name = fault_name(request.path_params["fault"])
    return reply(Written(revision=await clear_faults(control.registry, (name,))))


async def clear_every_fault(control: Control, _: Request) -> Response:
    """Take all faults back."""
    return reply(Written(revision=await clear_faults(control.registry)))


def _fault(said: FaultRequest, wall: float) -> Fault:
    fault = Fault(
        name=FaultName(said.name),
        route=None if said.route is None else RouteName(said.route),
        service=None if said.service is None else ServiceName(said.service),
        caller=None if said.caller is None else ServiceName(said.caller),
        percent=said.percent,
        header=None if said.header is None else HeaderName(said.header),
        value=None if said.value is None else HeaderValue(said.value),
        delay=said.delay,
        jitter=said.jitter,
        abort=said.abort,
        drop=said.drop,
        until=wall + said.seconds,
        since=wall,
        reason=said.reason,
    )
    return fault if said.name else msgspec.structs.replace(fault, name=default_name(fault))


ENDPOINTS = (
    Endpoint(method="GET", path=PATH, summary="Every injected fault.", handler=list_faults, answer=Faults),
    Endpoint(
        method="POST",
        path=PATH,
        summary="Inject a fault for a while; one of the same name and place is replaced.",
        handler=add_fault,
        body=FaultRequest,
        answer=FaultFact,
        status=201,
        errors=(InvalidName, InvalidValue, NotFound, Conflict, LimitReached, StorageFull),
    ),
    Endpoint(
        method="DELETE",
        path=PATH,
        summary="Take every injected fault back.",
        handler=clear_every_fault,
        answer=Written,
        errors=(StorageFull,),
    ),
    Endpoint(
        method="DELETE",
        path=f"{PATH}/{{fault}}",
        summary="Take one injected fault back.",
        handler=clear_fault,
        answer=Written,
        errors=(InvalidName, NotFound, StorageFull),
    ),
)
