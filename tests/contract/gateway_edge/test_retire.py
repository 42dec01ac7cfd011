"""Servers on their way out (faults.md D1, D7; the deletion trap of haproxy 2.8)."""

from __future__ import annotations

import asyncio
import time

from tests.contract.gateway_edge.world import HELD, Client, World


async def _keep_asking(world: World, until: asyncio.Event, seen: list[int | str]) -> None:
    """Statuses of requests over one kept connection; what the client sees fail is its text."""
    client = Client(world.settings.gateway.port)
    while not until.is_set():
        try:
            seen.append((await client.get("/orders/x")).status)
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.append(repr(error))
            client.close()
        await asyncio.sleep(0.002)
    client.close()


async def test_servers_that_come_and_go_under_keep_alive_load_fail_no_request_and_are_deleted(world: World) -> None:
    ports = [(await world.upstream(f"i{number}")).port for number in range(3)]
    world.service("orders")
    world.route("orders", "/orders", "orders")
    world.instance("orders", "i0", ports[0])
    await world.push()

    over = asyncio.Event()
    seen: list[int | str] = []
    clients = [asyncio.create_task(_keep_asking(world, over, seen)) for _ in range(8)]
    for turn in range(12):
        world.instance("orders", f"t{turn}", ports[1 + turn % 2])
        await world.push()
        await asyncio.sleep(0.05)
        world.gone("orders", f"t{turn}")
        await world.push()
    retirement = world.driver._reconciler.retirement  # type: ignore[union-attr]
    await world.until(lambda: len(retirement) == 0)
    await world.until(lambda: len(seen) > 200)
    over.set()
    await asyncio.gather(*clients)
    assert set(seen) == {200}
    assert retirement.cut == 0
    assert {name.partition(":")[0] for _, name in await world.rows()} == {"i0"}
    assert world.driver.report().reloads == 0


async def test_a_download_on_a_removed_server_completes_and_then_the_server_is_gone(world: World) -> None:
    one = await world.upstream("one")
    world.service("orders")
    world.route("orders", "/orders", "orders")
    world.instance("orders", "one", one.port)
    await world.push()
    download = asyncio.create_task(world.get("/orders/held"))
    await world.until(lambda: one.requests == 1)

    world.gone("orders", "one")
    await world.push()
    assert len(await world.rows()) == 1
    one.released.set()
    assert (await download).body == HELD
    await world.shown(lambda rows: not rows)


async def test_a_server_that_is_still_on_its_way_out_can_be_registered_again(world: World) -> None:
    one = await world.upstream("one")
    world.service("orders")
    world.route("orders", "/orders", "orders")
    key = world.instance("orders", "one", one.port)
    await world.push()
    download = asyncio.create_task(world.get("/orders/held"))
    await world.until(lambda: one.requests == 1)
    world.gone("orders", "one")
    await world.push()
    # its address is changed to get rid of idle connections
    await world.shown(lambda rows: any(row.halted and row.port != one.port for row in rows.values()))

    world.instance("orders", "one", one.port, weight=70)
    world.offer()
    await world.driver.routed(*key)
    assert (await world.get("/orders/x")).body == "one"
    one.released.set()
    assert (await download).body == HELD
    await asyncio.sleep(0.6)
    (row,) = (await world.rows()).values()
    assert (row.host, row.port, row.weight, row.halted) == ("127.0.0.1", one.port, 70, False)
    # and it is checked again, as at first
    one.healthy = False
    await world.until(lambda: any(not server.up for server in world.driver.servers()))


async def test_sessions_that_outlast_the_limit_are_ended(world: World) -> None:
    one = await world.upstream("one")
    world.service("orders")
    world.route("orders", "/orders", "orders")
    world.instance("orders", "one", one.port)
    await world.push()
    world.driver._reconciler.retirement.limit = 0.3  # type: ignore[union-attr]
    endless = asyncio.create_task(world.get("/orders/slow/2000"))
    await world.until(lambda: one.requests == 1)
    began = time.monotonic()
    world.gone("orders", "one")
    await world.push()
    (outcome,) = await asyncio.gather(endless, return_exceptions=True)
    assert isinstance(outcome, asyncio.IncompleteReadError)
    assert 0.2 < time.monotonic() - began < 20, "the whole takes forty seconds"
    await world.until(lambda: len(world.driver._reconciler.retirement) == 0)  # type: ignore[union-attr]
    assert not await world.rows()
