"""A5, node paused: the question that was under way had "timed out" after the pause, and a healthy HAProxy was killed."""

from __future__ import annotations

import time

from atoll.gateway.runtime import Runtime, Unanswered
from tests.contract.gateway_edge.world import IMPATIENT, World, a_world


def _paused_once(runtime: Runtime, seconds: float) -> None:
    """The node sleeps through the driver's next question, as under SIGSTOP: its time passes, its loop does not run."""
    ask = runtime.ask

    async def sleeping(question: str) -> str:
        if question.startswith("show stat"):  # only watches, and counts no error
            return await ask(question)
        runtime.ask = ask  # type: ignore[method-assign]
        time.sleep(seconds)  # noqa: ASYNC251  the pause itself
        raise Unanswered(f"no answer to {question} within 1 s")

    runtime.ask = sleeping  # type: ignore[method-assign]


async def _lives_through_a_pause(world: World) -> None:
    async with world.driver.running():
        world.service("orders")
        await world.push()
        master, errors = world.master(), world.driver.report().errors
        assert world.driver._master is not None
        _paused_once(world.driver._master.runtime, 2 * IMPATIENT.silence)
        world.service("more")
        await world.push()
        await world.until(lambda: world.driver.report().errors > errors)
        await world.push()
        assert (world.master(), world.driver.restarts) == (master, 0)
        await world.driver.stop(0)


async def test_one_question_that_seems_to_have_waited_long_kills_nobody() -> None:
    async with a_world(IMPATIENT) as world:
        await _lives_through_a_pause(world)
