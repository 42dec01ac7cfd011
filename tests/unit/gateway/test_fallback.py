from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from atoll.errors import InvalidValue, Overloaded
from atoll.gateway.config import FALLBACKS, POLICIES, ROUTES, SERVICES, GatewayConfig
from atoll.gateway.fallback import Guard, fallback_entries, fallback_pages, keeps
from atoll.gateway.intent import PAGE_LIMIT, topped_up
from atoll.gateway.interim import interim
from atoll.gateway.page import page_key
from atoll.gateway.plan import Plan, Reload, SwapMap, make_plan
from atoll.gateway.quote import entry, escaped
from atoll.model.fallback import USUAL, Fallback, LastGood, Other
from atoll.model.names import ServiceName
from atoll.model.page import Page
from atoll.model.policy import Call, Policy
from atoll.model.route import Route
from atoll.model.service import Protocol
from tests.unit.gateway.facts import SETTINGS, config, instance, intent, route, service, snapshot

BEST = ServiceName("best")
PAGE, OTHER = Page(body="sorry"), Other(service=BEST, path="/top/{1}", timeout=0.25)


def guarded(name: str, fallback: Fallback | None = None, errors: dict[str, Page] | None = None) -> Route:
    return replace(route(name, "orders"), policy=Policy(fallback=fallback, errors=errors))


def facts(*routes: Route, **of_orders: object) -> GatewayConfig:
    services = [service("orders", **of_orders), service("best", mesh_index=1)]
    return config(snapshot(services, [instance("orders", "a", 9001), instance("best", "b", 9002)], routes))


def test_a_line_says_what_is_given_and_for_which_failures() -> None:
    said = Fallback(service=OTHER, last_good=LastGood(max_age=60), on=("timeout", "503"))
    lines = dict(fallback_entries([Guard(who="route:a", fallback=said, errors={}, verdict="0||be|best||250||t")]))
    assert lines == {
        "route:a": "gs||60|/top/{1}|0||be|best||250||t",
        "route:a~timeout": "f",
        "route:a~503": "f",
    }


def test_an_error_of_the_gateways_is_answered_with_a_page_unless_it_falls_back() -> None:
    errors = {"502": Page(status=502, body="bad"), "503": Page(status=503, body="soon")}
    said = Fallback(static=PAGE, on=("no-instance",))
    guard = Guard(who="orders", fallback=said, errors=errors)
    lines = dict(fallback_entries([guard]))
    assert lines["orders"] == f"p|{page_key(PAGE)}|0||"
    assert lines["orders~no-instance"] == "f"
    assert lines["orders~unreachable"] == lines["orders~breaker-open"] == page_key(errors["503"])
    assert lines["orders~bad-answer"] == page_key(errors["502"])
    assert "orders~timeout" not in lines
    assert sorted(page.body for page in fallback_pages([guard, guard])) == ["bad", "soon", "sorry"]


def test_a_fallback_that_cannot_be_taken_leaves_no_line() -> None:
    said = Fallback(service=OTHER)
    assert fallback_entries([Guard(who="a", fallback=said, errors={})]) == ()
    assert fallback_entries([Guard(who="a", fallback=Fallback(), errors={})]) == ()


def test_routes_without_one_lead_where_they_led() -> None:
    plain = facts(route("plain", "orders"))
    assert plain.maps[FALLBACKS] == ()
    (one,) = (value for key, value in plain.maps[ROUTES] if value.startswith("0|plain"))
    assert one.split("|")[2] != "edge:fallback"
    mixed = facts(route("plain", "orders"), guarded("safe", Fallback(static=PAGE)))
    assert mixed.maps[SERVICES] == plain.maps[SERVICES]


def test_the_verdict_proper_stands_behind_the_door() -> None:
    found = facts(guarded("safe", Fallback(static=PAGE)))
    (verdict,) = (value for _, value in found.maps[ROUTES] if "|safe|" in value)
    outer, proper = verdict.split("|")[:7], verdict.split("|")[7:]
    assert outer == ["0", "safe", "edge:fallback", "orders", "", "0", ""]
    assert proper[0:2] == ["0", "safe"]
    assert proper[3] == "orders"
    assert proper[6] == "route:safe"


def test_callers_of_a_service_with_one_pass_the_door_but_for_the_caller_that_wants_none() -> None:
    none = Call(policy=Policy(fallback=Fallback()), mesh_index=3)
    services = [
        service("orders", policy=Policy(fallback=Fallback(static=PAGE))),
        service("web", mesh_index=1, calls={ServiceName("orders"): none}),
    ]
    found = dict(config(snapshot(services, [instance("orders", "a", 9001)])).maps[SERVICES])
    assert found["orders"].split("|")[2] == "edge:fallback"
    assert found[str(SETTINGS.mesh_ports + 3)].split("|")[2] != "edge:fallback"


def test_the_other_service_is_asked_as_everybody_asks_it_but_without_its_own_fallback() -> None:
    services = [
        service("orders", policy=Policy(fallback=Fallback(service=Other(service=BEST)))),
        service("best", mesh_index=1, policy=Policy(timeout=2, fallback=Fallback(static=PAGE))),
    ]
    found = dict(config(snapshot(services, [instance("best", "b", 9002)])).maps[FALLBACKS])
    fields = found["orders"].split("|")
    assert fields[:4] == ["s", "", "0", ""]
    assert (fields[7], fields[9], fields[6] != "edge:fallback") == ("best", "2000", True)


