"""The shape of `atoll.yaml`: keys, types and ranges. Private to `project/`; what leaves it is `model` structs.

The docstring of a key is its description in the published JSON Schema. `later` names the keys that belong to parts of
atoll which this version does not have: they are refused with a word of their own, never ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from atoll.model.breaker import COUNT_CEILING, FAILURES, OPEN_CEILING, PROBES_CEILING, SLOW_FLOOR, WINDOW_CEILING
from atoll.model.bulkhead import CONCURRENCY_CEILING, QUEUE_CEILING, WAIT_CEILING, WAIT_FLOOR
from atoll.model.checked import CHECK_FLOOR, DURATION_CEILING, SCRAPE_FLOOR
from atoll.model.failover import RETURN_CEILING
from atoll.model.fallback import AGE_CEILING, AGE_FLOOR, TIMEOUT_CEILING, TIMEOUT_FLOOR
from atoll.model.retry import ATTEMPTS_CEILING, METHODS, REASONS, USUAL
from atoll.model.retry import Retry as RetryFact
from atoll.project import words

RETENTION_CEILING = 3650.0
"""Days."""
Truth = Annotated[bool, words.truth()]
Port = Annotated[int, words.whole(1, 65535)]
Times = Annotated[int, words.whole(1, 100)]
Text = Annotated[str, words.text()]
Wait = Annotated[float, words.duration(least=0.0, most=DURATION_CEILING)]
Period = Annotated[float, words.duration(least=CHECK_FLOOR, most=DURATION_CEILING)]
Command = Annotated[str | list[str], words.command()]
Condition = Annotated[Literal["started", "healthy", "completed"], words.condition()]


class Part(BaseModel):
    """Anything with keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)
    later: ClassVar[tuple[str, ...]] = ()


class Healthcheck(Part):
    """How to ask an instance whether it is well: one of `http`, `tcp`, `grpc`, `process`, `disable`, and when."""

    http: str | None = None
    """Path to GET; 2xx and 3xx pass."""
    tcp: Truth | None = None
    """Connecting is enough. The default for a service with a port."""
    grpc: Annotated[str | bool | None, words.text_or_truth()] = None
    """Service name for grpc.health.v1, or true for the whole server."""
    process: Truth | None = None
    """Running is enough. The default for a service without a port."""
    disable: Truth | None = None
    """Ask nothing: an instance that is registered counts as well."""
    interval: Period | None = None
    """Time between two checks (default 1s)."""
    timeout: Period | None = None
    """Time an answer may take (default 1s)."""
    retries: Times | None = None
    """Failures in a row that take an instance out (default 2)."""
    rise: Times | None = None
    """Passes in a row that bring it back (default 1)."""
    start_period: Wait | None = None
    """Time a starting instance may fail before its start counts as failed (default 60s)."""


class Dependency(Part):
    """What another service must have reached first."""

    condition: Condition = "healthy"
    """`started`, `healthy` or `completed`; compose's `service_…` words are taken too."""


class EnvFile(Part):
    """A file of variables."""

    path: str
    """Relative to the project's folder."""
    required: Truth = True
    """Whether its absence is an error."""


class Otel(Part):
    """How a service is instrumented from outside."""

    enabled: Truth = True
    """Whether it is."""
    disabled: Annotated[list[Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]], Field(max_length=64)] = []
    """Python libraries to leave alone, such as `sqlite3`, `urllib3`, `flask`."""
    java_agent: str | None = None
    """Path of an OpenTelemetry agent jar, relative to the project's folder."""


class Scrape(Part):
    """Where a service tells its metrics."""

    enabled: Truth = True
    """Whether it is asked."""
    path: str = "/metrics"
    """Path to GET."""
    port: Port | None = None
    """Another port than the service's own, if the metrics have one; then one instance a machine is meant."""
    interval: Annotated[float, words.duration(least=SCRAPE_FLOOR, most=DURATION_CEILING)] = 15.0
    """Time between two scrapes."""
    timeout: Period = 10.0
    """Time an answer may take."""


