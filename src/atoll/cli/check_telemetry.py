"""What `atoll doctor` finds out about telemetry: whether it can run, whether it does, and what it refused or lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from atoll.cli.api import Api
from atoll.cli.check import Finding, Verdict
from atoll.cli.facts import V1
from atoll.errors import AtollError
from atoll.model.answers import Services, ServiceView
from atoll.model.telemetry import Coverage, TelemetryStatus, Told
from atoll.settings import Settings

CHECK = "telemetry"
DISK = 0.95
"""Share of its disk from which the oldest days are about to go."""
FIXES = {
    "unauthorized": "a sender shows no or a wrong token: it must be the content of <state>/ingest-token",
    "buffer-full": "senders come faster than the engine commits: raise ATOLL_TELEMETRY_BUFFER_BYTES, or send less",
    "storage-full": "make room on the disk of the state folder, or lower ATOLL_TELEMETRY_DISK_BYTES",
    "too-large": "a sender's batches are too large: raise ATOLL_TELEMETRY_BODY_LIMIT, or lower its batch size",
    "overloaded": "the engine has no memory or no time: ATOLL_TELEMETRY_MEMORY, or a larger machine",
}
"""What to do about refusals; of others, the log tells."""


def check_telemetry(settings: Settings, api: Api | None) -> Iterator[Finding]:
    """The packages, and with a platform that runs, the process."""
    from atoll.wiring.telemetry_part import HINT, missing_packages

    knobs = settings.telemetry
    if not knobs.enabled:
        yield Finding(check=CHECK, detail="switched off (ATOLL_TELEMETRY_ENABLED)")
        return
    lack = missing_packages(knobs)
    if lack:
        yield Finding(
            check=CHECK,
            verdict=Verdict.WARNING,
            detail=f"not installed ({', '.join(lack)}): no traces, logs and metrics are kept",
            fix=HINT,
        )
        return
    if api is None:
        yield Finding(check=CHECK, detail=f"can run; engine: {_engine(settings)}")
        return
    try:
        status = api.get_as(f"{V1}/telemetry/status", TelemetryStatus)
    except AtollError as error:
        fix = (
            f"see {settings.state / 'platform' / 'telemetry' / 'telemetry.log'}; `atoll up --no-telemetry` runs without"
        )
        yield Finding(check=CHECK, verdict=Verdict.WARNING, detail=f"does not answer: {error.detail}", fix=fix)
        return
    yield from findings(status)
    try:
        coverage = api.get_as(f"{V1}/telemetry/coverage", Coverage)
        services = api.get_as(f"{V1}/services", Services).services
    except AtollError as error:
        yield Finding(check=CHECK, detail=f"who sends what is not known: {error.detail}")
        return
    yield from told(coverage, services)


def told(coverage: Coverage, services: Iterable[ServiceView]) -> Iterator[Finding]:
    """Which services that run could tell more, and how. Pure."""
    said = {one.service: one for one in coverage.services}
    blind: list[str] = []
    silent: list[str] = []
    for view in services:
        service = view.service
        if not view.instances or (service.run is not None and not service.run.otel.enabled):
            continue
        found = said.get(service.name, Told(service=service.name))
        if found.unseen:
            yield Finding(
                check=CHECK,
                detail=f"{service.name} uses {', '.join(found.unseen)}, whose calls have no spans",
                fix=f"add OpenTelemetry's instrumentation of it to {service.name} and switch it on in its code; "
                "calls by HTTP and gRPC are seen anyway",
            )
        if found.requests and not found.spans:
            blind.append(f"{service.name} ({found.requests} requests)")
        elif not (found.requests or found.spans or found.metrics or found.lines):
            silent.append(service.name)
    if blind:
        yield Finding(
            check=CHECK,
            detail=f"no spans of their own in the last hour: {', '.join(blind)}; only gateway and mesh tell of them",
            fix="`atoll env SERVICE` shows why; with OpenTelemetry's SDK in it, it finds its endpoint by itself",
        )
    if silent:
        yield Finding(
            check=CHECK,
            detail=f"nothing at all was heard in the last hour of {', '.join(silent)}",
            fix="no request, no line, no metric: is it used? `scrape:` asks a service for metrics, "
            "OpenTelemetry's SDK sends by itself",
        )


def findings(status: TelemetryStatus) -> Iterator[Finding]:
    """What its own words say. Pure."""
    engine, receive = status.engine, status.receive
    rows = sum(table.rows for table in engine.tables.values())
    yield Finding(
        check=CHECK,
        detail=f"answers (pid {status.pid}, OTLP :{status.grpc_port} gRPC, :{status.http_port} HTTP); "
        f"{rows} rows, {engine.disk_bytes / (1 << 20):.0f} MiB on disk, {status.memory / (1 << 20):.0f} MiB of memory",
    )
    for warning in status.warnings:
        yield _warning(warning, "telemetry's log says more")
    for code, count in sorted(receive.refused.items()):
        yield _warning(f"{count} requests were refused: {code}", FIXES.get(code, "telemetry's log says which"))
    for signal, reasons in sorted(receive.rejected.items()):
        told = ", ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
        yield _warning(f"{signal} that cannot be stored: {told}", "look at the service that sends them")
    lost = {
        f"{part}: {name}": number
        for part, numbers in status.parts.items()
        for name, number in numbers.items()
        if name in LOSSES and number
    }
    for what, number in sorted(lost.items()):
        yield _warning(f"{what} {number:.0f}", "the machine or the engine did not keep up; its log says when")
    if engine.disk_limit and engine.disk_bytes > DISK * engine.disk_limit:
        yield _warning("its disk is used up: the oldest days go first", "raise ATOLL_TELEMETRY_DISK_BYTES")


LOSSES = frozenset({"dropped", "lost", "odd"})
"""Numbers of parts that mean that something is missing."""


def _engine(settings: Settings) -> str:
    return "ClickHouse" if settings.telemetry.clickhouse else f"embedded, in {settings.telemetry_folder}"


def _warning(detail: str, fix: str) -> Finding:
    return Finding(check=CHECK, verdict=Verdict.WARNING, detail=detail, fix=fix)
