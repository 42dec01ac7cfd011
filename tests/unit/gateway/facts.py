"""Facts and configs for the gateway's unit tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from atoll.gateway.config import GatewayConfig
from atoll.gateway.intent import Intent, Memo, intend
from atoll.model.names import InstanceId, RouteName, ServiceName
from atoll.model.route import Match, Route, Share
from atoll.model.service import Instance, Service
from atoll.model.snapshot import Snapshot
from atoll.settings import Gateway

SETTINGS = replace(Gateway(), http_slots=2, grpc_slots=1, mesh_count=8)


def service(name: str, **values: Any) -> Service:
    return Service(name=ServiceName(name), **values)


def instance(of: str, identity: str, port: int, **values: Any) -> Instance:
    return Instance(service=ServiceName(of), id=InstanceId(identity), **{"host": "127.0.0.1", "port": port, **values})


def route(name: str, *to: str, **match: Any) -> Route:
    return Route(
        name=RouteName(name), match=Match(**match), shares=tuple(Share(service=ServiceName(each)) for each in to)
    )


def snapshot(
    services: Iterable[Service], instances: Iterable[Instance] = (), routes: Iterable[Route] = (), revision: int = 1
) -> Snapshot:
    return Snapshot(
        revision=revision,
        services={each.name: each for each in services},
        instances={(each.service, each.id): each for each in instances},
        routes={each.name: each for each in routes},
    )


def intent(facts: Snapshot, previous: GatewayConfig | None = None, memo: Memo | None = None) -> Intent:
    return intend(facts, previous, SETTINGS, memo)


def config(facts: Snapshot, previous: GatewayConfig | None = None) -> GatewayConfig:
    return intent(facts, previous).config
