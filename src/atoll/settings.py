"""Every knob of atoll's own processes, grouped, with units and reasons. File and flags come before; see `load`.

A setting is read from the environment variable `ATOLL_<GROUP>_<NAME>` (for example `ATOLL_REGISTRY_SWEEP=2`), else it
has the default written here. What belongs to a project (services, routes) is in `atoll.yaml`, not here.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from atoll.errors import InvalidName, InvalidValue
from atoll.model import names

SWITCHES = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
SOCKET_PATH_LIMIT = 96
"""Bytes of a unix socket path that HAProxy can still rename during a bind (the kernel's limit is 107)."""


@dataclass(frozen=True, kw_only=True)
class Api:
    """The control plane's API."""

    host: str = "127.0.0.1"
    """Address it listens on; anything but loopback must be asked for."""
    port: int = 7070
    """Its TCP port; 0: a free one is chosen (the unix socket is always there)."""
    body_limit: int = 1 << 20
    """Bytes of one request body."""
    watchers: int = 1000
    """Open watches at most; more are refused with 503."""
    long_poll: float = 60.0
    """Seconds a long poll waits at most."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """The fact store."""

    watcher_backlog: int = 10_000
    """Unread changes per watcher before it is told to resync."""
    watcher_bytes: int = 4 << 20
    """Bytes of values in them; one change is always taken, however large."""
    history: int = 10_000
    """Revisions kept for resuming watchers (and up to a hundredth more); older ones are compacted."""
    history_bytes: int = 64 << 20
    """Bytes of values in that history, which is held in memory; older revisions are compacted."""


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Leases and expiry (numbers: faults.md; the reasons stand in registry/expiry.py)."""

    ttl: float = 15.0
    """Seconds a registration lives without renewal when it does not say otherwise."""
    sweep: float = 1.0
    """Seconds between two looks at the leases."""
    hold_share: float = 0.5
    """Share of a service's instances (of 3 and more) lapsing together that looks like our fault, not theirs."""
    global_share: float = 0.85
    """Below this share of expected renewals nothing expires anywhere (Eureka's self-preservation figure)."""
    hold_limit: float = 600.0
    """Seconds after which a hold ends by itself."""
    services: int = 5000
    """Services at most; the gateway takes 5,000 upstreams."""
    history_days: float = 7.0
    """Days after which an entry of the registry's history is forgotten."""
    history_limit: int = 50_000
    """Registry history entries kept, over all services."""


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """HAProxy as we run it."""

    host: str = "127.0.0.1"
    """Address the gateway listens on; anything but loopback must be asked for."""
    port: int = 8080
    """Port of the gateway; a project's `gateway.listeners` says otherwise."""
    mesh_port: int = 15001
    """General mesh listener: `Host: orders`, or `/svc/orders/…`."""
    mesh_ports: int = 15100
    """First of the per-service stable loopback ports."""
    mesh_count: int = 256
    """How many of them: the most services a node can name by port."""
    threads: int = 2
    """HAProxy's threads."""
    max_connections: int = 10_000
    """Open connections of clients at most, and as many of services on the mesh; more wait in the kernel."""
    http_slots: int = 64
    """Spare backends for services that appear while running (7.8 kB each), of each kind of check: http, and tcp or none."""
    grpc_slots: int = 16
    """The same for services that speak gRPC, of each kind of check: gRPC, and tcp or none."""
    debounce: float = 0.01
    """Seconds changes are gathered after the first one was applied at once: what is written in several steps (three
    instances, then their route) is routed 20 ms after the last of them, and a flood makes at most 100 rounds a second."""
    reload_interval: float = 2.0
    """Seconds between two reloads at least."""
    reload_after_start: float = 6.0
    """A process younger than this does not hand its stick tables over (initial resync lasts 5 s)."""
    hard_stop: float = 3600.0
    """Seconds an old worker may live after a reload; as long as a WebSocket may be silent, for these are what it has."""
    old_workers: int = 5
    """HAProxy processes of earlier reloads that may still finish their connections; the oldest is ended first. One with
    ten services takes 5 MB, one with a thousand 70 MB."""
    drain_limit: float = 300.0
    """Seconds a removed instance may finish requests and streams through the gateway before they are ended."""
    connect_timeout: float = 0.5
    """Seconds until an instance must have taken a connection; then another one is tried."""
    client_timeout: float = 60.0
    """Seconds a client may be silent."""
    server_timeout: float = 30.0
    """Seconds an instance may be silent until 504; a route's `timeout` says otherwise."""
    binary: str = ""
    """Path of the haproxy to run; empty: the newer of the bundled and the system's."""


@dataclass(frozen=True, kw_only=True)
class Supervisor:
    """Children and their output."""

    line_limit: int = 8192
    """Bytes of one captured line; the rest is cut and counted."""
    log_bytes: int = 16 << 20
    """Bytes of log kept per instance, in two files."""
    restart_base: float = 0.2
    """Seconds before the first restart, at most; doubled with each unexpected end."""
    restart_cap: float = 30.0
    """Seconds before any restart, at most."""
    intensity: int = 5
    """Unexpected ends within `intensity_window` after which an instance is in a crash loop (still retried, at the cap)."""
    intensity_window: float = 60.0
    """Seconds; see `intensity`."""


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """Traces, logs and metrics: one process of its own (needs `pip install "atoll[telemetry]"`)."""

    enabled: bool = True
    """Whether `atoll up` runs it; without its packages it does not, and says so."""
    host: str = "127.0.0.1"
    """Address that OTLP is taken on; anything but loopback must be asked for."""
    http_port: int = 4318
    """Port of OTLP over HTTP; 0: a free one."""
    grpc_port: int = 4317
    """Port of OTLP over gRPC; 0: a free one."""
    instrument: bool = True
    """Whether services are instrumented from outside: OTEL_ variables, and OpenTelemetry beside Python (`--no-otel`)."""
    environment: str = "dev"
    """What services call the place they run in (`deployment.environment.name`)."""
    java_agent: str = ""
    """Path of an OpenTelemetry agent jar for the Java services; empty: they are not instrumented."""
    body_limit: int = 16 << 20
    """Bytes of one OTLP body after inflating."""
    buffer_bytes: int = 64 << 20
    """Bytes waiting to be committed, of all signals; beyond it senders are told to come back (429, Retry-After)."""
    sampling: float = 1.0
    """Share of the traces begun by the gateway that are recorded, 0 to 1; requests are counted all the same."""
    ring_bytes: int = 16 << 20
    """Bytes of HAProxy's request log (some 40,000 requests) that wait while the telemetry process is away."""
    flush: float = 1.0
    """Seconds between two commits of a signal under steady traffic, at most (half of it while they are quick): an insert
    costs 50 to 100 ms of CPU. After quiet the first ones go at once."""
    cors: str = ""
    """Origins whose pages may send OTLP from a browser, with commas between (`*`: any); empty: none."""
    memory: int = 640 << 20
    """Bytes the engine may use; a query or insert beyond it is refused, the process lives on."""
    query_time: float = 10.0
    """Seconds a query may take."""
    query_memory: int = 256 << 20
    """Bytes a query may use."""
    traces_days: float = 3.0
    """Days that spans are kept."""
    kept_days: float = 14.0
    """Days that traces with errors, slow ones and degraded ones are kept, and the sample of the rest."""
    logs_days: float = 7.0
    """Days that log records are kept."""
    metrics_days: float = 30.0
    """Days that metrics are kept."""
    disk_bytes: int = 20 << 30
    """Bytes on disk of everything; beyond it the oldest days go first."""
    series: int = 100_000
    """Metric series at most; what comes beyond is added up in an overflow series and counted."""
    clickhouse: str = ""
    """URL of a ClickHouse server to write to, instead of the embedded engine (clickhouse://user@host:8123/database)."""


@dataclass(frozen=True, kw_only=True)
class Tail:
    """Which traces are kept for `ATOLL_TELEMETRY_KEPT_DAYS`: decided when a trace is complete, always about whole traces."""

    errors: bool = True
    """Keep traces in which a span failed, or an answer was 5xx."""
    degraded: bool = True
    """Keep traces in which a request was tried on another instance, or met a breaker or a fallback."""
    slow: float = 1.0
    """Seconds; keep traces with a span that lasted this long. 0: none."""
    slow_services: str = ""
    """The same for spans of one service, in seconds: `orders=0.3 search=2`."""
    share: float = 0.05
    """Share of the other traces that is kept, chosen by trace id: 0 none, 1 all."""
    quiet: float = 30.0
    """Seconds without a further span after which a trace counts as complete."""
    every: float = 10.0
    """Seconds between two looks at what arrived."""


@dataclass(frozen=True, kw_only=True)
class Watchdog:
    """The watch over the event loops of node and control plane."""

    limit: float = 1.0
    """Seconds without a sign of life after which the loop counts as blocked, and the log says by whom; 0: never."""
    quiet: float = 60.0
    """Seconds after that in which the process still calls itself degraded."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All groups, and where this platform keeps its files."""

    state: Path
    """Folder of everything durable: facts, token, logs. One control plane per folder."""
    node: str = "local"
    """Name of this machine."""
    zone: str = ""
    """Zone in which the instances that it runs are registered (ATOLL_ZONE); empty: none."""
    api: Api = field(default_factory=Api)
    store: Store = field(default_factory=Store)
    registry: Registry = field(default_factory=Registry)
    gateway: Gateway = field(default_factory=Gateway)
    supervisor: Supervisor = field(default_factory=Supervisor)
    telemetry: Telemetry = field(default_factory=Telemetry)
    tail: Tail = field(default_factory=Tail)
    watchdog: Watchdog = field(default_factory=Watchdog)

    @property
    def run(self) -> Path:
        """Folder of sockets and pid files: under `state`, or (path too long) in the user's runtime folder."""
        inside = self.state / "run"
        if len(os.fsencode(inside)) + len("/haproxy/master.sock") <= SOCKET_PATH_LIMIT:
            return inside
        digest = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:12]
        return runtime_folder() / digest

    @property
    def logs(self) -> Path:
        """Folder of the captured output of services."""
        return self.state / "logs"

    @property
    def socket(self) -> Path:
        """The control plane's unix socket."""
        return self.run / "api.sock"

    @property
    def telemetry_socket(self) -> Path:
        """The telemetry process's unix socket: queries."""
        return self.run / "telemetry.sock"

    @property
    def requests_socket(self) -> Path:
        """Where HAProxy sends a line for every request."""
        return self.run / "requests.sock"

    @property
    def token_file(self) -> Path:
        """The root token, readable by this user only."""
        return self.state / "token"

    @property
    def ingest_token_file(self) -> Path:
        """The token that services send their telemetry with; it allows nothing else."""
        return self.state / "ingest-token"

    @property
    def telemetry_folder(self) -> Path:
        """Folder of the telemetry engine; one process owns it."""
        return self.state / "telemetry"


