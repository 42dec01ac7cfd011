"""Servers that leave: looked for in a process that never had them leave; their sessions cut by a command nobody took."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from atoll.gateway.readback import ServerRow
from atoll.gateway.retire import Retirement
from atoll.gateway.runtime import Runtime
from atoll.kit.clock import SystemClock
from atoll.kit.logs import Log
from atoll.model.service import Balance, BalanceKind
from atoll.testing.haproxy import FakeHaproxy, Mood
from tests.contract.gateway_edge.world import HELD, a_world


async def test_one_that_is_back_with_a_reload_keeps_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the new worker came up, it was told to point this server elsewhere, to have its connections closed."""
    async with a_world() as world, world.driver.running():
        one = await world.upstream("one")
        world.service("orders", sticky=True)
        world.instance("orders", "one", one.port)
        world.route("orders", "/orders", "orders")
        await world.push()
        download = asyncio.create_task(world.get("/orders/held"))
        await world.until(lambda: one.requests == 1)
        world.gone("orders", "one")
        await world.push()
        await asyncio.sleep(0.6)  # a reload may be at once
        ready = Runtime.wait_ready
        rows: list[ServerRow] = []

        async def slowly(runtime: Runtime, within: float) -> None:
            await ready(runtime, within)
            await asyncio.sleep(0.7)  # longer than the pause between two tries to delete a server
            rows.extend((await world.rows()).values())

        monkeypatch.setattr(Runtime, "wait_ready", slowly)
        world.instance("orders", "one", one.port)
        world.service("orders", sticky=True, balance=Balance(kind=BalanceKind.RANDOM))
        await world.push()
        assert [(row.port, row.up, row.halted) for row in rows] == [(one.port, True, False)]
        one.released.set()
        assert (await download).body == HELD
        await world.driver.stop(0)


async def test_sessions_that_were_not_cut_are_cut_later(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with FakeHaproxy(Path(tmp_path_factory.mktemp("s")) / "s") as fake:
        fake.answer = lambda line: "Server still has connections." if line.startswith("del ") else ""
        clock = SystemClock()
        retirement = Retirement(Runtime(fake.path, clock), clock, Log("test"), limit=0)
        retirement.add("be", "one")
        fake.mood = Mood.CLOSE
        await retirement.step()
        assert retirement.cut == 0
        fake.mood = Mood.ANSWER
        await asyncio.sleep(0.01)
        await retirement.step()
        assert "shutdown sessions server be/one" in fake.commands
        assert retirement.cut == 1
        await asyncio.sleep(0.02)
        await retirement.step()
        assert fake.commands.count("shutdown sessions server be/one") == 1
