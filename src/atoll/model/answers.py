"""What the control API answers: one struct a noun, used by the server, the SDK and the OpenAPI document alike.

Times are wall seconds since 1970 unless said otherwise; `modified` is the revision a fact last changed at, to be sent
back in `If-Match`; `revision` is the store revision that an answer was true at.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from atoll.model.breaker import BreakerState
from atoll.model.fault import Fault
from atoll.model.names import ServiceName
from atoll.model.project import Step
from atoll.model.report import BreakerChange, NodeReport
from atoll.model.route import Route
from atoll.model.service import Instance, Service, State


class Fact(msgspec.Struct, frozen=True):
    """One fact as stored. `value` is null when the stored bytes are not JSON (the record is quarantined)."""

    key: str
    value: msgspec.Raw
    modified: int


class FactPage(msgspec.Struct, frozen=True):
    """Facts at one revision, ordered by key. With `more`, ask again with `after` = the last key and this `revision`."""

    revision: int
    facts: tuple[Fact, ...] = ()
    more: bool = False


class BreakerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's word on a circuit breaker: `open` or `closed` for `seconds`, or neither and it begins anew."""

    reason: str
    state: BreakerState | None = None
    seconds: float = 300.0
    caller: ServiceName | None = None
    """Of a service: only for the calls of this one."""


class FaultRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault to inject for `seconds`; the fields are those of `Fault`. Without a name it is called by place and effect."""

    reason: str
    seconds: float = 300.0
    name: str = ""
    route: str | None = None
    service: str | None = None
    caller: str | None = None
    percent: float = 100.0
    header: str | None = None
    value: str | None = None
    delay: float = 0.0
    jitter: float = 0.0
    abort: int | None = None
    drop: bool = False


class FaultFact(msgspec.Struct, frozen=True, kw_only=True):
    """A fault as written."""

    fault: Fault
    revision: int


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """The injected faults that are not over, by name."""

    revision: int
    faults: tuple[Fault, ...] = ()


class FailoverRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operator's word on a service's failover: `to` one of its groups for `seconds`, or back to the first one."""

    reason: str
    to: str | None = None
    """As in the project file: `orders-lite`, `orders@zone:b`, `orders@v2`."""
    seconds: float = 600.0


class FactEventKind(StrEnum):
    """What happened to a key."""

    PUT = "put"
    DELETE = "delete"


class FactEvent(msgspec.Struct, frozen=True):
    """One key's change; `value` is null for a delete (and for a quarantined record)."""

    kind: FactEventKind
    key: str
    value: msgspec.Raw


class FactChange(msgspec.Struct, frozen=True):
    """Everything one commit (or, from a long poll, several) did; without events: nothing was missed up to `revision`."""

    revision: int
    events: tuple[FactEvent, ...] = ()


class InstanceView(Instance, frozen=True, kw_only=True, omit_defaults=False):
    """An instance as the API shows it: every field is there, also one with its default value."""


def shown(instance: Instance) -> Instance:
    """`instance`, so that its JSON leaves nothing out."""
    return InstanceView(**msgspec.structs.asdict(instance))


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A registration or renewal that was taken. Renew every `renew_after` seconds, showing `lease`."""

    instance: Instance
    lease: str
    ttl: float
    renew_after: float
    revision: int


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A write that is on disk."""

    revision: int


class StateChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The operator's word on an instance: draining, maint, or passing (which takes the word back)."""

    state: State
    cause: str = ""


class MaintenanceRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take a service (`orders`), an instance (`orders/orders-2`), a zone (`zone:b`) or a machine (`node:m1`) out of the traffic."""

    target: str
    reason: str
    seconds: float | None = None
    """How long; None: until it is taken back."""


class MaintenanceEnd(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take a word of maintenance back."""

    target: str


class MaintenanceView(msgspec.Struct, frozen=True, kw_only=True):
    """A word of maintenance, and the instances it keeps out now, as `service/instance`."""

    target: str
    reason: str
    since: float
    until: float
    """0: when somebody takes it back."""
    instances: tuple[str, ...] = ()


class Maintenances(msgspec.Struct, frozen=True, kw_only=True):
    """Every word of maintenance in force, by target."""

    revision: int
    words: tuple[MaintenanceView, ...] = ()


