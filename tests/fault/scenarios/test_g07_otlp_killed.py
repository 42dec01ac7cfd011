"""G7 over the wire: kill -9 of the telemetry process while senders export; what was acknowledged is there afterwards."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import itertools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.contract.telemetry.receive.process import Telemetry, telemetry
from tests.fault.platform import comes
from tests.fault.scenario import Scenario
from tests.unit.telemetry.receive import bodies

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(importlib.util.find_spec("chdb") is None, reason='needs pip install "atoll[telemetry]"'),
]
SENDERS = 8
SPANS = 5


def send(process: Telemetry, scenario: Scenario, numbers: Iterator[int]) -> bytes | None:
    """The trace id of a body that was acknowledged; None: it was not."""
    trace = next(numbers).to_bytes(16, "big")
    body = bodies.traces(*[bodies.span(scenario.rng, trace_id=trace) for _ in range(SPANS)])
    try:
        answer = process.send("/v1/traces", body.SerializeToString(), timeout=10)
    except (OSError, http.client.HTTPException):
        return None
    return trace if answer.status == 200 else None


async def test_what_was_acknowledged_survives_kills_in_mid_batch(scenario: Scenario) -> None:
    kills = scenario.times(1, 20)
    acknowledged: list[bytes] = []
    sent = itertools.count(1)
    stop = asyncio.Event()

    async def sending(process: Telemetry) -> None:
        while not stop.is_set():
            trace = await asyncio.to_thread(send, process, scenario, sent)
            if trace is not None:
                acknowledged.append(trace)
            else:
                await asyncio.sleep(0.05)

    with telemetry(scenario.state()) as process:
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(sending(process))
            for _ in range(kills):
                before = len(acknowledged)
                await comes(lambda before=before: len(acknowledged) >= before + 2 * SENDERS, "commits")  # type: ignore[misc]
                await asyncio.sleep(scenario.rng.uniform(0.0, 0.6))
                process.kill()
                await asyncio.to_thread(process.start)
            stop.set()
        found = await asyncio.to_thread(counted, process)
    lost = [trace.hex() for trace in acknowledged if found[trace.hex()] < SPANS]
    twice = sum(count > SPANS for count in found.values())
    scenario.measured(kills=kills, acknowledged=len(acknowledged), lost=len(lost), twice=twice)
    assert lost == []
    assert twice == 0, "nobody sent anything twice"
    assert all(count % SPANS == 0 for count in found.values()), "a body is there whole or not at all"


def counted(process: Telemetry) -> Counter[str]:
    """Spans by trace, read by a program of its own once the process has ended: one opens the store at a time."""
    assert process.stop() == 0
    done = subprocess.run(
        [sys.executable, "-c", READ, str(process.state / "telemetry")], capture_output=True, check=True
    )
    return Counter(json.loads(done.stdout))


READ = """
import json, sys
from pathlib import Path
from atoll.settings import Telemetry
from atoll.telemetry.chdb import open_engine
engine = open_engine(Path(sys.argv[1]), Telemetry())
rows = engine.rows("SELECT lower(hex(TraceId)) AS trace, count() AS n FROM spans GROUP BY trace")
print(json.dumps({row["trace"]: row["n"] for row in rows}))
engine.close()
"""
