"""A telemetry store under orders: one JSON object a line on stdin, one answer a line on stdout.

    python tests/fault/programs/telemetry_program.py FOLDER [DISK_BYTES]

`flood` inserts numbered batches until it is killed, and says each number once its insert returned; beside it, the tail
rules keep every trace that has an error. The other orders are answered one by one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atoll.errors import AtollError
from atoll.kit.clock import SystemClock
from atoll.settings import Tail, Telemetry
from atoll.telemetry import otlp, tail
from atoll.telemetry.chdb import ChdbEngine, open_engine
from atoll.telemetry.keeping import Keeper
from atoll.telemetry.pool import EnginePool
from atoll.telemetry.retention import Retention
from tests.contract.telemetry.bodies import add_span, record, span

BATCH = 50
"""Rows of a batch: a found batch that is not whole has another number."""


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def body_of_logs(number: int, filler: int = 0) -> bytes:
    """`filler`: bytes that no compression makes smaller, in each record."""
    request = record(f"batch {number}", attributes={"batch": str(number)})
    for _ in range(BATCH - 1):
        request.resource_logs.append(request.resource_logs[0])
    for resource in request.resource_logs:
        resource.scope_logs[0].log_records[0].body.string_value += os.urandom(filler).hex()
    return bytes(request.SerializeToString())


def body_of_spans(number: int) -> bytes:
    """A trace for each batch; every second one has an error."""
    words = {"trace_id": number.to_bytes(16, "big"), "attributes": {"batch": str(number)}}
    request = span(span_id=(1).to_bytes(8, "big"), status=2 if number % 2 else 0, **words)
    for place in range(2, BATCH + 1):
        add_span(request, span_id=place.to_bytes(8, "big"), **words)
    return bytes(request.SerializeToString())


def flood(engine: ChdbEngine, first: int) -> None:
    def keep() -> None:
        pool = EnginePool(engine, SystemClock())
        keeper = Keeper(pool, tail.read(Tail(slow=0, share=0)), quiet=0)

        async def looks() -> None:
            while True:
                await keeper.look()

        asyncio.run(looks())

    threading.Thread(target=keep, daemon=True).start()
    for number in itertools.count(first):
        engine.insert(otlp.logs([body_of_logs(number)]))
        engine.insert(otlp.traces([body_of_spans(number)]))
        say(acknowledged=number)


def insert(engine: ChdbEngine, number: int, filler: int) -> dict[str, Any]:
    engine.insert(otlp.logs([body_of_logs(number, filler)]))
    return {"acknowledged": number}


def batches(engine: ChdbEngine) -> dict[str, Any]:
    """Rows of each batch, by table; and of the kept traces how many times their spans are there."""
    found: dict[str, Any] = {}
    for table, column in (("logs", "LogAttributes"), ("spans", "SpanAttributes")):
        rows = engine.rows(f"SELECT toUInt64({column}['batch']) AS batch, count() AS n FROM {table} GROUP BY batch")
        found[table] = {str(row["batch"]): row["n"] for row in rows}
    kept = "SELECT toUInt64(SpanAttributes['batch']) AS batch, count() AS n FROM kept_spans GROUP BY batch"
    found["kept"] = {str(row["batch"]): row["n"] for row in engine.rows(kept)}
    return found


def kept(engine: ChdbEngine) -> dict[str, Any]:
    async def look() -> None:
        pool = EnginePool(engine, SystemClock())
        await Keeper(pool, tail.read(Tail(slow=0, share=0)), quiet=0).look()
        await pool.close()

    asyncio.run(look())
    return {}


def swept(engine: ChdbEngine, knobs: Telemetry) -> dict[str, Any]:
    """As the process does it: what fails is counted and tried again."""

    async def sweep() -> dict[str, Any]:
        pool = EnginePool(engine, SystemClock())
        retention = Retention(pool, SystemClock(), knobs)
        await retention.attempt("sweep", retention.sweep)
        await pool.close()
        return {"dropped": retention.counts.dropped, "failures": retention.counts.failures}

    return asyncio.run(sweep())


def rss() -> dict[str, Any]:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return {"megabytes": int(line.split()[1]) / 1024}
    raise AssertionError


def main() -> None:
    folder = Path(sys.argv[1])
    knobs = Telemetry(disk_bytes=int(sys.argv[2])) if len(sys.argv) > 2 else Telemetry()
    engine = open_engine(folder, knobs)
    say(ready=True)
    for line in sys.stdin:
        order = json.loads(line)
        orders: dict[str, Callable[[], dict[str, Any]]] = {
            "insert": lambda order=order: insert(engine, order["number"], order.get("filler", 0)),  # type: ignore[misc]
            "batches": lambda: batches(engine),
            "keep": lambda: kept(engine),
            "sweep": lambda: swept(engine, knobs),
            "rss": rss,
        }
        if order["do"] == "flood":
            flood(engine, order["first"])
        try:
            say(**orders[order["do"]]())
        except AtollError as error:
            say(refused=error.code, detail=error.detail)
    engine.close()


if __name__ == "__main__":
    main()
