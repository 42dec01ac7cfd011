"""What a history proves: tables of histories and what must be said of them, and what holds for any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.drill.history import NO_ANSWER, Asked, History, Look, Server
from atoll.drill.judge import Promises, judge
from atoll.drill.words import details, promise, sentence

FAULT = 2.0


def served(start: float, took: float = 0.002, status: int = 200) -> Asked:
    return Asked(start, start + took, status)


def failed(start: float, took: float = 0.002) -> Asked:
    return Asked(start, start + took, 503, code="no-instance", trace=f"trace-{start:g}")


def steady(*odd: Asked, until: float = 10.0) -> tuple[Asked, ...]:
    """A request every 0.1 s, with `odd` ones in the place of those that started at the same time."""
    starts = {round(one.start, 1) for one in odd}
    calm = [served(at / 10) for at in range(round(until * 10)) if at / 10 not in starts]
    return tuple(sorted([*calm, *odd], key=lambda one: one.start))


def server(name: str = "a", *, up: bool = True, tries: int = 0, weight: int = 100) -> Server:
    return Server(f"be/{name}:1", name, up, weight, tries, tries)


def look(at: float, *servers: Server, retried: int = 0) -> Look:
    return Look(at, servers, retried)


def killed(requests: tuple[Asked, ...] = (), looks: tuple[Look, ...] = (), **more: object) -> History:
    given: dict[str, object] = {"fault_at": FAULT, "targets": ("be/a:1",), "wanted": 2, **more}
    return History(requests=requests, looks=looks, **given)  # type: ignore[arg-type]


def test_when_nobody_noticed_nothing_was_lost_and_recovery_took_no_time() -> None:
    verdict = judge(killed(steady()))
    assert (verdict.lost, verdict.recovered, verdict.slow, verdict.statuses) == (0, 0.0, 0, {"200": 100})


def test_recovery_is_the_last_moment_at_which_a_request_began_that_failed() -> None:
    verdict = judge(killed(steady(failed(2.1), failed(2.6), failed(2.3))))
    assert verdict.lost == 3
    assert verdict.recovered == pytest.approx(0.6)
    assert verdict.errors == {"no-instance": 3}
    assert verdict.traces == ("trace-2.1", "trace-2.3", "trace-2.6")


def test_a_request_on_its_way_when_the_fault_came_is_lost_but_says_nothing_about_recovery() -> None:
    verdict = judge(killed(steady(Asked(1.9, 9.0, NO_ANSWER, "timeout"))))
    assert (verdict.lost, verdict.in_flight, verdict.recovered) == (1, 1, 0.0)
    assert verdict.statuses["no answer"] == 1


def test_who_waits_longer_than_usual_is_disturbed_though_not_lost() -> None:
    verdict = judge(killed(steady(served(2.5, 4.0)), undone_at=6.0))
    assert (verdict.lost, verdict.slow) == (0, 1)
    assert verdict.recovered == pytest.approx(0.5)
    assert verdict.slowest == pytest.approx(4.0)


def test_a_service_that_is_always_slow_is_measured_against_itself() -> None:
    slow = tuple(served(at / 10, 1.5) for at in range(100))
    assert judge(killed(slow)).slow == 0
    assert judge(killed(slow)).recovered == 0.0


def test_a_load_that_ends_in_trouble_proves_no_recovery() -> None:
    assert judge(killed(steady(failed(9.7)))).recovered is None


def test_a_4xx_is_an_answer_and_a_grpc_error_is_none() -> None:
    verdict = judge(killed(steady(served(3.0, status=404), Asked(3.1, 3.2, 200, "grpc-status 14"))))
    assert verdict.lost == 1
    assert verdict.errors == {"grpc-status 14": 1}


TRIED = (
    look(1.99, server(tries=10), server("b", tries=10), retried=0),
    look(2.01, server(tries=12), server("b", tries=12), retried=1),
    look(2.05, server(tries=13), server("b", tries=14), retried=2),
    look(2.06, server(tries=13, up=False), server("b", tries=15), retried=2),
    look(2.5, server("b", tries=40), retried=2),
    look(3.5, server("a", tries=0), server("b", tries=90), retried=2),
    look(3.6, server("a", tries=5), server("b", tries=95), retried=2),
)


def test_the_last_request_to_the_dead_is_the_last_growth_of_its_counters_before_it_was_out() -> None:
    verdict = judge(killed(steady(), TRIED))
    assert verdict.last_try == pytest.approx(0.05)
    assert verdict.recovered == pytest.approx(0.05), "whoever is sent to the dead is not well yet"
    assert verdict.out == pytest.approx(0.06)
    assert verdict.full == pytest.approx(1.5)
    assert verdict.retried == 2
    assert verdict.instances == {"a": 8, "b": 85}
    assert verdict.resolution == pytest.approx(1.0)


def test_an_instance_that_is_only_slow_may_be_asked() -> None:
    assert judge(killed(steady(), TRIED, silent=False)).last_try is None
    assert judge(killed(steady(), TRIED, silent=False)).recovered == 0.0


def test_counters_that_begin_anew_with_haproxy_are_not_taken_for_less() -> None:
    looks = (look(1.0, server(tries=50), retried=7), look(2.1, server(tries=3), retried=1))
    verdict = judge(killed(steady(), looks))
    assert (verdict.retried, verdict.instances) == (1, {"a": 3})


@pytest.mark.parametrize(
    ("looks", "undone", "full"),
    [
        ((), None, None),
        ((look(2.1, server(), server("b")),), None, 0.0),  # nobody missed it
        ((look(2.1, server("b")), look(2.4, server("b"))), None, None),  # it never came back
        ((look(2.1, server("b")), look(2.4, server(), server("b"))), None, 0.4),
        ((look(3.0, server("b")), look(6.5, server(), server("b"))), 6.0, 0.5),  # counted from the end of the pause
        ((look(3.0, server("b")), look(5.0, server(), server("b"))), 6.0, 0.0),
        ((look(2.1, server(weight=0), server("b")), look(2.2, server(), server("b"))), None, 0.2),
    ],
)
def test_full_strength_is_back_with_the_look_after_the_last_one_that_lacked_somebody(
    looks: tuple[Look, ...], undone: float | None, full: float | None
) -> None:
    verdict = judge(killed(steady(), looks, undone_at=undone))
    assert verdict.full == (None if full is None else pytest.approx(full))


def test_without_a_load_recovery_is_full_strength() -> None:
    looks = (look(2.1, server("b")), look(2.4, server(), server("b")))
    verdict = judge(killed((), looks))
    assert verdict.recovered == pytest.approx(0.4)
    assert sentence(verdict) == "no requests were made; all instances serve again after 400 ms"


def test_a_promise_is_kept_or_broken_and_one_that_was_not_measured_is_broken() -> None:
    history = killed(steady(failed(2.4)), (look(2.1, server("b")),))
    verdict = judge(history, Promises(lost=0, recovery=0.5, full=9.0))
    assert [(one.name, one.kept) for one in verdict.promises] == [("lost", False), ("recovery", True), ("full", False)]
    assert not verdict.kept
    assert [promise(one) for one in verdict.promises] == [
        "lost ≤ 0: BROKEN (1)",
        "recovery ≤ 500 ms: kept (400 ms)",
        "full ≤ 9.00 s: BROKEN (never)",
    ]
    assert judge(history).kept, "nothing was promised"


def test_a_fallback_is_an_answer_and_is_told() -> None:
    verdict = judge(killed(steady(Asked(2.1, 2.2, 200, fallback="static"), failed(2.2))))
    assert (verdict.lost, verdict.fallbacks) == (1, 1)
    assert sentence(verdict).endswith("1 of 100 requests lost, 0 retried, 1 given a fallback")


def test_the_sentence_and_its_details() -> None:
    verdict = judge(killed(steady(failed(2.1)), TRIED))
    assert sentence(verdict) == "recovered in 100 ms, 1 of 100 requests lost, 2 retried"
    told = dict(details(verdict, target="a", fault="kill", wanted=2))
    assert told["last request to a"] == "50 ms after it"
    assert told["all 2 serve again"] == "1.50 s after it"
    assert told["lost"] == "1: no-instance 1"
    assert dict(details(verdict, target="a", fault="slow", wanted=2))["last request to a"] == ""


@st.composite
def histories(draw: st.DrawFn) -> History:
    moments = st.floats(0, 10, allow_nan=False)
    requests = [
        Asked(start, start + draw(st.floats(0, 5)), draw(st.sampled_from([200, 404, 503, NO_ANSWER])), error)
        for start in draw(st.lists(moments, max_size=40))
        for error in [draw(st.sampled_from(["", "", "timeout"]))]
    ]
    looks = [
        look(at, *(server(name, up=draw(st.booleans()), tries=draw(st.integers(0, 99))) for name in draw(
            st.lists(st.sampled_from("abc"), unique=True)
        )), retried=draw(st.integers(0, 9)))
        for at in sorted(draw(st.lists(moments, max_size=15)))
    ]  # fmt: skip
    undone = draw(st.none() | st.floats(FAULT, 10))
    return killed(tuple(requests), tuple(looks), undone_at=undone, silent=draw(st.booleans()))


@given(histories())
def test_of_any_history_the_numbers_fit_each_other(history: History) -> None:
    verdict = judge(history, Promises(lost=3, recovery=1.0, full=1.0))
    assert verdict.in_flight <= verdict.lost <= verdict.requests == sum(verdict.statuses.values())
    assert sum(verdict.errors.values()) == verdict.lost
    assert verdict.retried >= 0
    assert all(count >= 0 for count in verdict.instances.values())
    for moment in (verdict.recovered, verdict.last_try, verdict.out, verdict.full):
        assert moment is None or moment >= 0
    if verdict.last_try is not None and verdict.recovered is not None and history.requests:
        assert verdict.recovered >= verdict.last_try
    assert verdict.promises[0].kept == (verdict.lost <= 3)
    assert sentence(verdict)
    assert details(verdict, target="a", fault="kill", wanted=2)


@given(histories(), st.floats(0, 10))
def test_one_more_lost_request_never_makes_a_verdict_better(history: History, at: float) -> None:
    worse = History(
        requests=(*history.requests, failed(at)),
        looks=history.looks, fault_at=FAULT, undone_at=history.undone_at,
        targets=history.targets, silent=history.silent, wanted=2,
    )  # fmt: skip
    before, after = judge(history), judge(worse)
    assert after.lost == before.lost + 1
    if history.requests and before.recovered is not None and after.recovered is not None:
        assert after.recovered >= before.recovered or before.usual != after.usual
