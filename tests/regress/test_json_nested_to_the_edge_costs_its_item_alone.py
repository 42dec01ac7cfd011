"""A value that was nested just less than protobuf's hundred levels could be read alone, and not put into its request: 500.

Found by G3, a million bodies.
"""

from __future__ import annotations

import json

import pytest

from atoll.telemetry.receive.intake import Form, Parcel, prepare
from atoll.telemetry.signal import Signal


def body(levels: int, kind: str) -> bytes:
    value: dict[str, object] = {"stringValue": "end"}
    for _ in range(levels):
        inner = value if kind == "arrayValue" else {"key": "k", "value": value}
        value = {kind: {"values": [inner]}}
    record = {"body": value}
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{}, record]}]}]}).encode()


@pytest.mark.parametrize("kind", ["arrayValue", "kvlistValue"])
def test_a_value_of_any_depth_is_taken_or_rejected_and_its_neighbour_is_kept(kind: str) -> None:
    ended = set()
    for levels in range(60):
        found = prepare(Parcel(Signal.LOGS, body(levels, kind), "", Form.JSON, 1 << 20))
        assert found.accepted + sum(found.rejected.values()) == 2
        assert found.accepted >= 1
        ended.add(found.accepted)
    assert ended == {1, 2}
