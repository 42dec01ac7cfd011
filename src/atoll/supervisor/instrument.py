"""What is put into a service's environment so that it tells its traces, logs and metrics without a change to its code. Pure.

Never overwrites what the user set, and gives way: an app that brings its own OpenTelemetry (`opentelemetry-instrument`,
Logfire, FastAPI's own export, an endpoint of its own) gets to know only where to send to and who it is. The token of the
telemetry process goes nowhere but to that process: not into an environment that names another endpoint. Each variable
comes with the reason why it is there, for `atoll env`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import quote

from atoll.model.names import InstanceId
from atoll.model.service import CheckKind, Otel, Protocol, Run, Service

NODE_PACKAGE = "@opentelemetry/auto-instrumentations-node"
NODE_HOOK = f"{NODE_PACKAGE}/register"
NODE_OTHERS = ("@opentelemetry/", "dd-trace", "newrelic", "elastic-apm")
"""Words in NODE_OPTIONS of those who instrument already."""
TOKEN_VARIABLE = "OTEL_EXPORTER_OTLP_HEADERS"  # noqa: S105 - its name
RESOURCE = "OTEL_RESOURCE_ATTRIBUTES"
WRAPPERS = ("opentelemetry-instrument", "logfire", "ddtrace-run", "newrelic-admin", "elastic-apm-run")
"""Programs that instrument what they start."""
TRUE = frozenset({"1", "true", "yes", "on"})

_SEND = {
    "OTEL_EXPORTER_OTLP_PROTOCOL": ("http/protobuf", "never left to a default: OpenTelemetry's Python says gRPC"),
}
_USUAL = {
    "OTEL_TRACES_EXPORTER": ("otlp", "spans are sent"),
    "OTEL_METRICS_EXPORTER": ("otlp", "metrics are sent"),
    "OTEL_LOGS_EXPORTER": ("otlp", "log records are sent"),
    "OTEL_PROPAGATORS": ("tracecontext,baggage", "the gateway speaks W3C trace context"),
    "OTEL_SEMCONV_STABILITY_OPT_IN": ("http,database", "today's attribute names"),
    "OTEL_BSP_SCHEDULE_DELAY": ("200", "ms; spans are seen within a second"),
    "OTEL_BLRP_SCHEDULE_DELAY": ("200", "ms; log records as well"),
    "OTEL_METRIC_EXPORT_INTERVAL": ("10000", "ms"),
}


@dataclass(frozen=True)
class Sending:
    """Where telemetry goes on this machine, and what there is to instrument with."""

    endpoint: str
    """The telemetry process's OTLP over HTTP, as a URL."""
    token: str = ""
    """What it lets us in with."""
    python: str = ""
    """Folder for PYTHONPATH (see `bundle`); empty: there is none."""
    node: str = ""
    """File for Node.js to require, in services without an OpenTelemetry of their own."""
    python_missing: str = ""
    """Why there is none."""
    environment: str = "dev"
    """`deployment.environment.name`."""
    java_agent: str = ""
    """Path of an OpenTelemetry agent jar."""


@dataclass(frozen=True)
class Injected:
    """Variables with their reasons, and what else is to be said."""

    variables: Mapping[str, str]
    reasons: Mapping[str, str]
    notes: tuple[str, ...] = ()


def instrument(
    service: Service,
    instance: InstanceId,
    environment: Mapping[str, str],
    sending: Sending | None,
    *,
    node_hook: bool = False,
) -> Injected:
    """What is added to `environment`, which is all the child gets otherwise. `node_hook`: the app has `NODE_PACKAGE`."""
    return _Service(service, instance, environment, node_hook=node_hook).injected(sending)


