from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import Overloaded
from atoll.gateway import intent as module
from atoll.gateway.config import CHECKS, ROUTES, SERVICES, Kind
from atoll.gateway.intent import Memo, intend, topped_up
from atoll.gateway.plan import Plan, Reload, make_plan
from atoll.model.names import InstanceId, RouteName, ServiceName, Token
from atoll.model.route import Match, Route, Share
from atoll.model.service import Balance, BalanceKind, Check, CheckKind, Protocol, State
from tests.unit.gateway.facts import SETTINGS, config, instance, intent, route, service, snapshot

HTTP = Check(kind=CheckKind.HTTP, path="/ready")


def canary(name: str = "r") -> Route:
    shares = (
        Share(service=ServiceName("orders"), weight=95),
        Share(service=ServiceName("orders"), version=Token("v2"), weight=5),
    )
    return Route(name=RouteName(name), shares=shares)


def sections(made: Any) -> dict[str, str]:
    return {backend.upstream: backend.name for backend in made.backends}


def test_at_the_first_start_every_upstream_has_a_section_of_its_own_name() -> None:
    made = config(snapshot([service("orders", check=HTTP), service("web")], [], [canary()]))
    assert sections(made) == {
        "orders": "orders",
        "orders@v2": "orders:v:v2",
        "orders@-v2": made.backends[1].name,
        "web": "web",
    }
    assert made.backends[1].name.startswith("orders:not:")
    assert made.slots == (
        (Kind.HTTP, "slot:http:1"),
        (Kind.HTTP, "slot:http:2"),
        (Kind.PLAIN, "slot:plain:1"),
        (Kind.PLAIN, "slot:plain:2"),
        (Kind.GRPC, "slot:grpc:1"),
        (Kind.CALLS, "slot:calls:1"),
    )
    assert made.generation == 1


def test_the_shares_of_a_canary_hold_the_versions_they_name() -> None:
    instances = [
        instance("orders", f"i{at}", 9000 + at, version=version) for at, version in enumerate(("v1", "v2", None))
    ]
    made = config(snapshot([service("orders")], instances, [canary()]))
    assert {backend.upstream: [server.instance for server in backend.servers] for backend in made.backends} == {
        "orders": ["i0", "i1", "i2"],
        "orders@v2": ["i1"],
        "orders@-v2": ["i0", "i2"],
    }


def test_a_service_that_appears_takes_a_spare_slot_and_keeps_it_over_reloads() -> None:
    first = config(snapshot([service("a")]))
    second = config(
        snapshot([service("a"), service("b", check=HTTP), service("g", check=Check(kind=CheckKind.GRPC))]), first
    )
    assert sections(second) == {"a": "a", "b": "slot:http:1", "g": "slot:grpc:1"}
    assert isinstance(make_plan(first, second), Plan)
    loaded = topped_up(second, SETTINGS)
    assert {name for _, name in loaded.slots} == {
        "slot:http:2",
        "slot:http:3",
        "slot:plain:1",
        "slot:plain:2",
        "slot:grpc:2",
        "slot:calls:1",
    }
    third = config(snapshot([service("b", check=HTTP), service("c", check=HTTP)]), loaded)
    assert sections(third) == {"b": "slot:http:1", "c": "slot:http:2"}


def test_what_speaks_grpc_and_is_checked_otherwise_has_slots_of_its_own() -> None:
    found = config(snapshot([service("t", protocol=Protocol.GRPC)]), config(snapshot([])))
    assert sections(found) == {"t": "slot:calls:1"}


def test_a_freed_slot_is_not_given_away_in_the_same_step() -> None:
    first = config(snapshot([], revision=1))
    full = config(snapshot([service("a", check=HTTP), service("b", check=HTTP)]), first)
    swapped = config(snapshot([service("b", check=HTTP), service("c", check=HTTP)]), full)
    assert sections(swapped)["c"] == "c"
    assert (Kind.HTTP, "slot:http:1") in swapped.slots
    assert isinstance(make_plan(full, swapped), Reload)


def test_a_section_of_its_own_name_stays_idle_until_the_next_reload() -> None:
    first = config(snapshot([service("a"), service("b")]))
    gone = config(snapshot([service("b")]), first)
    assert [backend.name for backend in gone.idle] == ["a"]
    back = config(snapshot([service("a"), service("b")]), gone)
    assert sections(back)["a"] == "a"
    assert make_plan(first, back) == Plan(generation=back.generation, revision=1)
    assert topped_up(gone, SETTINGS).idle == ()


