from __future__ import annotations

import asyncio
import contextlib

import pytest

from atoll.gateway.counts import parse_stat
from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import State
from tests.contract.gateway_edge.world import HELD, Client, World, a_world


async def test_an_instance_that_registers_gets_the_next_request(world: World) -> None:
    one = await world.upstream("one")
    world.service("orders")
    world.route("orders", "/orders", "orders")
    await world.push()
    assert (await world.get("/orders/1")).status == 503

    key = world.instance("orders", "one", one.port)
    world.offer()
    await world.driver.routed(*key)

    answer = await world.get("/orders/1")
    assert (answer.status, answer.body) == (200, "one")
    assert world.driver.report().reloads == 0


async def test_a_new_service_with_three_instances_and_a_route_needs_no_reload(world: World) -> None:
    ports = [(await world.upstream(f"i{number}")).port for number in range(3)]
    process, worker = world.master(), await world.worker()

    world.service("fresh")
    for number, port in enumerate(ports):
        world.instance("fresh", f"i{number}", port)
    world.route("fresh", "/fresh", "fresh")
    await world.push()

    answers = {(await world.get("/fresh/x")).body for _ in range(12)}
    assert answers == {"i0", "i1", "i2"}
    assert (world.master(), await world.worker(), world.driver.report().reloads) == (process, worker, 0)
    mesh = Client(world.settings.gateway.mesh_port)
    assert (await mesh.get("/x", host="fresh")).status == 200
    mesh.close()


async def test_a_hundred_instance_changes_are_no_reload() -> None:
    async with a_world(debounce=0.0) as world, world.driver.running():
        await _a_hundred_changes(world)
        await world.driver.stop(0)


async def _a_hundred_changes(world: World) -> None:
    upstream = await world.upstream("one")
    world.service("orders")
    world.route("orders", "/orders", "orders")
    for change in range(50):
        world.instance("orders", f"i{change}", upstream.port)
        await world.push()
        if change > 2:
            world.gone("orders", f"i{change - 3}")
            await world.push()
    assert world.driver.report().reloads == 0
    assert world.driver.report().errors == 0
    await world.until(lambda: len(world.driver._reconciler.retirement) == 0)  # type: ignore[union-attr]
    names = {name.partition(":")[0] for _, name in await world.rows()}
    assert names == {"i47", "i48", "i49"}
    assert (await world.get("/orders/")).status == 200


async def test_changes_that_come_together_are_applied_together(world: World) -> None:
    upstream = await world.upstream("one")
    world.service("orders")
    await world.push()
    before = world.driver.config.generation
    for number in range(40):
        world.instance("orders", f"i{number}", upstream.port)
        world.offer()
    await world.until(lambda: world.driver.config.revision == world.snapshot.revision)
    # the first at once, the rest at the end of the debounce
    assert world.driver.config.generation - before <= 2


async def test_what_is_applied_is_what_haproxy_runs_and_what_stands_in_the_files(world: World) -> None:
    upstream = await world.upstream("one")
    world.service("orders")
    world.instance("orders", "one", upstream.port, weight=40)
    world.instance("orders", "two", upstream.port, weight=0)
    await world.push()
    shown = {
        name.partition(":")[0]: (row.host, row.port, row.weight) for (_, name), row in (await world.rows()).items()
    }
    assert shown == {"one": ("127.0.0.1", upstream.port, 40), "two": ("127.0.0.1", upstream.port, 0)}
    text = ""

    def written() -> bool:
        nonlocal text
        with contextlib.suppress(FileNotFoundError):  # the folder is another one meanwhile
            text = (world.driver.folder.current / "haproxy.cfg").read_text()
        return f"revision {world.snapshot.revision}" in text

    await world.until(written)
    assert f"127.0.0.1:{upstream.port} weight 40" in text