class _Service:
    """One instance on its way to its variables."""

    def __init__(
        self, service: Service, instance: InstanceId, environment: Mapping[str, str], *, node_hook: bool
    ) -> None:
        self._service = service
        self._run = service.run if service.run is not None else Run(command=())
        self._instance = instance
        self._given = environment
        self._node_hook = node_hook
        self._variables: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._notes: list[str] = []

    def injected(self, sending: Sending | None) -> Injected:
        if sending is None:
            return Injected({}, {}, ("telemetry does not run here, or was switched off",))
        otel = self._run.otel
        if not otel.enabled:
            return Injected({}, {}, ("switched off: `otel: false` in the project file, or --no-otel",))
        if self._given.get("OTEL_SDK_DISABLED", "").lower() in TRUE:
            return Injected({}, {}, ("switched off: OTEL_SDK_DISABLED is set",))
        self._identity(sending)
        elsewhere = next((name for name in sorted(self._given) if _names_an_endpoint(name)), "")
        if elsewhere:
            self._notes.append(f"{elsewhere} is set: what the app sends is the app's own business")
            return self._done()
        self._add("OTEL_EXPORTER_OTLP_ENDPOINT", sending.endpoint, "the platform's telemetry process")
        if sending.token:
            self._add(
                TOKEN_VARIABLE, f"Authorization=Bearer%20{quote(sending.token, safe='')}", "it lets this service in"
            )
        self._add_all(_SEND)
        if own := self._brings_its_own():
            self._notes.append(f"{own}: the app instruments itself, so it gets only where to send to and who it is")
            return self._done()
        self._add_all(_USUAL)
        self._python(sending, otel)
        self._node(sending.node)
        self._java(otel.java_agent or sending.java_agent)
        return self._done()

    def _done(self) -> Injected:
        return Injected(self._variables, self._reasons, tuple(self._notes))

    def _add(self, name: str, value: str, reason: str) -> None:
        """Unless the user set it."""
        if name not in self._given:
            self._variables[name] = value
            self._reasons[name] = reason

    def _add_all(self, named: Mapping[str, tuple[str, str]]) -> None:
        for name, (value, reason) in named.items():
            self._add(name, value, reason)

    def _identity(self, sending: Sending) -> None:
        self._add("OTEL_SERVICE_NAME", self._service.name, "the service's name in traces")
        version = self._given.get("SERVICE_VERSION") or self._run.version
        ours = {
            "service.instance.id": self._instance,
            "service.namespace": self._service.origin,
            "service.version": version or "",
            "deployment.environment.name": sending.environment,
        }
        theirs = self._given.get(RESOURCE, "")
        said = {pair.partition("=")[0].strip() for pair in theirs.split(",")}
        missing = [f"{name}={quote(text, safe='')}" for name, text in ours.items() if text and name not in said]
        if missing:
            self._variables[RESOURCE] = ",".join([theirs, *missing] if theirs else missing)
            self._reasons[RESOURCE] = "which instance of which version it is" + (
                ", added to what the user said" if theirs else ""
            )

    def _brings_its_own(self) -> str:
        for word in self._run.command:
            name = PurePath(word).name
            if name in WRAPPERS:
                return f"`{name}` in the command"
        if self._given.get("FASTAPI_OTEL_AUTO_CONFIGURE", "").lower() in TRUE:
            return "FASTAPI_OTEL_AUTO_CONFIGURE is set"
        for name in sorted(self._given):
            if name == "LOGFIRE_TOKEN" or (name.startswith("OTEL_") and name.endswith("_EXPORTER")):
                return f"{name} is set"
        return ""

    def _python(self, sending: Sending, otel: Otel) -> None:
        if not sending.python:
            if sending.python_missing:
                self._notes.append(f"Python services are not instrumented: {sending.python_missing}")
            return
        theirs = self._given.get("PYTHONPATH", "")
        self._variables["PYTHONPATH"] = f"{sending.python}:{theirs}" if theirs else sending.python
        self._reasons["PYTHONPATH"] = (
            "holds only a sitecustomize.py, which puts OpenTelemetry behind the app's packages"
        )
        self._add("ATOLL_OTEL", "on", "tells what is laid beside the service to begin")
        if self._service.check.kind is CheckKind.HTTP:
            self._add(
                "ATOLL_OTEL_QUIET", self._service.check.path, "the platform's own check every second is not traced"
            )
        if self._service.protocol is Protocol.GRPC:
            self._add("OTEL_PYTHON_GRPC_EXCLUDED_SERVICES", "grpc.health.v1.Health", "nor is this one")
        if otel.disabled:
            self._add("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", ",".join(otel.disabled), "the project file says so")

    def _node(self, ours: str) -> None:
        theirs = self._given.get("NODE_OPTIONS", "")
        if any(name in theirs for name in NODE_OTHERS) or not (self._node_hook or ours):
            return
        hook, reason = NODE_HOOK, f"the app has {NODE_PACKAGE}"
        if not self._node_hook:
            hook, reason = f'"{ours}"' if " " in ours else ours, "spans of requests and calls, without any package"
        self._variables["NODE_OPTIONS"] = f"{theirs} --require {hook}".strip()
        self._reasons["NODE_OPTIONS"] = reason

    def _java(self, agent: str) -> None:
        theirs = self._given.get("JAVA_TOOL_OPTIONS", "")
        if agent and "opentelemetry-javaagent" not in theirs:
            quoted = f'"-javaagent:{agent}"' if " " in agent else f"-javaagent:{agent}"
            self._variables["JAVA_TOOL_OPTIONS"] = f"{theirs} {quoted}".strip()
            self._reasons["JAVA_TOOL_OPTIONS"] = "the configured OpenTelemetry agent"


def _names_an_endpoint(name: str) -> bool:
    return name.startswith("OTEL_EXPORTER_") and name.endswith("ENDPOINT")
