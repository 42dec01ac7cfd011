"""D15: a service that takes every connection and never answers, under a flood. Its queue is bounded; neighbours do not feel it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import no_request_failed
from tests.fault.platform import Fleet, comes, percentile
from tests.fault.scenario import Scenario
from tests.serving import serving

ROOM, QUEUE, WAIT = 4, 8, 0.5
"""Requests that the black hole is given at once, that wait for it, and seconds that they wait."""
CALLERS = 64
UNFELT = 0.1
"""Seconds: what a request may take on a busy machine."""
REQUEST = b"GET /hole HTTP/1.1\r\nHost: hole.test\r\n\r\n"


async def test_a_black_hole_holds_what_it_may_and_no_more(scenario: Scenario, fleet: Fleet) -> None:
    calm, storm = scenario.history("calm"), scenario.history("storm")
    answers: Counter[int] = Counter()
    took: list[float] = []
    held: list[tuple[int, int]] = []
    async with black_hole() as port:
        said = {"name": "hole", "instance_concurrency": ROOM, "queue": {"size": QUEUE, "timeout": WAIT}}
        await fleet.do(fleet.platform.done, "PUT", "/services/hole", said)
        await fleet.register("hole", "hole-1", port)
        await fleet.route("hole", "/hole", "hole")
        await fleet.converged()
        async with fleet.load(calm, "/other"):
            await asyncio.sleep(scenario.seconds(0.1, 5))
        callers = [asyncio.create_task(caller(fleet, answers, took)) for _ in range(CALLERS)]
        try:
            await comes(lambda: answers[503] > CALLERS, "the black hole is full")
            async with fleet.load(storm, "/other"):
                for _ in range(scenario.times(8, 100)):
                    held.append(await load_of(fleet))
                    await asyncio.sleep(0.05)
        finally:
            for each in callers:
                each.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            await fleet.forget("hole")
    served, waiting = (max(column) for column in zip(*held, strict=True))
    ratio = percentile(storm.calls, 0.99) / percentile(calm.calls, 0.99)
    scenario.measured(
        callers=CALLERS,
        answers=dict(answers),
        at_once=served,
        waiting=waiting,
        slowest_refusal_s=round(max(took), 2),
        neighbours_p99_ratio=round(ratio, 2),
    )
    judge(no_request_failed(calm.calls), no_request_failed(storm.calls))
    assert served == ROOM, "the fault did not bite, or the instance got more than it takes"
    assert 0 < waiting <= QUEUE
    assert set(answers) == {503}, "somebody else than the limit answered"
    scenario.in_time(max(took), WAIT + 2, "for a refusal")
    scenario.in_time(min(ratio / 5, percentile(storm.calls, 0.99) / UNFELT), 1.0, "of what neighbours may feel")


async def load_of(fleet: Fleet) -> tuple[int, int]:
    """Requests that the black hole has, and that wait for it."""
    head, *rows = (await fleet.runtime.ask("show stat")).removeprefix("# ").splitlines()
    columns = head.split(",")
    stats = [dict(zip(columns, row.split(","), strict=False)) for row in rows if ",hole-1:" in row]
    pools = {row.split(",")[0] for row in rows if ",hole-1:" in row}
    totals = [dict(zip(columns, row.split(","), strict=False)) for row in rows if row.split(",")[0] in pools]
    waiting = sum(int(each["qcur"]) for each in totals if each["svname"] == "BACKEND")
    return sum(int(each["scur"]) for each in stats), waiting


async def caller(fleet: Fleet, answers: Counter[int], took: list[float]) -> None:
    """Asks again and again; a little later after each refusal."""
    while True:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection(*fleet.place)
        with contextlib.closing(writer):
            writer.write(REQUEST)
            answers[int((await reader.readline()).split()[1])] += 1
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.1)


@asynccontextmanager
async def black_hole() -> AsyncIterator[int]:
    """Takes connections, reads, never answers."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass

    async with serving(swallow, backlog=512) as port:
        yield port