class ScrapeOf(Scrape):
    """Where one service tells its metrics, said in one list for all."""

    service: str
    """Name of the service."""


class Retention(Part):
    """How long telemetry is kept, in days (`3d`) or hours (`36h`)."""

    traces: Annotated[float | None, words.days(most=RETENTION_CEILING)] = None
    """Spans (default 3d)."""
    kept: Annotated[float | None, words.days(most=RETENTION_CEILING)] = None
    """Traces with errors, slow and degraded ones, and a share of the rest (default 14d)."""
    logs: Annotated[float | None, words.days(most=RETENTION_CEILING)] = None
    """Log records (default 7d)."""
    metrics: Annotated[float | None, words.days(most=RETENTION_CEILING)] = None
    """Metrics, and the figures of requests (default 30d)."""


class Sampling(Part):
    """Which traces are recorded and kept."""

    traces: Annotated[float | None, words.share()] = None
    """Share of the traces begun by the gateway that are recorded, 0 to 1 (default 1); requests are counted all the same."""
    keep_errors: Truth | None = None
    """Whether traces with an error are kept longer, as `retention.kept` says (default true)."""


class Telemetry(Part):
    """Traces, logs and metrics of the whole project. A setting of the environment (`ATOLL_TELEMETRY_…`) wins over it."""

    retention: Retention = Retention()
    """How long they are kept."""
    sampling: Sampling = Sampling()
    """Which traces are recorded and kept."""
    scrape: list[ScrapeOf] = []
    """Services to scrape; the same as `scrape` in the service."""


class SlowCalls(Part):
    """When answers that come are a reason to keep callers away."""

    longer_than: Annotated[float, words.duration(least=SLOW_FLOOR, most=OPEN_CEILING)] = 1.0
    """Time from the sending of a request to the head of its answer."""
    share: Annotated[int, words.percent()] = 50
    """Share of the requests of a window that must have been slow, `1%` to `100%`."""


class FailoverWhen(Part):
    """When a group is left although an instance of it takes requests. (Without one, and with an open breaker, always.)"""

    error_rate: Annotated[int | None, words.percent()] = None
    """Share of its requests of 10 s (20 at least) that must have failed, `1%` to `100%`; without it, only its breaker counts."""


class Failover(Part):
    """Where requests go when the service is not well."""

    groups: list[Text]
    """Two to four, in the order in which they are wanted: `orders` (all instances of a service), `orders@zone:b`, `orders@v2`, `orders-lite`."""
    when: FailoverWhen = FailoverWhen()
    """When a group is left although an instance of it takes requests."""
    return_after: Annotated[float, words.duration(least=0, most=RETURN_CEILING)] = 30.0
    """Time for which an earlier group must have been well before requests return to it."""


class CircuitBreaker(Part):
    """When callers are kept from a service that fails."""

    enabled: Truth = True
    """Whether they are."""
    errors: Annotated[int, words.percent()] = 50
    """Share of the requests of a window that must have failed, `1%` to `100%`."""
    window: Annotated[float, words.duration(least=1, most=WINDOW_CEILING)] = 10.0
    """Time over which requests are counted together, in whole seconds."""
    min_requests: Annotated[int, words.whole(1, COUNT_CEILING)] = 20
    """Fewer requests in a window never open it."""
    open: Annotated[float, words.duration(least=1, most=OPEN_CEILING)] = 3.0
    """Time until it is tried again, in whole seconds."""
    probes: Annotated[int, words.whole(1, PROBES_CEILING)] = 3
    """Requests let through to try: all must succeed."""
    slow_calls: SlowCalls | None = None
    """Opens it also when too many answers come late."""
    failures: Annotated[list[str], words.statuses()] = [*FAILURES]
    """Statuses that count as failed: `5xx` (default), `4xx`, `timeout` (504), numbers from 400 to 599."""


