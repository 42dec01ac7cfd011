"""Reloads: only with a reason, at a distance, and without losing what HAProxy knew."""

from __future__ import annotations

import asyncio
import time

from atoll.gateway.breaker import TABLE
from atoll.kit.clock import Instant
from atoll.model.breaker import Breaker
from atoll.model.policy import Policy
from atoll.model.service import Balance, BalanceKind, Check, CheckKind
from tests.contract.gateway_edge.world import CHECK, HELD, Answer, Client, World, a_world, runs


async def test_what_haproxy_cannot_change_while_it_runs_is_a_reload_with_its_reason(world: World) -> None:
    one = await world.upstream("one")
    world.service("orders", sticky=True)
    world.instance("orders", "one", one.port)
    world.route("orders", "/orders", "orders")
    before = await world.worker()
    await world.push()
    assert (await world.get("/orders/x")).body == "one"
    assert world.driver.report().reloads == 1
    assert "backend orders for orders" in world.driver.report().last_reload
    assert await world.worker() != before
    # what follows needs none
    world.instance("orders", "two", one.port)
    await world.push()
    assert world.driver.report().reloads == 1


async def test_a_reload_that_must_wait_holds_up_nothing_else() -> None:
    async with a_world(reload_after_start=3600.0) as world, world.driver.running():
        one, two = await world.upstream("one"), await world.upstream("two")
        world.service("orders")
        world.route("orders", "/orders", "orders")
        world.instance("orders", "one", one.port)
        await world.push()

        # everybody can be reached without it, so a young process keeps its stick tables
        world.service("orders", balance=Balance(kind=BalanceKind.ROUND_ROBIN), mesh_index=0)
        key = world.instance("orders", "two", two.port)
        world.offer()
        await asyncio.wait_for(world.driver.routed(*key), 20)
        assert {(await world.get("/orders/x")).body for _ in range(8)} == {"one", "two"}
        assert world.driver.report().reloads == 0
        assert world.driver.report().revision < world.snapshot.revision

        assert world.driver._master is not None
        world.driver._master.worker_since = Instant(world.driver._master.worker_since - 3600.0)  # an hour later
        await world.until(lambda: world.driver.report().reloads == 1)
        assert "backend orders for orders" in world.driver.report().last_reload
        assert world.driver.report().revision == world.snapshot.revision
        await world.driver.stop(0)


async def test_many_changes_that_need_a_reload_share_few() -> None:
    async with a_world(reload_interval=0.5) as world, world.driver.running():
        one = await world.upstream("one")
        world.service("orders")
        world.instance("orders", "one", one.port)
        await world.push()
        began = time.monotonic()
        for number in range(60):
            world.route(f"r{number}", f"/r{number}", "orders", headers={f"x-{number % 5}": "yes"})
            world.offer()
            await asyncio.sleep(0.01)
        await world.until(lambda: world.driver.config.revision == world.snapshot.revision)
        took = time.monotonic() - began
        assert world.driver.report().reloads <= 1 + took / 0.5
        for number in range(0, 60, 7):
            assert (await world.get(f"/r{number}", headers=f"X-{number % 5}: yes\r\n")).body == "one"
            assert (await world.get(f"/r{number}")).status == 404
        await world.driver.stop(0)


async def test_a_dead_server_stays_dead_over_a_reload_and_a_download_goes_on(world: World) -> None:
    one, ill = await world.upstream("one"), await world.upstream("ill")
    ill.healthy = False
    # a process that knew nothing would believe it up for minutes
    check = Check(kind=CheckKind.HTTP, path="/health", interval=30.0, timeout=CHECK.timeout, fall=5)
    world.service("orders", check=check)
    world.route("orders", "/orders", "orders")
    world.instance("orders", "one", one.port)
    world.instance("orders", "ill", ill.port)
    await world.push()
    backend, server = next(key for key in await world.rows() if key[1].startswith("ill"))
    await world.runtime.ask(f"set server {backend}/{server} health down")
    assert not (await world.rows())[backend, server].up
    download = asyncio.create_task(world.get("/orders/held"))
    await world.until(lambda: one.requests == 1)

    world.service("other", sticky=True)
    await world.push()
    assert world.driver.report().reloads == 1
    assert not (await world.rows())[backend, server].up
    assert {(await world.get("/orders/x")).body for _ in range(6)} == {"one"}
    one.released.set()
    assert (await download).body == HELD


