"""The lines of the policies map: HAProxy takes their numbers out by position, so none may be wider than its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.gateway.bound import Bound, Does
from atoll.gateway.policies import BITS_WIDTH, NUMBERS, WIDTH, column, policy_line
from atoll.gateway.retries import first_seconds
from atoll.model import effective
from atoll.model.breaker import Breaker
from atoll.model.bulkhead import CONCURRENCY_CEILING, QUEUE_CEILING, Priority, Queue
from atoll.model.names import ServiceName
from atoll.model.policy import TIMEOUT_CEILING, Call, Policy, policy_problems
from atoll.model.retry import REASONS, Retry
from atoll.model.service import Service

ORDERS = ServiceName("orders")
SECONDS = st.none() | st.floats(0.001, TIMEOUT_CEILING)
LIMITS = st.none() | st.integers(1, CONCURRENCY_CEILING)
RETRIES = st.builds(
    Retry,
    attempts=st.integers(0, 10),
    on=st.lists(st.sampled_from(REASONS), min_size=1, unique=True).map(tuple),
    methods=st.sampled_from([(), ("GET",), ("GET", "POST")]),
    budget=st.integers(0, 100),
)
POLICIES = st.builds(
    Policy,
    timeout=SECONDS,
    try_timeout=SECONDS,
    retry=st.none() | RETRIES,
    max_concurrency=LIMITS,
    priority=st.none() | st.sampled_from(Priority),
    circuit_breaker=st.none() | st.just(Breaker(enabled=True)),
)
CALLEES = st.builds(
    Service,
    name=st.just(ORDERS),
    policy=st.builds(Policy, max_concurrency=LIMITS),
    instance_concurrency=LIMITS,
    queue=st.none() | st.builds(Queue, size=st.integers(0, QUEUE_CEILING)),
)


def line(said: Policy, callee: Service) -> str:
    """The line of a call."""
    web = Service(name=ServiceName("web"), calls={ORDERS: Call(policy=said)})
    return policy_line(Bound("web>orders", ORDERS, effective.of_call(web, callee), callee))


@given(POLICIES, CALLEES)
def test_every_number_stands_where_rules_look_for_it(said: Policy, callee: Service) -> None:
    if any(policy_problems(said)):
        return
    words = line(said, callee).split("|")
    if words == [""]:
        return
    assert len(words[0]) == BITS_WIDTH
    assert [len(word) for word in words[1 : len(NUMBERS) + 1]] == [WIDTH] * len(NUMBERS)
    assert all(word.isdigit() for word in words[: len(NUMBERS) + 1])


def test_a_number_is_taken_out_by_position_and_a_text_from_the_end() -> None:
    text = line(Policy(timeout=5, max_concurrency=3, circuit_breaker=Breaker(enabled=True)), Service(name=ORDERS))
    start = BITS_WIDTH + 1
    assert column("timeout") == f"var(txn.policy),bytes({start},{WIDTH}),rtrim(|)"
    assert text[start : start + WIDTH] == "000005000"
    assert column("breaker") == "var(txn.policy),field(-1,|)"
    assert text.rpartition("|")[2] == "web>orders"


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (Policy(), None),
        (Policy(priority=Priority.HIGH), None),
        (Policy(retry=Retry()), None),
        (Policy(timeout=2), Does.TIMED),
        (Policy(try_timeout=2), Does.TRIED),
        (Policy(retry=Retry(attempts=0)), Does.ONCE),
        (Policy(retry=Retry(on=("503",))), Does.OWNER),
        (Policy(retry=Retry(on=("timeout",))), Does.OWNER | Does.PATIENT),
        (Policy(timeout=4, retry=Retry(on=("timeout",))), Does.TIMED | Does.TRIED | Does.OWNER | Does.PATIENT),
        (Policy(timeout=4, retry=Retry()), Does.TIMED | Does.ONCE),
        (Policy(timeout=4, try_timeout=1, retry=Retry()), Does.TIMED | Does.TRIED),
        (Policy(retry=Retry(methods=("GET",), budget=5)), Does.CHOOSY | Does.BUDGET),
        (Policy(max_concurrency=2), Does.OWN),
        (Policy(circuit_breaker=Breaker(enabled=True)), Does.SCOPED),
    ],
)
def test_only_what_asks_for_rules_has_a_line(said: Policy, asked: Does | None) -> None:
    text = line(said, Service(name=ORDERS))
    assert (Does(int(text[:BITS_WIDTH])) if text else None) == asked


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (Policy(), None),
        (Policy(timeout=4), 4),
        (Policy(try_timeout=1), 1),
        (Policy(timeout=4, try_timeout=1), 1),
        (Policy(timeout=4, retry=Retry(attempts=3, on=("timeout",))), 1),
    ],
)
def test_an_instance_is_waited_for_no_longer_than_one_try(said: Policy, seconds: float | None) -> None:
    assert first_seconds(said) == seconds
