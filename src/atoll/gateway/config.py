"""The gateway's words: what HAProxy shall run, as values. Built by `intent`, written out by `render`, compared by `plan`.

Words of HAProxy (frontend, backend, server) are used here and nowhere above `gateway/`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import Balance, Check


class Kind(StrEnum):
    """Of a backend: what HAProxy cannot change while it runs and that slots therefore come in kinds of."""

    HTTP = "http"
    """HTTP proxying, checked by HTTP; the path comes from a map."""
    PLAIN = "plain"
    """HTTP proxying, checked by TCP connect, or not at all."""
    GRPC = "grpc"
    """HTTP/2 to the servers, checked by grpc.health.v1."""
    TCP = "tcp"
    """Bytes; its own listener."""


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What is written in a backend's section. A change of traits needs a reload; slots have the default ones."""

    kind: Kind = Kind.HTTP
    balance: Balance = msgspec.field(default_factory=Balance)
    sticky: bool = False
    grpc_service: str = ""
    """Named in the gRPC health check."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One server line, or one `add server`."""

    name: str
    """Unique in its backend, also among servers that are still being deleted: made of id and endpoint."""
    instance: InstanceId
    host: str
    port: int
    weight: int = 100
    h2: bool = False
    check: Check | None = None
    slow_start: float = 0.0
    drained: bool = False
    """Takes no new requests (draining or maint), finishes what it has."""


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """The instances of one upstream. `name` is its section in haproxy.cfg: its own, or a slot's."""

    name: str
    upstream: str
    """`orders`, `orders@v2` (one version), or `orders@-v2,v3` (all but these)."""
    service: ServiceName
    traits: Traits = msgspec.field(default_factory=Traits)
    servers: tuple[Server, ...] = ()


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything HAProxy runs. `generation` grows with every change; `revision` is the snapshot's it was made from."""

    generation: int
    revision: int
    backends: tuple[Backend, ...] = ()
    slots: tuple[tuple[Kind, str], ...] = ()
    """Spare backends: kind and name."""
    maps: dict[str, tuple[tuple[str, str], ...]] = {}
    """Map file name → its entries in order. Keys and values are free of white space."""
    header_sets: tuple[tuple[str, ...], ...] = ()
    """The combinations of header names that routes match on; each is a fixed rule in the file."""
    tcp_ports: tuple[tuple[int, str], ...] = ()
    """Listener port → backend name, for services of protocol tcp."""