@pytest.mark.parametrize("target", ["orders", "nobody", "bytes"])
def test_another_service_that_cannot_be_asked_is_left_out_and_told(target: str) -> None:
    said = Fallback(service=Other(service=ServiceName(target)))
    services = [service("orders", policy=Policy(fallback=said)), service("bytes", mesh_index=1, protocol=Protocol.TCP)]
    found = intent(snapshot(services, [instance("orders", "a", 9001)]))
    assert found.config.maps[FALLBACKS] == ()
    (told,) = (each for each in found.refused if each.startswith("fallback"))
    assert target in told


def test_a_change_of_anything_but_fixed_answers_needs_no_reload() -> None:
    running = facts(route("a", "orders"))
    for said in (Fallback(service=OTHER), Fallback(service=OTHER, on=("503",))):
        plan = make_plan(running, facts(guarded("a", said)))
        assert isinstance(plan, Plan)
        assert {each.name for each in plan.operations if isinstance(each, SwapMap)} <= {FALLBACKS, POLICIES, ROUTES}


def test_a_new_fixed_answer_and_the_first_copies_need_one() -> None:
    running = facts(route("a", "orders"))
    assert isinstance(make_plan(running, facts(guarded("a", Fallback(static=PAGE)))), Reload)
    assert isinstance(make_plan(running, facts(guarded("a", Fallback(last_good=LastGood())))), Reload)
    kept = facts(guarded("a", Fallback(static=PAGE, last_good=LastGood())))
    assert kept.copies
    assert isinstance(make_plan(kept, facts(guarded("b", Fallback(static=PAGE)))), Plan)
    assert not topped_up(facts(guarded("b", Fallback(static=PAGE))), SETTINGS).copies


def test_until_the_reload_the_answers_stay_what_they_were() -> None:
    running = facts(guarded("a", Fallback(static=PAGE)))
    wanted = facts(guarded("a", Fallback(static=Page(body="other"))))
    meanwhile = interim(running, wanted)
    assert meanwhile.maps[FALLBACKS] == running.maps[FALLBACKS]
    assert meanwhile.pages == running.pages
    assert not isinstance(make_plan(running, meanwhile), Reload)


def test_of_grpc_only_another_service_of_grpc_is_a_fallback() -> None:
    errors = {"503": Page(status=503, body="soon")}

    def lines(fallback: Fallback) -> tuple[str, dict[str, str]]:
        services = [
            service("calc", protocol=Protocol.GRPC, policy=Policy(fallback=fallback, errors=errors)),
            service("math", mesh_index=1, protocol=Protocol.GRPC),
            service("web", mesh_index=2),
        ]
        found = config(snapshot(services, [instance("calc", "a", 9001)]))
        return dict(found.maps[SERVICES])["calc"].split("|")[2], dict(found.maps[FALLBACKS])

    fixed, none = lines(Fallback(static=PAGE, last_good=LastGood()))
    assert (fixed.startswith("edge:"), none) == (False, {})
    section, found = lines(Fallback(service=Other(service=ServiceName("math")), last_good=LastGood()))
    assert (section, found["calc"][:7]) == ("edge:fallback-grpc", "s||0||0")
    assert set(found) == {"calc", *(f"calc~{word}" for word in USUAL)}, "neither copies nor errors"
    direct, none = lines(Fallback(service=Other(service=ServiceName("web"))))
    assert (direct.startswith("edge:"), none) == (False, {}), "as `gateway.defaults` may say of all routes"


def test_too_many_fixed_answers_are_refused() -> None:
    routes = [guarded(f"r{at}", Fallback(static=Page(body=str(at)))) for at in range(PAGE_LIMIT + 1)]
    with pytest.raises(Overloaded, match="fixed answers"):
        facts(*routes)


@given(st.text(max_size=200))
def test_any_text_is_one_word_of_plain_characters_for_haproxy(text: str) -> None:
    try:
        word = escaped(text)
    except InvalidValue:
        assert "\0" in text or any(0xD800 <= ord(each) < 0xE000 for each in text)
        return
    assert word[0] == word[-1] == '"'
    assert word.isascii()
    assert word.isprintable()
    assert not set(word[1:-1]) & set("\"'$#`")
    raw = bytearray()
    rest = word[1:-1]
    while rest:
        if rest.startswith("\\x"):
            raw.append(int(rest[2:4], 16))
            rest = rest[4:]
        else:
            raw += rest[0].encode()
            rest = rest[1:]
    assert raw.decode() == text


def test_all_lines_can_stand_in_a_map_file() -> None:
    said = Fallback(service=Other(service=BEST, path="/a/{1}?x={2}&y=(1),*"), last_good=LastGood())
    found = facts(guarded("a", said, {"503": Page(status=503)}))
    assert keeps(found.maps[FALLBACKS])
    for key, value in found.maps[FALLBACKS]:
        entry(key, value)
