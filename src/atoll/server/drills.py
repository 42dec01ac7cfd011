"""Drills over HTTP: the word that one begins or has ended, for the history. Whoever may write may drill."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import InvalidName, InvalidValue, NotFound, StorageFull
from atoll.kit.text import scrub
from atoll.model.answers import DrillNote, Written
from atoll.model.names import instance_id
from atoll.registry.drills import note_drill
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint
from atoll.server.exchange import reply, service_in, take

WHAT_LIMIT = 200
"""Characters."""
INSTANCE_LIMIT = 1000
"""Instances of one note."""


async def note(control: Control, request: Request) -> Response:
    """Write down what a drill does."""
    service = service_in(request)
    said = await take(control, request, DrillNote)
    if not said.what.strip() or len(said.what) > WHAT_LIMIT:
        raise InvalidValue(f"`what` has 1 to {WHAT_LIMIT} characters", hint="say what the drill does", field="what")
    if len(said.instances) > INSTANCE_LIMIT:
        raise InvalidValue(f"a note names {INSTANCE_LIMIT} instances at most", field="instances")
    instances = tuple(instance_id(one) for one in said.instances)
    return reply(Written(revision=await note_drill(control.registry, service, instances, scrub(said.what))))


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/services/{service}/drill",
        summary="Write into the history that instances (all, when none is named) are part of a drill.",
        handler=note,
        body=DrillNote,
        answer=Written,
        errors=(InvalidName, InvalidValue, NotFound, StorageFull),
    ),
)
