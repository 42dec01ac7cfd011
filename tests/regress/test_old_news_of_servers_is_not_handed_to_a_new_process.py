"""When server states could not be asked for at a reload, those of the reload before were handed over: who was down then."""

from __future__ import annotations

import pytest

from atoll.gateway.master import Master
from atoll.gateway.runtime import Runtime, Unanswered
from tests.contract.gateway_edge.world import a_world


async def test_what_is_not_known_now_is_not_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_world() as world, world.driver.running():
        one = await world.upstream("one")
        world.service("orders", sticky=True)
        world.instance("orders", "one", one.port)
        await world.push()
        world.service("more", sticky=True)
        await world.push()
        assert " orders 1 one:" in world.driver.files.state.read_text()
        dump = Master.dump_state

        async def silent(runtime: Runtime, question: str) -> str:
            raise Unanswered(f"no answer to {question!r}")

        async def asked_in_vain(master: Master) -> None:
            with monkeypatch.context() as patched:
                patched.setattr(Runtime, "ask", silent)
                await dump(master)

        monkeypatch.setattr(Master, "dump_state", asked_in_vain)
        world.service("most", sticky=True)
        await world.push()
        assert world.driver.files.state.read_text() == "1\n"
        assert world.driver.report().last_reload.startswith("backend most ")
        await world.driver.stop(0)
