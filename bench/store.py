"""What the store costs: durable commits, watch delivery, memory; with a plain apsw loop beside it in the same run.

    python bench/store.py [--short] [--folder DIR] [--json FILE]

Prints a table to stderr and one JSON line per figure to stdout. `DIR` should lie on the disk you care about: what is
measured is mostly its fsync. A peer that does less is named as such: it neither checks expectations nor tells watchers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import apsw
import uvloop

from atoll.kit.clock import SystemClock
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings
from atoll.store.base import Put
from atoll.store.sqlite import SqliteStore, open_store

VALUE = os.urandom(300).hex().encode()
"""600 bytes: an instance with its metadata, as JSON."""
TARGET_WRITES = 1500
TARGET_RSS_MB = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="under ten seconds")
    parser.add_argument("--folder", type=Path, help="where the databases are made (default: beside the checkout)")
    parser.add_argument("--json", type=Path, help="also append the JSON lines to this file")
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.memory:
        uvloop.run(hold(chosen.memory))
        return
    rounds, seconds = (3, 0.4) if chosen.short else (5, 2.0)
    folder = Path(tempfile.mkdtemp(prefix=".bench-store-", dir=chosen.folder or Path.cwd()))
    try:
        figures = [
            *medians([write_round(folder / f"round-{number}", seconds) for number in range(rounds)]),
            *uvloop.run(delivery(folder, 100, 200 if chosen.short else 2000)),
            *memory(folder),
        ]
    finally:
        shutil.rmtree(folder)
    where = {"python": platform.python_version(), "sqlite": apsw.sqlite_lib_version(), "cores": os.cpu_count()}
    lines = [json.dumps({"bench": "store", **figure, **where}) for figure in figures]
    for figure in figures:
        print(
            f"{figure['name']:<44} {figure['value']:>12,.2f} {figure['unit']:<6} {figure.get('note', '')}",
            file=sys.stderr,
        )
    print("\n".join(lines))
    if chosen.json:
        with chosen.json.open("a") as file:
            file.write("\n".join(lines) + "\n")


def figure(name: str, value: float, unit: str, note: str = "") -> dict[str, object]:
    return {"name": name, "value": round(value, 3), "unit": unit, **({"note": note} if note else {})}


def write_round(folder: Path, seconds: float) -> list[dict[str, object]]:
    """Each contender once, on fresh files: the disk's mood is then the same for all, and the median sees through it."""
    folder.mkdir()
    return [
        *raw(folder / "raw.db", seconds),
        *uvloop.run(commits(folder, 1, seconds)),
        *uvloop.run(commits(folder, 50, seconds)),
    ]


def medians(rounds: list[list[dict[str, object]]]) -> list[dict[str, object]]:
    found = [
        {**same[0], "value": round(statistics.median(float(str(one["value"])) for one in same), 3)}
        for same in zip(*rounds, strict=True)
    ]
    for one in found:
        if one["name"] == "durable commits, 50 writers":
            one["note"] = f"target {TARGET_WRITES}: {'met' if float(str(one['value'])) >= TARGET_WRITES else 'MISSED'}"
    return found


def raw(path: Path, seconds: float) -> list[dict[str, object]]:
    """The peer: one transaction per insert, as durable as ours, and nothing else."""
    connection = apsw.Connection(str(path))
    connection.pragma("locking_mode", "exclusive")
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, key TEXT, value BLOB)")
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        connection.execute("INSERT INTO t (key, value) VALUES (?, ?)", (f"instances/a/{count % 1000}", VALUE))
        count += 1
    elapsed = time.perf_counter() - start
    connection.close()
    return [
        figure(
            "raw apsw, one transaction per insert", count / elapsed, "1/s", "peer: no expectation, no history, no watch"
        )
    ]


