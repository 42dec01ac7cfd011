"""What the telemetry process holds in memory: idle, under 5,000 spans a second, and what questions and merges add.

    python -m bench.telemetry_memory [--seconds 20] [--json FILE]

Alone, over HTTP, on an empty store. RssAnon is what the process made itself; the rest is pages of files: chDB's library
has 130 MB of code that the kernel may take back. "after": 25 s after the load, when merges are done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.telemetry_data import span_bodies
from bench.telemetry_receive import IDLE, ITEMS, LOADED, RATE, export, request
from tests.contract.telemetry.receive.process import Telemetry, telemetry

QUESTIONS = (
    "/api/v1/traces?limit=20",
    "/api/v1/map",
    "/api/v1/red",
    "/api/v1/logs?limit=20",
    "/api/v1/logs/patterns",
    "/prometheus/api/v1/query?query=" + quote("sum by (service) (rate(process_cpu_seconds_total[1m]))"),
    "/prometheus/api/v1/query_exemplars?query=up&start=1700000000&end=1900000000",
)
RESTED = 25
"""Seconds after which memory was given back: `telemetry.resting` looks every 10."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="of load")
    parser.add_argument("--json", type=Path, help="also append the JSON lines to this file")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".bench-memory-", dir=Path.cwd()) as folder:
        for found in measured(Path(folder), chosen.seconds):
            target = found["target"]
            verdict = "" if target is None else f"  (target {target:g}: {'ok' if found['rss'] <= target else 'MISSED'})"
            print(f"{found['name']:<44} {found['rss']:7.1f} MB, own {found['own']:6.1f}{verdict}", file=sys.stderr)
            line = json.dumps({**found, "unit": "MB", "load": round(os.getloadavg()[0], 1)})
            print(line, flush=True)
            if chosen.json:
                with chosen.json.open("a") as file:
                    file.write(line + "\n")


def look(process: Telemetry, name: str, target: float | None = None, rss: int | None = None) -> dict[str, Any]:
    words = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    own = int(words["RssAnon"].split()[0]) * 1024
    return {
        "name": name,
        "rss": round((rss or process.memory) / 1e6, 1),
        "own": round(own / 1e6, 1),
        "threads": int(words["Threads"]),
        "target": target,
    }


def measured(folder: Path, seconds: float) -> Iterator[dict[str, Any]]:
    bodies = span_bodies(ExportTraceServiceRequest, 64, ITEMS)
    with telemetry(folder) as process:
        yield look(process, "started", IDLE)
        time.sleep(15)  # it has scraped itself, and retention has looked
        yield look(process, "idle", IDLE)
        for question in QUESTIONS:
            process.ask(question)
            yield look(process, f"after {question.partition('?')[0]}")
        time.sleep(RESTED)
        yield look(process, "idle after these questions", IDLE)
        most = asyncio.run(load(process, bodies, seconds))
        yield look(process, f"most under 5k spans/s for {seconds:g} s", LOADED, most)
        for question in QUESTIONS:
            process.ask(question)
        yield look(process, "after the same questions over that", LOADED)
        time.sleep(RESTED)
        yield look(process, "after", IDLE)


async def load(process: Telemetry, bodies: list[bytes], seconds: float) -> int:
    """The most bytes."""
    contents = [request(process, "/v1/traces", body, "") for body in bodies]
    most = 0

    async def one(content: bytes) -> None:
        line = await asyncio.open_connection("127.0.0.1", process.http_port)
        await export(line, content)
        line[1].close()

    async with asyncio.TaskGroup() as group:
        began = time.monotonic()
        for number in range(int(seconds * RATE)):
            group.create_task(one(contents[number % len(contents)]))
            most = max(most, process.memory)
            await asyncio.sleep(max(0.0, began + (number + 1) / RATE - time.monotonic()))
    return most


if __name__ == "__main__":
    main()
