"""Active-passive services and maintenance, with a real HAProxy: who gets requests, with which number, what is answered."""

from __future__ import annotations

import asyncio
import contextlib
import json

from atoll.kit.clock import SystemClock
from atoll.model.keys import maintenance_key
from atoll.model.leader import Leader
from atoll.model.maintenance import Maintenance, parse_target
from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import Mode, Protocol, State
from tests.contract.gateway_edge.world import Client, World

ORDERS = ServiceName("orders")


def lead(world: World, instance: str | None, fencing: int) -> None:
    world.snapshot.leaders[ORDERS] = Leader(
        service=ORDERS, instance=None if instance is None else InstanceId(instance), fencing=fencing
    )


async def two(world: World) -> None:
    world.service("orders", mode=Mode.ACTIVE_PASSIVE)
    world.route("orders", "/orders", "orders")
    for name in ("o1", "o2"):
        world.instance("orders", name, (await world.upstream(name)).port)
    lead(world, "o1", 7)
    await world.push()


async def told(world: World) -> str:
    """Who answers, and the number it was told."""
    answer = await world.get("/orders/fencing")
    return answer.body


async def test_only_the_leader_gets_requests_and_is_told_its_number_which_a_client_cannot_set(world: World) -> None:
    await two(world)
    reloads = world.driver.report().reloads
    answers = {(await world.get("/orders/fencing", headers="X-Atoll-Fencing: 99\r\n")).body for _ in range(10)}
    assert answers == {"o1 7"}

    lead(world, "o2", 8)
    await world.push()
    assert {await told(world) for _ in range(10)} == {"o2 8"}
    assert world.driver.report().reloads == reloads, "a change of leaders needs no reload"
    assert reloads <= 1
    mesh = Client(world.settings.gateway.mesh_port)
    assert (await mesh.get("/fencing", host="orders", headers="X-Atoll-Fencing: 99\r\n")).body == "o2 8"
    mesh.close()


async def test_a_planned_change_of_leaders_loses_nothing_and_mixes_no_numbers(world: World) -> None:
    await two(world)
    seen: list[tuple[int, str]] = []
    over = asyncio.Event()

    async def ask() -> None:
        client = Client(world.settings.gateway.port)
        while not over.is_set():
            answer = await client.get("/orders/fencing")
            seen.append((answer.status, answer.body))
        client.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(ask())
        for term in range(8, 20):
            lead(world, "o1" if term % 2 else "o2", term)
            await world.push()
            await asyncio.sleep(0.02)
        over.set()
    assert {status for status, _ in seen} == {200}
    pairs = {body for _, body in seen}
    assert pairs <= {f"{'o1' if term % 2 else 'o2'} {term}" for term in range(7, 20)}
    assert len(pairs) > 3


async def test_a_leader_that_is_drained_keeps_its_requests_until_somebody_else_leads(world: World) -> None:
    await two(world)
    key = ORDERS, InstanceId("o1")
    world.instance("orders", "o1", world.snapshot.instances[key].port, state=State.DRAINING)
    await world.push()
    assert await told(world) == "o1 7"


async def test_a_dead_leader_is_not_followed_by_somebody_who_does_not_lead(world: World) -> None:
    await two(world)
    await world.upstreams[0].stop()
    answers = [await world.get("/orders/fencing") for _ in range(5)]
    assert {answer.status for answer in answers} == {503}
    lead(world, "o2", 8)
    await world.push()
    assert await told(world) == "o2 8"
    lead(world, None, 8)
    await world.push()
    assert (await world.get("/orders/fencing")).status == 503


async def test_the_one_tcp_leader_gets_the_connections(world: World) -> None:
    world.service("orders", mode=Mode.ACTIVE_PASSIVE, protocol=Protocol.TCP)
    for name in ("o1", "o2"):
        world.instance("orders", name, (await world.upstream(name)).port)
    for name, number in (("o1", 3), ("o2", 4)):
        lead(world, name, number)
        await world.push()
        client = Client(world.settings.gateway.mesh_ports)
        assert {(await client.get("/x")).body for _ in range(3)} == {name}
        client.close()


def keep_out(world: World, target: str, until: float = 0.0) -> None:
    word = Maintenance(target=target, reason="moves", until=until)
    world.snapshot.maintenance[maintenance_key(parse_target(target))] = word


async def test_a_service_in_maintenance_says_so_and_when_to_return_without_a_reload(world: World) -> None:
    await two(world)
    world.service("users")
    world.instance("users", "u1", (await world.upstream("u1")).port)
    world.route("users", "/users", "users")
    await world.push()
    reloads = world.driver.report().reloads
    keep_out(world, "users", until=SystemClock().wall() + 90)
    await world.push()
    for port, path, host in (
        (world.settings.gateway.port, "/users/1", "shop.test"),
        (world.settings.gateway.mesh_port, "/1", "users"),
    ):
        client = Client(port)
        answer = await client.get(path, host=host)
        document = json.loads(answer.body)
        assert (answer.status, document["code"], document["service"]) == (503, "maintenance", "users")
        assert (document["origin"], document["retryable"]) == ("service", True)
        assert 85 <= int(answer.headers["retry-after"]) <= 91
        client.close()
    assert await told(world) == "o1 7"
    keep_out(world, "users")
    await world.push()
    assert (await world.get("/users/1")).headers["retry-after"] == "60"
    world.snapshot.maintenance.clear()
    await world.push()
    assert (await world.get("/users/1")).body == "u1"
    assert world.driver.report().reloads == reloads


def written(world: World, name: str) -> str:
    with contextlib.suppress(FileNotFoundError):  # the folder is another one meanwhile
        return (world.driver.folder.current / name).read_text()
    return ""


async def test_leaders_and_maintenance_are_in_the_files_that_a_gateway_starts_from(world: World) -> None:
    await two(world)
    world.service("users")
    world.route("users", "/users", "users")
    keep_out(world, "users")
    await world.push()
    await world.until(lambda: "users 0" in written(world, "closed.map"))
    await world.until(lambda: "|7" in written(world, "leaders.map"))
