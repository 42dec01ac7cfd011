"""What a node tells its control plane about itself, every second or so. Kept in memory there, never a fact."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from atoll.model.breaker import BreakerState
from atoll.model.names import InstanceId, NodeName, ServiceName


class Phase(StrEnum):
    """Where a child is in its life."""

    WAITING = "waiting"
    """For its dependencies."""
    STARTING = "starting"
    """Runs, has not passed its check yet."""
    RUNNING = "running"
    BACKOFF = "backoff"
    """Ended unexpectedly, will be started again shortly."""
    CRASH_LOOP = "crash-loop"
    """Ended unexpectedly too often; retried at the longest back-off."""
    STOPPING = "stopping"
    """Draining, or got its stop signal."""
    EXITED = "exited"
    """Ended and stays so (stopped, completed, or its restart policy says no)."""


class ChildReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One instance that this node runs. CPU in percent of one core, memory in bytes, times in wall seconds."""

    service: ServiceName
    instance: InstanceId
    phase: Phase
    cause: str = ""
    pid: int | None = None
    port: int | None = None
    started: float = 0.0
    restarts: int = 0
    exit_code: int | None = None
    """Of the last end; negative: the signal's number."""
    last_lines: tuple[str, ...] = ()
    """The last lines of output before an unexpected end."""
    cpu: float = 0.0
    cpu_seconds: float = 0.0
    """Seconds of processor that its living processes have used since they began."""
    memory: int = 0
    descriptors: int = 0
    lines_cut: int = 0
    lines_dropped: int = 0


class ServerReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What HAProxy's own check says of an instance."""

    service: ServiceName
    instance: InstanceId
    up: bool
    port: int = 0
    """Where it was checked; 0: not told. An instance that has moved meanwhile is not meant."""
    cause: str = ""
    """Check status and detail, such as `L4CON: Connection refused`."""
    since: float = 0.0
    sessions: int = 0
    requests: int = 0
    failures: int = 0
    """Of the requests: answers of 500 and above, broken ones, and connections that failed."""
    share: int = 100
    """Percent of its weight that it gets: less for a while after its requests failed, 0 while it is held out."""
    ejected_until: float = 0.0
    """Wall seconds until which it is held out."""
    ejections: int = 0
    """Times in a row."""


class BreakerReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a circuit breaker of the gateway did; one that had nothing to count is not told. Wall seconds."""

    service: ServiceName
    """The callee."""
    caller: str = ""
    """Whose requests alone it counts: a service, or a route as `route:NAME`; empty: those of all others."""
    state: BreakerState = BreakerState.CLOSED
    forced: bool = False
    """By an operator's word."""
    since: float = 0.0
    """When the state was entered; 0: it was never another one."""
    until: float = 0.0
    """While open: when it is tried again, or the word ends."""
    due: float = 0.0
    """When it is or was to be tried again, whatever a word says."""
    opened_at: float = 0.0
    """Last; 0: never."""
    requests: int = 0
    """Of the current window; while open, of the one in which it opened."""
    failures: int = 0
    slow: int = 0
    opened: int = 0
    """Times."""
    rejected: int = 0
    """Requests that it kept away, all told."""
    reset: float = 0.0
    """When an operator last let it begin anew."""
    rule: str = ""
    """When it opens, in words."""


class BreakerChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A circuit breaker went into another state."""

    at: float
    """Wall seconds, whole ones as HAProxy counts."""
    service: ServiceName
    caller: str = ""
    """As in `BreakerReport`."""
    state: BreakerState
    """The new one."""
    reason: str = ""
    forced: bool = False
    """By an operator's word."""
    node: str = ""
    requests: int = 0
    """Of the window that it opened in."""
    failures: int = 0
    slow: int = 0
    opened: int = 0
    """Times, this one included."""
    rejected: int = 0


class LimitReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Requests under way where their number is limited; since the gateway's process began."""

    who: str
    """`orders`, `route:shop`, `web>orders`; of a queue the upstream: `orders`, `orders@v2`."""
    queue: bool = False
    """Counted is what a service's instances have and what waits for them."""
    under_way: int = 0
    refused: int = 0


class FailoverReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """To which of its groups a gateway sends a service's requests. Wall seconds."""

    service: ServiceName
    group: str
    at: int = 0
    """Which of them; 0: the one that is wanted."""
    since: float = 0.0
    """When it began; 0: it was always so."""
    cause: str = ""
    forced: bool = False
    """By an operator's word."""
    troubles: tuple[str, ...] = ()
    """Of each group, why it is not well; empty: it is."""


class GatewayReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The gateway as it runs on this node."""

    pid: int | None = None
    version: str = ""
    generation: int = 0
    revision: int = 0
    """The store revision that HAProxy runs (read back)."""
    address: str = ""
    """`host:port` of the gateway."""
    mesh: str = ""
    mesh_ports: int = 0
    reloads: int = 0
    last_reload: str = ""
    """The reason of the last reload."""
    old_workers: int = 0
    errors: int = 0
    last_error: str = ""
    last_hint: str = ""
    """What to do about it, when it is known."""
    restarts: int = 0
    """Times that HAProxy ended unasked."""
    reload_kinds: dict[str, int] = {}
    """Reloads by what made them necessary; see `gateway.reasons`."""
    healed: int = 0
    """Differences between what HAProxy ran and what it should, found by reading back."""
    refused: int = 0
    """Facts that the configuration leaves out."""
    panics: tuple[ServiceName, ...] = ()
    """Services of which requests fail on more than half of the instances though their checks pass: none is ejected."""
    last_good_age: float = 0.0
    """Seconds since HAProxy was last seen to run exactly what is wanted; about one when all is well."""


class ProcessReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one of atoll's own programs uses. `name`: node, or gateway (all processes of HAProxy together)."""

    name: str
    memory: int = 0
    """Resident bytes."""
    descriptors: int = 0
    cpu: float = 0.0
    """Seconds of processor time."""


class LoopReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How well an event loop runs; times in seconds."""

    lag: float = 0.0
    lag_most: float = 0.0
    blocked: int = 0
    """Times that it was blocked for longer than the limit."""
    blocked_seconds: float = 0.0
    tasks: int = 0
    warning: str = ""
    """Who blocked it, until it has been quiet for a while."""


class NodeReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node's whole report."""

    node: NodeName
    pid: int = 0
    version: str = ""
    started: float = 0.0
    children: tuple[ChildReport, ...] = ()
    gateway: GatewayReport = msgspec.field(default_factory=GatewayReport)
    servers: tuple[ServerReport, ...] = ()
    breakers: tuple[BreakerReport, ...] = ()
    changes: tuple[BreakerChange, ...] = ()
    """Of breakers, since the last report that was taken."""
    limits: tuple[LimitReport, ...] = ()
    failovers: tuple[FailoverReport, ...] = ()
    loop: LoopReport = msgspec.field(default_factory=LoopReport)
    processes: tuple[ProcessReport, ...] = ()
    facts_revision: int = 0
    """Of the facts that the node knows."""
    facts_age: float = 0.0
    """Seconds since it last heard the control plane say what is true."""
    control_plane_restarts: int = 0
    """Times that the control plane ended unasked."""
