"""Faults as lines of HAProxy's map: whom they strike is the key, what they do the value, and no word can leave its place."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from atoll.gateway.breaker_lines import FORCED, breaker_entries
from atoll.gateway.command import fill_map
from atoll.gateway.injection import ANY, SOURCE, fault_entries
from atoll.gateway.quote import entry
from atoll.model.fault import Fault, checked_fault

FIELDS = 8


def fault(name: str, **values: Any) -> Fault:
    said = {"name": name, "since": 100.0, "until": 160.25, "reason": "x", **values}
    return checked_fault(msgspec.convert(said, Fault))


def test_without_a_fault_nothing_is_there_to_be_asked() -> None:
    assert list(fault_entries(())) == []
    assert list(breaker_entries((), {})) == []


def test_services_routes_and_calls_have_keys_of_their_own_and_share_lines() -> None:
    faults = [
        fault("a", service="orders", delay=0.2, jitter=0.05, percent=12.5),
        fault("b", service="orders", abort=503, header="X-User", value="ana"),
        fault("c", route="orders", drop=True),
        fault("d", service="orders", caller="web", delay=1, abort=500),
    ]
    ana = base64.b64encode(b"ana").decode()
    assert list(fault_entries(reversed(faults))) == [
        (ANY, "1"),
        ("orders", f"161:1250:200:50::::a,161:10000:0:0:503:x-user:{ana}:b"),
        ("orders~", "161:10000:0:0:drop:::c"),
        ("web>orders~", "161:10000:1000:0:500:::d"),
    ]


def test_a_fault_anywhere_wakes_the_rules_that_look_for_it() -> None:
    assert list(breaker_entries((), {}, forced=True)) == [(FORCED, "1")]


@given(
    value=st.from_regex(r"[A-Za-z0-9._~:/+=@,-]{1,127}", fullmatch=True),
    percent=st.floats(0.01, 100),
    delay=st.floats(0.001, 60),
)
def test_whatever_may_be_said_is_one_line_of_as_many_words(value: str, percent: float, delay: float) -> None:
    said = fault("f", service="orders", header="x-a", value=value, percent=percent, delay=delay)
    _, (key, line) = fault_entries([said])
    words = line.split(":")
    assert len(words) == FIELDS
    assert base64.b64decode(words[6]).decode() == value
    assert 1 <= int(words[1]) <= 10_000
    assert 1 <= int(words[2]) <= 60_000
    assert entry(key, line).count(" ") == 1
    assert [command.payload for command in fill_map("faults.map", 1, [(key, line)])] == [(f"{key} {line}",)]


def test_the_script_is_shipped_and_reads_as_many_words() -> None:
    (pattern,) = (line for line in SOURCE.splitlines() if line.startswith("local LINE"))
    assert pattern.count("(") == FIELDS
