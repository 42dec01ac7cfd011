"""The gateway's words: what HAProxy shall run, as values. Built by `intent`, written out by `render`, compared by `plan`.

Words of HAProxy (frontend, backend, server) are used here and nowhere above `gateway/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from atoll.model.bulkhead import Queue
from atoll.model.cadence import cadence
from atoll.model.failover import FailoverWord
from atoll.model.names import InstanceId, ServiceName
from atoll.model.page import Page
from atoll.model.service import Balance, Check

Entries = tuple[tuple[str, str], ...]
"""A map file's lines: key and value, both free of white space."""

ROUTES, SERVICES, CHECKS, BREAKERS, POLICIES = "routes", "services", "checks", "breakers", "policies"
FAULTS = "faults"
"""The maps: what a route compiles to; mesh names and ports to backends; what a backend's health check asks for; the numbers
of each circuit breaker; what else counts for a route, a call or a service; injected faults."""

LEADERS, CLOSED, FAILOVERS = "leaders", "closed", "failovers"
"""More maps: the server that leads an active-passive service, with its fencing number; services in maintenance; the groups
of a service in the order in which they are to be asked."""
FALLBACKS = "fallbacks"
"""And what is answered in place of services that failed."""
EMPTIED = "emptied"
"""And what the answer for a section says of which no server takes requests."""
MAPS = (BREAKERS, CHECKS, CLOSED, EMPTIED, FAILOVERS, FALLBACKS, FAULTS, LEADERS, POLICIES, ROUTES, SERVICES)

NOBODY = "edge:nobody"
"""The section for requests whose service does not exist: it has no servers and answers 503."""

MAINTENANCE = "edge:maintenance"
"""The section for requests to a service in maintenance; it has no servers and says so."""


DOOR, GRPC_DOOR = "edge:fallback", "edge:fallback-grpc"
"""The sections before every service of whom a fallback is said, and before those of gRPC (see `door`)."""


@dataclass(frozen=True)
class Files:
    """Where HAProxy's files stand under `root`, which is also its working directory (map names are relative to it)."""

    root: Path

    @property
    def config(self) -> Path:
        """The rendered configuration."""
        return self.root / "haproxy.cfg"

    @property
    def state(self) -> Path:
        """Server states, dumped just before a reload."""
        return self.root / "servers.state"

    @property
    def runtime(self) -> Path:
        """The worker's runtime socket."""
        return self.root / "runtime.sock"

    @property
    def master(self) -> Path:
        """The master's socket (`haproxy -W -S`)."""
        return self.root / "master.sock"

    @property
    def pid(self) -> Path:
        """Which master runs: pid, start time and boot (`process.recorded`)."""
        return self.root / "master.pid"

    @property
    def peer(self) -> Path:
        """Where an old worker hands its stick tables to the new one."""
        return self.root / "peer.sock"

    @property
    def attempt(self) -> Path:
        """Where requests of whom a fallback is said are sent first."""
        return self.root / "attempt.sock"

    @property
    def instead(self) -> Path:
        """Where they are sent when that failed."""
        return self.root / "instead.sock"

    def map(self, name: str) -> Path:
        """The file of one map."""
        return self.root / map_path(name)


def map_path(name: str) -> str:
    """A map's file as the configuration and the runtime socket name it: relative to `Files.root`."""
    return f"{name}.map"


class Kind(StrEnum):
    """Of a backend: what HAProxy cannot change while it runs and that slots therefore come in kinds of."""

    HTTP = "http"
    """HTTP proxying, checked by HTTP; the path comes from a map."""
    PLAIN = "plain"
    """HTTP proxying, checked by TCP connect, or not at all."""
    GRPC = "grpc"
    """HTTP/2 to the servers, checked by grpc.health.v1; the service asked for comes from a map."""
    CALLS = "calls"
    """HTTP/2 to servers that speak gRPC, checked by TCP connect, or not at all."""
    TCP = "tcp"
    """Bytes; its own listener. A listener needs a reload anyway, so there are no slots of this kind."""


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What is written in a backend's section. A change of traits needs a reload; slots have the default ones."""

    kind: Kind = Kind.HTTP
    balance: Balance = msgspec.field(default_factory=Balance)
    sticky: bool = False
    check_timeout: float = cadence(Check()).patience
    """Seconds a health check may take once connected."""
    queue_timeout: float = Queue().timeout
    """Seconds a request waits for a server to have room."""
    led: bool = False
    """Active-passive: one server leads and gets everything, with its fencing number; the others stand by."""
    retries: int = 3
    """Times a request is sent again at most."""
    retry_on: tuple[str, ...] = ("conn-failure", "empty-response", "junk-response", "0rtt-rejected")
    """HAProxy's words for after what."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One server line, or one `add server`. Only weight and `drained` change while it exists: all else is in its name."""

    name: str
    """Unique in its backend, also among servers that are still being deleted: the id and a digest of the rest."""
    instance: InstanceId
    host: str
    port: int
    weight: int = 100
    h2: bool = False
    room: int = 0
    """Requests at once; further ones wait. 0: no limit."""
    check: Check | None = None
    """None: HAProxy asks nothing and believes it up."""
    slow_start: float = 0.0
    eject: bool = False
    """Five failed requests in a row take it out until its check passes. Only with a check, and with another server."""
    drained: bool = False
    """Takes no new requests (draining or maint), finishes what it has."""
    standby: bool = False
    """Another one leads: it is checked and gets no requests."""

    @property
    def effective_weight(self) -> int:
        """The weight as HAProxy gets it: 0 is its word for drained."""
        return 0 if self.drained or self.standby else self.weight


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """The instances of one upstream. `name` is its section in haproxy.cfg: its own, or a slot's."""

    name: str
    upstream: str
    """`orders`, `orders@v2` (one version), or `orders@-v2,v3` (all but these)."""
    service: ServiceName
    traits: Traits = msgspec.field(default_factory=Traits)
    servers: tuple[Server, ...] = ()


class FailoverGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One of the groups that a service's requests may go to."""

    name: str
    """As `model.failover.Group` is written."""
    section: str
    service: ServiceName


class Failovers(msgspec.Struct, frozen=True, kw_only=True):
    """What `failover` needs to know of a service with groups."""

    service: ServiceName
    groups: tuple[FailoverGroup, ...]
    error_rate: int | None = None
    return_after: float = 30.0
    word: FailoverWord = msgspec.field(default_factory=FailoverWord)


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything HAProxy runs. `generation` grows with every change; `revision` is the snapshot's it was made from."""

    generation: int = 0
    revision: int = 0
    backends: tuple[Backend, ...] = ()
    idle: tuple[Backend, ...] = ()
    """Sections whose upstream is gone, without servers; they stay until the next reload, for the upstream's return."""
    slots: tuple[tuple[Kind, str], ...] = ()
    """Spare backends: kind and name."""
    maps: dict[str, Entries] = {}
    header_sets: tuple[tuple[str, ...], ...] = ()
    """The combinations of header names that routes match on; each is a fixed rule in the file."""
    pages: tuple[Page, ...] = ()
    """Fixed answers; each is a rule in the file."""
    copies: bool = False
    """Whether last good answers are kept; their memory is taken when HAProxy starts."""
    failovers: tuple[Failovers, ...] = ()
    fails_over: bool = False
    """The rules that ask for groups are in the file."""
    tcp_ports: tuple[tuple[int, str], ...] = ()
    """Listener port → backend name, for services of protocol tcp."""
