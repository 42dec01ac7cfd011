from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model import effective
from atoll.model.breaker import Breaker
from atoll.model.mesh import placed
from atoll.model.names import RouteName, ServiceName
from atoll.model.policy import Call, Layer, Policy, merged, policy_problems
from atoll.model.route import Route, Share
from atoll.model.service import Service

ORDERS, WEB, SHOP = ServiceName("orders"), ServiceName("web"), RouteName("shop")
POLICIES = st.builds(
    Policy,
    timeout=st.none() | st.floats(0.1, 9.0),
    circuit_breaker=st.none() | st.builds(Breaker, errors=st.integers(1, 100)),
)


@given(st.lists(POLICIES, max_size=5))
def test_each_field_is_the_last_one_said_and_its_layer_says_so(said: list[Policy]) -> None:
    layers = [Layer(f"layer {at}", policy, str(at)) for at, policy in enumerate(said)]
    found = merged(layers)
    for field in Policy.__struct_fields__:
        speakers = [layer for layer in layers if getattr(layer.policy, field) is not None]
        assert getattr(found.policy, field) == (getattr(speakers[-1].policy, field) if speakers else None)
        assert found.layers.get(field) == (speakers[-1] if speakers else None)
        assert found.scope(field) == (speakers[-1].scope if speakers else "")


def test_a_route_goes_before_its_service_and_that_before_the_defaults() -> None:
    service = Service(name=ORDERS, policy=Policy(timeout=2.0))
    share = (Share(service=ORDERS),)
    plain = Route(name=SHOP, shares=share, defaults=Policy(timeout=9.0, circuit_breaker=Breaker(errors=9)))
    own = Route(name=SHOP, shares=share, policy=Policy(timeout=1.0))
    assert effective.of_route(plain, service).policy == Policy(timeout=2.0, circuit_breaker=Breaker(errors=9))
    assert effective.of_route(plain, service).layers["timeout"].origin == "services.orders"
    assert effective.of_route(plain, service).scope("circuit_breaker") == "route:shop"
    assert effective.of_route(own, service).layers["timeout"].origin == "gateway.routes.shop"


def test_what_a_caller_says_of_its_calls_goes_before_what_the_service_says() -> None:
    callee = Service(name=ORDERS, policy=Policy(timeout=2.0, circuit_breaker=Breaker(errors=9)))
    caller = Service(name=WEB, calls={ORDERS: Call(policy=Policy(timeout=1.0))})
    found = effective.of_call(caller, callee)
    assert (found.policy.timeout, found.layers["timeout"].origin) == (1.0, "services.web.calls.orders")
    assert (found.scope("timeout"), found.scope("circuit_breaker")) == ("web>orders", "orders")


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf"), 86_401.0])
def test_absurd_timeouts_are_named(timeout: float) -> None:
    assert [path for path, _ in policy_problems(Policy(timeout=timeout))] == [("timeout",)]


def test_an_absurd_breaker_is_named_within_its_policy() -> None:
    (problem,) = policy_problems(Policy(circuit_breaker=Breaker(errors=101)))
    assert problem[0] == ("circuit_breaker", "errors")


CALLEES = st.dictionaries(st.sampled_from([ServiceName(name) for name in "abcde"]), st.just(Call()))


@given(st.lists(st.tuples(st.sampled_from("abcde"), CALLEES), max_size=12))
def test_no_two_services_or_calls_get_the_same_offset_and_none_loses_its_own(steps: list[tuple[str, dict]]) -> None:  # type: ignore[type-arg]
    held: dict[str, Service] = {}
    for name, calls in steps:
        before = held.get(name)
        held[name] = after = placed(Service(name=ServiceName(name), calls=calls), before, held.values())
        if before is not None:
            assert after.mesh_index == before.mesh_index
            kept = before.calls.keys() & after.calls.keys()
            assert all(after.calls[callee].mesh_index == before.calls[callee].mesh_index for callee in kept)
        offsets = [each.mesh_index for each in held.values()]
        offsets += [call.mesh_index for each in held.values() for call in each.calls.values()]
        assert len(set(offsets)) == len(offsets)