@pytest.mark.parametrize(
    "values",
    [
        {"sticky": True},
        {"balance": Balance(kind=BalanceKind.RANDOM)},
        {"check": Check(kind=CheckKind.HTTP, timeout=3.0)},
        {"protocol": Protocol.TCP},
    ],
)
def test_traits_that_no_slot_has_need_a_reload(values: dict[str, Any]) -> None:
    first = config(snapshot([service("a")]))
    second = config(snapshot([service("a"), service("b", mesh_index=1, **values)]), first)
    assert sections(second)["b"] == "b"
    assert isinstance(make_plan(first, second), Reload)


def test_the_generation_grows_with_changes_and_not_with_revisions() -> None:
    facts = [service("a")], [instance("a", "one", 9000)]
    first = config(snapshot(*facts))
    same = config(snapshot(*facts, revision=7), first)
    assert (same.generation, same.revision) == (first.generation, 7)
    changed = config(snapshot([service("a")], revision=8), same)
    assert changed.generation == first.generation + 1


@pytest.mark.parametrize("state", list(State))
def test_only_draining_and_maint_take_an_instance_out_of_rotation(state: State) -> None:
    made = config(snapshot([service("a")], [instance("a", "one", 9000, state=state, weight=70)]))
    (server,) = made.backends[0].servers
    assert server.drained == (state in {State.DRAINING, State.MAINT})
    assert server.effective_weight == (0 if server.drained else 70)


def test_ejection_needs_a_check_and_another_instance_that_takes_requests() -> None:
    def ejecting(*instances: Any, check: CheckKind = CheckKind.TCP) -> list[bool]:
        made = config(snapshot([service("a", check=Check(kind=check))], instances))
        return [server.eject for server in made.backends[0].servers]

    one, two = instance("a", "one", 1), instance("a", "two", 2)
    assert ejecting(one) == [False]
    assert ejecting(one, two) == [True, True]
    assert ejecting(one, instance("a", "two", 2, weight=0)) == [False, True]
    assert ejecting(one, instance("a", "two", 2, state=State.DRAINING)) == [False, True]
    assert ejecting(one, two, check=CheckKind.PROCESS) == [False, False]


def test_a_servers_name_changes_with_what_cannot_change_on_a_living_server_and_with_nothing_else() -> None:
    def name(check: Check = HTTP, **values: Any) -> str:
        made = config(snapshot([service("a", check=check)], [instance("a", "one", **{"port": 9000, **values})]))
        return made.backends[0].servers[0].name

    base = name()
    assert base.startswith("one:")
    assert name(weight=5) == name(state=State.DRAINING) == name(version="v2") == name(lease="x") == base
    assert name(check=Check(kind=CheckKind.HTTP, path="/other")) == base
    assert len({base, name(port=9001), name(host="127.0.0.2"), name(Check(kind=CheckKind.HTTP, fall=4))}) == 4


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "0.0.0.0",
        "fe80::1",
        "224.0.0.1",
        "2130706433",
        "0x7f.1",
        "/tmp/s",
        "evil.test",
        "",
    ],
)
def test_a_forbidden_address_in_the_store_reaches_no_server_line(host: str) -> None:
    made = intent(snapshot([service("a")], [instance("a", "bad", 80, host=host), instance("a", "good", 9000)]))
    assert [server.instance for server in made.config.backends[0].servers] == ["good"]
    assert any("instance bad of a" in objection for objection in made.refused)


