"""Failover groups with a real HAProxy: it goes to the next group by itself, and returns when the node says so."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

from atoll.kit.clock import SystemClock
from atoll.model.failover import Failover, FailoverWord, parse_group
from atoll.model.fallback import Fallback
from atoll.model.names import InstanceId, ServiceName, Token
from atoll.model.page import Page
from atoll.model.policy import Policy
from tests.contract.gateway_edge.world import Client, Upstream, World

ORDERS = ServiceName("orders")


async def shop(world: World, *groups: str, **said: Any) -> dict[str, Upstream]:
    """orders in two zones and orders-lite, with a route to orders."""
    failover = Failover(groups=tuple(map(parse_group, groups)), **{"return_after": 0.5, **said})
    world.service("orders", failover=failover)
    world.service("lite")
    world.route("orders", "/orders", "orders")
    found = {}
    for name, service, zone in (("a", "orders", "a"), ("b", "orders", "b"), ("lite", "lite", None)):
        found[name] = await world.upstream(name)
        world.instance(service, name, found[name].port, zone=None if zone is None else Token(zone))
    await world.push()
    await world.until(lambda: world.driver.config.fails_over)
    await settled(world)
    return found


async def settled(world: World) -> None:
    """Every server's check has passed, and the node has seen it."""
    await world.until(lambda: len(world.driver.servers()) >= 3 and all(each.up for each in world.driver.servers()))


def at(world: World) -> str:
    (report,) = world.driver.failovers()
    return report.group


def asked_first(world: World) -> str:
    """The group that HAProxy asks first; it is told some milliseconds after the node has decided."""
    return dict(world.driver.config.maps["failovers"])["orders"].split("^", 2)[1]


async def answers(world: World, count: int = 6) -> set[str]:
    return {(await world.get(f"/orders/{number}")).body for number in range(count)}


async def test_requests_go_on_to_the_next_group_within_the_request_and_return_after_a_while(world: World) -> None:
    found = await shop(world, "orders", "lite")
    assert await answers(world) == {"a", "b"}
    for name in ("a", "b"):
        await found[name].stop()
    # the very first requests meet instances that HAProxy does not know to be dead yet; none is usable soon after
    await world.until(lambda: at(world) == "lite")
    assert await answers(world) == {"lite"}
    mesh = Client(world.settings.gateway.mesh_port)
    assert (await mesh.get("/x", host="orders")).body == "lite"
    mesh.close()
    (report,) = world.driver.failovers()
    assert (report.at, report.cause) == (1, "orders: none of its instances takes requests")
    for name in ("a", "b"):
        await found[name].start(found[name].port)
    began = time.monotonic()
    await world.until(lambda: at(world) == "orders" and asked_first(world) == "orders")
    assert time.monotonic() - began >= 0.5, "it has to be well for a while first"
    assert await answers(world) == {"a", "b"}


async def test_haproxy_does_it_alone_the_moment_a_group_is_empty(world: World) -> None:
    await shop(world, "orders", "lite")
    for name in ("a", "b"):
        world.gone("orders", name)
    await world.push()
    assert await answers(world, 3) == {"lite"}, "without waiting for the node's next look"


async def test_a_zone_is_preferred_and_spills_over(world: World) -> None:
    found = await shop(world, "orders@zone:a", "orders@zone:b", "lite", return_after=0.0)
    assert await answers(world) == {"a"}
    key = ORDERS, InstanceId("a")
    kept = world.snapshot.instances[key]
    world.gone("orders", "a")
    await world.push()
    assert await answers(world) == {"b"}
    world.gone("orders", "b")
    await world.push()
    assert await answers(world) == {"lite"}
    world.snapshot.instances[key] = kept
    await world.push()
    await world.until(lambda: at(world) == "orders@zone:a")
    await world.until(lambda: any(each.instance == "a" and each.up for each in world.driver.servers()))
    await world.until(lambda: "^orders@zone:a^" in dict(world.driver.config.maps["failovers"])["orders"].split("|")[0])
    assert await answers(world) == {"a"}
    assert found["lite"].requests == 6


