"""Operators' words on circuit breakers over HTTP: of a service, of one caller's calls to it, of a route."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import Conflict, InvalidName, InvalidValue, NotFound, StorageFull
from atoll.model import names
from atoll.model.answers import BreakerRequest, RouteView, ServiceFact
from atoll.model.breaker import WORD_CEILING, BreakerWord
from atoll.model.keys import route_key
from atoll.model.names import ServiceName
from atoll.model.service import Protocol, Service
from atoll.registry.catalog import unknown_service
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint
from atoll.server.exchange import reply, service_in, take


async def of_service(control: Control, request: Request) -> Response:
    """Say a word on a service's breaker; with `caller`, on that one's calls alone."""
    name = service_in(request)
    said = await take(control, request, BreakerRequest)
    word = _word(said, control.clock.wall())
    callee = control.registry.facts.snapshot.services.get(name)
    if callee is None:
        raise unknown_service(name)
    if callee.protocol is Protocol.TCP:
        raise InvalidValue(f"{name} speaks tcp: it has no circuit breaker", field="service")
    if said.caller is None:
        changed = control.catalog.change_service(name, lambda known: _worded(known, word))
    else:
        caller = names.service_name(said.caller, field="caller")
        changed = control.catalog.change_service(caller, lambda known: _call_worded(known, name, word))
    service, revision = await changed
    return reply(ServiceFact(service=service, revision=revision))


async def of_route(control: Control, request: Request) -> Response:
    """Say a word on the breaker of a route's requests."""
    name = names.route_name(request.path_params["route"])
    said = await take(control, request, BreakerRequest)
    if said.caller is not None:
        raise InvalidValue("a route is not called by a service", hint="leave it out", field="caller")
    word = _word(said, control.clock.wall())
    route, revision = await control.catalog.change_route(
        name, lambda known: msgspec.structs.replace(known, breaker_word=_kept(word, known.breaker_word))
    )
    modified = control.registry.facts.modified(route_key(name))
    return reply(RouteView(route=route, modified=modified), headers={"X-Atoll-Revision": str(revision)})


def _word(said: BreakerRequest, now: float) -> BreakerWord:
    if not said.reason.strip():
        raise InvalidValue("a word on a breaker needs a reason", hint="say why", field="reason")
    if not 1 <= said.seconds <= WORD_CEILING:
        raise InvalidValue(f"seconds {said.seconds:g} is not 1 to {WORD_CEILING:g}", field="seconds")
    if said.state is None:
        return BreakerWord(reason=said.reason, since=now, reset=now)
    return BreakerWord(state=said.state, until=now + said.seconds, reason=said.reason, since=now)


def _kept(word: BreakerWord, before: BreakerWord) -> BreakerWord:
    return msgspec.structs.replace(word, reset=max(word.reset, before.reset))


def _worded(service: Service, word: BreakerWord) -> Service:
    return msgspec.structs.replace(service, breaker_word=_kept(word, service.breaker_word))


def _call_worded(caller: Service, callee: ServiceName, word: BreakerWord) -> Service:
    call = caller.calls.get(callee)
    if call is None:
        raise InvalidValue(
            f"calls of {caller.name} to {callee} have no mesh port of their own, by which they are known",
            hint=f"say `calls: {{{callee}: {{}}}}` of {caller.name} in the project file",
            field="caller",
        )
    calls = caller.calls | {callee: msgspec.structs.replace(call, breaker_word=_kept(word, call.breaker_word))}
    return msgspec.structs.replace(caller, calls=calls)


WRITES = (InvalidName, InvalidValue, NotFound, Conflict, StorageFull)
ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/services/{service}/breaker",
        summary="Force a circuit breaker open or closed for a while, or reset it; of a service or of one caller of it.",
        handler=of_service,
        body=BreakerRequest,
        answer=ServiceFact,
        errors=WRITES,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/routes/{route}/breaker",
        summary="Force the circuit breaker of a route's requests open or closed for a while, or reset it.",
        handler=of_route,
        body=BreakerRequest,
        answer=RouteView,
        errors=WRITES,
    ),
)
