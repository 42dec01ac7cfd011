from __future__ import annotations

import msgspec
import pytest

from atoll.model.answers import Record, Verb
from atoll.model.breaker import BreakerState, BreakerWord
from atoll.model.names import RouteName, ServiceName
from atoll.model.policy import Call
from atoll.model.report import BreakerChange
from atoll.model.route import Route, Share
from atoll.model.service import Service
from atoll.model.snapshot import decode
from atoll.registry.breakers import recorded, words_said

WEB, ORDERS = ServiceName("web"), ServiceName("orders")
OPENED = BreakerChange(
    at=1000.0,
    service=ORDERS,
    caller="web",
    state=BreakerState.OPEN,
    reason="12 of 20 failed\x1b[31m",
    node="n1",
    opened=1,
)
OPEN = BreakerWord(state=BreakerState.OPEN, until=1300.0, since=1000.0, reason="it floods it")
ANEW = BreakerWord(since=1400.0, reset=1400.0, reason="repaired")


def test_a_change_is_a_record_of_its_service_and_told_twice_it_is_one() -> None:
    put = recorded(OPENED)
    assert put == recorded(OPENED)
    assert put.key.startswith("history/orders/0000001000000-")
    record = decode(put.value, Record)
    assert (record.verb, record.at, record.instance) == (Verb.BREAKER, 1000.0, "")
    assert record.cause == r"for web: open: 12 of 20 failed\x1b[31m"
    assert record.breaker is not None
    assert record.breaker.opened == 1


def test_changes_of_one_second_keep_their_order() -> None:
    states = (BreakerState.HALF_OPEN, BreakerState.OPEN, BreakerState.CLOSED)
    keys = [recorded(msgspec.structs.replace(OPENED, state=state)).key for state in states]
    assert keys == sorted(keys)
    other = recorded(msgspec.structs.replace(OPENED, node="n2")).key
    assert other not in keys


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (Service(name=ORDERS), Service(name=ORDERS, breaker_word=OPEN), ("orders", "", "open", True)),
        (Service(name=ORDERS, breaker_word=OPEN), Service(name=ORDERS, breaker_word=ANEW), ("orders", "", "closed", False)),
        (
            Service(name=WEB, calls={ORDERS: Call()}), Service(name=WEB, calls={ORDERS: Call(breaker_word=OPEN)}),
            ("orders", "web", "open", True),
        ),
        (
            Route(name=RouteName("shop"), shares=(Share(service=ORDERS),)),
            Route(name=RouteName("shop"), shares=(Share(service=ORDERS),), breaker_word=OPEN),
            ("orders", "route:shop", "open", True),
        ),
    ],
    ids=["a service", "taken back", "a call", "a route"],
)  # fmt: skip
def test_an_operators_word_is_told_of_the_callee(
    before: Service | Route, after: Service | Route, said: tuple[str, str, str, bool]
) -> None:
    (change,) = words_said(before, after)
    assert (change.service, change.caller, change.state, change.forced) == said
    assert "by an operator" in change.reason
    assert list(words_said(after, after)) == []