async def commits(folder: Path, writers: int, seconds: float) -> list[dict[str, object]]:
    async with open_store(folder / f"w{writers}", StoreSettings(), SystemClock()) as store:
        took: list[float] = []
        end = time.perf_counter() + seconds

        async def writer(number: int) -> None:
            turn = 0
            while (start := time.perf_counter()) < end:
                await store.commit([Put(Key(f"instances/s{number}/{turn % 200}"), VALUE)])
                took.append(time.perf_counter() - start)
                turn += 1

        start = time.perf_counter()
        await asyncio.gather(*(writer(number) for number in range(writers)))
        elapsed = time.perf_counter() - start
        name = f"durable commits, {writers} writer{'s' * (writers > 1)}"
        rate = len(took) / elapsed
        return [
            figure(name, rate, "1/s"),
            figure(f"{name}, p50", quantile(took, 0.5) * 1000, "ms"),
            figure(f"{name}, p99", quantile(took, 0.99) * 1000, "ms"),
        ]


async def delivery(folder: Path, watchers: int, count: int) -> list[dict[str, object]]:
    """From the call of `commit` to the change in each watcher's hands, disk included; 500 commits a second."""
    called: dict[int, float] = {}
    acknowledged: list[float] = []
    took: list[float] = []

    async def watcher(store: SqliteStore, ready: asyncio.Semaphore) -> None:
        async with store.watch("instances/") as watch:
            await anext(watch)
            ready.release()
            while len(changes := (await anext(watch)).events) and changes[0].entry.key != "instances/end":
                took.append(time.perf_counter() - called[int(changes[0].entry.value)])

    async with open_store(folder / "watch", StoreSettings(), SystemClock()) as store:
        ready = asyncio.Semaphore(0)
        watching = asyncio.gather(*(watcher(store, ready) for _ in range(watchers)))
        for _ in range(watchers):
            await ready.acquire()
        for number in range(count):
            called[number] = start = time.perf_counter()
            await store.commit([Put(Key(f"instances/a/{number % 100}"), b"%d" % number)])
            acknowledged.append(time.perf_counter() - start)
            await asyncio.sleep(0.002)
        await store.commit([Put(Key("instances/end"), b"")])
        await watching
    name = f"commit to {watchers} watchers"
    return [
        figure(
            f"{name}, p50",
            quantile(took, 0.5) * 1000,
            "ms",
            f"of it the commit: {quantile(acknowledged, 0.5) * 1000:.2f}",
        ),
        figure(
            f"{name}, p99",
            quantile(took, 0.99) * 1000,
            "ms",
            f"of it the commit: {quantile(acknowledged, 0.99) * 1000:.2f}",
        ),
    ]


def memory(folder: Path) -> list[dict[str, object]]:
    """In a process of its own, so that nothing else counts."""
    command = [sys.executable, __file__, "--memory", str(folder / "memory")]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    note = f"target {TARGET_RSS_MB}: {'met' if found['full'] <= TARGET_RSS_MB else 'MISSED'}"
    return [
        figure("RSS, Python and the store's code", found["empty"], "MB"),
        figure("RSS, 10,000 instances and full history", found["full"], "MB", note),
        figure("open with 10,000 instances and full history", found["open"] * 1000, "ms"),
    ]


async def hold(folder: Path) -> None:
    async with open_store(folder / "empty", StoreSettings(), SystemClock()):
        empty = rss()
    async with open_store(folder / "full", StoreSettings(), SystemClock()) as store:
        for turn in range(2):
            for start in range(0, 10_000, 100):
                await asyncio.gather(
                    *(
                        store.commit(
                            [Put(Key(f"instances/s{number % 500}/i-{number}"), os.urandom(300).hex().encode())]
                        )
                        for number in range(start, start + 100)
                    )
                )
            assert store.revision == 10_000 * (turn + 1)
        full = rss()
    start = time.perf_counter()
    async with open_store(folder / "full", StoreSettings(), SystemClock()) as store:
        opened = time.perf_counter() - start
        assert len((await store.list("instances/")).entries) == 10_000
    print(json.dumps({"empty": empty, "full": full, "open": opened}))


def rss() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


if __name__ == "__main__":
    main()
