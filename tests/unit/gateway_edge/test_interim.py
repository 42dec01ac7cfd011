from __future__ import annotations

import msgspec

from atoll.gateway.config import ROUTES, SERVICES, Backend, GatewayConfig, Kind, Server, Traits
from atoll.gateway.interim import interim, unreachable
from atoll.gateway.pace import reload_wait
from atoll.gateway.plan import AddServer, Plan, Reload, RemoveServer, make_plan
from atoll.kit.clock import Instant
from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import Balance, BalanceKind
from atoll.settings import Gateway

ROUND_ROBIN = Traits(balance=Balance(kind=BalanceKind.ROUND_ROBIN))


def _backend(name: str, upstream: str, *servers: str, traits: Traits | None = None) -> Backend:
    return Backend(
        name=name,
        upstream=upstream,
        service=ServiceName(upstream),
        traits=traits or Traits(),
        servers=tuple(Server(name=each, instance=InstanceId(each), host="127.0.0.1", port=80) for each in servers),
    )


RUNNING = GatewayConfig(
    generation=4,
    revision=10,
    backends=(_backend("slot:http:1", "a", "a1", "a2"), _backend("slot:http:2", "b", "b1")),
    slots=((Kind.HTTP, "slot:http:3"),),
    maps={ROUTES: (("*/a/", "1|r|slot:http:1|a||0|"),), SERVICES: (("a", "0||slot:http:1|a||0|"),)},
)


def test_what_needs_no_reload_is_done_beside_what_does() -> None:
    moved = _backend("b", "b", "b1", "b2", traits=ROUND_ROBIN)
    wanted = msgspec.structs.replace(
        RUNNING,
        generation=5,
        revision=11,
        backends=(_backend("slot:http:1", "a", "a1"), moved),
        maps={
            ROUTES: (("*/a/", "1|r|slot:http:1|a||0|"), ("*/b/", "1|r|b|b||0|")),
            SERVICES: (("a", "0||slot:http:1|a||0|"), ("b", "0||b|b||0|")),
        },
    )
    assert isinstance(make_plan(RUNNING, wanted), Reload)
    assert unreachable(RUNNING, wanted) == []

    now = interim(RUNNING, wanted)
    plan = make_plan(RUNNING, now)
    assert isinstance(plan, Plan)
    servers = [each for each in plan.operations if isinstance(each, AddServer | RemoveServer)]
    assert [(type(each), each.backend) for each in servers] == [
        (AddServer, "slot:http:2"),
        (RemoveServer, "slot:http:1"),
    ]
    assert now.maps[ROUTES] == (("*/a/", "1|r|slot:http:1|a||0|"), ("*/b/", "1|r|slot:http:2|b||0|"))
    assert now.maps[SERVICES][1] == ("b", "0||slot:http:2|b||0|")
    # the new revision is not reached before the reload
    assert (now.generation, now.revision) == (5, 10)
    assert isinstance(make_plan(now, wanted), Reload)


def test_what_has_no_section_yet_keeps_the_maps_as_they_are_until_the_reload_is_hopeless() -> None:
    maps = {ROUTES: (("*/new/", "1|r|new|new||0|"),), SERVICES: ()}
    new = _backend("new", "new", "n1", traits=ROUND_ROBIN)
    wanted = msgspec.structs.replace(RUNNING, generation=5, backends=(*RUNNING.backends, new), maps=maps)
    assert unreachable(RUNNING, wanted) == ["new"]
    assert interim(RUNNING, wanted).maps == RUNNING.maps
    assert interim(RUNNING, wanted, hopeless=True).maps[ROUTES] == maps[ROUTES]
    assert isinstance(make_plan(RUNNING, interim(RUNNING, wanted)), Plan)


def test_a_section_of_another_kind_cannot_carry_an_upstream() -> None:
    grpc = _backend("a", "a", "a1", traits=Traits(kind=Kind.GRPC))
    wanted = msgspec.structs.replace(RUNNING, generation=5, backends=(grpc, RUNNING.backends[1]))
    assert unreachable(RUNNING, wanted) == ["a"]


def test_new_listeners_and_header_rules_cannot_be_reached_before_a_reload() -> None:
    wanted = msgspec.structs.replace(RUNNING, tcp_ports=((15101, "slot:http:1"),), header_sets=(("x-a", "x-b"),))
    assert unreachable(RUNNING, wanted) == ["port 15101", "x-a+x-b"]
    assert isinstance(make_plan(RUNNING, interim(RUNNING, wanted)), Plan)


def test_two_reloads_keep_their_distance_and_a_young_process_is_left_alone_unless_somebody_is_unreachable() -> None:
    knobs = Gateway(reload_interval=2.0, reload_after_start=6.0)

    def wait(now: float, *, last: float | None, since: float, urgent: bool) -> float:
        moment = None if last is None else Instant(last)
        return reload_wait(Instant(now), last=moment, worker_since=Instant(since), urgent=urgent, knobs=knobs)

    assert wait(101, last=None, since=100, urgent=False) == 5.0
    assert wait(101, last=None, since=100, urgent=True) == 0.0
    assert wait(107, last=None, since=100, urgent=False) == 0.0
    assert wait(101, last=100.5, since=100.5, urgent=True) == 1.5
    assert wait(101, last=100.5, since=100.5, urgent=False) == 5.5
