"""What a policy's timeouts and retries ask of HAProxy: decided once, when facts change."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.gateway import retries
from atoll.gateway.config import Traits
from atoll.gateway.upstream import Upstream
from atoll.gateway.variant import varied
from atoll.model.names import ServiceName
from atoll.model.policy import Call, Policy, policy_problems
from atoll.model.retry import NEVER, REASONS, Retry, retry_problems
from tests.unit.gateway.facts import config, instance, intent, route, service, snapshot

S = Upstream(ServiceName("s"))
RETRIES = st.builds(
    Retry,
    attempts=st.integers(0, 10),
    on=st.lists(st.sampled_from(REASONS), min_size=1, unique=True).map(tuple),
    budget=st.integers(0, 100),
)
SECONDS = st.none() | st.floats(0.001, 1000)


@given(RETRIES, SECONDS, SECONDS)
def test_all_tries_together_fit_into_the_whole_time(retry: Retry, timeout: float | None, one: float | None) -> None:
    policy = Policy(timeout=timeout, try_timeout=one, retry=retry)
    if any(policy_problems(policy)):
        return
    attempts, each = retries.attempts(policy), retries.try_seconds(policy)
    assert 0 <= attempts <= retry.attempts
    if timeout is not None and each is not None:
        assert each * (attempts + 1) <= timeout * 1.0001 or attempts == 0


@given(RETRIES)
def test_a_lost_connection_is_always_a_reason_and_every_word_is_haproxys(retry: Retry) -> None:
    words = retries.retry_on(retry)
    assert words[0] == "conn-failure"
    assert len(set(words)) == len(words)
    known = {"conn-failure", "empty-response", "junk-response", "0rtt-rejected", "response-timeout"}
    assert all(word in known or word.isdigit() for word in words)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(), (3, Traits().retry_on)),
        (Policy(retry=NEVER), (3, Traits().retry_on)),
        (Policy(retry=Retry(attempts=1)), (1, Traits().retry_on)),
        (Policy(retry=Retry(on=("503",))), (2, ("conn-failure", "503"))),
        (Policy(retry=Retry(on=("timeout", "unavailable"))), (2, ("conn-failure", "response-timeout"))),
        (Policy(timeout=5, try_timeout=2, retry=Retry(attempts=5, on=("503",))), (1, ("conn-failure", "503"))),
        (Policy(timeout=5, try_timeout=3, retry=Retry(attempts=5, on=("503",))), (3, Traits().retry_on)),
    ],
)
def test_what_a_section_must_say(policy: Policy, expected: tuple[int, tuple[str, ...]]) -> None:
    assert retries.section_words(policy) == expected


def test_who_goes_beyond_what_is_lost_on_the_way_owns_the_retries() -> None:
    assert Retry(on=("503",)).owns
    assert Retry(on=("closed", "timeout")).owns
    assert not Retry().owns
    assert not Retry(on=("503",), attempts=0).owns


def test_those_who_say_the_same_share_a_section_and_those_who_say_nothing_need_none() -> None:
    usual = Traits()
    assert varied(S, usual, Policy(timeout=3)) == (S, usual)
    one, _ = varied(S, usual, Policy(retry=Retry(on=("503",), budget=5)))
    other, traits = varied(S, usual, Policy(retry=Retry(on=("503",), methods=("GET",))))
    third, _ = varied(S, usual, Policy(retry=Retry(on=("502",))))
    assert one == other != third
    assert traits.retry_on == ("conn-failure", "503")
    assert one.variant
    assert str(one) == f"s~{one.variant}"
    assert one.section == f"s:x:{one.variant}"


def test_a_service_that_says_it_for_all_has_one_section() -> None:
    said = service("s", policy=Policy(retry=Retry(on=("503",))))
    made = config(snapshot([said], [instance("s", "a", 1)], [route("r", "s")]))
    assert [(each.upstream, each.traits.retry_on) for each in made.backends] == [("s", ("conn-failure", "503"))]


def test_a_route_and_a_call_have_sections_with_the_same_servers_and_they_go_with_them() -> None:
    retry = Policy(retry=Retry(on=("503",)))
    there = route("r", "s")
    facts = snapshot(
        [service("s"), service("w", mesh_index=1, calls={ServiceName("s"): Call(policy=retry, mesh_index=2)})],
        [instance("s", "a", 1)],
        [msgspec.structs.replace(there, policy=retry)],
    )
    first = config(facts)
    (varied_one,) = (each for each in first.backends if "~" in each.upstream)
    (usual,) = (each for each in first.backends if each.upstream == "s")
    assert varied_one.servers == usual.servers
    assert dict(first.maps["routes"])["ANY/"].split("|")[2] == varied_one.name
    gone = config(snapshot([service("s")], [instance("s", "a", 1)], [there]), first)
    assert varied_one.name in {each.name for each in gone.idle}
    assert intent(facts, gone).config.backends == first.backends


@pytest.mark.parametrize(
    "said",
    [
        Retry(attempts=-1),
        Retry(attempts=11),
        Retry(on=()),
        Retry(on=("404",)),
        Retry(on=("503\n",)),
        Retry(methods=("GET|POST",)),
        Retry(methods=("get",)),
        Retry(budget=101),
        Retry(budget=-1),
    ],
)
def test_absurd_retries_are_refused(said: Retry) -> None:
    assert list(retry_problems(said))
    assert list(policy_problems(Policy(retry=said)))


def test_one_try_is_no_longer_than_all() -> None:
    assert list(policy_problems(Policy(timeout=1, try_timeout=2)))
    assert not list(policy_problems(Policy(timeout=2, try_timeout=2)))
