"""faults.md D3 to D6, D17, and ports that belong to others: what fails, what stays, how fast it is back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from dataclasses import replace

import pytest

from atoll.errors import GatewayRefused, PortTaken
from atoll.gateway.process import members, recorded
from atoll.model.names import RouteName
from tests.contract.gateway_edge.world import HASTY, HELD, QUICK, Client, World, a_world, end_all, runs


async def _routed(world: World) -> None:
    one = await world.upstream("one")
    world.service("orders")
    world.instance("orders", "one", one.port)
    world.route("orders", "/orders", "orders")
    await world.push()


async def _serves_again(world: World) -> None:
    """Until a request succeeds. How soon that is: test_d04_haproxy_killed.py."""
    async with asyncio.timeout(15):
        while True:
            try:
                async with asyncio.timeout(0.5):
                    if (await world.get("/orders/x")).status == 200:
                        return
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                pass
            await asyncio.sleep(0.01)


async def _everybody(world: World) -> set[int]:
    master = recorded(world.driver.files.pid)
    return {process.pid for process in members(master)} if master else set()


async def test_a_killed_worker_is_replaced_from_the_last_good_file(world: World) -> None:
    await _routed(world)
    master, config = world.master(), world.driver.config
    os.kill(await world.worker(), signal.SIGKILL)
    await world.until(lambda: world.driver.report().pid not in (None, master))
    await _serves_again(world)
    assert world.driver.config == config
    assert world.driver.restarts == 1


async def test_a_killed_master_is_replaced_and_its_orphan_is_gone(world: World) -> None:
    await _routed(world)
    master, worker = world.master(), await world.worker()
    os.kill(master, signal.SIGKILL)
    await world.until(lambda: world.driver.report().pid not in (None, master))
    await _serves_again(world)
    await world.until(lambda: not runs(worker))
    assert len(await _everybody(world)) == 2


async def test_haproxy_outlives_its_node_and_the_next_node_adopts_it(cold: World) -> None:
    async with cold.driver.running():
        await _routed(cold)
        master = cold.master()
    # the first node is gone, HAProxy is not
    assert (await cold.get("/orders/x")).status == 200

    second = cold.again()
    async with second.running():
        assert second.report().pid == master
        assert second.report().reloads == 0
        cold.driver = second
        two = await cold.upstream("two")
        key = cold.instance("orders", "two", two.port)
        cold.offer()
        await second.routed(*key)
        assert second.config.generation > 1
        assert {(await cold.get("/orders/x")).body for _ in range(8)} == {"one", "two"}
        assert second.report().errors == 0
        await second.stop(0)


async def test_adopting_with_other_settings_reloads_and_says_why(cold: World) -> None:
    async with cold.driver.running():
        await _routed(cold)
    second = cold.again(server_timeout=7.0)
    async with second.running():
        cold.driver = second
        cold.offer()
        await cold.until(lambda: second.report().reloads == 1)
        assert "settings or version changed" in second.report().last_reload
        assert (await cold.get("/orders/x")).status == 200
        await second.stop(0)


async def test_without_a_control_plane_haproxy_starts_from_the_last_good_file(cold: World) -> None:
    async with cold.driver.running():
        await _routed(cold)
        config = cold.driver.config
    end_all(cold.driver)

    second = cold.again()
    async with second.running():
        assert (await cold.get("/orders/x")).status == 200
        assert second.config.backends == config.backends
        await second.stop(0)


async def test_a_restart_starts_from_what_was_applied_while_running(world: World) -> None:
    await _routed(world)
    two = await world.upstream("two")
    world.gone("orders", "one")
    key = world.instance("orders", "two", two.port)
    world.offer()
    await world.driver.routed(*key)
    # at once: the file may not have been written yet
    os.kill(await world.worker(), signal.SIGKILL)
    await world.until(lambda: world.driver.restarts == 1 and world.driver.report().pid is not None)
    await _serves_again(world)
    assert {(await world.get("/orders/x")).body for _ in range(5)} == {"two"}


async def test_a_file_that_haproxy_refuses_changes_nothing_and_its_own_line_is_told(world: World) -> None:
    await _routed(world)
    render, generation = world.driver._writer._render, world.driver.config.generation

    def broken(config: object) -> dict[str, bytes]:
        files = dict(render(config))  # type: ignore[arg-type]
        return {**files, "haproxy.cfg": files["haproxy.cfg"] + b"backend broken\n  balance sideways\n"}

    world.driver._writer._render = broken
    world.service("sticky", sticky=True)
    world.offer()
    await world.until(lambda: world.driver.report().errors > 0)
    said = world.driver.report().last_error
    assert "'sideways'" in said or "balance" in said
    assert "(the line: balance sideways)" in said
    assert world.driver.report().reloads == 0
    assert (await world.get("/orders/x")).status == 200
    good = world.driver.folder.target(world.driver.folder.current)
    assert good is not None
    assert generation <= world.driver.config.generation

    # the next good configuration heals it
    world.driver._writer._render = render
    two = await world.upstream("two")
    world.instance("sticky", "two", two.port)
    world.route("sticky", "/sticky", "sticky")
    await world.push()
    assert (await world.get("/sticky")).body == "two"
    assert world.driver.report().reloads == 1


async def test_a_current_file_that_haproxy_refuses_is_passed_over_for_the_last_one_that_it_took(world: World) -> None:
    await _routed(world)
    render = world.driver._writer._render
    world.driver._writer._render = lambda config: {**render(config), "haproxy.cfg": b"sideways\n"}
    two = await world.upstream("two")
    world.instance("orders", "two", two.port)
    await world.push()
    await world.until(lambda: (world.driver.folder.current / "haproxy.cfg").read_bytes() == b"sideways\n")
    os.kill(await world.worker(), signal.SIGKILL)
    await _serves_again(world)
    # the good file is older than what ran; what is missing is brought back while it runs
    await world.until(lambda: world.driver.config.revision == world.snapshot.revision)
    await world.until(
        lambda: {backend.upstream: len(backend.servers) for backend in world.driver.config.backends} == {"orders": 2}
    )
    assert {(await world.get("/orders/x")).body for _ in range(8)} == {"one", "two"}


async def test_facts_beyond_the_limits_are_refused_before_haproxy_sees_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _routed(world)
    config = world.driver.config
    monkeypatch.setattr("atoll.gateway.intent.ROUTE_LIMIT", 3)
    for number in range(5):
        world.route(f"more{number}", f"/more{number}", "orders")
    world.offer()
    await world.until(lambda: world.driver.report().errors > 0)
    assert "6 routes are more than" in world.driver.report().last_error
    assert world.driver.config == config
    assert (await world.get("/orders/x")).status == 200
    for number in range(4):
        del world.snapshot.routes[RouteName(f"more{number}")]
    await world.push()
    assert (await world.get("/more4/x")).status == 200


async def test_a_bug_in_deciding_ends_neither_the_gateway_nor_the_node(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _routed(world)

    def broken(*_: object) -> None:
        raise TypeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr("atoll.gateway.reconcile.intend", broken)
        world.offer()
        await world.until(lambda: "a bug" in world.driver.report().last_error)
    assert (await world.get("/orders/x")).status == 200
    await world.push()


async def test_haproxy_that_starts_from_no_file_is_said_so(cold: World) -> None:
    cold.driver._writer._render = lambda _config: {"haproxy.cfg": b"frontend x\n  sideways\n"}
    with pytest.raises(GatewayRefused, match="unknown keyword 'sideways'"):
        async with cold.driver.running():
            raise AssertionError("it must not run")


async def test_a_port_of_somebody_else_is_refused_before_the_start_with_pid_and_program(cold: World) -> None:
    with socket.socket() as taken:
        # as HAProxy itself binds: a second one would share the port, not fail
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", cold.settings.gateway.port))
        taken.listen()
        with pytest.raises(PortTaken) as refused:
            async with cold.driver.running():
                raise AssertionError("it must not run")
    assert refused.value.fields["pid"] == os.getpid()
    assert str(cold.settings.gateway.port) in refused.value.detail
    assert refused.value.fields["program"] in refused.value.detail
    assert not cold.driver.files.master.exists()


async def test_ports_taken_while_haproxy_is_away_are_told_once_with_the_thief_and_what_to_do(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await _routed(world)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        thief.bind(("127.0.0.1", world.settings.gateway.mesh_port))
        thief.listen()
        os.kill(await world.worker(), signal.SIGKILL)
        await world.until(lambda: world.driver.report().errors >= 4)  # it goes on trying
        report = world.driver.report()
        assert report.pid is None
        assert f"port {world.settings.gateway.mesh_port} on 127.0.0.1 is taken by" in report.last_error
        assert report.last_hint.startswith(f"stop it (kill {os.getpid()}), or choose another port")
        assert report.restarts == 1
    await _serves_again(world)
    await world.until(lambda: not world.driver.report().last_error)
    told = [record.getMessage() for record in caplog.records]
    assert len([line for line in told if line.startswith("HAProxy cannot be started")]) == 1
    assert len([line for line in told if line.startswith("HAProxy ended")]) == 1


async def test_a_stopped_haproxy_is_unknown_then_replaced() -> None:
    async with a_world(HASTY) as world, world.driver.running():
        await _routed(world)
        master, worker = world.master(), await world.worker()
        os.kill(worker, signal.SIGSTOP)
        two = await world.upstream("two")
        key = world.instance("orders", "two", two.port)
        world.offer()
        await asyncio.wait_for(world.driver.routed(*key), 15)
        assert world.master() != master
        assert not runs(worker) or worker not in await _everybody(world)
        assert f"did not answer within {HASTY.answer:g} s" in world.driver.report().last_error
        await _serves_again(world)
        await world.driver.stop(0)


async def test_a_stopped_haproxy_that_goes_on_in_time_is_not_replaced() -> None:
    patient = replace(QUICK, answer=HASTY.answer)
    async with a_world(patient) as world, world.driver.running():
        await _routed(world)
        master, worker = world.master(), await world.worker()
        os.kill(worker, signal.SIGSTOP)
        two = await world.upstream("two")
        key = world.instance("orders", "two", two.port)
        world.offer()
        await world.until(lambda: "did not answer" in world.driver.report().last_error)
        os.kill(worker, signal.SIGCONT)
        await asyncio.wait_for(world.driver.routed(*key), 15)
        assert (world.master(), await world.worker()) == (master, worker)
        await world.driver.stop(0)


async def test_what_somebody_else_changes_in_haproxy_is_healed_and_visible(world: World) -> None:
    await _routed(world)
    (backend, server), row = next(iter((await world.rows()).items()))
    runtime = world.runtime
    await runtime.ask(f"set server {backend}/{server} weight 3")
    await runtime.ask("clear map routes.map")
    await world.until(lambda: world.driver._reconciler.healed >= 2)  # type: ignore[union-attr]
    await world.until(lambda: not world.driver.differences)
    assert (await world.rows())[backend, server].weight == row.weight
    assert (await world.get("/orders/x")).status == 200

    await runtime.ask(f"set server {backend}/{server} state maint")
    await world.until(lambda: world.driver._reconciler.healed >= 3)  # type: ignore[union-attr]
    await _serves_again(world)


async def test_stopping_ends_haproxy_and_leaves_no_process(world: World) -> None:
    await _routed(world)
    everybody = await _everybody(world)
    assert len(everybody) == 2
    await world.driver.stop(0.2)
    assert not any(runs(pid) for pid in everybody)
    assert world.driver.report().pid is None


async def test_connections_that_wait_for_nothing_do_not_hold_up_the_end(world: World) -> None:
    await _routed(world)
    idle = [Client(world.settings.gateway.port) for _ in range(3)]
    for one in idle:
        assert (await one.get("/orders/x")).status == 200
    began = time.monotonic()
    await world.driver.stop(20)
    assert time.monotonic() - began < 10
    for one in idle:
        one.close()


@pytest.mark.parametrize("reload", [False, True], ids=["current worker", "old worker"])
async def test_an_answer_on_its_way_is_complete_before_the_gateway_ends(world: World, reload: bool) -> None:
    await _routed(world)
    client = Client(world.settings.gateway.port)
    answer = asyncio.create_task(client.get("/orders/held"))
    await world.until(lambda: world.upstreams[0].requests == 1)
    if reload:
        before = await world.worker()
        world.service("orders", sticky=True)
        await world.push()
        assert await world.worker() != before
    ending = asyncio.create_task(world.driver.stop(20))
    await asyncio.sleep(0.3)  # for longer than a gateway without requests takes to end
    assert not ending.done()
    world.upstreams[0].released.set()
    assert (await answer).body == HELD
    await ending
    client.close()
