"""What a chaos run finds, what it costs, and that nothing of it hangs on a few milliseconds."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.drill import checks
from atoll.drill.checks import Check, WaySeen
from atoll.drill.history import NO_ANSWER, Asked, History, Look, Server
from atoll.drill.judge import Verdict, judge
from atoll.drill.score import findings, score
from atoll.drill.ways import Way
from atoll.model.policy import Layer, Policy, merged

RESUMED = 6.0


def way(*, caller: str = "orders", route: str = "", timeout: float | None = None) -> Way:
    said = merged((Layer("services.payments", Policy(timeout=timeout), "payments"),))
    return Way(callee="payments", caller="" if route else caller, route=route, aims=(), policy=said)


def seen(*answers: Asked, late: tuple[Asked, ...] = (), **more: object) -> WaySeen:
    return WaySeen(way=way(**more), early=answers, late=late, resumed=RESUMED)  # type: ignore[arg-type]


def asked(start: float, end: float, status: int = 200, code: str = "", error: str = "") -> Asked:
    return Asked(start, end, status, error, code)


WAITED = asked(0.1, 6.01)
CUT = asked(0.1, 2.1, 504, "upstream-timeout")
REFUSED = asked(4.5, 4.502, 503, "no-instance")
GIVEN = asked(4.5, 4.51)


@pytest.mark.parametrize(
    ("early", "late", "passed"),
    [
        ((WAITED, WAITED), (REFUSED, REFUSED), {"timeout": False, "fallback": False}),
        ((WAITED, CUT), (REFUSED,), {"timeout": False, "fallback": False}),
        ((CUT, CUT), (REFUSED, REFUSED), {"timeout": True, "fallback": False}),
        ((asked(0.1, 2.1), asked(0.1, 2.2)), (GIVEN, GIVEN), {"timeout": True, "fallback": True}),
        ((WAITED,), (GIVEN,), {"timeout": False, "fallback": True}),
        (
            (WAITED,),
            (asked(4.5, 6.02),),
            {"timeout": False, "fallback": False},
        ),  # it was not taken out: it answered itself
        ((asked(0.1, 10.1, NO_ANSWER, "", "timeout"),), (REFUSED,), {"timeout": False, "fallback": False}),
    ],
)
def test_a_way_is_judged_by_what_came_before_its_service_went_on(
    early: tuple[Asked, ...], late: tuple[Asked, ...], passed: dict[str, bool]
) -> None:
    assert {one.code: one.passed for one in checks.of_way(seen(*early, late=late))} == passed


def test_a_way_without_a_timeout_is_named_with_what_it_cost_and_what_to_say() -> None:
    timeout, fallback = checks.of_way(seen(WAITED, late=(REFUSED,)))
    assert timeout.seen == (
        "orders → payments has no timeout: requests waited 5.90 s for a paused payments, until it went on"
    )
    assert timeout.advice == "say `calls: {payments: {timeout: 2s}}` in services.orders"
    assert timeout.evidence == {"waited": 5.9, "paused": 6.0}
    assert "no-instance" in fallback.seen
    (far, _) = checks.of_way(seen(WAITED, timeout=20.0))
    assert "its timeout of 20 s is longer" in far.seen
    (routed, _) = checks.of_way(seen(WAITED, route="shop"))
    assert routed.about == "route:shop"
    assert "in the route shop" in routed.advice


def verdict(lost: int = 0, in_flight: int = 0, full: float | None = 1.0) -> Verdict:
    server = Server("be/a", "a", True, 100, 0, 0)
    gone, back = Look(2.1, (), 0), Look(2.0 + (full or 0.0), (server,), 0)
    requests = tuple(
        [Asked(at / 10, at / 10 + 0.01, 200) for at in range(100)]
        + [Asked(1.99, 2.01, 503)] * in_flight
        + [Asked(2.2, 2.21, 503)] * (lost - in_flight)
    )
    looks = (gone, back) if full is not None else (gone,)
    return judge(History(requests=requests, looks=looks, fault_at=2.0, targets=("be/a",), wanted=1))


@pytest.mark.parametrize(
    ("instances", "said", "unnoticed", "replaced"),
    [
        (1, verdict(), True, True),  # a fallback answered
        (1, verdict(lost=1, in_flight=1), False, True),
        (3, verdict(lost=2, in_flight=2), True, True),  # nobody can take those back that were on their way
        (3, verdict(lost=3, in_flight=2), False, True),
        (3, verdict(full=None), True, False),
        (3, verdict(full=19.0), True, True),
        (3, verdict(full=21.0), True, False),
    ],
)
def test_a_kill_is_judged_by_what_was_lost_and_whether_it_was_replaced(
    instances: int, said: Verdict, unnoticed: bool, replaced: bool
) -> None:
    found = {one.code: one for one in checks.of_kill("orders", instances, said)}
    assert (found["kill-unnoticed"].passed, found["kill-replaced"].passed) == (unnoticed, replaced)
    if instances == 1 and not unnoticed:
        assert "one instance" in found["kill-unnoticed"].seen
        assert "replicas: 2" in found["kill-unnoticed"].advice


@pytest.mark.parametrize(
    ("answers", "passed"),
    [
        ((asked(0, 1, 503, "fault-injected"),) * 9, False),
        ((asked(0, 1, 503, "fault-injected"), asked(1, 2, 503, "breaker-open")), True),
        ((asked(0, 1),) * 9, True),
        ((asked(0, 1), asked(0, 1, 503, "fault-injected")), False),
        ((), False),
    ],
)
def test_a_failing_service_must_be_left_alone_or_stood_in_for(answers: tuple[Asked, ...], passed: bool) -> None:
    found = checks.of_failing(way(), answers)
    assert found.passed == passed
    assert "circuit_breaker: true" in found.advice


@pytest.mark.parametrize(
    ("part", "lost", "recovered", "back", "passed"),
    [
        ("control-plane", 0, 0.0, 0.5, (True, True)),
        ("control-plane", 1, 0.1, 0.5, (False, True)),
        ("gateway", 40, 0.3, 0.4, (True, True)),  # its own requests die with it; what counts is how soon it is back
        ("gateway", 40, 5.1, 0.4, (False, True)),
        ("gateway", 40, None, None, (False, False)),
        ("telemetry", 0, 0.0, None, (True, False)),
    ],
)
def test_a_part_of_the_platform_may_die_without_being_missed(
    part: str, lost: int, recovered: float | None, back: float | None, passed: tuple[bool, bool]
) -> None:
    answers = [asked(3, 3.1, 503)] * lost + [asked(1, 1.1)] * 50
    found = checks.of_part(part, "it", answers, recovered, back, 10.0)
    assert tuple(one.passed for one in found) == passed


def check(weight: int, *, passed: bool, code: str = "timeout", about: str = "a>b") -> Check:
    return Check(code=code, about=about, weight=weight, passed=passed, seen="")


def test_the_score_is_the_share_of_weight_that_passed_and_every_missing_point_is_named() -> None:
    made = [check(3, passed=True), check(3, passed=False, about="x"), check(2, passed=False), check(2, passed=True)]
    assert score(made) == 50
    assert [(one.points, one.check.about) for one in findings(made)] == [(30.0, "x"), (20.0, "a>b")]
    assert score([]) == 100


made_checks = st.lists(
    st.builds(check, st.integers(1, 9), passed=st.booleans(), about=st.sampled_from("abc")), max_size=40
)


@given(made_checks)
def test_score_and_findings_add_up_to_a_hundred(made: list[Check]) -> None:
    missing = sum(one.points for one in findings(made))
    assert score(made) + missing == pytest.approx(100, abs=0.5 + 0.05 * len(made))


@given(made_checks, st.data())
def test_a_check_that_fails_where_it_passed_never_raises_the_score_and_is_named(
    made: list[Check], data: st.DataObject
) -> None:
    good = [at for at, one in enumerate(made) if one.passed]
    if not good:
        return
    at = data.draw(st.sampled_from(good))
    worse = [*made]
    worse[at] = msgspec.structs.replace(made[at], passed=False)
    assert score(worse) <= score(made)
    assert len(findings(worse)) == len(findings(made)) + 1


@given(st.lists(st.floats(-0.4, 0.4), min_size=4, max_size=4))
def test_nothing_changes_when_everything_takes_a_bit_longer_or_shorter(noise: list[float]) -> None:
    a, b, c, d = noise
    usual = checks.of_way(seen(CUT, WAITED, late=(REFUSED,)))
    noisy = checks.of_way(
        WaySeen(
            way=way(),
            early=(asked(0.5 + a, 2.5 + b, 504, "upstream-timeout"), asked(0.5 + a, RESUMED + 0.5 + c)),
            late=(asked(4.5 + d, 4.6 + d, 503, "no-instance"),),
            resumed=RESUMED,
        )
    )
    assert [one.passed for one in noisy] == [one.passed for one in usual]
