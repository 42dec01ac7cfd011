"""An answer that broke off at the end of a line was taken for whole: all servers after it were "gone", or idle."""

from __future__ import annotations

import pytest

from atoll.gateway.runtime import Runtime, Unanswered
from atoll.kit.clock import SystemClock
from tests.contract.gateway_edge.front import in_front
from tests.contract.gateway_edge.world import a_world


async def test_it_is_not_believed() -> None:
    async with a_world() as world, world.driver.running():
        world.service("orders")
        await world.push()
        runtime = Runtime(world.driver.files.runtime, SystemClock())
        for question in ("show servers state", "show stat -1 4 -1", "show map"):
            whole = await runtime.ask(question)
            lines = f"{whole}\n\n".splitlines(keepends=True)
            for count in range(1, len(lines)):
                said = {question: "".join(lines[:count])}
                async with in_front(runtime.path, said.get):
                    with pytest.raises(Unanswered):
                        await runtime.ask(question)
            assert await runtime.ask(question) == whole
        await world.driver.stop(0)
