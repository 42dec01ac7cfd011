"""What receiving OTLP costs: CPU of the telemetry process from HTTP in to committed, freshness, memory.

    python -m bench.telemetry_receive [--short] [--json FILE]

Prints a table to stderr and one JSON line per figure to stdout. Bodies of 512 items, as OpenTelemetry's batch processor
sends them, over HTTP on loopback. "bodies a flush": as many are sent at once, all must be acknowledged before the next
ones. CPU is user + system time of the whole telemetry process, merges in the background included. Fresh: from the first
byte sent to the acknowledgement, when the span is on disk and found by queries; after quiet, and under 5,000 spans and
5,000 log records a second.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.telemetry_data import log_bodies, span_bodies
from tests.contract.telemetry.receive.process import Telemetry, telemetry

ITEMS = 512
FLUSHES = (1, 8, 32, 64)
TARGETS = {"spans": 20.0, "logs": 15.0}
"""µs of CPU an item at 32 bodies a flush."""
IDLE, LOADED = 320.0, 800.0
"""MB of memory: with an empty store, and under load."""
RATE = 10
"""Bodies a second of each signal under load: 5,120 items."""
SETTLE = 3.0
"""Seconds for merges after each measurement."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="20 seconds of load, one round of each size")
    parser.add_argument("--json", type=Path, help="also append the JSON lines to this file")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".bench-receive-", dir=Path.cwd()) as folder:
        figures = list(measured(Path(folder), short=chosen.short))
    where = {"python": platform.python_version(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    for found in figures:
        target = found.get("target")
        verdict = "" if target is None else f"  (target {target:g}: {'ok' if found['value'] <= target else 'MISSED'})"
        print(f"{found['name']:<46} {found['value']:9.2f} {found['unit']}{verdict}", file=sys.stderr)
        line = json.dumps({**found, **where})
        print(line)
        if chosen.json:
            with chosen.json.open("a") as file:
                file.write(line + "\n")


def figure(name: str, value: float, unit: str, target: float | None = None) -> dict[str, Any]:
    return {"name": name, "value": round(value, 2), "unit": unit, "target": target}


def measured(folder: Path, *, short: bool) -> Iterator[dict[str, Any]]:
    spans, logs = span_bodies(ExportTraceServiceRequest, 64, ITEMS), log_bodies(ExportLogsServiceRequest, 64, ITEMS)
    with telemetry(folder) as process:
        time.sleep(8)  # it scrapes itself for the first time
        yield figure("memory, idle", process.memory / 1e6, "MB", IDLE)
        used, began = process.cpu, time.monotonic()
        time.sleep(5 if short else 30)
        yield figure("CPU, idle", 100 * (process.cpu - used) / (time.monotonic() - began), "% of a core")
        for name, path, bodies in (("spans", "/v1/traces", spans), ("logs", "/v1/logs", logs)):
            asyncio.run(rounds(process, path, bodies[:8], 1, ""))  # what is imported and compiled once
            for count in FLUSHES:
                repeats = 4 if short else max(4, 256 // count)
                for encoding in ("", "gzip") if count == 32 else ("",):
                    cost = cpu(process, path, bodies[:count], repeats, encoding)
                    how = f", {encoding}" if encoding else ""
                    target = TARGETS[name] if count >= 32 else None
                    yield figure(f"{name}, {count} bodies a flush{how}", cost, "µs/item", target)
        yield from fresh(process, spans, logs, 20.0 if short else 300.0)


def cpu(process: Telemetry, path: str, bodies: Sequence[bytes], repeats: int, encoding: str) -> float:
    """µs of an item."""
    used = process.cpu
    asyncio.run(rounds(process, path, bodies, repeats, encoding))
    time.sleep(SETTLE)
    return 1e6 * (process.cpu - used) / (repeats * len(bodies) * ITEMS)


async def rounds(process: Telemetry, path: str, bodies: Sequence[bytes], repeats: int, encoding: str) -> None:
    requests = [request(process, path, body, encoding) for body in bodies]
    lines = [await asyncio.open_connection("127.0.0.1", process.http_port) for _ in bodies]
    for _ in range(repeats):
        await asyncio.gather(*(export(line, one) for line, one in zip(lines, requests, strict=True)))
    for _, writer in lines:
        writer.close()


def request(process: Telemetry, path: str, body: bytes, encoding: str) -> bytes:
    content = gzip.compress(body, 6) if encoding else body
    head = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {process.token}"]
    head += ["Content-Type: application/x-protobuf", f"Content-Length: {len(content)}"]
    head += [f"Content-Encoding: {encoding}"] if encoding else []
    return "\r\n".join([*head, "", ""]).encode() + content


async def export(line: tuple[asyncio.StreamReader, asyncio.StreamWriter], content: bytes) -> float:
    """Seconds until it is acknowledged."""
    reader, writer = line
    began = time.monotonic()
    writer.write(content)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert b"content-length: 0" in answer, answer
    return time.monotonic() - began


def fresh(process: Telemetry, spans: list[bytes], logs: list[bytes], seconds: float) -> Iterator[dict[str, Any]]:
    small = span_bodies(ExportTraceServiceRequest, 1, 4)

    async def quiet() -> list[float]:
        line = await asyncio.open_connection("127.0.0.1", process.http_port)
        content, took = request(process, "/v1/traces", small[0], ""), []
        for _ in range(12):
            took.append(await export(line, content))
            await asyncio.sleep(1.0)
        return took

    took = asyncio.run(quiet())
    yield figure("fresh after quiet, p50", 1000 * statistics.median(took), "ms")
    yield figure("fresh after quiet, most", 1000 * max(took), "ms")
    used, began = process.cpu, time.monotonic()
    took, most = asyncio.run(load(process, spans, logs, seconds))
    share = (process.cpu - used) / (time.monotonic() - began)
    took.sort()
    yield figure("fresh under 5k spans/s + 5k logs/s, p50", 1000 * took[len(took) // 2], "ms")
    yield figure("fresh under 5k spans/s + 5k logs/s, p95", 1000 * took[int(0.95 * len(took))], "ms")
    yield figure("CPU under 5k spans/s + 5k logs/s", 100 * share, "% of a core")
    yield figure("memory under 5k spans/s + 5k logs/s, most", most / 1e6, "MB", LOADED)


async def load(process: Telemetry, spans: list[bytes], logs: list[bytes], seconds: float) -> tuple[list[float], int]:
    """Times of the acknowledgements, and the most memory."""
    contents = [request(process, "/v1/traces", body, "") for body in spans]
    others = [request(process, "/v1/logs", body, "") for body in logs]
    took: list[float] = []
    most = 0

    async def one(content: bytes) -> None:
        line = await asyncio.open_connection("127.0.0.1", process.http_port)
        took.append(await export(line, content))
        line[1].close()

    async with asyncio.TaskGroup() as group:
        began = time.monotonic()
        for number in range(int(seconds * RATE)):
            group.create_task(one(contents[number % len(contents)]))
            group.create_task(one(others[number % len(others)]))
            most = max(most, process.memory)
            await asyncio.sleep(max(0.0, began + (number + 1) / RATE - time.monotonic()))
    return took, most


if __name__ == "__main__":
    main()
