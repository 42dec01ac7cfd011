"""G3: bodies that are no OTLP, or almost: refused or counted, quickly, and the process lives."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import time
from collections import Counter

import pytest

from atoll.errors import AtollError
from atoll.telemetry.receive.intake import Form, Parcel, prepare
from atoll.telemetry.signal import Signal
from tests.contract.telemetry.receive.process import PROTOBUF, telemetry
from tests.fault.scenario import Scenario
from tests.unit.telemetry.receive import bodies

LIMIT = 16 << 20
HANG = 1.0
"""Seconds of processor time that one body may take."""
JSON = "application/json"


def seeds(rng: random.Random) -> list[tuple[Signal, Form, bytes]]:
    """Good bodies, small ones: a wrong byte should hit something that matters."""
    trace = bodies.traces(*[bodies.span(rng, attributes=3) for _ in range(2)]).SerializeToString()
    logs = bodies.logs(*[bodies.record(rng, attributes=3) for _ in range(2)]).SerializeToString()
    span = {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "x", "kind": 2}
    told = {"resourceSpans": [{"scopeSpans": [{"spans": [{**span, "attributes": [{"key": "a", "value": {}}]}]}]}]}
    deep: dict[str, object] = {"stringValue": "end"}
    for _ in range(300):
        deep = {"arrayValue": {"values": [deep]}}
    nested = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": deep}]}]}]}
    return [
        (Signal.TRACES, Form.PROTOBUF, trace),
        (Signal.LOGS, Form.PROTOBUF, logs),
        (Signal.METRICS, Form.PROTOBUF, trace),
        (Signal.TRACES, Form.JSON, json.dumps(told).encode()),
        (Signal.LOGS, Form.JSON, json.dumps(nested).encode()),
    ]


def harmed(rng: random.Random, body: bytes) -> bytes:
    """Some bytes changed, cut out, doubled or put in."""
    found = bytearray(body)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(found) + 1)
        how = rng.randrange(5)
        if how == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            del found[at : at + rng.randrange(1, 20)]
        elif how == 2:
            found[at:at] = rng.randbytes(rng.randrange(1, 8))
        elif how == 3:
            found[at:at] = found[at : at + rng.randrange(1, 60)] * rng.randrange(1, 30)
        else:
            found[at:at] = b"\xff\xff\xff\xff\x0f"
    return bytes(found)


def test_whatever_comes_is_refused_or_counted_and_never_hangs(scenario: Scenario) -> None:
    good, ended = seeds(scenario.rng), Counter[str]()
    longest = 0.0
    for _ in range(scenario.times(3000, 1_000_000)):
        signal, form, body = scenario.rng.choice(good)
        raw = harmed(scenario.rng, body)
        began = time.thread_time()
        try:
            found = prepare(Parcel(signal, raw, "", form, LIMIT))
            ended["rejected" if sum(found.rejected.values()) else "accepted"] += 1
        except AtollError as error:
            ended[error.code] += 1
        longest = max(longest, time.thread_time() - began)
    scenario.measured(**dict(ended), longest_ms=round(1000 * longest, 1))
    assert ended["bad-request"] > 0
    assert longest < HANG


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_the_process_lives_through_them_and_stores_what_is_good(scenario: Scenario) -> None:
    pytest.importorskip("chdb", reason='needs pip install "atoll[telemetry]"')
    good, statuses = seeds(scenario.rng), Counter[int]()
    with telemetry(scenario.folder) as process:
        pid = process.pid

        def send(count: int, rng: random.Random) -> None:
            for _ in range(count):
                signal, form, body = rng.choice(good)
                media = JSON if form is Form.JSON else PROTOBUF
                packed = rng.random() < 0.3
                raw = harmed(rng, gzip.compress(body) if packed else body)
                encoding = "gzip" if packed else "identity"
                statuses[process.send(f"/v1/{signal}", raw, media=media, content_encoding=encoding).status] += 1

        each = scenario.times(25, 625)
        senders = [random.Random(scenario.rng.random()) for _ in range(8)]
        await asyncio.gather(*(asyncio.to_thread(send, each, rng) for rng in senders))
        answer = process.send("/v1/traces", good[0][2])
        status = process.status()
    scenario.measured(**{str(number): count for number, count in sorted(statuses.items())})
    assert (answer.status, status["pid"]) == (200, pid)
    assert set(statuses) <= {200, 400, 413, 429, 503}
    assert statuses[400] > 0
