"""Fallbacks under a driver: changed while requests flow, over reloads, with instances that come and go."""

from __future__ import annotations

import asyncio

from atoll.model.fallback import Fallback, LastGood, Other
from atoll.model.names import ServiceName
from atoll.model.page import Page
from atoll.model.policy import Policy
from tests.contract.gateway_edge.world import Answer, Client, World


def says(body: str) -> Policy:
    return Policy(fallback=Fallback(static=Page(body=body)))


async def shop(world: World, policy: Policy) -> None:
    one = await world.upstream("one")
    world.service("orders", policy=policy)
    world.instance("orders", "one", one.port)
    world.route("orders", "/orders", "orders")
    await world.push()


async def test_no_request_is_fallen_back_from_because_haproxy_is_reloaded(world: World) -> None:
    await shop(world, says("first"))
    assert (await world.get("/orders/x")).body == "one"
    answers: list[Answer] = []
    over = asyncio.Event()

    async def asking(client: Client) -> None:
        while not over.is_set():
            answers.append(await client.get("/orders/x"))
            await asyncio.sleep(0)
        client.close()

    asked = [asyncio.create_task(asking(Client(world.settings.gateway.port))) for _ in range(4)]
    before = world.driver.report().reloads
    world.service("orders", mesh_index=0, policy=says("second"))
    await world.push()
    await world.until(lambda: len(answers) > 100)
    over.set()
    await asyncio.gather(*asked)
    assert world.driver.report().reloads == before + 1
    assert {(answer.status, answer.body, answer.headers.get("x-fallback")) for answer in answers} == {
        (200, "one", None)
    }
    await world.upstreams[0].stop()
    world.gone("orders", "one")
    await world.push()
    assert (await world.get("/orders/x")).body == "second"


async def test_a_fallback_comes_changes_and_goes_without_a_reload(world: World) -> None:
    await shop(world, Policy())
    two = await world.upstream("two")
    world.service("best")
    world.instance("best", "two", two.port)
    world.gone("orders", "one")
    await world.push()
    assert (await world.get("/orders/x")).status == 503
    for fallback, status in ((Fallback(service=Other(service=ServiceName("best"))), 200), (Fallback(), 503)):
        world.service("orders", mesh_index=0, policy=Policy(fallback=fallback))
        await world.push()
        answer = await world.get("/orders/x")
        assert (answer.status, answer.headers.get("x-fallback")) == (status, "service" if status == 200 else None)
    assert world.driver.report().reloads == 0


async def test_the_first_last_good_answers_are_one_reload_and_fixed_words_stay_until_it(world: World) -> None:
    await shop(world, Policy())
    assert (await world.get("/orders/x")).status == 200
    world.service("orders", mesh_index=0, policy=Policy(fallback=Fallback(last_good=LastGood())))
    await world.push()
    assert world.driver.report().reloads == 1
    assert (await world.get("/orders/x")).body == "one"
    world.gone("orders", "one")
    await world.push()
    stale = await world.get("/orders/x")
    assert (stale.status, stale.body, stale.headers["x-fallback"]) == (200, "one", "last-good")
    assert world.driver.report().reloads == 1