async def test_an_operators_word_is_obeyed_at_once_and_taken_back(world: World) -> None:
    await shop(world, "orders", "lite")
    await say(world, "lite")
    assert await answers(world, 3) == {"lite"}
    assert world.driver.failovers()[0].forced
    reloads = world.driver.report().reloads
    await say(world, None)
    assert await answers(world) == {"a", "b"}
    assert world.driver.report().reloads == reloads


async def say(world: World, to: str | None) -> None:
    now = SystemClock().wall()
    word = FailoverWord(
        to=None if to is None else parse_group(to), until=now + 60 if to else 0.0, since=now, reason="moves"
    )
    world.snapshot.services[ORDERS] = msgspec.structs.replace(world.snapshot.services[ORDERS], failover_word=word)
    await world.push()
    await world.until(lambda: at(world) == (to or "orders"))
    await world.until(lambda: asked_first(world) == (to or "orders"))


async def test_a_group_on_which_requests_fail_is_left(world: World) -> None:
    await shop(world, "orders", "lite", error_rate=30, return_after=30.0)
    world.gone("orders", "b")  # the only instance is never ejected
    await world.push()
    async with asyncio.timeout(15):
        while at(world) == "orders":
            await answers(world, 5)
            for _ in range(4):
                await world.get("/orders/fail")
    await world.until(lambda: "lite^" in dict(world.driver.config.maps["failovers"])["orders"].split("|")[0])
    assert await answers(world) == {"lite"}
    assert "of its requests failed" in world.driver.failovers()[0].cause


@pytest.mark.parametrize("path", ["/orders/x", "/orders//x", "/orders/%41", "/orders/a/../b"])
async def test_paths_that_take_the_long_way_fail_over_too(world: World, path: str) -> None:
    await shop(world, "orders", "lite")
    world.gone("orders", "a")
    world.gone("orders", "b")
    await world.push()
    answer = await world.get(path)
    assert (answer.status, answer.body) == (200, "lite")


async def test_when_no_group_has_an_instance_the_answer_says_so(world: World) -> None:
    await shop(world, "orders", "lite")
    world.snapshot.instances.clear()
    await world.push()
    answer = await world.get("/orders/x")
    document = msgspec.json.decode(answer.body)
    assert (answer.status, document["code"], document["service"]) == (503, "no-instance", "orders")


async def test_a_fallback_is_the_last_resort_behind_the_groups(world: World) -> None:
    found = await shop(world, "orders", "lite")
    fallback = Fallback(static=Page(body="sorry"))
    known = world.snapshot.services[ORDERS]
    world.snapshot.services[ORDERS] = msgspec.structs.replace(known, policy=Policy(fallback=fallback))
    world.route("api", "/api", "orders")
    await world.push()
    await world.until(lambda: world.driver.config.pages != ())
    assert {(await world.get("/api/x")).body for _ in range(6)} == {"a", "b"}
    for name in ("a", "b"):
        world.gone("orders", name)
    await world.push()
    assert await answers(world) == {"lite"}
    assert found["lite"].requests >= 6
    world.gone("lite", "lite")
    await world.push()
    assert await answers(world) == {"sorry"}


async def test_a_node_that_is_started_again_sends_requests_where_they_went(cold: World) -> None:
    async with cold.driver.running():
        found = await shop(cold, "orders", "lite", return_after=3600.0)
        for name in ("a", "b"):
            await found[name].stop()
        await cold.until(lambda: at(cold) == "lite" and asked_first(cold) == "lite")
        for name in ("a", "b"):
            await found[name].start(found[name].port)
    second = cold.again()
    async with second.running():
        cold.driver = second
        began = time.monotonic()
        cold.offer()
        await cold.until(lambda: bool(second.failovers()))
        await settled(cold)
        assert await answers(cold) == {"lite"}
        (report,) = second.failovers()
        assert (report.at, report.cause) == (1, "lite before the node was started again")
        known = cold.snapshot.services[ORDERS]
        assert known.failover is not None
        soon = msgspec.structs.replace(known.failover, return_after=1.0)
        cold.snapshot.services[ORDERS] = msgspec.structs.replace(known, failover=soon)
        cold.offer()
        await cold.until(lambda: at(cold) == "orders" and asked_first(cold) == "orders")
        assert time.monotonic() - began >= 1.0, "it has to be well for a while first"
        assert await answers(cold) == {"a", "b"}
        await second.stop(0)
