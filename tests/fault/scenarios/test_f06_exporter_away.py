"""F6, I11: where an instrumented app sends its spans nobody listens, or nobody answers: its requests do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from atoll.supervisor.bundle import Bundle, ensure
from atoll.testing.history import Call
from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import driver_requests, no_request_failed
from tests.fault.faults.process import running
from tests.fault.platform import comes
from tests.fault.scenario import Scenario
from tests.system.instrument.receiver import receiving
from tests.system.instrument.stage import APPS, environment, free_port
from tests.system.platform.stage import listens

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("chdb") is None, reason='needs pip install "atoll[telemetry]"'),
]
RATE = 150.0
SLOWER = 1.05
"""p99 with a target that is away over p99 with one that answers, in windows in turn; judged in the long form."""
FELT = 0.0005
"""Seconds: of a p99 below a millisecond, a twentieth is less than the scheduler's own play."""
GROWTH = 64 << 20
"""Bytes by which the app may grow beyond the one whose spans are taken: its bounded queues, filled."""


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return ensure(tmp_path_factory.mktemp("cache") / "instrument", time.time())


async def test_requests_do_not_notice_that_nobody_takes_their_spans(scenario: Scenario, bundle: Bundle) -> None:
    with receiving() as receiver, silent() as black_hole:
        targets = {"taken": receiver.endpoint, "dead": f"http://127.0.0.1:{free_port()}", "silent": black_hole}
        histories = {name: scenario.history(name) for name in targets}
        ports = {name: free_port() for name in targets}
        async with contextlib.AsyncExitStack() as stack:
            apps = {}
            for name, target in targets.items():
                given = environment(target, bundle, ports[name])
                command = [sys.executable, str(Path(APPS) / "chain.py")]
                output = scenario.folder / f"{name}.out"
                apps[name] = await stack.enter_async_context(running(command, environ=given, output=output))
            for name in targets:
                await comes(lambda name=name: listens(ports[name]), f"{name} listens")  # type: ignore[misc]
                warm = scenario.history(f"warm-{name}")
                await driver_requests(warm, ("127.0.0.1", ports[name]), "/orders", rate=RATE, seconds=1.0)
            for _ in range(scenario.times(1, 5)):
                for name, history in histories.items():
                    place = ("127.0.0.1", ports[name])
                    await driver_requests(history, place, "/orders", rate=RATE, seconds=6.0 if scenario.long else 1.0)
            sizes = {name: psutil.Process(app.pid).memory_info().rss for name, app in apps.items()}
            await asyncio.sleep(0.5)
        taken = len(receiver.servers())
    p99 = {name: tail(history.calls) for name, history in histories.items()}
    times = {name: round(p99[name] / p99["taken"], 2) for name in ("dead", "silent")}
    calls = [call for history in histories.values() for call in history.calls]
    scenario.measured(
        requests=len(calls), failed=len(no_request_failed(calls)), p99_ms=round(1000 * p99["taken"], 2), p99_times=times,
        grown_mb=round(max(sizes.values()) / 2**20 - sizes["taken"] / 2**20, 1), spans_taken=taken,
    )  # fmt: skip
    judge(no_request_failed(calls))
    assert taken > 0, "without spans there is nothing to compare with"
    assert max(sizes.values()) - sizes["taken"] <= GROWTH
    if scenario.long:
        assert max(p99.values()) <= max(SLOWER * p99["taken"], p99["taken"] + FELT), times


def tail(calls: list[Call]) -> float:
    """Seconds: the 99th of a hundred."""
    took = sorted(call.end - call.start for call in calls)
    return took[int(len(took) * 0.99)]
