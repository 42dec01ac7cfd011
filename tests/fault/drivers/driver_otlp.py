"""Exports over OTLP/HTTP at a steady pace, recorded: what was acknowledged must be found, and how many a second were."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from atoll.testing.history import Call, History, Outcome
from tests.contract.telemetry.receive.process import PROTOBUF, Telemetry
from tests.fault.drivers.http import Broken, Client
from tests.fault.drivers.pace import paced
from tests.unit.telemetry.receive import bodies

CONNECTIONS = 8


async def driver_otlp(
    history: History,
    process: Telemetry,
    *,
    rng: random.Random,
    rate: float,
    spans: int = 1,
    seconds: float = 10.0,
    connections: int = CONNECTIONS,
    stop: asyncio.Event | None = None,
) -> None:
    """`rate` requests a second of `spans` spans, each request a trace of its own, sent once whatever the answer is."""
    shapes = [bodies.traces(*[bodies.span(rng, trace_id=bytes(16)) for _ in range(spans)]) for _ in range(8)]

    async def load(number: int) -> None:
        await asyncio.sleep(number / rate)
        with Client(("127.0.0.1", process.http_port), headers=headers(process)) as client:
            async for _ in paced(rate / connections, calls=1 << 30, seconds=seconds):
                if stop is not None and stop.is_set():
                    return
                trace, request = rng.randbytes(16), shapes[rng.randrange(len(shapes))]
                for span in request.resource_spans[0].scope_spans[0].spans:
                    span.trace_id, span.span_id = trace, rng.randbytes(8)
                with history.call(f"otlp-{number}", "export", trace=trace.hex(), spans=spans) as call:
                    try:
                        answer = await client.ask("POST", "/v1/traces", body=request.SerializeToString(), timeout=30)
                    except Broken as broken:
                        call.lost(broken.how)
                        continue
                    if answer.status == 200:
                        call.answered(None)
                    else:
                        call.refused(f"status {answer.status}")

    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(load(number))


def headers(process: Telemetry) -> dict[str, str]:
    """Of an export."""
    return {"Authorization": f"Bearer {process.token}", "Content-Type": PROTOBUF}


def acknowledged(calls: Sequence[Call]) -> set[str]:
    """Trace ids, in hex."""
    return {str(call.arguments["trace"]) for call in calls if call.outcome is Outcome.OK}
