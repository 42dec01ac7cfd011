"""`GET /sd/prometheus`: what a Prometheus of yours can scrape, as its HTTP service discovery takes it.

The instances of every service that is known to expose metrics, and the control plane itself. Who exposes metrics is
known to telemetry, which scrapes; while it is away the last word counts. Always 200 with the whole list: Prometheus takes
what is missing for gone.
"""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import InvalidValue
from atoll.model.address import Endpoint as Address
from atoll.model.service import ROUTABLE, Instance, Protocol
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint, Query
from atoll.server.exchange import flag
from atoll.server.unix_http import Broken, asking

EXPOSING = "/prometheus/api/v1/query?query=group+by+(service)+(last_over_time(up%5B10m%5D))"
"""Whom telemetry scraped lately."""
SECONDS = 2.0
ANSWER_BYTES = 4 << 20


class Target(msgspec.Struct, frozen=True):
    """One group of Prometheus' list."""

    targets: tuple[str, ...]
    labels: dict[str, str]


class _Series(msgspec.Struct):
    metric: dict[str, str]


class _Result(msgspec.Struct):
    result: list[_Series]


class _Answer(msgspec.Struct):
    data: _Result


async def list_targets(control: Control, request: Request) -> Response:
    """The whole list."""
    if flag(request, "all"):
        chosen = None
    else:
        found = await _exposing(control)
        if found is not None:
            control.exposing = found
        chosen = control.exposing
    services = control.registry.facts.snapshot.services
    targets = [_own(control, request)]
    for name in sorted(services):
        if chosen is None or name in chosen:
            targets += [
                _target(one)
                for one in control.registry.facts.of(name)
                if one.state in ROUTABLE and one.protocol is not Protocol.TCP
            ]
    return Response(msgspec.json.encode(targets), media_type="application/json")


def _own(control: Control, request: Request) -> Target:
    """This control plane, at the name under which it was asked."""
    api = control.settings.api
    port = request.scope.get("server") or (None, None)
    host = request.headers["host"] if port[1] else f"{api.host}:{api.port}"
    return Target((host,), {"job": "atoll", "__meta_atoll_kind": "platform", "__metrics_path__": "/metrics"})


def _target(instance: Instance) -> Target:
    labels = {
        "job": instance.service,
        "service": instance.service,
        "instance": instance.id,
        "__meta_atoll_kind": "service",
        "__meta_atoll_service": instance.service,
        "__meta_atoll_instance": instance.id,
        "__meta_atoll_version": instance.version or "",
        "__meta_atoll_zone": instance.zone or "",
        "__meta_atoll_node": instance.node or "",
        "__meta_atoll_state": str(instance.state),
    }
    return Target((str(Address(instance.host, instance.port)),), labels)


async def _exposing(control: Control) -> frozenset[str] | None:
    """The services of which telemetry has metrics; None when it cannot be asked."""
    if not control.settings.telemetry.enabled:
        return None
    try:
        async with asyncio.timeout(SECONDS):
            content = bytearray()
            path = control.settings.telemetry_socket
            async with asking(path, "GET", EXPOSING, {}, b"", seconds=SECONDS) as answer:
                async for piece in answer.pieces(SECONDS):
                    content += piece
                    if len(content) > ANSWER_BYTES:
                        return None
            if answer.status != 200:
                return None
            said = msgspec.json.decode(bytes(content), type=_Answer)
            return frozenset(one.metric.get("service", "") for one in said.data.result)
    except (TimeoutError, Broken, OSError, msgspec.DecodeError):
        return None


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/sd/prometheus",
        summary="What Prometheus can scrape, for its `http_sd_configs`: services with metrics, and the control plane.",
        handler=list_targets,
        errors=(InvalidValue,),
        query=(Query("all", "`true`: the instances of every service, with or without metrics.", "boolean"),),
    ),
)
