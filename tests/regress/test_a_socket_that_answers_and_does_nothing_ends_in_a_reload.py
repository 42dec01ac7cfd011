"""A runtime socket that shows what runs and changes nothing: changes were tried for ever, or taken for done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path

import pytest

from atoll.gateway.runtime import exchange
from tests.contract.gateway_edge.world import World, a_world

DONE = {"add server": "New server registered.", "prepare map": "New version created: 4711"}


class Way(StrEnum):
    """How it takes changes."""

    DEAF = "never answers"
    PRETENDS = "says that it is done"
    REFUSES = "refuses"


@contextlib.asynccontextmanager
async def _in_front(path: Path, way: Way) -> AsyncIterator[None]:
    """What takes HAProxy's place on `path`: questions are HAProxy's to answer."""
    aside = path.with_name("aside.sock")
    path.rename(aside)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            line = (await reader.readline()).decode().strip()
            if line.startswith("show "):
                writer.write((await exchange(aside, line + "\n")).encode())
            elif way is Way.DEAF:
                await reader.read()
            else:
                for each in line.split("; "):
                    said = "Permission denied" if way is Way.REFUSES else DONE.get(" ".join(each.split()[:2]), "")
                    writer.write(f"{said}\n\n".encode() if said else b"\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    yield
    server.close()
    await server.wait_closed()


@contextlib.asynccontextmanager
async def _routed() -> AsyncIterator[World]:
    async with a_world() as world, world.driver.running():
        one = await world.upstream("one")
        world.service("orders")
        world.instance("orders", "one", one.port)
        world.route("orders", "/orders", "orders")
        await world.push()
        yield world
        await world.driver.stop(0)


@pytest.mark.parametrize("way", Way)
async def test_an_instance_that_cannot_be_told_comes_with_a_new_process(way: Way) -> None:
    async with _routed() as world:
        master = world.master()
        two = await world.upstream("two")
        async with _in_front(world.driver.files.runtime, way):
            key = world.instance("orders", "two", two.port)
            world.offer()
            async with asyncio.timeout(8):
                await world.driver.routed(*key)
            assert {(await world.get("/orders/x")).body for _ in range(8)} == {"one", "two"}
        report = world.driver.report()
        assert report.reload_kinds == {"runtime-failed": 1}
        assert (report.pid, report.restarts) == (master, 0)


@pytest.mark.parametrize("way", [Way.PRETENDS, Way.REFUSES])
async def test_a_route_that_cannot_be_told_is_not_taken_for_applied(way: Way) -> None:
    async with _routed() as world:
        async with _in_front(world.driver.files.runtime, way):
            world.route("more", "/more", "orders")
            world.offer()
            await world.until(lambda: world.driver.config.revision == world.snapshot.revision, 8)
            assert (await world.get("/more")).body == "one"
        assert world.driver.report().reload_kinds == {"runtime-failed": 1}