class Retry(Part):
    """When a request is sent again to another instance."""

    enabled: Truth = True
    """Whether it ever is, once an instance has had it."""
    attempts: Annotated[int, words.whole(0, ATTEMPTS_CEILING)] = RetryFact().attempts
    """How often at most."""
    on: Annotated[list[Annotated[str, words.retry_reason()]], Field(min_length=1, max_length=len(REASONS))] = list(
        USUAL
    )
    """After what: `unavailable` (no connection; always), `closed` (closed without an answer), `timeout`, or a status such as 503."""
    methods: Annotated[list[Annotated[str, words.retry_method()]], Field(max_length=len(METHODS))] = []
    """Only these methods. Without them GET, HEAD, OPTIONS, TRACE, PUT, DELETE, and whatever has an Idempotency-Key."""
    budget: Annotated[int, words.percent(least=0)] = RetryFact().budget
    """Share of the service's requests that may be sent again, beside 20 in 10 s."""


class ErrorPage(Part):
    """What the gateway answers in place of an error of its own."""

    body: Any = None
    """Text, or a map or list, which is given as JSON; at most 8 KiB."""
    file: str | None = None
    """A text file instead, relative to the project's folder; it is read when the project is applied."""
    content_type: Text | None = None
    """Default: application/json for a map or list, by a file's ending, else text/plain."""
    headers: dict[str, Text] = {}
    """More headers of the answer."""


class FixedAnswer(ErrorPage):
    """A fixed answer."""

    status: Annotated[int, words.whole(200, 599)] = 200
    """Its status."""


class OtherService(Part):
    """Another service that is asked instead."""

    service: str
    """Its name."""
    path: Text | None = None
    """The path, and maybe a query, that it gets; `{1}` to `{5}` are segments of the path that the failed service got. Default:
    the same path."""
    timeout: Annotated[float | None, words.duration(least=TIMEOUT_FLOOR, most=TIMEOUT_CEILING)] = None
    """Time it has, in place of its own."""


class LastGood(Part):
    """The last good answer to the same GET, by anybody who did not say who they are."""

    max_age: Annotated[float, words.duration(least=AGE_FLOOR, most=AGE_CEILING)] = 3600.0
    """How old it may be."""


class Fallback(Part):
    """What is answered when a service failed: its last good answer, if there is one, else another service's or a fixed one."""

    enabled: Truth = True
    """Whether there is one; `false` also takes away what a more general place says."""
    on: Annotated[list[str] | None, words.word_list()] = None
    """What counts as failed: statuses of the service's answers, and `no-instance`, `unreachable`, `bad-answer`, `timeout`,
    `breaker-open`, `over-limit`. Default: all of these words, 502, 503 and 504."""
    static: Annotated[FixedAnswer | None, words.short("body", FixedAnswer)] = None
    """A fixed answer; text alone is its body."""
    service: Annotated[OtherService | None, words.short("service", OtherService)] = None
    """Another service; text alone is its name."""
    last_good: Annotated[LastGood | None, words.short("max_age", LastGood)] = None
    """The last good answer; a duration alone is its largest age."""


class Policy(Part):
    """What protects calls."""

    timeout: Period | None = None
    """Time in which the answer must begin, all tries together, and then between two bytes of it, until 504."""
    try_timeout: Period | None = None
    """The same of one try."""
    retry: Annotated[Retry | None, words.switchable(Retry)] = None
    """When a request is sent again: `false` never, once an instance has had it; a map says when."""
    max_concurrency: Annotated[int | None, words.whole(1, CONCURRENCY_CEILING)] = None
    """Requests under way at most; further ones are answered 503 at once. Of a service: of all its callers together; of a
    route or a call: its own, beside the service's."""
    priority: Literal["high", "normal", "low"] | None = None
    """Who goes first where requests wait for an instance (`instance_concurrency`); default `normal`."""
    circuit_breaker: Annotated[CircuitBreaker | None, words.switchable(CircuitBreaker)] = None
    """Keeps callers from the service while it fails: `true` or a map says when, `false` never does. Said of a route or a call it
    counts only that one's requests, in place of the service's own."""
    fallback: Annotated[Fallback | None, words.switchable(Fallback)] = None
    """What is answered when the service failed; `false`: nothing in its place."""
    errors: dict[str, ErrorPage] = {}
    """What the gateway answers, by status (502, 503, 504), where it would say an error about the service."""


