"""The telemetry process's own metrics, made of its status. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from atoll.kit.exposition import Kind, Metric, Series
from atoll.model.telemetry import TelemetryStatus

Read = Callable[[TelemetryStatus], Iterable[Series]]
COUNTER, GAUGE = Kind.COUNTER, Kind.GAUGE


def _one(read: Callable[[TelemetryStatus], float]) -> Read:
    return lambda status: [((), read(status))]


def _by(read: Callable[[TelemetryStatus], Mapping[str, float]]) -> Read:
    return lambda status: [((name,), number) for name, number in read(status).items()]


def _requests(status: TelemetryStatus) -> Iterable[Series]:
    for name, count in status.receive.requests.items():
        signal, _, way = name.partition(" ")
        yield (signal, way), count


def _rejected(status: TelemetryStatus) -> Iterable[Series]:
    for signal, reasons in status.receive.rejected.items():
        for reason, count in reasons.items():
            yield (signal, reason), count


def _parts(status: TelemetryStatus) -> Iterable[Series]:
    for part, numbers in status.parts.items():
        for name, number in numbers.items():
            yield (part, name), number


METRICS: Mapping[Metric, Read] = {
    Metric("atoll_telemetry_requests_total", COUNTER, "Export requests taken.", labels=("signal", "way")): _requests,
    Metric("atoll_telemetry_items_total", COUNTER, "Spans, records, points committed.", labels=("signal",)): _by(
        lambda status: status.receive.accepted
    ),
    Metric(
        "atoll_telemetry_rejected_items_total",
        COUNTER,
        "Items that cannot be stored; their senders were told.",
        labels=("signal", "reason"),
    ): _rejected,
    Metric("atoll_telemetry_refused_total", COUNTER, "Requests answered with an error.", labels=("code",)): _by(
        lambda status: status.receive.refused
    ),
    Metric("atoll_telemetry_received_bytes_total", COUNTER, "Bytes of bodies on the wire.", "bytes", ("signal",)): _by(
        lambda status: status.receive.bytes
    ),
    Metric("atoll_telemetry_held_bytes", GAUGE, "Bytes of requests not committed yet.", "bytes"): _one(
        lambda status: status.buffer.held
    ),
    Metric("atoll_telemetry_buffer_limit_bytes", GAUGE, "Bytes that may be held.", "bytes"): _one(
        lambda status: status.buffer.limit
    ),
    Metric("atoll_telemetry_inserts_total", COUNTER, "Inserts that committed."): _one(
        lambda status: status.buffer.inserts
    ),
    Metric("atoll_telemetry_insert_failures_total", COUNTER, "Inserts that the engine did not do."): _one(
        lambda status: status.buffer.failed
    ),
    Metric("atoll_telemetry_insert_seconds_total", COUNTER, "Time spent waiting for inserts.", "seconds"): _one(
        lambda status: status.buffer.insert_seconds
    ),
    Metric("atoll_telemetry_queries_total", COUNTER, "Questions put to the engine."): _one(
        lambda status: status.engine.queries
    ),
    Metric("atoll_telemetry_query_failures_total", COUNTER, "Questions it did not answer."): _one(
        lambda status: status.engine.query_errors
    ),
    Metric("atoll_telemetry_rows", GAUGE, "Rows on disk.", labels=("table",)): _by(
        lambda status: {name: table.rows for name, table in status.engine.tables.items()}
    ),
    Metric("atoll_telemetry_disk_bytes", GAUGE, "Bytes on disk.", "bytes", ("table",)): _by(
        lambda status: {name: table.bytes for name, table in status.engine.tables.items()}
    ),
    Metric("atoll_telemetry_disk_limit_bytes", GAUGE, "Bytes on disk that may be used.", "bytes"): _one(
        lambda status: status.engine.disk_limit
    ),
    Metric(
        "atoll_telemetry_part_count", GAUGE, "What the parts beside the receivers count.", labels=("part", "name")
    ): _parts,
    Metric("atoll_telemetry_memory_bytes", GAUGE, "Resident memory of the process.", "bytes"): _one(
        lambda status: status.memory
    ),
    Metric("atoll_telemetry_loop_lag_seconds", GAUGE, "How late its event loop is.", "seconds"): _one(
        lambda status: status.loop_lag
    ),
}


def families(status: TelemetryStatus) -> list[tuple[Metric, Sequence[Series]]]:
    """What a scrape is told."""
    return [(metric, list(read(status))) for metric, read in METRICS.items()]
