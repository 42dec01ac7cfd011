"""A runtime socket that shows what runs and changes nothing: changes were tried for ever, or taken for done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from enum import StrEnum
from functools import partial

import pytest

from tests.contract.gateway_edge.front import HANG, in_front
from tests.contract.gateway_edge.world import QUICK, World, a_world

DONE = {"add server": "New server registered.", "prepare map": "New version created: 4711"}


class Way(StrEnum):
    """How it takes changes."""

    DEAF = "never answers"
    PRETENDS = "says that it is done"
    REFUSES = "refuses"


def _answer(line: str, way: Way) -> str | None:
    if line.startswith("show "):
        return None
    if way is Way.DEAF:
        return HANG
    answers = ["Permission denied" if way is Way.REFUSES else _done(each) for each in line.split("; ")]
    return "".join(f"{said}\n\n" if said else "\n" for said in answers)


def _done(command: str) -> str:
    return DONE.get(" ".join(command.split()[:2]), "")


@contextlib.asynccontextmanager
async def _routed(way: Way) -> AsyncIterator[World]:
    rhythm = replace(QUICK, answer=0.5) if way is Way.DEAF else QUICK
    async with a_world(rhythm) as world, world.driver.running():
        one = await world.upstream("one")
        world.service("orders")
        world.instance("orders", "one", one.port)
        world.route("orders", "/orders", "orders")
        await world.push()
        yield world
        await world.driver.stop(0)


@pytest.mark.parametrize("way", Way)
async def test_an_instance_that_cannot_be_told_comes_with_a_new_process(way: Way) -> None:
    async with _routed(way) as world:
        master = world.master()
        two = await world.upstream("two")
        async with in_front(world.driver.files.runtime, partial(_answer, way=way)):
            key = world.instance("orders", "two", two.port)
            world.offer()
            async with asyncio.timeout(20):
                await world.driver.routed(*key)
            assert {(await world.get("/orders/x")).body for _ in range(8)} == {"one", "two"}
        report = world.driver.report()
        assert report.reload_kinds == {"runtime-failed": 1}
        assert (report.pid, report.restarts) == (master, 0)


@pytest.mark.parametrize("way", [Way.PRETENDS, Way.REFUSES])
async def test_a_route_that_cannot_be_told_is_not_taken_for_applied(way: Way) -> None:
    async with _routed(way) as world:
        async with in_front(world.driver.files.runtime, partial(_answer, way=way)):
            world.route("more", "/more", "orders")
            world.offer()
            await world.until(lambda: world.driver.config.revision == world.snapshot.revision, 20)
            assert (await world.get("/more")).body == "one"
        assert world.driver.report().reload_kinds == {"runtime-failed": 1}
