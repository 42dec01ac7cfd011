"""G9, G15: hundreds of requests of one span a second are few inserts and few parts; and nothing traces itself."""

from __future__ import annotations

import asyncio

import pytest

from atoll.testing.history import Outcome
from tests.contract.telemetry.receive.process import telemetry
from tests.fault.drivers.driver_otlp import acknowledged, driver_otlp
from tests.fault.scenario import Scenario

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]
RATE = 500.0
"""Requests a second. Each is answered when it is committed, so as many senders wait at a time."""
PARTS = 50
INSERTS = 2.0
"""A second, of one signal, once the few that may go at once after quiet have gone; see `telemetry.buffer.BURST`."""
BURST = 3


async def test_small_requests_are_gathered_and_taking_spans_makes_none(scenario: Scenario) -> None:
    pytest.importorskip("chdb", reason='needs pip install "atoll[telemetry]"')
    history, seconds = scenario.history(), scenario.seconds(4, 30)
    with telemetry(scenario.folder) as probe:
        itself = f"http://127.0.0.1:{probe.http_port}"
        assert probe.stop() == 0
        # As if somebody had told the process to send its own traces to itself.
        probe.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": itself, "OTEL_TRACES_EXPORTER": "otlp"}
        probe.start()
        most = 0

        async def looks() -> None:
            nonlocal most
            while True:
                await asyncio.sleep(1.0)
                tables = (await asyncio.to_thread(probe.status))["engine"]["tables"]
                most = max(most, max(table["parts"] for table in tables.values()))

        looking = asyncio.ensure_future(looks())
        await driver_otlp(history, probe, rng=scenario.rng, rate=RATE, seconds=seconds, connections=600)
        looking.cancel()
        took = history.calls[-1].end - history.calls[0].start
        await asyncio.sleep(6.0)  # what the answer about tables may be old
        status = await asyncio.to_thread(probe.status)
    inserts, rows = status["buffer"]["inserts"], status["engine"]["tables"]["spans"]["rows"]
    scenario.measured(
        requests=len(history.calls), a_second=round(len(history.calls) / took), inserts_a_second=round(inserts / took, 2),
        most_parts=most,
    )  # fmt: skip
    assert {call.outcome for call in history.calls} == {Outcome.OK}
    assert len(history.calls) / took >= 0.5 * RATE, "too little load to say anything"
    assert most <= PARTS
    assert inserts <= BURST + INSERTS * took
    assert rows == len(acknowledged(history.calls)), "every span once, and none that nobody sent"
