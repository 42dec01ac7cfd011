"""G12: questions that cost too much end with a clear word, while what arrives is taken as before."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from collections import Counter
from urllib.parse import quote

import pytest

from atoll.testing.history import Call, Outcome
from tests.contract.telemetry.receive.process import Telemetry, telemetry
from tests.fault.checks.others import TOO_MUCH, Others
from tests.fault.drivers.driver_otlp import driver_otlp
from tests.fault.scenario import Scenario

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]
ASKING = 4
"""Bombs at a time: as many as there are readers."""
RATE, SPANS = 10.0, 256
"""Exports a second, and spans in each."""
SHARE = 0.95
MEMORY = 800 << 20
"""Bytes."""
MONTH = 30 * 86_400
LIMITS = {"ATOLL_TELEMETRY_QUERY_MEMORY": str(24 << 20), "ATOLL_TELEMETRY_QUERY_TIME": "0.5"}
"""Small, so that what a scenario can send in seconds is too much."""
PLAIN = {200, 400, 408, 409, 413, 422, 429, 503, 504}


def bombs(now: float) -> tuple[str, ...]:
    """Paths of questions over a month and everything in it."""
    since = f"since={now - MONTH:.0f}&limit=1000"
    metrics = f"/prometheus/api/v1/query_range?start={now - MONTH:.0f}&end={now:.0f}&query="
    return (
        f"/api/v1/traces?{since}&order=slowest&text=" + quote("(a+)+$ never there"),
        f"/api/v1/traces?{since}&attribute=" + quote("attribute.1=nobody"),
        f"/api/v1/traces?{since}&order=slowest",
        f"/api/v1/map?since={now - MONTH:.0f}",
        f"/api/v1/logs?{since}&grep=" + quote("(.*a){20}"),
        metrics + quote('{__name__=~".+"}') + "&step=1",
        metrics
        + quote('count(rate({__name__=~".+"}[1d:10s]) * on () group_left () sum({__name__=~".+"}))')
        + "&step=600",
    )


def bomb(process: Telemetry, path: str) -> str:
    """How it ended: a status, and a code where there is one."""
    connection = http.client.HTTPConnection("telemetry", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect(str(process.state / "run" / "telemetry.sock"))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    assert answer.status in PLAIN, (path, answer.status, body[:300])
    told = json.loads(body)
    if answer.status != 200:
        assert told.get("detail") or told.get("error"), body[:300]
    return f"{answer.status} {told.get('code') or told.get('errorType') or ''}".strip()


def rate(calls: list[Call]) -> float:
    """Acknowledged exports a second."""
    done = [call for call in calls if call.outcome is Outcome.OK]
    return len(done) / (max(call.end for call in done) - min(call.start for call in done))


async def test_what_arrives_is_taken_while_questions_explode(scenario: Scenario) -> None:
    pytest.importorskip("chdb", reason='needs pip install "atoll[telemetry]"')
    alone, beside, warm = (scenario.history(name) for name in ("alone", "beside", "warm"))
    ended: Counter[str] = Counter()
    most = 0
    with telemetry(scenario.folder, LIMITS) as process:
        asked = bombs(time.time())
        await driver_otlp(warm, process, rng=scenario.rng, rate=40, spans=512, seconds=4, connections=40)

        async def asks(number: int, stop: asyncio.Event) -> None:
            nonlocal most
            while not stop.is_set():
                ended[await asyncio.to_thread(bomb, process, asked[number % len(asked)])] += 1
                most = max(most, process.memory)
                number += 1

        shares, others = [], Others()
        seconds = scenario.seconds(6, 14)  # so long that the wait for the last answer is no share of it
        for _ in range(scenario.times(1, 2)):
            others.share()
            before = len(alone.calls), len(beside.calls)
            await driver_otlp(alone, process, rng=scenario.rng, rate=RATE, spans=SPANS, seconds=seconds, connections=24)
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for number in range(ASKING):
                    group.create_task(asks(number, stop))
                await driver_otlp(
                    beside, process, rng=scenario.rng, rate=RATE, spans=SPANS, seconds=seconds, connections=24
                )
                stop.set()
            taken = rate(beside.calls[before[1] :]) / rate(alone.calls[before[0] :])
            shares.append((taken, others.share()))
        status = await asyncio.to_thread(process.status)
    scenario.measured(
        ended=dict(ended), ingest_share=[round(one, 2) for one, _ in shares], most_mb=most >> 20,
        others=[round(one, 2) for _, one in shares],
        spans=status["receive"]["accepted"]["traces"],
    )  # fmt: skip
    assert all(call.outcome is Outcome.OK for call in [*alone.calls, *beside.calls])
    assert any(not how.startswith("200") for how in ended), "the bombs were none"
    assert most <= MEMORY
    judged = [taken for taken, others_took in shares if others_took < TOO_MUCH]
    if not judged:
        pytest.skip("others had the machine: that nothing is lost was seen, the rate says nothing")
    assert sum(judged) / len(judged) >= SHARE