async def test_a_service_without_instances_answers_503_and_haproxy_starts(cold: World) -> None:
    cold.service("empty")
    cold.route("empty", "/empty", "empty")
    cold.route("ghost", "/ghost", "nobody-knows")
    cold.driver.offer(cold.snapshot)
    async with cold.driver.running():
        assert (await cold.get("/empty")).status == 503
        assert (await cold.get("/ghost")).status == 503
        assert (await cold.get("/nothing")).status == 404
        await cold.driver.stop(0)


async def test_a_draining_instance_gets_nothing_new_and_is_idle_when_its_request_is_done(world: World) -> None:
    one, two = await world.upstream("one"), await world.upstream("two")
    world.service("orders")
    key = world.instance("orders", "one", one.port)
    world.route("orders", "/orders", "orders")
    await world.push()

    slow = asyncio.create_task(world.get("/orders/held"))
    await world.until(lambda: one.requests == 1)
    world.instance("orders", "one", one.port, state=State.DRAINING)
    world.instance("orders", "two", two.port)
    await world.push()

    assert {(await world.get("/orders/x")).body for _ in range(6)} == {"two"}
    assert not await world.driver.idle(*key, within=0.05)
    one.released.set()
    assert await world.driver.idle(*key, within=15)
    assert (await asyncio.wait_for(slow, 20)).body == HELD


@pytest.mark.parametrize("again", [False, True], ids=["new", "back"])
async def test_an_instance_that_was_just_added_is_not_out_for_one_check_that_it_misses(
    world: World, again: bool
) -> None:
    """A machine that stands still for as long as a check may take would leave a service without its only instance."""
    one = await world.upstream("one")
    world.service("orders")
    world.route("orders", "/orders", "orders")
    key = world.instance("orders", "one", one.port)
    if again:
        await world.push()
        download = asyncio.create_task(world.get("/orders/held"))  # for its sake it stays, halted
        await world.until(lambda: one.requests == 1)
        world.gone("orders", "one")
        await world.push()
        key = world.instance("orders", "one", one.port)
    one.unwell, one.checks = 1, 0
    world.offer()
    await world.driver.routed(*key)
    await world.until(lambda: one.checks > 2)
    told = parse_stat(await world.runtime.ask("show stat -1 4 -1"))
    # of the one that was away, its leaving is counted
    assert [(stat.up, stat.downs) for stat in told if stat.server.startswith("one:")] == [(True, int(again))]
    one.healthy = False
    await world.until(lambda: not world.driver.servers()[0].up)
    if again:
        one.released.set()
        assert (await download).body == HELD


async def test_the_report_tells_what_checks_say_and_why(world: World) -> None:
    one = await world.upstream("one")
    world.service("orders")
    world.instance("orders", "one", one.port)
    world.instance("orders", "ill", one.port)
    world.instance("orders", "dead", 9)
    await world.push()
    # HAProxy says that it is down a moment before it says why
    await world.until(lambda: any("refused" in server.cause for server in world.driver.servers() if not server.up))
    reports = {server.instance: server for server in world.driver.servers()}
    assert reports[InstanceId("one")].up
    assert reports[InstanceId("one")].service == ServiceName("orders")
    assert not reports[InstanceId("dead")].up
    assert reports[InstanceId("dead")].cause.startswith("L4CON")


async def test_a_look_that_sees_another_state_is_told_apart_from_one_that_sees_more_requests(world: World) -> None:
    one = await world.upstream("one")
    world.service("orders")
    world.instance("orders", "one", one.port)
    world.route("orders", "/orders", "orders")
    await world.push()
    await world.until(lambda: any(each.up for each in world.driver.servers()))
    before = world.driver.sightings
    assert before > 0
    assert (await world.get("/orders/x")).status == 200
    await world.until(lambda: any(each.requests for each in world.driver.servers()))
    assert world.driver.sightings == before
    await one.stop()
    await world.until(lambda: world.driver.sightings > before)
    assert not any(each.up for each in world.driver.servers())
