"""Outliers on a real HAProxy: held out for longer each time, let back in steps, and never more than half of a pool."""

from __future__ import annotations

import asyncio

from atoll.model.names import ServiceName
from atoll.model.report import ServerReport
from atoll.model.service import Check, CheckKind
from tests.contract.gateway_edge.world import CHECK, Client, Upstream, World

QUICK = Check(kind=CheckKind.HTTP, path="/health", interval=0.5, timeout=CHECK.timeout, rise=2)
ROW = 5
"""Failed requests after which HAProxy takes an instance out."""


async def pool(world: World, count: int) -> list[Upstream]:
    """A service `web` of so many instances behind `/web`."""
    world.service("web", check=QUICK)
    upstreams = [await world.upstream(f"web-{at}") for at in range(count)]
    for each in upstreams:
        world.instance("web", each.name, each.port)
    world.route("web", "/web", "web")
    await world.push()
    return upstreams


def report(world: World, name: str) -> ServerReport:
    return next(each for each in world.driver.servers() if each.instance == name)


async def asked(world: World, path: str, seconds: float, every: float = 0.005) -> list[int]:
    """The statuses of so many seconds of requests, one after another."""
    client = Client(world.settings.gateway.port)
    loop = asyncio.get_running_loop()
    end, statuses = loop.time() + seconds, []
    try:
        while loop.time() < end:
            statuses.append((await client.get(path)).status)
            await asyncio.sleep(every)
    finally:
        client.close()
    return statuses


async def test_an_instance_that_fails_though_its_check_passes_is_held_out_for_longer_each_time(world: World) -> None:
    bad, *good = await pool(world, 3)
    bad.failing = True
    await world.until(lambda: len(world.driver.servers()) == 3)
    statuses: list[int] = []
    while report(world, "web-0").ejections < 2 or report(world, "web-0").ejected_until < world.now() + 0.7:
        statuses += await asked(world, "/web/x", 0.1)
    # HAProxy alone has it back in a second or so, and five more requests fail each time
    assert statuses.count(500) <= ROW * (report(world, "web-0").ejections + 1)
    assert sum(each.requests for each in good) == statuses.count(200)
    assert report(world, "web-0").share == 0
    held = False
    while not held:  # a term that was over before the last answer says nothing
        until, before = report(world, "web-0").ejected_until, bad.requests
        statuses = await asked(world, "/web/x", 0.5)
        held = world.now() < until
    assert set(statuses) == {200}
    assert bad.requests == before
    bad.failing = False
    while report(world, "web-0").share == 0:
        assert set(await asked(world, "/web/x", 0.1)) == {200}
    assert report(world, "web-0").share in {25, 50, 100}
    while bad.requests == before:
        assert set(await asked(world, "/web/x", 0.1)) == {200}
    assert bad.requests < min(each.requests for each in good)
    assert world.driver.report().reloads == 0


async def test_when_more_than_half_fails_nobody_is_ejected_and_everybody_serves(world: World) -> None:
    upstreams = await pool(world, 3)
    await world.until(lambda: len(world.driver.servers()) == 3)
    poison = asyncio.create_task(asked(world, "/web/fail", 3600.0, every=0.002))
    await world.until(lambda: world.driver.report().panics == (ServiceName("web"),))
    # and HAProxy, which by now may have taken out all of them, is told
    await world.until(lambda: not any(server.eject for each in world.driver.config.backends for server in each.servers))
    before = [each.requests for each in upstreams]
    assert set(await asked(world, "/web/x", 0.5)) == {200}
    assert all(each.requests > known for each, known in zip(upstreams, before, strict=True))
    assert world.driver.report().reloads == 0
    poison.cancel()
    await asyncio.gather(poison, return_exceptions=True)


async def test_a_dead_instance_is_its_checks_business_and_not_remembered(world: World) -> None:
    upstreams = await pool(world, 3)
    await world.until(lambda: len(world.driver.servers()) == 3)
    port = upstreams[0].port
    await upstreams[0].stop()
    while report(world, "web-0").up:
        assert set(await asked(world, "/web/x", 0.1)) == {200}
    await world.until(lambda: "L4CON" in report(world, "web-0").cause)
    await upstreams[0].start(port)
    await world.until(lambda: report(world, "web-0").up)
    assert report(world, "web-0").ejections == 0