class Queue(Part):
    """Requests that wait for an instance to have room."""

    size: Annotated[int, words.whole(0, QUEUE_CEILING)] = 100
    """How many may wait; further ones are answered 503 at once. Those of low priority may take half of it."""
    timeout: Annotated[float, words.duration(least=WAIT_FLOOR, most=WAIT_CEILING)] = 1.0
    """Time a request waits at most."""


class Call(Policy):
    """What protects the calls of one service to another."""


class Service(Policy):
    """One service: a command, or (without one) a name under which instances register themselves."""

    later: ClassVar[tuple[str, ...]] = (
        "watch", "autoscale", "rate_limit", "cache", "config", "secrets",
        "telemetry", "resources", "node",
    )  # fmt: skip
    command: Command | None = None
    """Program and arguments, as text (split like a shell would, but run without one) or as a list."""
    working_dir: str = "."
    """Folder to start in, relative to the project's folder."""
    environment: Annotated[dict[str, Annotated[str | None, words.text()]], words.environment()] = {}
    """Variables, as a map or a list of NAME=value; a name without a value is taken from atoll's own environment."""
    env_file: Annotated[list[EnvFile], words.env_files(EnvFile)] = []
    """File or files of variables; `environment` wins over them."""
    port: Annotated[int | None, words.port()] = Field(0, json_schema_extra={"default": "auto"})
    """`auto` (default): a free port in $PORT; a number: that port; `none`: the service listens nowhere."""
    protocol: Literal["http", "h2c", "grpc", "tcp"] = "http"
    """What the service speaks."""
    replicas: Annotated[int, words.whole(0, 1000)] = 1
    """How many instances run."""
    version: Text | None = None
    """Version of the instances, for routes that split traffic by it."""
    depends_on: Annotated[dict[str, Dependency], words.dependencies(Dependency)] = {}
    """Services to start first, as a list (each must be healthy) or a map with conditions."""
    healthcheck: Healthcheck | None = None
    """How its health is asked for."""
    restart: Literal["always", "on-failure", "no", "unless-stopped"] = "always"
    """When an instance that ended is started again; `unless-stopped` means `always`."""
    stop_grace_period: Wait = 10.0
    """Time between the stop signal and the kill."""
    stop_signal: Annotated[words.Signal, words.signal()] = "SIGTERM"
    """Signal that asks an instance to stop."""
    balance: Annotated[tuple[str, str] | None, words.balance()] = None
    """How an instance is chosen: `least_connections` (default), `round_robin`, `random`, `hash` (by client address), or
    `{hash: client_ip | path | header:NAME}`."""
    mode: Literal["active-active", "active-passive"] = "active-active"
    """`active-passive`: one instance leads and gets every request, the others stand by."""
    failover: Failover | None = None
    """Other groups of instances, or another service, that take its requests when it is not well."""
    sticky: Truth = False
    """Keep a client on one instance by a cookie."""
    slow_start: Wait = 0.0
    """Time over which a returning instance gets its full share."""
    instance_concurrency: Annotated[int | None, words.whole(1, CONCURRENCY_CEILING)] = None
    """Requests that one instance has at once, at most; further ones wait in the queue."""
    queue: Queue | None = None
    """How many requests wait, and how long, when all instances have as many as they may."""
    calls: dict[str, Call] = {}
    """What protects its calls to other services, by their names."""
    otel: Annotated[Otel, words.switchable(Otel)] = Otel()
    """Traces, logs and metrics without a change to the code: `false` switches it off, a map says more."""
    scrape: Annotated[Scrape | None, words.switchable(Scrape)] = None
    """Metrics in Prometheus' format: `true` or a map scrapes them, `false` never asks. Without it an HTTP service is asked
    for /metrics once an hour, and scraped when it has some."""
    profiles: list[str] = []
    """The service runs only when one of these profiles is on; empty: always."""


