"""What a captured line costs, from the file to the commit: CPU µs per line, by the way it is printed.

    python bench/telemetry_lines.py            # four formats, 100,000 lines each, about ten seconds

Reading, parsing, writing TSV, the engine's insert (pattern, text index and all) and what it merges meanwhile are in it.
"""

from __future__ import annotations

import asyncio
import random
import resource
import shutil
import tempfile
import time
from pathlib import Path

from atoll.kit.clock import SystemClock
from atoll.settings import Telemetry
from atoll.supervisor.backlog import Backlog, Place
from atoll.telemetry.chdb import open_engine
from atoll.telemetry.logs.collect import Collector
from atoll.telemetry.pool import EnginePool

LINES = 100_000
INSTANCES = 4
RNG = random.Random(5)
WORDS = [f"w{RNG.randrange(99999)}" for _ in range(3000)]
FORMATS = {
    "plain": "order {i} of {w} created in {ms} ms for customer {w} somewhere",
    "logging": "2026-11-21 14:02:11,123 INFO app.orders: order {i} of {w} created in {ms} ms",
    "json": '{{"level":"info","time":"2026-11-21T14:02:11Z","logger":"app","msg":"order {i} created","order":{i},"who":"{w}"}}',
    "uvicorn": 'INFO:     127.0.0.1:{ms} - "GET /orders/{i}?x={w} HTTP/1.1" 200 OK',
}


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def printed(folder: Path, text: str) -> None:
    begin = time.time() - 100
    for instance in range(INSTANCES):
        path = folder / "orders" / f"orders-{instance}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            for i in range(LINES // INSTANCES):
                file.write(f"{begin + i / 500:.3f} |{text.format(i=i, ms=i % 977, w=RNG.choice(WORDS))}\n")


async def measure(collector: Collector) -> tuple[float, int]:
    began = cpu()
    await collector.round()
    while collector.counts.behind or collector.counts.lines < LINES:
        await collector.round()
    await asyncio.sleep(0.5)
    await collector.round()
    return (cpu() - began) / collector.counts.lines * 1e6, collector.counts.inserts


async def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="atoll-bench-"))
    engine = open_engine(folder / "store", Telemetry())
    pool = EnginePool(engine, SystemClock())
    try:
        for name, text in FORMATS.items():
            files = folder / name
            printed(files, text)

            def opened(known: dict[str, tuple[int, str, int]], files: Path = files) -> Backlog:
                return Backlog(files, {key: Place(*place) for key, place in known.items()})

            collector = Collector(
                {"stdout": lambda known, opened=opened: opened(dict(known))},
                pool,
                SystemClock(),
                folder / f"{name}.json",
            )
            cost, inserts = await measure(collector)
            print(f"{name:8}  {cost:5.1f} µs CPU a line, file to committed ({LINES} lines, {inserts} inserts)")
        for row in engine.rows("SELECT count() AS rows FROM logs"):
            print(f"{row['rows']} rows stored of {LINES * len(FORMATS)}")
    finally:
        await pool.close()
        engine.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main())