HOSTILE = [
    "a\nserver evil 1.2.3.4:80",
    "a b",
    "%[src]",
    "${HOME}",
    "a;b",
    "'",
    '"',
    "\\",
    "a\0",
    "..",
    "",
    "é",
    "a" * 300,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_one_hostile_fact_is_left_out_named_and_harms_nobody(text: str) -> None:
    bad: Any = text
    facts = snapshot(
        [
            service("good"),
            service(text),
            service("hash", balance=Balance(kind=BalanceKind.HASH, hash_on=f"header:{text}")),
        ],
        [instance("good", text, 9001), instance("good", "fine", 9002)],
        [
            route("fine", "good"),
            route(text, "good", path="/1"),
            route("host", "good", path="/2", hosts=(bad,)),
            route("path", "good", path=f"/{text}" if text not in {"", "a" * 300} else f"x{text}"),
            route("method", "good", path="/3", methods=(bad,)),
            route("header", "good", path="/4", headers={"x": bad if bad != ".." else "a b"}),
            route("name", "good", path="/5", headers={bad: "1"}),
        ],
    )
    made = intent(facts)
    assert sections(made.config) == {"good": "good"}
    assert [server.instance for server in made.config.backends[0].servers] == ["fine"]
    verdicts = {value.split("|")[1] for _, value in made.config.maps[ROUTES]}
    assert verdicts == {"fine"}
    assert len(made.refused) >= 8


def test_a_route_to_a_service_that_is_gone_or_speaks_tcp_leads_to_nobody_and_is_named() -> None:
    made = intent(
        snapshot([service("db", protocol=Protocol.TCP)], [], [route("gone", "gone"), route("tcp", "db", path="/db")])
    )
    assert {value.split("|")[2] for _, value in made.config.maps[ROUTES]} == {"edge:nobody"}
    assert len(made.refused) == 2


def test_names_and_ports_of_the_mesh_lead_to_every_http_service_and_tcp_has_a_listener() -> None:
    facts = snapshot(
        [service("a", mesh_index=0), service("db", mesh_index=3, protocol=Protocol.TCP), service("far", mesh_index=99)]
    )
    made = intent(facts)
    assert [key for key, _ in made.config.maps[SERVICES]] == ["a", "far", str(SETTINGS.mesh_ports)]
    assert made.config.tcp_ports == ((SETTINGS.mesh_ports + 3, "db"),)
    assert any("far" in objection for objection in made.refused)


def test_what_checks_ask_is_encoded_so_that_it_stays_one_word() -> None:
    facts = snapshot(
        [
            service("a", check=Check(kind=CheckKind.HTTP, path='/x y\n"%[src];é')),
            service("b", check=Check(kind=CheckKind.HTTP)),
        ]
    )
    assert config(facts).maps[CHECKS] == (("a", "/x%20y%0A%22%%5Bsrc%5D%3B%C3%A9"),)


def test_too_much_is_refused_as_a_whole_and_says_what(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, facts in (
        ("ROUTE_LIMIT", snapshot([], [], [route("a", "x", path="/a"), route("b", "x")])),
        ("BACKEND_LIMIT", snapshot([service("a"), service("b")])),
        ("SERVER_LIMIT", snapshot([service("a")], [instance("a", "x", 1), instance("a", "y", 2)])),
        (
            "HEADER_SET_LIMIT",
            snapshot([], [], [route("a", "x", headers={"a": "1"}), route("b", "x", headers={"b": "1"})]),
        ),
        ("MAP_BYTES_LIMIT", snapshot([service("a")], [], [route("a", "a")])),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, limit, 1)
            with pytest.raises(Overloaded, match="last good"):
                intend(facts, None, SETTINGS)


def test_a_memo_changes_nothing_but_the_work() -> None:
    memo = Memo()
    services = [service(f"s{at}") for at in range(5)]
    instances = [instance(f"s{at}", "one", 9000 + at) for at in range(5)]
    routes = [route(f"r{at}", f"s{at}", path=f"/{at}") for at in range(5)]
    facts = snapshot(services, instances, routes)
    previous = intent(facts, None, memo).config
    for changed in (instance("s1", "one", 9999), instance("s2", "two", 9998, state=State.DRAINING)):
        facts.instances[changed.service, changed.id] = changed
        assert intent(facts, previous, memo) == intent(facts, previous)
        previous = intent(facts, previous, memo).config
    facts.routes[RouteName("r1")] = replace_route(facts.routes[RouteName("r1")])
    assert intent(facts, previous, memo) == intent(facts, previous)


def replace_route(old: Route) -> Route:
    return Route(name=old.name, match=Match(path=old.match.path, methods=("GET",)), shares=old.shares)


def test_settings_without_slots_still_work() -> None:
    made = intend(snapshot([service("a")]), None, replace(SETTINGS, http_slots=0, grpc_slots=0)).config
    assert made.slots == ()


STEPS = st.lists(st.tuples(st.sampled_from("siIrRtn"), st.integers(0, 5)), max_size=12)


@given(STEPS)
@settings(max_examples=80, deadline=None)
def test_a_memo_changes_nothing_whatever_comes_and_goes(steps: list[tuple[str, int]]) -> None:
    memo = Memo()
    facts = snapshot([service("s0")])
    previous = None
    for what, at in steps:
        name = ServiceName(f"s{at}")
        if what == "s":
            facts.services[name] = service(name, check=HTTP)
        elif what == "i":
            facts.instances[name, InstanceId("one")] = instance(name, "one", 9000 + at)
        elif what == "I":
            facts.instances.pop((name, InstanceId("one")), None)
        elif what == "r":
            facts.routes[RouteName(f"r{at}")] = canary(f"r{at}") if at == 5 else route(f"r{at}", name, path=f"/{at}")
        elif what == "R":
            facts.routes.pop(RouteName(f"r{at}"), None)
            facts.services.pop(name, None)
        elif what == "t" and previous is not None:
            previous = topped_up(previous, SETTINGS)  # as after a reload
        remembered = intent(facts, previous, memo)
        assert remembered == intent(facts, previous)
        previous = remembered.config
