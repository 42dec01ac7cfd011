"""What asked for a reload was forgotten when the disk was full, or when the node died in the middle of it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from atoll.gateway.config import GatewayConfig
from atoll.gateway.master import Master
from atoll.model.service import Balance, BalanceKind
from tests.contract.gateway_edge.world import World, a_world


async def _facts(world: World) -> None:
    one = await world.upstream("one")
    if not world.snapshot.services:
        world.service("orders")
    world.instance("orders", "one", one.port)
    world.route("orders", "/orders", "orders")
    await world.push()


async def test_other_settings_are_loaded_once_there_is_room_for_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_world() as world:
        async with world.driver.running():
            await _facts(world)
        world.driver = world.again(server_timeout=7.0)
        full = [True]
        stage = world.driver._writer.stage

        async def refused(config: object) -> object:
            if full[0]:
                full[0] = False
                raise OSError(28, "No space left on device")
            return await stage(config)  # type: ignore[arg-type]

        monkeypatch.setattr(world.driver._writer, "stage", refused)
        async with world.driver.running():
            world.offer()
            await world.until(lambda: world.driver.report().reloads == 1)
            assert "settings or version changed" in world.driver.report().last_reload
            await world.driver.stop(0)


async def test_a_node_that_ended_before_haproxy_was_told_to_reload_is_made_up_for_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_world() as world:
        async with world.driver.running():
            world.service("orders", sticky=True)
            await _facts(world)
            await asyncio.sleep(0.6)  # a reload may be at once
            worker, ask, killed = await world.worker(), Master._ask, asyncio.Event()

            async def dies(master: Master, question: str, within: float) -> str:
                if question == "reload":
                    world.driver._stopped = True  # what ends now writes nothing more
                    killed.set()
                    await asyncio.sleep(60)
                return await ask(master, question, within)

            with monkeypatch.context() as patched:
                patched.setattr(Master, "_ask", dies)
                world.service("orders", sticky=True, balance=Balance(kind=BalanceKind.RANDOM))
                world.offer()
                await asyncio.wait_for(killed.wait(), 20)
        world.driver = world.again()
        async with world.driver.running():
            assert await world.worker() == worker
            await world.push()
            await world.until(lambda: world.driver.report().reloads == 1)
            await world.driver.stop(0)


async def test_what_a_refused_reload_falls_back_to_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was removed as soon as the new folder was current; a node or HAProxy that died then found nothing."""
    async with a_world() as world, world.driver.running():
        await _facts(world)
        folder = world.driver.folder
        two = await world.upstream("two")
        world.instance("orders", "two", two.port)
        await world.push()
        await world.until(lambda: folder.target(folder.current) != folder.target(folder.good) is not None)
        ask = Master._ask

        async def refuses(master: Master, question: str, within: float) -> str:
            return "Success=0\n--\n" if question == "reload" else await ask(master, question, within)

        monkeypatch.setattr(Master, "_ask", refuses)
        offer = world.driver._writer.offer
        seen: list[Path | None] = []

        def looks(config: GatewayConfig) -> None:
            seen.append(folder.target(folder.current))
            offer(config)

        monkeypatch.setattr(world.driver._writer, "offer", looks)
        world.service("orders", sticky=True)
        world.offer()
        await world.until(lambda: world.driver.report().errors == 1)
        assert seen[-1] is not None
        monkeypatch.undo()
        os.kill(await world.worker(), signal.SIGKILL)
        await world.until(lambda: world.driver.restarts == 1 and world.driver.report().pid is not None)
        await world.driver.stop(0)
