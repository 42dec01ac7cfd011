"""faults.md D9, D19, D20: from wherever an apply stopped, and whichever way it went, HAProxy runs what is wanted."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.gateway.command import Command
from atoll.gateway.config import map_path
from atoll.gateway.intent import intend
from atoll.gateway.plan import Plan, make_plan, sections
from atoll.gateway.readback import parse_map, parse_map_versions, present
from atoll.gateway.runtime import Runtime
from atoll.model.names import InstanceId, PathText, RouteName, ServiceName
from atoll.model.route import Match, Route, Share
from atoll.model.service import Check, CheckKind, Instance, Service, State
from atoll.model.snapshot import Snapshot
from tests.contract.gateway_edge.world import CHECK, World, a_world, end_all

PAIRS = int(os.environ.get("GATEWAY_PAIRS", "30"))


class _NodeDied(BaseException):
    """As by kill -9: nobody cleans up."""


def _dies_after(runtime: Runtime, count: int) -> None:
    """Let `count` more commands reach HAProxy, one by one, then no more."""
    left = itertools.count(count, -1)
    exchange = runtime.run

    async def run(commands: Sequence[Command]) -> list[str]:
        said = []
        for command in commands:
            if next(left) <= 0:
                raise _NodeDied
            said += await exchange([command])
        return said

    runtime.run = run  # type: ignore[method-assign]


@pytest.mark.parametrize("commands", [0, 1, 2, 3, 4, 6, 9, 14, 17, 20])
async def test_a_node_that_dies_after_any_command_of_an_apply_leaves_what_the_next_one_repairs(
    cold: World, commands: int
) -> None:
    one, two = await cold.upstream("one"), await cold.upstream("two")

    async def first_node() -> None:
        async with cold.driver.running():
            cold.service("orders")
            for name in ("a", "b", "c"):
                cold.instance("orders", name, one.port)
            cold.route("orders", "/orders", "orders")
            await cold.push()
            await cold.driver._writer.flush()
            assert cold.driver._master is not None
            _dies_after(cold.driver._master.runtime, commands)
            # 21 commands: new servers, weights, a map, servers that go
            cold.instance("orders", "a", one.port, weight=7)
            cold.gone("orders", "b")
            cold.gone("orders", "c")
            for name in ("d", "e"):
                cold.instance("orders", name, two.port)
            cold.service("fresh")
            cold.instance("fresh", "f", two.port)
            cold.route("fresh", "/fresh", "fresh")
            cold.offer()
            await asyncio.sleep(20)

    with pytest.raises(BaseException) as ended:
        await first_node()
    assert "_NodeDied" in repr(ended.value) or isinstance(ended.value, _NodeDied)

    second = cold.again()
    async with second.running():
        cold.driver = second
        cold.driver.offer(cold.snapshot)
        await cold.until(lambda: second.config.revision == cold.snapshot.revision)
        await cold.until(lambda: len(second._reconciler.retirement) == 0)  # type: ignore[union-attr]
        weights = {name.partition(":")[0]: row.weight for (_, name), row in (await cold.rows()).items()}
        assert weights == {"a": 7, "d": 100, "e": 100, "f": 100}
        assert not any(row.halted for row in (await cold.rows()).values())
        assert {(await cold.get("/orders/x")).body for _ in range(12)} <= {"one", "two"}
        assert (await cold.get("/fresh")).body == "two"
        assert second.report().reloads == 0
        await second.stop(0)


async def test_a_server_added_while_running_is_one_from_the_file(cold: World) -> None:
    one = await cold.upstream("one")
    cold.service(
        "orders",
        slow_start=0.0,
        check=Check(kind=CheckKind.HTTP, path="/health", interval=0.1, timeout=CHECK.timeout, fall=2),
    )
    cold.route("orders", "/orders", "orders")
    ignored = {"be_id", "srv_id", "srv_time_since_last_change"}
    columns: list[str] = []

    async def shown() -> dict[str, dict[str, str]]:
        """Both, between two checks, once several have passed."""
        while True:
            text = await cold.runtime.ask("show servers state")
            columns[:] = text.splitlines()[1].split()[1:]
            rows = [dict(zip(columns, line.split(), strict=True)) for line in text.splitlines()[2:]]
            if all(row["srv_check_health"] == "2" and not int(row["srv_check_state"]) & 1 for row in rows):
                break
            await asyncio.sleep(0.01)
        return {row["srv_name"].partition(":")[0]: {k: v for k, v in row.items() if k not in ignored} for row in rows}

    async def falls_and_rises() -> None:
        for healthy in (True, False, True):
            one.healthy = healthy
            await cold.shown(lambda rows, want=healthy: [row.up for row in rows.values()] == [want] * 2)  # type: ignore[misc]

    async with cold.driver.running():
        cold.instance("orders", "a", one.port)
        cold.instance("orders", "b", one.port, weight=30)
        await cold.push()
        await falls_and_rises()
        added = await shown()
        await cold.driver._writer.flush()
    end_all(cold.driver)
    second = cold.again()
    async with second.running():
        cold.driver = second
        await falls_and_rises()
        from_file = await shown()
        await second.stop(0)
    for name in ("a", "b"):
        # the backend is a slot before and after: intent keeps what the file says
        assert added[name] == from_file[name]


# ------------------------------------------------------------------------------------------------- D20

_SERVICES = ["s1", "s2", "s3"]
_instances = st.fixed_dictionaries(
    {
        "port": st.sampled_from([10001, 10002, 10003]),
        "weight": st.sampled_from([0, 1, 100]),
        "state": st.sampled_from([State.PASSING, State.DRAINING, State.MAINT]),
        "version": st.sampled_from([None, "v1", "v2"]),
    }
)
_facts = st.fixed_dictionaries(
    {
        "services": st.dictionaries(
            st.sampled_from(_SERVICES),
            st.fixed_dictionaries(
                {
                    "kind": st.sampled_from([CheckKind.HTTP, CheckKind.TCP, CheckKind.NONE]),
                    "path": st.sampled_from(["/", "/h"]),
                    "instances": st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), _instances, max_size=4),
                }
            ),
        ),
        "routes": st.dictionaries(
            st.sampled_from(["r1", "r2", "r3"]),
            st.fixed_dictionaries(
                {
                    "path": st.sampled_from(["/", "/a", "/a/b", "/c"]),
                    "host": st.sampled_from([None, "x.test", "*.test"]),
                    "method": st.sampled_from([None, "GET"]),
                    "service": st.sampled_from(_SERVICES),
                    "canary": st.booleans(),
                }
            ),
        ),
    }
)


def _snapshot(revision: int, facts: dict[str, Any]) -> Snapshot:
    snapshot = Snapshot(revision)
    for name, words in facts["services"].items():
        check = Check(kind=words["kind"], path=words["path"], interval=60.0, timeout=CHECK.timeout)
        snapshot.services[ServiceName(name)] = Service(
            name=ServiceName(name), check=check, mesh_index=_SERVICES.index(name)
        )
        for each, more in words["instances"].items():
            snapshot.instances[ServiceName(name), InstanceId(each)] = Instance(
                service=ServiceName(name), id=InstanceId(each), host="127.0.0.1", **more
            )
    for name, words in facts["routes"].items():
        shares = [Share(service=ServiceName(words["service"]))]
        if words["canary"]:
            shares.append(msgspec.structs.replace(shares[0], version="v2", weight=3))
        snapshot.routes[RouteName(name)] = Route(
            name=RouteName(name),
            match=Match(
                path=PathText(words["path"]),
                hosts=(words["host"],) if words["host"] else (),
                methods=(words["method"],) if words["method"] else (),
            ),
            shares=tuple(shares),
        )
    return snapshot


class _Pairs:
    """One HAProxy for all pairs, driven by the test's own loop."""

    def __init__(self, run: Callable[..., Any], world: World) -> None:
        self.run = run
        self.world = world
        self.revision = 10

    async def apply(self, facts: dict[str, Any]) -> None:
        self.revision += 1
        self.world.snapshot = _snapshot(self.revision, facts)
        self.world.driver.offer(self.world.snapshot)
        await self.world.until(lambda: self.world.driver.config.revision == self.revision)

    async def differences(self) -> list[str]:
        """What HAProxy runs that its wanted config does not say, and the reverse, servers being deleted left out."""
        driver = self.world.driver
        wanted = intend(self.world.snapshot, driver.config, self.world.settings.gateway).config
        plan = make_plan(driver.config, wanted)
        found = [] if isinstance(plan, Plan) and not plan.operations else [f"believed: {plan}"]
        assert driver._reconciler is not None
        # before the rows: one that is deleted in between is on its way out, not a difference
        leaving = set(driver._reconciler.retirement._servers)
        rows = list((await self.world.rows()).values())
        loaded = parse_map_versions(await self.world.runtime.ask("show map"))
        maps = {
            map_path(name): parse_map(await self.world.runtime.ask(f"show map {map_path(name)}"))
            for name in wanted.maps
            if map_path(name) in loaded  # no rule looks at the others
        }
        seen = present(driver.config, rows, maps)
        shown = {
            (row.backend, row.name, row.host, row.port, row.weight)
            for row in rows
            if (row.backend, row.name) not in leaving
        }
        said = {
            (name, server.name, server.host, server.port, server.effective_weight)
            for name, section in sections(wanted).items()
            for server in section.servers.values()
        }
        found += [f"server: {each}" for each in shown ^ said]
        found += [
            f"map {name}" for name, entries in wanted.maps.items() if dict(seen.config.maps[name]) != dict(entries)
        ]
        return found


def test_any_config_is_reached_from_any_other() -> None:
    with asyncio.Runner() as runner:
        stack = a_world(reload_interval=0.05, reload_after_start=0.0, debounce=0.0)
        world = runner.run(stack.__aenter__())
        ready, over = asyncio.Event(), asyncio.Event()

        async def live() -> None:
            async with world.driver.running():
                # which of the made-up instances answer is no part of the configs that are compared
                world.driver._traffic.on_empty = lambda _: None  # type: ignore[union-attr]
                ready.set()
                await over.wait()
                await world.driver.stop(0)

        async def begin() -> asyncio.Task[None]:
            life = asyncio.create_task(live())
            await asyncio.wait({life, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
            return life

        life = runner.run(begin())
        pairs = _Pairs(runner.run, world)

        @settings(max_examples=PAIRS, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(_facts, _facts)
        def check(old: dict[str, Any], new: dict[str, Any]) -> None:
            runner.run(pairs.apply(old))
            runner.run(pairs.apply(new))
            assert runner.run(pairs.differences()) == []

        try:
            check()
            assert world.driver.report().errors == 0
        finally:
            over.set()
            runner.run(asyncio.wait_for(life, 10))
            runner.run(stack.__aexit__(None, None, None))
