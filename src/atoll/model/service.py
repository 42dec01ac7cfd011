"""A service: what it speaks, how it is checked and balanced, and, when atoll runs it, how."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from atoll.model.breaker import BreakerWord
from atoll.model.bulkhead import Queue
from atoll.model.failover import Failover, FailoverWord
from atoll.model.names import InstanceId, NodeName, ServiceName, Token
from atoll.model.policy import Call, Policy


class Protocol(StrEnum):
    """What the instances of a service speak."""

    HTTP = "http"
    H2C = "h2c"
    GRPC = "grpc"
    TCP = "tcp"


class CheckKind(StrEnum):
    """How health is asked for; `process` and `none` ask nothing over the network."""

    HTTP = "http"
    TCP = "tcp"
    GRPC = "grpc"
    PROCESS = "process"
    NONE = "none"


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An active health check. Durations in seconds; `fall` failures in a row take out, `rise` successes bring back."""

    kind: CheckKind = CheckKind.TCP
    path: str = "/"
    """Path asked by an http check; 2xx and 3xx pass."""
    grpc_service: str = ""
    """Service named in grpc.health.v1.Health/Check; empty asks for the whole server."""
    interval: float = 1.0
    timeout: float | None = None
    """None: as long as fits into `fall` intervals, at most a second (`model.cadence`)."""
    fall: int = 3
    rise: int = 1
    start_period: float = 60.0
    """How long a starting instance may fail before its start counts as failed."""


class BalanceKind(StrEnum):
    """How an instance is chosen."""

    LEAST_CONNECTIONS = "least_connections"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    HASH = "hash"


class Balance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The balancing algorithm; `hash_on` (only with `hash`) is `client_ip`, `path` or `header:NAME`."""

    kind: BalanceKind = BalanceKind.LEAST_CONNECTIONS
    hash_on: str = "client_ip"


class Condition(StrEnum):
    """What a dependency must have reached before its dependant starts."""

    STARTED = "started"
    HEALTHY = "healthy"
    COMPLETED = "completed"


class Restart(StrEnum):
    """When a child that ended is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NO = "no"


class Otel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether and how the instances are instrumented from outside."""

    enabled: bool = True
    disabled: tuple[str, ...] = ()
    """Python libraries to leave alone, by the words of OTEL_PYTHON_DISABLED_INSTRUMENTATIONS."""
    java_agent: str = ""
    """Absolute path of an OpenTelemetry agent jar."""


class Scrape(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the instances tell their metrics, in Prometheus' format. Durations in seconds."""

    enabled: bool = True
    path: str = "/metrics"
    port: int | None = None
    """None: where the service listens."""
    interval: float = 15.0
    timeout: float = 10.0
    """Never more than the interval."""


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a node runs the instances of a service. Durations in seconds."""

    command: tuple[str, ...]
    """Program and arguments; `$NAME` and `${NAME}` in an argument are filled from the child's environment,
    `$$` is one `$`. No shell."""
    working_dir: str = "."
    """Absolute, or relative to `root`."""
    root: str = "/"
    """Absolute folder of the project file."""
    environment: dict[str, str] = {}
    port: int | None = 0
    """0: a free port is chosen; a number: that port (then at most one instance); None: the service listens nowhere."""
    replicas: int = 1
    """How many instances are wanted now: the project's number, or what an operator scaled to since."""
    declared_replicas: int | None = None
    """The project file's own number at its last apply (written by `project.plan`); None: no file said one. As long as
    the file repeats it, an apply leaves `replicas` alone."""
    version: Token | None = None
    depends_on: dict[ServiceName, Condition] = {}
    restart: Restart = Restart.ALWAYS
    stop_grace: float = 10.0
    stop_signal: str = "SIGTERM"
    otel: Otel = msgspec.field(default_factory=Otel)
    node: NodeName | None = None
    """The node that runs it; None: any."""
    stopped: bool = False
    """Operator word: no instance shall run (`atoll stop`)."""
    restarts: int = 0
    """Operator word: instances started before this number last grew are replaced (`atoll restart`)."""
    rolling: bool = False
    """Whether that replacement goes one by one, new before old."""


class Mode(StrEnum):
    """Which instances of a service get requests."""

    ACTIVE_ACTIVE = "active-active"
    ACTIVE_PASSIVE = "active-passive"
    """One, the leader; the others stand by until it fails."""


class Service(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fact `services/<name>`."""

    name: ServiceName
    protocol: Protocol = Protocol.HTTP
    check: Check = msgspec.field(default_factory=Check)
    balance: Balance = msgspec.field(default_factory=Balance)
    sticky: bool = False
    """Keep a client on one instance by a cookie of the gateway's own."""
    mode: Mode = Mode.ACTIVE_ACTIVE
    slow_start: float = 0.0
    """Seconds over which a returning instance ramps up to its weight."""
    instance_concurrency: int | None = None
    """Requests that one instance has at once, at most; further ones wait. None: it gets all that come."""
    queue: Queue | None = None
    """Those that wait; None: as `Queue` is by itself."""
    policy: Policy = msgspec.field(default_factory=Policy)
    """What counts for all who call it, unless they say otherwise."""
    calls: dict[ServiceName, Call] = {}
    """What counts when it calls others."""
    breaker_word: BreakerWord = msgspec.field(default_factory=BreakerWord)
    """What an operator said of its circuit breaker."""
    failover: Failover | None = None
    """Where its requests go when it is not well; None: nowhere else."""
    failover_word: FailoverWord = msgspec.field(default_factory=FailoverWord)
    """What an operator said of that."""
    scrape: Scrape | None = None
    """None: nobody said; an HTTP service is asked for /metrics now and then."""
    mesh_index: int = 0
    """Offset of this service's stable port in every node's mesh port range; given once, never reused while it exists."""
    origin: str = "registration"
    """Who wrote the fact: `registration` (first instance), or the project's name."""
    run: Run | None = None
    """None: its instances register themselves."""


class State(StrEnum):
    """What we believe of an instance."""

    PASSING = "passing"
    SUSPECT = "suspect"
    FAILING = "failing"
    DRAINING = "draining"
    MAINT = "maint"


ROUTABLE = frozenset({State.PASSING, State.SUSPECT, State.FAILING})
"""States in which the gateway keeps an instance configured: HAProxy's own checks decide whether it gets traffic."""


class Instance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fact `instances/<service>/<id>`: a registration and what is believed of it."""

    service: ServiceName
    id: InstanceId
    host: str
    port: int
    protocol: Protocol = Protocol.HTTP
    version: Token | None = None
    zone: Token | None = None
    weight: int = 100
    """Relative share of the traffic, 0 to 256; 0 takes no new requests."""
    tags: tuple[Token, ...] = ()
    metadata: dict[str, str] = {}
    ttl: float = 15.0
    """Seconds the registration lives without a renewal."""
    node: NodeName | None = None
    """The node that runs it and renews it, if one does."""
    lease: str = ""
    """Fencing token of this registration; a renewal that shows another one is refused."""
    registered: float = 0.0
    """Wall time of the registration."""
    state: State = State.PASSING
    cause: str = ""
    """Why it is in this state; empty when there is nothing to explain."""
    since: float = 0.0
    """Wall time at which the state was entered."""
    maintenance: str = ""
    """The target of the operator's word that keeps it out; empty: no such word does."""