async def test_requests_go_on_over_reloads(world: World) -> None:
    one = await world.upstream("one")
    world.service("orders")
    world.route("orders", "/orders", "orders")
    world.instance("orders", "one", one.port)
    await world.push()
    over = asyncio.Event()

    seen: list[int] = []

    async def ask() -> None:
        client = Client(world.settings.gateway.port)
        while not over.is_set():
            seen.append((await client.get("/orders/x")).status)
            await asyncio.sleep(0.003)
        client.close()

    clients = [asyncio.create_task(ask()) for _ in range(4)]
    for number in range(3):
        world.service(f"other{number}", sticky=True)
        await world.push()
    await world.until(lambda: len(seen) > 100)
    over.set()
    await asyncio.gather(*clients)
    assert world.driver.report().reloads == 3
    assert set(seen) == {200}


async def test_old_workers_are_bounded() -> None:
    async with a_world(old_workers=2, reload_interval=0.1) as world, world.driver.running():
        one = await world.upstream("one")
        world.service("orders")
        world.route("orders", "/orders", "orders")
        world.instance("orders", "one", one.port)
        await world.push()
        held: list[asyncio.Task[Answer]] = []
        for number in range(5):
            held.append(asyncio.create_task(world.get("/orders/held")))
            await world.until(lambda: one.requests == len(held))
            world.service(f"other{number}", sticky=True)
            await world.push()
        master = world.driver._master
        assert master is not None
        assert len((await master.workers()).old) <= 2
        await world.driver.stop(0)
        await asyncio.gather(*held, return_exceptions=True)


async def test_a_download_outlives_more_reloads_than_there_may_be_old_workers() -> None:
    """What is bounded is who still runs; the workers that had nothing to finish are gone."""
    async with a_world(old_workers=2, reload_interval=0.1) as world, world.driver.running():
        one = await world.upstream("one")
        world.service("orders")
        world.route("orders", "/orders", "orders")
        world.instance("orders", "one", one.port)
        await world.push()
        first = await world.worker()
        download = asyncio.create_task(world.get("/orders/held"))
        await world.until(lambda: one.requests == 1)
        for number in range(5):
            world.service(f"other{number}", sticky=True)
            await world.push()
        assert world.driver.report().reloads == 5
        assert not download.done()
        assert runs(first)
        one.released.set()
        assert (await download).body == HELD
        await world.driver.stop(0)


async def test_an_open_breaker_stays_open_over_a_reload() -> None:
    async with a_world() as world, world.driver.running():
        one = await world.upstream("one")
        world.service("orders", policy=Policy(circuit_breaker=Breaker(enabled=True, min_requests=5, open=60)))
        world.instance("orders", "one", one.port)
        world.route("orders", "/orders", "orders")
        await world.push()
        for _ in range(6):  # the first one wakes the counting
            assert (await world.get("/orders/fail")).status == 500
        assert (await world.get("/orders/x")).status == 503
        await asyncio.sleep(6)  # a younger process hands nothing over
        world.service(
            "orders", policy=Policy(circuit_breaker=Breaker(enabled=True, min_requests=5, open=60)), sticky=True
        )
        await world.push()
        assert world.driver.report().reloads == 1
        # the old process tells the new one, which serves meanwhile: milliseconds, if both may run
        async with asyncio.timeout(20):
            while "key=orders " not in await world.runtime.ask(f"show table {TABLE}"):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        seen = one.requests
        assert {(await world.get("/orders/x")).status for _ in range(10)} == {503}
        assert one.requests == seen
        (told,) = world.driver.breakers()
        assert (told.service, told.state, told.opened) == ("orders", "open", 1)
