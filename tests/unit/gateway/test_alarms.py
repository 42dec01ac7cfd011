from __future__ import annotations

import pytest

from atoll.errors import GatewayRefused
from atoll.gateway.alarms import TOLD_AGAIN, Alarms
from atoll.kit.logs import Log
from atoll.testing import FakeClock

TAKEN = GatewayRefused("port 80 is taken", hint="choose another")


def test_every_failure_is_counted_and_the_last_one_stands_with_what_to_do() -> None:
    alarms = Alarms(FakeClock(), Log("test"))
    alarms.sound("not started", TAKEN)
    assert (alarms.count, alarms.cause, alarms.hint) == (1, "port 80 is taken", "choose another")
    alarms.sound("a bug", KeyError("x"))
    assert (alarms.count, alarms.cause, alarms.hint) == (2, "'x'", "")


async def test_the_same_one_is_told_once_a_minute_and_another_at_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    alarms = Alarms(clock, Log("test"))
    for _ in range(3):
        alarms.sound("not started", TAKEN)
    assert len(caplog.records) == 1
    alarms.sound("not started", GatewayRefused("port 81 is taken"))
    assert len(caplog.records) == 2
    await clock.advance(TOLD_AGAIN)
    alarms.sound("not started", GatewayRefused("port 81 is taken"))
    assert [one.getMessage().partition(" hint=")[0] for one in caplog.records] == [
        'not started cause="port 80 is taken"', 'not started cause="port 81 is taken"',
        'not started cause="port 81 is taken"',
    ]  # fmt: skip
    assert alarms.count == 5


def test_one_that_is_over_is_forgotten_and_told_again_when_it_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms(FakeClock(), Log("test"))
    alarms.sound("not started", TAKEN)
    alarms.end("something else")
    assert alarms.cause
    alarms.end("not started")
    assert (alarms.cause, alarms.hint) == ("", "")
    alarms.sound("not started", TAKEN)
    assert len(caplog.records) == 2
