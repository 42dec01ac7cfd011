"""Instances over HTTP: register and renew (the same PUT), deregister, the operator's word, list."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import (
    AddressForbidden,
    Conflict,
    EndpointInUse,
    InvalidName,
    InvalidValue,
    LeaseConflict,
    LeaseExpired,
    LimitReached,
    NotFound,
    StorageFull,
)
from atoll.kit.text import scrub
from atoll.model.answers import Instances, Registered, StateChange, Written, shown
from atoll.model.keys import instance_key
from atoll.model.registration import Registration
from atoll.model.service import State
from atoll.registry.catalog import unknown_service
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint, Query
from atoll.server.exchange import if_match, instance_in, reply, service_in, take
from atoll.server.services import instances_of


async def put_instance(control: Control, request: Request) -> Response:
    """Register or renew."""
    service, instance = service_in(request), instance_in(request)
    said = await take(control, request, Registration)
    registered, created = await control.registry.register(service, instance, said, modified=if_match(request))
    return reply(
        msgspec.structs.replace(registered, instance=shown(registered.instance)), status=201 if created else 200
    )


async def delete_instance(control: Control, request: Request) -> Response:
    """Deregister."""
    revision = await control.registry.deregister(
        service_in(request),
        instance_in(request),
        lease=request.query_params.get("lease", ""),
        modified=if_match(request),
    )
    return reply(Written(revision=revision))


async def put_state(control: Control, request: Request) -> Response:
    """Drain, put into maintenance, or take that back."""
    service, instance = service_in(request), instance_in(request)
    said = await take(control, request, StateChange)
    changed, revision = await control.registry.set_state(
        service, instance, said.state, cause=said.cause, modified=if_match(request)
    )
    return reply(Instances(revision=revision, instances=(shown(changed),)))


async def list_instances(control: Control, request: Request) -> Response:
    """The instances of a service, all or those in one state."""
    service, facts = service_in(request), control.registry.facts
    said = request.query_params.get("state")
    if said is not None and said not in State.__members__.values():
        raise InvalidValue(
            f"state {scrub(said, limit=40)!r} is none of {', '.join(State)}", hint="leave it out for all", field="state"
        )
    if not facts.knows(service):
        raise unknown_service(service)
    found = tuple(one for one in instances_of(control, service) if said is None or one.state == said)
    return reply(Instances(revision=facts.revision, instances=found))


async def get_instance(control: Control, request: Request) -> Response:
    """One instance, with an ETag to be sent back in If-Match."""
    service, instance = service_in(request), instance_in(request)
    found = control.registry.require((service, instance))
    facts = control.registry.facts
    etag = f'"{facts.modified(instance_key(service, instance))}"'
    return reply(Instances(revision=facts.revision, instances=(shown(found),)), headers={"ETag": etag})


PATH = "/api/v1/services/{service}/instances"

ENDPOINTS = (
    Endpoint(
        method="PUT",
        path=PATH + "/{instance}",
        summary="Register an instance, or renew it: send the same body again every `renew_after` seconds.",
        handler=put_instance,
        body=Registration,
        answer=Registered,
        status=201,
        also=(200,),
        errors=(
            InvalidName,
            InvalidValue,
            AddressForbidden,
            EndpointInUse,
            LeaseConflict,
            LeaseExpired,
            LimitReached,
            StorageFull,
        ),
        conditional=True,
    ),
    Endpoint(
        method="DELETE",
        path=PATH + "/{instance}",
        summary="Deregister an instance; with `lease`, only if that one counts.",
        handler=delete_instance,
        answer=Written,
        errors=(InvalidName, NotFound, LeaseConflict, StorageFull),
        query=(Query("lease", "The lease got at registration."),),
        conditional=True,
    ),
    Endpoint(
        method="PUT",
        path=PATH + "/{instance}/state",
        summary="The operator's word: draining, maint, or passing (which takes it back).",
        handler=put_state,
        body=StateChange,
        answer=Instances,
        errors=(InvalidName, InvalidValue, NotFound, Conflict, StorageFull),
        conditional=True,
    ),
    Endpoint(
        method="GET",
        path=PATH,
        summary="The instances of a service, all or those in one state.",
        handler=list_instances,
        answer=Instances,
        errors=(InvalidName, InvalidValue, NotFound),
        query=(Query("state", f"One of {', '.join(State)}."),),
    ),
    Endpoint(
        method="GET",
        path=PATH + "/{instance}",
        summary="One instance.",
        handler=get_instance,
        answer=Instances,
        errors=(InvalidName, NotFound),
    ),
)
