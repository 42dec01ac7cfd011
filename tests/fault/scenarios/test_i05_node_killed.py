"""I5, I8, I9: the node is killed under load, or told to stop while it starts; a new version does not come up."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from pathlib import Path

import pytest

from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import answered_by, no_request_failed
from tests.fault.faults.process import catches, kill
from tests.fault.platform import Fleet, comes, own_fleet
from tests.fault.scenario import Scenario
from tests.system.platform.stage import ATOLL, closing

ENDS_WITHIN = 60.0
"""Seconds; a bound against hanging. The graces of a service, the gateway and the control plane are 22 s together."""


async def test_a_killed_node_is_followed_by_one_that_adopts_everything(scenario: Scenario, fleet: Fleet) -> None:
    history, right = scenario.history("requests"), list[float]()
    before = fleet.parts()
    async with fleet.load(history):
        for _ in range(scenario.times(2, 10)):
            node = fleet.parts().node
            assert node is not None
            kill(node)
            await asyncio.sleep(scenario.rng.random() * scenario.seconds(0.3, 1))
            await fleet.do(fleet.platform.up)
            right.append(await fleet.converged())
            after = fleet.parts()
            assert after.node not in (None, node)
            assert (after.control_plane, after.master, after.workers, after.keepers, after.instances) == (
                before.control_plane,
                before.master,
                before.workers,
                before.keepers,
                before.instances,
            ), "something was started twice, or again"
    scenario.measured(
        kills=len(right),
        requests=len(history.calls),
        failed=len(no_request_failed(history.calls)),
        right_after_s=[round(each, 1) for each in right],
    )
    judge(no_request_failed(history.calls))
    assert answered_by(history.calls).keys() == {"web-1", "web-2", "web-3"}


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGHUP,), (signal.SIGTERM, signal.SIGTERM)])
async def test_a_signal_at_any_moment_of_a_start_ends_everything_in_order(
    scenario: Scenario, signals: tuple[signal.Signals, ...]
) -> None:
    took, codes = [], list[int]()
    for _ in range(scenario.times(1, 6)):
        fleet = Fleet.of()
        with closing(fleet.platform), (scenario.folder / "node.out").open("ab") as output:
            node = subprocess.Popen(  # noqa: ASYNC220  as a shell starts it
                [*ATOLL, "-v", "up"],
                cwd=fleet.platform.folder,
                env=fleet.platform.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            await comes(lambda node=node: catches(node.pid, signals[0]), "Python has started")  # type: ignore[misc]
            await asyncio.sleep(1.2 * scenario.rng.random())
            for number in signals:
                node.send_signal(number)
                await asyncio.sleep(0.15)  # sooner, the second would be taken for the first
            took.append(await asyncio.to_thread(_ended, node, scenario.folder / "node.out"))
            codes.append(node.returncode)
            await comes(lambda fleet=fleet: not fleet.parts().all, "nothing is left")  # type: ignore[misc]
            await comes(lambda fleet=fleet: not fleet.platform.strays(), "nor a zombie, a socket, a port")  # type: ignore[misc]
    scenario.measured(ended_after_s=[round(each, 1) for each in took], exit_codes=codes)
    assert set(codes) == {0}


def _ended(node: subprocess.Popen[bytes], output: Path) -> float:
    """Seconds until it has ended; one that hangs is killed, and what it said is told."""
    began = time.monotonic()
    try:
        node.wait(ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        node.kill()
        node.wait()
        pytest.fail(f"it does not end:\n{output.read_text()[-6000:]}")
    return time.monotonic() - began


@pytest.mark.slow
async def test_a_version_that_does_not_come_up_replaces_nobody(scenario: Scenario) -> None:
    with own_fleet() as fleet:
        await fleet.converged()
        history, program = scenario.history("requests"), fleet.platform.folder / "service.py"
        before, good = fleet.parts().instances, await fleet.do(program.read_text)
        async with fleet.load(history):
            await fleet.do(program.write_text, "this is : not python\n" + good)
            assert (await fleet.do(fleet.platform, "restart", "--rolling", "web")).code in (0, 1)

            def failing() -> bool:
                return any("SyntaxError" in str(one) for one in fleet.platform.children("web").values())

            await comes(lambda: fleet.do(failing), "the failure is told of with its cause")
            await asyncio.sleep(scenario.times(1, 20))
            assert before <= fleet.parts().instances, "an instance of the old version is gone"
            await fleet.do(program.write_text, good)
            began = len(history.calls)
            replaced = await comes(lambda: not before & frozenset(web(fleet)), "the good version", within=60)
        scenario.measured(
            requests=len(history.calls),
            failed=len(no_request_failed(history.calls)),
            replaced_after_s=round(replaced, 1),
        )
        judge(no_request_failed(history.calls))
        assert answered_by(history.calls[:began]).keys() == {"web-1", "web-2", "web-3"}


def web(fleet: Fleet) -> set[int]:
    return set(fleet.platform.pids("web").values())