def runtime_folder() -> Path:
    """This user's folder for what need not outlive the machine's uptime, shared by all platforms of the user."""
    base = os.environ.get("XDG_RUNTIME_DIR") or f"{tempfile.gettempdir()}/atoll-{os.getuid()}"
    return Path(base) / "atoll"


GROUPS = {
    "api": Api,
    "store": Store,
    "registry": Registry,
    "gateway": Gateway,
    "supervisor": Supervisor,
    "telemetry": Telemetry,
    "tail": Tail,
    "watchdog": Watchdog,
}


def _zone(environ: Mapping[str, str]) -> str:
    said = environ.get("ATOLL_ZONE", "")
    try:
        return str(names.token(said, field="ATOLL_ZONE")) if said else ""
    except InvalidName as error:
        raise InvalidValue(error.detail, hint=error.hint, field="ATOLL_ZONE") from None


def load(state: Path, environ: Mapping[str, str], *, node: str | None = None) -> Settings:
    """Settings for the platform in folder `state`, with `ATOLL_<GROUP>_<NAME>` overrides from `environ`.

    Raises:
        InvalidValue: a variable's text is not of the setting's type.
    """
    groups: dict[str, Any] = {group: kind(**_overrides(group, kind, environ)) for group, kind in GROUPS.items()}
    return Settings(
        state=state.absolute(), node=node or environ.get("ATOLL_NODE", "local"), zone=_zone(environ), **groups
    )


def _overrides(group: str, kind: type[Any], environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for knob in fields(kind):
        variable = f"ATOLL_{group}_{knob.name}".upper()
        if variable in environ:
            values[knob.name] = _typed(variable, environ[variable], type(knob.default))
    return values


def _typed(variable: str, text: str, kind: type[Any]) -> Any:
    if kind is bool:
        if text.lower() not in SWITCHES:
            raise InvalidValue(f"{variable} is neither on nor off", hint=f"set {variable} to 1 or 0")
        return SWITCHES[text.lower()]
    try:
        return kind(text)
    except ValueError:
        raise InvalidValue(
            f"{variable} is not {'a whole number' if kind is int else 'a number'}",
            hint=f"unset {variable}, or give a number",
        ) from None
