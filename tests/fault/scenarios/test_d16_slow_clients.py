"""D16: three hundred clients that are slow on purpose: with the head, with the body, with reading. Others do not feel it."""

from __future__ import annotations

import asyncio
import contextlib
import time

from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import no_request_failed
from tests.fault.platform import Fleet, comes, percentile
from tests.fault.scenario import Scenario

HEAD = b"POST / HTTP/1.1\r\nHost: slow.test\r\n"
UNFELT = 0.1
"""Seconds: what a request may take on a busy machine."""
HEADER_WAIT = 15.0
"""Seconds after which a client must have been closed that never ends its head; HAProxy gives it 10."""


async def test_slow_clients_are_closed_and_do_not_slow_others(scenario: Scenario, fleet: Fleet) -> None:
    calm, storm = scenario.history("calm"), scenario.history("storm")
    each = scenario.times(100, 100)
    closed: list[float] = []
    async with fleet.load(calm):
        await asyncio.sleep(scenario.seconds(0.1, 5))
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(each):
            group.create_task(slow_head(fleet, stop, closed))
            group.create_task(slow_body(fleet, stop))
            group.create_task(slow_reader(fleet, stop, number))
        open_now = 0

        async def crowded() -> bool:
            nonlocal open_now
            open_now = await clients(fleet)
            return open_now >= 2 * each

        await comes(crowded, "they are all there")
        async with fleet.load(storm):
            await asyncio.sleep(scenario.seconds(0.5, 5))
            if scenario.long:
                await comes(lambda: len(closed) == each, "who never ends a head is closed", within=HEADER_WAIT)
        stop.set()
    ratio = percentile(storm.calls, 0.99) / percentile(calm.calls, 0.99)
    scenario.measured(
        slow_clients=3 * each,
        open=open_now,
        p99_ratio=round(ratio, 2),
        heads_closed_after_s=round(max(closed), 1) if closed else None,
    )
    judge(no_request_failed(calm.calls), no_request_failed(storm.calls))
    # where a quiet p99 is below a millisecond, the machine's own hiccups make any ratio
    scenario.in_time(min(ratio / 5, percentile(storm.calls, 0.99) / UNFELT), 1.0, "of what good clients may feel")


async def clients(fleet: Fleet) -> int:
    """Open client connections, by HAProxy's own count."""
    for line in (await fleet.runtime.ask("show info")).splitlines():
        if line.startswith("CurrConns:"):
            return int(line.split(":")[1])
    raise AssertionError("HAProxy does not tell")


async def slow_head(fleet: Fleet, stop: asyncio.Event, closed: list[float]) -> None:
    """A header a second, for ever; when it was closed, after how long."""
    reader, writer = await asyncio.open_connection(*fleet.place)
    began = time.monotonic()
    reading, stopping = asyncio.create_task(reader.read()), asyncio.create_task(stop.wait())
    writer.write(HEAD)
    with contextlib.suppress(OSError):
        while not stop.is_set() and not reading.done():
            writer.write(b"x-a: b\r\n")
            await asyncio.wait({reading, stopping}, timeout=1, return_when=asyncio.FIRST_COMPLETED)
    if reading.done():
        closed.append(time.monotonic() - began)
    writer.transport.abort()
    stopping.cancel()
    await asyncio.gather(reading, stopping, return_exceptions=True)


async def slow_body(fleet: Fleet, stop: asyncio.Event) -> None:
    """A byte a second of a body that is announced as large."""
    _, writer = await asyncio.open_connection(*fleet.place)
    writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")
    with contextlib.suppress(OSError):
        while not stop.is_set():
            writer.write(b".")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1)
    writer.transport.abort()


async def slow_reader(fleet: Fleet, stop: asyncio.Event, number: int) -> None:
    """Asks for a megabyte that it does not read."""
    reader, writer = await asyncio.open_connection(*fleet.place, limit=1024)
    writer.write(f"GET /download?kb=1024&seconds=1&n={number} HTTP/1.1\r\nHost: slow.test\r\n\r\n".encode())
    await reader.readexactly(16)
    await stop.wait()
    writer.transport.abort()
