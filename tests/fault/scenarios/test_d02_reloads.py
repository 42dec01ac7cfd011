"""D2, D11: reloads while everything that can be open is open: keep-alive, WebSockets, a slow download. Nobody is cut.

Each reload is real: a sticky service appears, which HAProxy 2.8 cannot learn while it runs. Old workers are bounded: where
WebSockets are opened between one reload and the next all the time, those of the oldest of more than `old_workers`
processes are closed, and no others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httptools
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import no_request_failed
from tests.fault.drivers.upstream import upstreams
from tests.fault.platform import Fleet
from tests.fault.scenario import Scenario

KILOBYTES = 256


@dataclass
class Talk:
    """One WebSocket that says something every 50 ms; `cut` after how many reloads it was closed, if it was."""

    said: int = 0
    cut: list[int] | None = None


async def test_reloads_under_load_fail_nothing(scenario: Scenario, fleet: Fleet) -> None:
    cuts = await reloads(scenario, fleet, count=scenario.times(2, 20), sockets=5)
    assert cuts == [], "a WebSocket was cut that nobody had to end"


@pytest.mark.slow
async def test_twenty_websockets_over_thirty_reloads(scenario: Scenario, fleet: Fleet) -> None:
    """One more with every reload, so that none of the old workers is ever done."""
    limit = fleet.settings.gateway.old_workers
    cuts = await reloads(scenario, fleet, count=scenario.times(8, 30), sockets=20, apart=True)
    assert cuts, "the bound was never reached"
    assert all(each >= limit for each in cuts), "a WebSocket was cut before its worker had to go"


async def reloads(scenario: Scenario, fleet: Fleet, *, count: int, sockets: int, apart: bool = False) -> list[int]:
    """Returns after how many reloads WebSockets were cut. `apart`: each is opened one reload after the one before."""
    history, limit = scenario.history("requests"), fleet.settings.gateway.old_workers
    await fleet.converged()  # what the facts before asked for is done
    before, most_old, most_memory = fleet.platform.gateway(), 0, 0
    done = [0]
    names = [
        f"sticky-{sockets}-{count}-{number}" for number in range(count)
    ]  # one that stood there before needs no reload
    async with (
        upstreams(*names) as ticks,
        fleet.load(history),
        talking(fleet, sockets, done, apart=apart) as talks,
        asyncio.TaskGroup() as group,
    ):
        # over several reloads; where the oldest workers have to go, it is done before its own has
        download = group.create_task(whole_download(fleet, seconds=min(3.0 if apart else 8.0, 1.0 * count)))
        for number, tick in enumerate(ticks):
            name = tick.name
            body = {"name": name, "sticky": True, "check": {"kind": "none"}}
            await fleet.do(fleet.platform.done, "PUT", f"/services/{name}", body)
            await fleet.register(name, name, tick.port)
            wanted = before["reloads"] + number + 1
            await reached(fleet, wanted)
            done[0] += 1
            parts = fleet.parts()
            most_old = max(most_old, len(parts.workers) - 1)
            most_memory = max(most_memory, sum(resident(pid) for pid in parts.workers))
        received = await download
        assert fleet.platform.gateway()["reloads"] - before["reloads"] == count, "other reloads than those asked for"
    await fleet.forget(*names)
    cuts = [each for talk in talks for each in talk.cut or ()]
    scenario.measured(
        reloads=count,
        requests=len(history.calls),
        failed=len(no_request_failed(history.calls)),
        download_bytes=received,
        websocket_messages=sum(talk.said for talk in talks),
        websockets_cut_after_reloads=sorted(cuts),
        old_workers_at_most=most_old,
        workers_mib=round(most_memory / (1 << 20)),
    )
    judge(no_request_failed(history.calls))
    assert received == KILOBYTES * 1024
    assert most_old <= limit
    assert all(talk.said > 5 for talk in talks[: count if apart else sockets])
    return cuts


async def reached(fleet: Fleet, reloads: int) -> None:
    began = time.monotonic()
    while (await fleet.do(fleet.platform.gateway))["reloads"] < reloads:
        assert time.monotonic() - began < 20, f"no reload: {fleet.platform.gateway()}"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def talking(fleet: Fleet, count: int, done: list[int], *, apart: bool = False) -> AsyncIterator[list[Talk]]:
    """WebSockets through the gateway all through the block; one that is closed is opened again."""
    talks, stop = [Talk() for _ in range(count)], asyncio.Event()

    async def talk(mine: Talk, after: int) -> None:
        while done[0] < after and not stop.is_set():  # noqa: ASYNC110  it is counted elsewhere
            await asyncio.sleep(0.1)
        while not stop.is_set():
            opened = done[0]
            try:
                async with connect(f"ws://127.0.0.1:{fleet.platform.gateway_port}/ws", proxy=None) as socket:
                    while not stop.is_set():
                        await socket.send(word := f"{mine.said}")
                        assert await asyncio.wait_for(socket.recv(), 20) == word
                        mine.said += 1
                        await asyncio.sleep(0.05)
            except ConnectionClosed:
                mine.cut = [*(mine.cut or []), done[0] - opened + 1]  # the reload that did it is not counted yet
            except WebSocketException as error:
                raise AssertionError(f"a WebSocket could not be opened: {error}") from error

    async with asyncio.TaskGroup() as group:
        for number, mine in enumerate(talks):
            group.create_task(talk(mine, number if apart else 0))
        try:
            yield talks
        finally:
            stop.set()


async def whole_download(fleet: Fleet, seconds: float) -> int:
    """Bytes of a body that takes `seconds`."""
    reader, writer = await asyncio.open_connection(*fleet.place)
    path = f"/download?kb={KILOBYTES}&seconds={seconds}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: slow.test\r\nConnection: close\r\n\r\n".encode())
    size = [0]

    class Body:
        def on_body(self, data: bytes) -> None:
            size[0] += len(data)

    parser = httptools.HttpResponseParser(Body())
    try:
        while data := await reader.read(1 << 16):
            parser.feed_data(data)
    finally:
        writer.transport.abort()
    return size[0]


def resident(pid: int) -> int:
    """Bytes that a process holds in memory; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * 4096
    except OSError:
        return 0
