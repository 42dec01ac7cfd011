from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from atoll.errors import AtollError, BadRequest, Overloaded, StorageFull
from atoll.supervisor.backlog import Backlog, Place
from atoll.telemetry.engine import Insert
from atoll.telemetry.logs import places
from atoll.telemetry.logs.collect import Collector
from atoll.telemetry.logs.rows import COLUMNS
from atoll.telemetry.logs.source import Open
from atoll.testing import FakeClock

BODY = COLUMNS.index("Body")


class Pool:
    """Keeps what it is given; fails as told."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.sources: set[str] = set()
        self.failures: list[AtollError] = []
        self.poison = "\0never"

    async def insert(self, insert: Insert) -> None:
        if self.failures:
            raise self.failures.pop(0)
        rows = [row.decode().rstrip("\n").split("\t") for row in insert.data]
        if any(row[BODY] == self.poison for row in rows):
            raise BadRequest("the engine cannot read the rows")
        self.bodies += [row[BODY] for row in rows]
        self.sources |= {row[COLUMNS.index("Source")] for row in rows}


class Stage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.pool = Pool()
        self.path = folder / "collected.json"
        self.made: list[Collector] = []

    @property
    def sources(self) -> dict[str, Open]:
        def opened(kind: str, known: Mapping[str, tuple[int, str, int]]) -> Backlog:
            return Backlog(self.folder / kind, {name: Place(*place) for name, place in known.items()})

        return {"stdout": partial(opened, "logs"), "platform": partial(opened, "platform")}

    def collector(self) -> Collector:
        self.made.append(Collector(self.sources, self.pool, self.clock, self.path))
        return self.made[-1]

    def prints(self, *texts: str, instance: str = "web-1", kind: str = "logs") -> None:
        path = self.folder / kind / instance.rpartition("-")[0] / f"{instance}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.writelines(f"1795000000.000 |{text}\n" for text in texts)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    for collector in stage.made:
        collector.close()


async def test_lines_are_committed_and_read_on_behind_them_after_a_restart(stage: Stage) -> None:
    stage.prints("a", "b")
    assert await stage.collector().round() == 2
    stage.prints("c")
    stage.prints("own", kind="platform", instance="api-1")
    again = stage.collector()
    assert await again.round() == 2
    assert sorted(stage.pool.bodies) == ["a", "b", "c", "own"]
    assert stage.pool.sources == {"stdout", "platform"}


async def test_places_are_kept_after_the_commit_and_never_before(stage: Stage) -> None:
    stage.prints("a")
    collector = stage.collector()
    batch = collector.gather()
    assert len(batch.rows) == 1
    assert places.load(stage.path) == {}, "a crash now brings the line again"
    assert await stage.collector().round() == 1
    assert places.load(stage.path)["stdout"]["web/web-1"].place[2] == len("1795000000.000 |a\n")


async def test_an_engine_that_is_full_or_away_is_asked_again_and_nothing_is_lost(stage: Stage) -> None:
    stage.prints("a")
    stage.pool.failures = [Overloaded("busy"), StorageFull("full"), Overloaded("busy")]
    collector = stage.collector()
    running = asyncio.ensure_future(collector.run())
    await until(stage, lambda: stage.pool.bodies == ["a"])
    assert collector.counts.waits == 3
    stage.prints("b")
    await until(stage, lambda: stage.pool.bodies == ["a", "b"])
    collector.stop()
    await until(stage, running.done)


async def test_a_stop_while_the_engine_takes_nothing_leaves_the_lines_in_their_files(stage: Stage) -> None:
    stage.prints("a")
    collector = stage.collector()
    stage.pool.failures = [Overloaded("busy")]
    collector.stop()
    assert await collector.round() == 0
    assert places.load(stage.path) == {}


async def test_a_row_that_the_engine_cannot_read_costs_only_itself(stage: Stage) -> None:
    stage.pool.poison = "bad"
    stage.prints("a", "bad", "c", "d", "bad")
    collector = stage.collector()
    await collector.round()
    assert stage.pool.bodies == ["a", "c", "d"]
    assert (collector.counts.refused, collector.counts.records) == (2, 3)


async def test_an_error_waits_for_its_trace_over_rounds_and_over_a_crash(stage: Stage) -> None:
    stage.prints("ERROR:app:failed", "Traceback (most recent call last):")
    collector = stage.collector()
    assert await collector.round() == 0
    await stage.clock.advance(0.1)
    assert await stage.collector().round() == 0, "another process begins with the error"
    stage.prints("  File x", "KeyError: 1", "next")
    crashed = stage.collector()
    await crashed.round()
    assert stage.pool.bodies == ["failed\\nTraceback (most recent call last):\\n  File x\\nKeyError: 1", "next"]


async def test_places_that_cannot_be_read_bring_everything_again(stage: Stage) -> None:
    stage.prints("a")
    stage.path.write_text("{torn")
    assert await stage.collector().round() == 1


async def test_instances_never_share_a_record(stage: Stage) -> None:
    stage.prints("ERROR:app:one", instance="web-1")
    stage.prints("ERROR:app:two", instance="web-2")
    collector = stage.collector()
    await collector.round()
    stage.prints("Traceback (most recent call last):", "  of 2", "E: 2", instance="web-2")
    stage.prints("Traceback (most recent call last):", "  of 1", "E: 1", instance="web-1")
    await collector.round()
    await stage.clock.advance(1.0)
    await collector.round()
    assert sorted(stage.pool.bodies) == [
        f"{name}\\nTraceback (most recent call last):\\n  of {number}\\nE: {number}"
        for name, number in (("one", 1), ("two", 2))
    ]


async def until(stage: Stage, true: Callable[[], bool]) -> None:
    """Let time pass, and threads run, until something is true."""
    for _ in range(500):
        if true():
            return
        await stage.clock.advance(0.2)
        await asyncio.to_thread(lambda: None)
    raise AssertionError("it does not become true")
