"""What the telemetry engine costs: CPU for each span and log line by bodies per flush, memory, and query times.

    python -m bench.telemetry_engine [--short] [--rows 5000000] [--folder DIR] [--json FILE]

Prints a table to stderr and one JSON line per figure to stdout. Ingest: bodies of 512 items as OpenTelemetry's batch
processor sends them, handed over as the telemetry process does. Queries: on `--rows` spans and as many logs of 72 hours,
made by the engine itself; medians of warm runs. `--folder` keeps the data for the next run; else it is removed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from atoll.settings import Telemetry
from atoll.telemetry import otlp
from atoll.telemetry.chdb import ChdbEngine, open_engine
from bench.telemetry_data import QUERIES, fill, log_bodies, span_bodies

BODY = 512
"""Items of a body: OpenTelemetry's max_export_batch_size."""
FLUSHES = (1, 8, 32, 128)
TARGETS = {"span": 20.0, "log": 15.0}
"""µs of CPU an item at 32 and more bodies a flush."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="under half a minute: 100,000 rows")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--folder", type=Path, help="keep the store for queries here, and use what is there")
    parser.add_argument("--only", choices=("ingest", "queries"))
    parser.add_argument("--json", type=Path, help="also append the JSON lines to this file")
    chosen = parser.parse_args()
    temporary = Path(tempfile.mkdtemp(prefix=".bench-telemetry-", dir=Path.cwd()))
    rows = 100_000 if chosen.short else chosen.rows
    try:
        figures = list(
            measured(
                chosen.folder or temporary, rows, ingesting=chosen.only != "queries", asking=chosen.only != "ingest"
            )
        )
    finally:
        shutil.rmtree(temporary)
    where = {"python": platform.python_version(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    for found in figures:
        print(
            f"{found['name']:<52} {found['value']:>12,.2f} {found['unit']:<8} {found.get('note', '')}", file=sys.stderr
        )
    lines = [json.dumps({"bench": "telemetry-engine", **found, **where}) for found in figures]
    print("\n".join(lines))
    if chosen.json:
        with chosen.json.open("a") as file:
            file.write("\n".join(lines) + "\n")


def figure(name: str, value: float, unit: str, note: str = "") -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": unit, **({"note": note} if note else {})}


def measured(folder: Path, rows: int, *, ingesting: bool, asking: bool) -> Iterator[dict[str, Any]]:
    if asking:
        # Parts as large as a day of merging makes them want more memory than a laptop's setting allows at once.
        engine = open_engine(folder / "store", Telemetry(memory=3 << 30))
        try:
            yield from fill(engine, rows)
        finally:
            engine.close()
    if ingesting:
        with tempfile.TemporaryDirectory(prefix=".bench-telemetry-", dir=Path.cwd()) as empty:
            engine = opened(Path(empty))
            try:
                yield from ingest(engine, short=rows < 1_000_000)
                yield figure("rss, after ingest", rss(), "MB")
            finally:
                engine.close()
    started = time.perf_counter()
    engine = opened(folder)
    try:
        yield figure("open", (time.perf_counter() - started) * 1e3, "ms", f"{rows:,} spans and logs" if asking else "")
        if asking:
            yield from queries(engine, rows)
        yield figure("rss, at the end", rss(), "MB")
    finally:
        engine.close()
    yield figure("rss, open and idle", idle_rss(), "MB", "target 320; a process of its own")


def opened(folder: Path) -> ChdbEngine:
    return open_engine(folder / "store", Telemetry())


def idle_rss() -> float:
    """Of a process that only opened an empty store."""
    program = (
        "import sys; from pathlib import Path; from atoll.settings import Telemetry; from atoll.telemetry.chdb import open_engine;"
        "engine = open_engine(Path(sys.argv[1]), Telemetry());"
        "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS'))); engine.close()"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def ingest(engine: ChdbEngine, *, short: bool) -> Iterator[dict[str, Any]]:
    """CPU of the whole process for each item, merges included; warm, as one thread inserts."""
    kinds = {
        "span": (otlp.traces, span_bodies(ExportTraceServiceRequest, 16, BODY)),
        "log": (otlp.logs, log_bodies(ExportLogsServiceRequest, 16, BODY)),
    }
    for kind, (insert, bodies) in kinds.items():
        engine.insert(insert(bodies[:1]))
        sent = BODY
        for count in FLUSHES:
            rounds = (2 if short else 4) if count > 8 else (3 if short else 8)
            flush = insert([bodies[number % len(bodies)] for number in range(count)])
            wall, cpu = time.perf_counter(), cpu_seconds()
            for _ in range(rounds):
                engine.insert(flush)
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            items = rounds * count * BODY
            sent += items
            note = f"{items / wall:,.0f} {kind}s/s" + (f"; target {TARGETS[kind]:.0f}" if count >= 32 else "")
            yield figure(f"ingest, {count} bodies of {BODY} a flush", cpu / items * 1e6, f"µs/{kind}", note)
        found = engine.rows(f"SELECT count() AS n FROM {kind}s")[0]["n"]
        assert found == sent, f"{found} of {sent} {kind}s are in the table"


def queries(engine: ChdbEngine, rows: int) -> Iterator[dict[str, Any]]:
    for name, (target, sql, parameters) in QUERIES.items():
        bound = {
            key: engine.rows(value)[0]["value"] if isinstance(value, str) and value.startswith("SELECT") else value
            for key, value in parameters.items()
        }
        times = []
        answer: list[dict[str, Any]] = []
        for _ in range(7):
            started = time.perf_counter()
            answer = engine.rows(sql, bound)
            times.append((time.perf_counter() - started) * 1e3)
        yield figure(name, statistics.median(times[2:]), "ms", f"target {target}; {len(answer)} rows of {rows:,}")


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rss() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
