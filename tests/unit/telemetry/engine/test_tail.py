"""Which traces the tail rules keep."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import InvalidValue
from atoll.settings import Tail
from atoll.telemetry.tail import Reason, Rules, Trace, decide, read

MS = 1_000_000
RULES = Rules(slow=1000 * MS, slow_services={"search": 200 * MS}, share=0.0)
LOW, HIGH = "0" * 32, "f" * 32


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        (Trace(id=HIGH), None),
        (Trace(id=HIGH, failed=True), Reason.ERROR),
        (Trace(id=HIGH, degraded=True), Reason.DEGRADED),
        (Trace(id=HIGH, longest={"orders": 999 * MS}), None),
        (Trace(id=HIGH, longest={"orders": 1000 * MS}), Reason.SLOW),
        (Trace(id=HIGH, longest={"orders": 1, "search": 200 * MS}), Reason.SLOW),
        (Trace(id=HIGH, longest={"search": 199 * MS}), None),
        (Trace(id=HIGH, failed=True, degraded=True, longest={"search": 10**12}), Reason.ERROR),
    ],
)
def test_a_trace_is_kept_for_the_first_rule_that_wants_it(trace: Trace, reason: Reason | None) -> None:
    assert decide(trace, RULES) is reason


def test_a_rule_that_is_off_keeps_nothing() -> None:
    off = Rules(errors=False, degraded=False, slow=0, share=0)
    assert decide(Trace(id=LOW, failed=True, degraded=True, longest={"orders": 10**18}), off) is None


def test_a_slower_limit_of_a_service_stands_in_for_the_general_one() -> None:
    patient = Rules(slow=1000 * MS, slow_services={"report": 60_000 * MS})
    assert decide(Trace(id=HIGH, longest={"report": 30_000 * MS}), patient) is None


@given(st.binary(min_size=16, max_size=16).map(bytes.hex), st.floats(0, 1))
def test_the_share_is_chosen_by_the_trace_id_alone_and_grows_with_the_setting(trace: str, share: float) -> None:
    small = decide(Trace(id=trace), Rules(share=share))
    assert small is decide(Trace(id=trace), Rules(share=share))
    assert decide(Trace(id=trace), Rules(share=1)) is Reason.SHARE
    assert decide(Trace(id=trace), Rules(share=0)) is None
    if small:
        assert decide(Trace(id=trace), Rules(share=min(1.0, share + 0.1))) is Reason.SHARE


def test_a_tenth_keeps_about_a_tenth_of_random_ids() -> None:
    chance = random.Random(4)
    kept = [decide(Trace(id=chance.randbytes(16).hex()), Rules(share=0.1)) for _ in range(2000)]
    assert 150 < kept.count(Reason.SHARE) < 250


@given(
    st.builds(
        Trace,
        id=st.binary(min_size=16, max_size=16).map(bytes.hex),
        failed=st.booleans(),
        degraded=st.booleans(),
        longest=st.dictionaries(st.sampled_from(["orders", "search"]), st.integers(0, 10**10)),
    ),
    st.dictionaries(st.sampled_from(["orders", "mail"]), st.integers(0, 10**10)),
)
def test_further_spans_never_take_a_reason_away(trace: Trace, more: dict[str, int]) -> None:
    rules = dataclasses.replace(RULES, share=0.2)
    longer = {name: max(trace.longest.get(name, 0), more.get(name, 0)) for name in {*trace.longest, *more}}
    grown = dataclasses.replace(trace, longest=longer)
    assert decide(trace, rules) is None or decide(grown, rules) is not None


def test_settings_are_read_as_nanoseconds_of_each_service() -> None:
    rules = read(Tail(slow=0.5, slow_services="orders=0.3, search=2", share=0.25))
    assert rules == Rules(slow=500 * MS, slow_services={"orders": 300 * MS, "search": 2000 * MS}, share=0.25)


@pytest.mark.parametrize(
    "knobs",
    [
        Tail(share=1.1), Tail(share=-0.1), Tail(share=float("nan")), Tail(slow=-1), Tail(slow=float("nan")),
        Tail(slow_services="orders"), Tail(slow_services="orders=fast"), Tail(slow_services="=1"), Tail(slow_services="a=0"),
        Tail(slow_services="a=nan"),
    ],
)  # fmt: skip
def test_settings_that_are_no_rule_are_refused_with_their_name(knobs: Tail) -> None:
    with pytest.raises(InvalidValue, match="ATOLL_TAIL_"):
        read(knobs)
