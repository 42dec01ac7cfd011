"""What the telemetry process says of itself: everything that was taken, refused, rejected and lost is in one of these."""

from __future__ import annotations

import msgspec


class Receiving(msgspec.Struct, frozen=True, kw_only=True):
    """OTLP's receivers, since the start of the process."""

    requests: dict[str, int] = {}
    """By signal and way in: `traces http/protobuf`."""
    accepted: dict[str, int] = {}
    """Spans, log records and data points that are committed."""
    rejected: dict[str, dict[str, int]] = {}
    """Items that cannot be stored, by signal and reason."""
    refused: dict[str, int] = {}
    """Requests answered with an error, by its code."""
    bytes: dict[str, int] = {}
    in_progress: int = 0


class Buffering(msgspec.Struct, frozen=True, kw_only=True):
    """What waits to be committed."""

    bodies: int
    bytes: int
    held: int
    """Bytes of all requests in progress: what is being received, waits, or is being inserted."""
    held_most: int
    limit: int
    inserts: int
    inserted_bodies: int
    failed: int
    """Inserts that the engine did not do."""
    unstorable: int
    abandoned: int
    insert_seconds: float
    last_insert_age: float | None
    """Seconds since the last commit; None: there was none."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One table on disk."""

    rows: int
    bytes: int
    parts: int


class Storing(msgspec.Struct, frozen=True, kw_only=True):
    """The engine."""

    kind: str
    """`chdb` or `clickhouse`."""
    inserts: int
    insert_errors: int
    queries: int
    query_errors: int
    refused: int
    """Calls that found too many waiting."""
    disk_bytes: int = 0
    disk_limit: int = 0
    tables: dict[str, Table] = {}
    failed: str = ""
    """Why tables and disk are not known."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What one service told of itself."""

    service: str
    spans: bool = False
    """It sent spans in that time."""
    metrics: bool = False
    """It has metrics, sent or scraped."""
    lines: bool = False
    """It printed or sent log records."""
    requests: int = 0
    """That gateway and mesh carried to it."""
    unseen: tuple[str, ...] = ()
    """Libraries that its Python processes said they use and whose calls have no spans; of the last days."""


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """Who tells what: of every service that was heard of in that time."""

    since: str
    until: str
    services: tuple[Told, ...] = ()


class TelemetryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole process."""

    pid: int
    version: str
    started: float
    """Wall time."""
    http_port: int
    grpc_port: int
    receive: Receiving
    buffer: Buffering
    engine: Storing
    parts: dict[str, dict[str, float]] = {}
    """What the other parts count: the request log, logs, scraping, retention, metrics, queries."""
    memory: int = 0
    """Bytes resident."""
    loop_lag: float = 0.0
    warnings: tuple[str, ...] = ()