class Listener(Part):
    """Where the gateway listens, for plain HTTP."""

    later: ClassVar[tuple[str, ...]] = ("tls", "http3", "proxy_protocol", "redirect", "trusted_proxies")
    name: str = "http"
    """A name for messages."""
    port: Port
    """Port to listen on."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every interface."""


class Match(Part):
    """What a request must have; everything given must hold."""

    path_prefix: str | None = None
    """Path, or everything below it: /api is /api and /api/x, not /apix."""
    path: str | None = None
    """The whole path."""
    host: str | None = None
    """Host name; `*.example.com` is any one label before it."""
    hosts: list[str] | None = None
    """Several host names, any of which fits."""
    methods: list[str] = []
    """HTTP methods; empty: any."""
    headers: dict[str, Text] = {}
    """Headers with their exact values."""


class Backend(Part):
    """A share of a route's traffic."""

    service: str
    """Name of the service."""
    version: Text | None = None
    """Only instances of this version."""
    weight: Annotated[int, words.whole(0, 1_000_000)] = 1
    """Relative share."""


class Rewrite(Part):
    """What becomes of the path."""

    path_prefix: str
    """Replaces the matched prefix (or the exact path)."""


class Route(Policy):
    """From request to service."""

    later: ClassVar[tuple[str, ...]] = (
        "auth", "rate_limit", "cache", "aggregate", "cors", "compress", "mirror", "redirect",
        "request_headers", "response_headers", "max_body",
    )  # fmt: skip
    name: str | None = None
    """Name of the route; without one it is made of service and path."""
    match: Match = Match()
    """Which requests; empty: all."""
    service: str | None = None
    """Where they go; short for one backend."""
    backends: Annotated[list[Backend], Field(min_length=1, max_length=32)] | None = None
    """Several services or versions that share the traffic."""
    rewrite: Rewrite | None = None
    """Change of the path."""


class Defaults(Policy):
    """What protects the requests of all routes, where neither route nor service says otherwise."""

    later: ClassVar[tuple[str, ...]] = ("problem_details",)


class Gateway(Part):
    """The one door: where it listens and where requests go."""

    later: ClassVar[tuple[str, ...]] = (
        "auth", "rate_limit", "retry", "circuit_breaker", "cache", "aggregate", "cors", "consumers",
        "policies", "tls",
    )  # fmt: skip
    listeners: list[Listener] = []
    """Where the gateway listens; default 127.0.0.1:8080."""
    defaults: Defaults = Defaults()
    """What protects the requests of all routes."""
    routes: list[Route] = []
    """Which request goes to which service."""


class Root(Part):
    """An atoll project."""

    later: ClassVar[tuple[str, ...]] = (
        "config", "secrets", "alerts", "notify", "cluster", "include", "policies", "consumers", "auth",
        "rate_limit", "retry", "circuit_breaker", "cache", "aggregate", "autoscale", "watch", "calls", "logs",
    )  # fmt: skip
    name: str | None = None
    """Name of the project; default: its folder's name."""
    profiles: list[str] = []
    """Profiles that are on unless the command line says otherwise."""
    services: Annotated[dict[str, Annotated[Service, words.shorthand(Service)]], Field(min_length=1)]
    """The services by name; text instead of keys is the command."""
    gateway: Gateway = Gateway()
    """Listeners and routes."""
    telemetry: Telemetry = Telemetry()
    """How long traces, logs and metrics are kept, and where metrics are."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `atoll.yaml`, for editors and `atoll check --schema`."""
    schema = _tidy(Root.model_json_schema(mode="validation"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "atoll.yaml", **schema}


def _tidy(schema: Any, *, names: bool = False) -> Any:
    """The schema without what editors stumble over: made-up titles, defaults as read. `names`: the keys are names."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _tidy(value, names=key in {"properties", "$defs"} and not names)
        for key, value in schema.items()
        if names or not (key == "title" or (key == "default" and (value is None or isinstance(value, float))))
    }
