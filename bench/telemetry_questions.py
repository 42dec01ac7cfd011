"""How long the questions of `atoll traces`, `map` and `red` take: through the whole query application, JSON out.

    python -m bench.telemetry_questions [--rows 5000000] [--folder DIR] [--short]

The store is that of `bench.telemetry_engine --folder DIR` (made when it is not there): spans and logs of 72 hours.
Medians of warm runs, milliseconds; the targets are the issue's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2

from atoll.kit.clock import SystemClock
from atoll.settings import Telemetry
from atoll.telemetry.chdb import open_engine
from atoll.telemetry.pool import EnginePool
from atoll.telemetry.query.app import make_app
from bench.telemetry_data import fill

RUNS = 7
HOUR, DAY = 3600, 86_400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="100,000 rows")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--folder", type=Path, help="keep the store here, and use what is there")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix=".bench-telemetry-", dir=Path.cwd()))
    try:
        asyncio.run(measure(folder / "store", 100_000 if chosen.short else chosen.rows))
    finally:
        if chosen.folder is None:
            shutil.rmtree(folder)


def questions(end: float, trace: str) -> list[tuple[str, int, str, dict[str, Any]]]:
    """Name, target in ms (0: none), path, parameters."""
    hour, day, always = ({"until": end, "since": since} for since in (end - HOUR, end - DAY, 0))
    return [
        ("trace by id, with its logs", 50, f"traces/{trace}", {}),
        ("trace by the beginning of its id", 50, f"traces/{trace[:12]}", {}),
        ("latest 20 traces", 100, "traces", always),
        (
            "latest 100 failed traces of a service",
            100,
            "traces",
            {"service": "orders", "status": "error", "limit": 100, **always},
        ),
        ("latest 100 traces without errors", 100, "traces", {"status": "ok", "limit": 100, **day}),
        ("slowest 20 traces, 1 h", 0, "traces", {"order": "slowest", **hour}),
        ("an attribute's value, 24 h", 0, "traces", {"attribute": "user.id:u-4711", **day}),
        ("a rare word in spans and logs, 1 h", 0, "traces", {"text": "zebrafish", **hour}),
        ("RED per minute of a service, 1 h", 50, "red", {"service": "payments", "step": 60, **hour}),
        ("RED per minute of all services, 1 h", 50, "red", {"step": 60, **hour}),
        ("latency buckets with exemplars, 1 h", 0, "red/latency", {"service": "payments", **hour}),
        ("map, 1 h", 200, "map", hour),
        ("map, 24 h", 0, "map", day),
    ]


async def measure(store: Path, rows: int) -> None:
    engine = open_engine(store, Telemetry())
    pool = EnginePool(engine, SystemClock())
    try:
        for made in fill(engine, rows):
            print(made, file=sys.stderr)
        end = engine.rows("SELECT toUnixTimestamp64Nano(max(Timestamp)) / 1e9 + 1 AS end FROM spans")[0]["end"]
        trace = engine.rows(
            "SELECT lower(hex(TraceId)) AS id FROM spans WHERE ServiceName = 'orders' AND StatusCode = 2 LIMIT 1"
        )[0]["id"]
        app = make_app(pool, SystemClock(), Telemetry())
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
            for name, target, path, query in questions(end, trace):
                times = []
                for _ in range(RUNS):
                    began = time.perf_counter()
                    answer = await client.get(f"/api/v1/{path}", params=query)
                    times.append((time.perf_counter() - began) * 1e3)
                    assert answer.status_code == 200, answer.text
                tell(name, statistics.median(times[2:]), target, rows)
    finally:
        await pool.close()
        engine.close()


def tell(name: str, value: float, target: int, rows: int) -> None:
    note = f"target {target}" if target else ""
    print(f"{name:<44} {value:>9.1f} ms  {note}", file=sys.stderr)
    figure = {"bench": "telemetry-questions", "name": name, "value": round(value, 2), "unit": "ms", "rows": rows}
    print(json.dumps({**figure, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}), flush=True)


if __name__ == "__main__":
    main()