class LeaderView(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads an active-passive service; `instance` is null while nobody is fit."""

    service: ServiceName
    instance: str | None
    fencing: int
    """Greater with every term; a store that remembers the greatest it has seen can refuse a leader of before."""
    since: float
    cause: str
    revision: int


class Instances(msgspec.Struct, frozen=True, kw_only=True):
    """The instances of a service, by id."""

    revision: int
    instances: tuple[Instance, ...] = ()


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    """A service and what is known of it. `hold` says why its leases do not expire at the moment; empty: they do."""

    service: Service
    modified: int
    instances: tuple[Instance, ...] = ()
    hold: str = ""


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Every service, by name."""

    revision: int
    services: tuple[ServiceView, ...] = ()


class ServiceFact(msgspec.Struct, frozen=True, kw_only=True):
    """A service as written."""

    service: Service
    revision: int


class Scale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many instances shall run."""

    replicas: int


class RestartRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replace every running instance; `rolling`: one by one, new before old."""

    rolling: bool = False


class DrillNote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a drill does to instances of a service; none named: to all."""

    what: str
    instances: tuple[str, ...] = ()


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    """A route and when it last changed."""

    route: Route
    modified: int


class Routes(msgspec.Struct, frozen=True, kw_only=True):
    """Every route, by name."""

    revision: int
    routes: tuple[RouteView, ...] = ()


class Verb(StrEnum):
    """What happened to an instance, or to its service."""

    DEFINED = "defined"
    """What is said of the service, or of a route to it, changed."""
    REGISTERED = "registered"
    RENEWED = "renewed"
    """Renewed after its lease had lapsed."""
    CHANGED = "changed"
    """Re-registered with other content: weight, version, metadata, …"""
    REPLACED = "replaced"
    """A newer registration took over its id, or its endpoint."""
    PASSING = "passing"
    SUSPECT = "suspect"
    FAILING = "failing"
    DRAINING = "draining"
    MAINT = "maint"
    BREAKER = "breaker"
    """A circuit breaker changed, or an operator said something of it."""
    LEADING = "leading"
    """It leads its active-passive service from now on."""
    FAILOVER = "failover"
    """A gateway sends the service's requests to another of its groups; the cause says which and why."""
    EXPIRED = "expired"
    DEREGISTERED = "deregistered"
    DRILL = "drill"
    """Broken on purpose, or that drill has ended; the cause says how."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the registry's history: what happened to an instance at `at`, and how it stood afterwards.

    Of what happened to the service as a whole, `instance` and `endpoint` are empty.
    """

    at: float
    verb: Verb
    service: ServiceName
    instance: str = ""
    endpoint: str = ""
    """host:port."""
    state: State = State.PASSING
    cause: str = ""
    version: str | None = None
    weight: int = 100
    gone: bool = False
    """It is not registered any more."""
    skewed: bool = False
    """The wall clock had gone back; `at` continues the earlier order instead of telling the clock's time."""
    breaker: BreakerChange | None = None
    """Of a circuit breaker."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Records in order of time. With `more`, older ones follow before the first (ask with `until` = its `at`)."""

    service: ServiceName
    records: tuple[Record, ...] = ()
    more: bool = False


class Receivers(msgspec.Struct, frozen=True, kw_only=True):
    """Who could receive traffic at `at`: the newest record, at that time, of each such instance."""

    service: ServiceName
    at: float
    receivers: tuple[Record, ...] = ()


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """A node's last report, and its age in seconds."""

    report: NodeReport
    age: float


class Nodes(msgspec.Struct, frozen=True, kw_only=True):
    """Every node that reported lately."""

    nodes: tuple[NodeView, ...] = ()


class HoldView(msgspec.Struct, frozen=True, kw_only=True):
    """Expiry suspended because too many leases lapsed at once. `service` is empty for the global hold."""

    service: str
    seconds: float
    """How long it has lasted."""
    ends_in: float
    """Seconds after which it ends by itself, at the latest."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The control plane about itself. `health` is `ok` or `degraded`, with the reasons in `warnings`."""

    version: str
    pid: int
    node: str
    uptime: float
    revision: int
    health: str
    warnings: tuple[str, ...] = ()
    services: int = 0
    instances: dict[str, int] = {}
    """How many per state."""
    routes: int = 0
    nodes: int = 0
    watchers: int = 0
    """Watches open now."""
    resyncs: int = 0
    """Watchers that fell behind and were told to start over."""
    watchers_cut: int = 0
    """Watchers that did not read and were cut."""
    requests: int = 0
    refusals: dict[str, int] = {}
    """Refused requests by error code."""
    loop_lag: float = 0.0
    """Seconds the event loop was late, last seen."""
    loop_lag_most: float = 0.0
    stalled: float = 0.0
    """Seconds, in all, in which this process could not listen (credited to every lease)."""
    holds: tuple[HoldView, ...] = ()
    blocked: int = 0
    """Times that the event loop was blocked for longer than the watchdog's limit."""
    blocked_seconds: float = 0.0
    refusals_lately: dict[str, int] = {}
    """Refused requests by error code in the last one to two minutes."""
    commits_waiting: int = 0
    """Writes that wait for the disk."""
    watch_backlog: int = 0
    """Changes that the slowest watcher has not taken yet."""
    expired: int = 0
    """Instances removed by time since the start."""
    quarantined: dict[str, str] = {}
    """Records that cannot be read, with the reason."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What applying a project did, and the revision it is in force from."""

    revision: int
    steps: tuple[Step, ...] = ()


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of /livez and /readyz."""

    status: str = "ok"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457: what went wrong. `code` is stable; further members depend on it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    origin: str
    """client, gateway, network, breaker, timeout, limit or service."""
    retryable: bool
    """Whether the same request may go better later."""
    hint: str = ""
