"""What a fault may say: a table of absurdities, each with the field that is wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from atoll.errors import InvalidName, InvalidValue
from atoll.model.fault import Fault, checked_fault, default_name

SOUND: dict[str, Any] = {
    "name": "f", "service": "orders", "delay": 0.2, "since": 100.0, "until": 400.0, "reason": "a test",
}  # fmt: skip


def fault(**values: Any) -> Fault:
    return msgspec.convert({**SOUND, **values}, Fault)


def test_a_sound_fault_passes_and_its_header_is_folded() -> None:
    assert checked_fault(fault(header="X-User", value="ana", jitter=0.2, percent=0.01)).header == "x-user"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"service": None}, "service"), ({"route": "shop"}, "service"),
        ({"service": None, "route": "shop", "caller": "web"}, "caller"),
        ({"percent": 0}, "percent"), ({"percent": 101}, "percent"), ({"percent": -1}, "percent"),
        ({"percent": float("nan")}, "percent"), ({"header": "x-user"}, "header"), ({"value": "ana"}, "header"),
        ({"delay": -0.1}, "delay"), ({"delay": 61}, "delay"), ({"delay": 1e-6}, "delay"), ({"delay": 0}, "delay"),
        ({"jitter": 0.3}, "jitter"), ({"jitter": -1}, "jitter"), ({"abort": 200}, "abort"), ({"abort": 600}, "abort"),
        ({"abort": 500, "drop": True}, "drop"), ({"until": 100.5}, "seconds"), ({"until": 99}, "seconds"),
        ({"until": 100_000.0}, "seconds"), ({"reason": "  "}, "reason"), ({"reason": "x" * 201}, "reason"),
    ],
)  # fmt: skip
def test_an_absurd_fault_is_refused_with_its_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        checked_fault(fault(**values))
    assert refused.value.fields["field"] == field


@pytest.mark.parametrize(
    "values",
    [
        {"name": "a b"}, {"service": "Orders"}, {"caller": "web>x"}, {"header": "x user", "value": "a"},
        {"header": "x-user", "value": "%[src]"}, {"header": "x-user", "value": "a,b;c"}, {"name": ""},
    ],
)  # fmt: skip
def test_hostile_words_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidName):
        checked_fault(fault(**values))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "orders.delay"), ({"abort": 500}, "orders.abort"), ({"drop": True}, "orders.drop"),
        ({"caller": "web"}, "web.orders.delay"), ({"service": None, "route": "shop"}, "shop.route-delay"),
        ({"service": "s" * 63, "caller": "c" * 63, "abort": 500}, f"{'c' * 57}.abort"),
    ],
)  # fmt: skip
def test_a_fault_that_nobody_named_is_called_by_its_place_and_effect(values: dict[str, Any], name: str) -> None:
    given = default_name(fault(**values))
    assert given == name
    assert checked_fault(fault(**values, name=given)).name == name


def test_a_fault_says_what_it_does() -> None:
    assert fault(jitter=0.05, abort=503).effect == "200 ±50 ms late, answered 503"
    assert fault(caller="web").target == "web → orders"
