from __future__ import annotations

import pytest

from atoll.model.breaker import Breaker, BreakerState, BreakerWord
from atoll.model.bulkhead import Queue
from atoll.model.failover import Failover, parse_group
from atoll.model.leader import Leader
from atoll.model.maintenance import Maintenance
from atoll.model.names import InstanceId, NodeName, PathText, RouteName, ServiceName
from atoll.model.policy import Call, Policy
from atoll.model.report import BreakerReport, FailoverReport, LimitReport, NodeReport, ServerReport
from atoll.model.route import Match, Route, Share
from atoll.model.service import Instance, Mode, Service
from atoll.testing import FakeClock
from tests.unit.cli.fake_api import Cli, FakeApi

ORDERS, WEB = ServiceName("orders"), ServiceName("web")


@pytest.fixture
def shop(cli: Cli, api: FakeApi) -> FakeApi:
    """Orders with two instances, one down; web calls it; a route leads to it."""
    cli.clock = FakeClock()
    api.put(
        Service(name=ORDERS, policy=Policy(timeout=2.0, circuit_breaker=Breaker(enabled=True))),
        Service(name=WEB, mesh_index=1, calls={ORDERS: Call(policy=Policy(timeout=0.5), mesh_index=2)}),
        Route(
            name=RouteName("shop"),
            match=Match(path=PathText("/api/orders")),
            shares=(Share(service=ORDERS),),
            policy=Policy(circuit_breaker=Breaker(enabled=False)),
            defaults=Policy(timeout=9.0),
        ),
        Instance(service=ORDERS, id=InstanceId("orders-1"), host="127.0.0.1", port=9001),
        Instance(service=ORDERS, id=InstanceId("orders-2"), host="127.0.0.1", port=9002),
    )
    down = ServerReport(service=ORDERS, instance=InstanceId("orders-2"), up=False, cause="L4CON: refused")
    api.report(NodeReport(node=NodeName("local"), servers=(down,)))
    return api


def said(cli: Cli, *words: str) -> dict[str, tuple[str, str]]:
    (part,) = cli("explain", *words, "--json").json["parts"]
    return {value["field"]: (value["text"], value["origin"]) for value in part["policy"]}


@pytest.mark.parametrize(
    ("words", "timeout", "breaker"),
    [
        (("GET", "/api/orders/7"), ("2s", "services.orders"), ("off", "gateway.routes.shop")),
        (
            ("orders",),
            ("2s", "services.orders"),
            ("50% of at least 20 in 10s, then open 3s, 3 probes", "services.orders"),
        ),
        (("web", "->", "orders"), ("500ms", "services.web.calls.orders"), (..., "services.orders")),
        (("web", "→", "orders"), ("500ms", "services.web.calls.orders"), (..., "services.orders")),
        (("orders", "web"), ("30s", "built in"), ("off", "built in")),
    ],
)
def test_each_value_is_told_with_who_said_it(
    cli: Cli, shop: FakeApi, words: tuple[str, ...], timeout: tuple[str, str], breaker: tuple[object, str]
) -> None:
    found = said(cli, *words)
    assert found["timeout"] == timeout
    assert found["circuit_breaker"][1] == breaker[1]
    assert breaker[0] in (..., found["circuit_breaker"][0])


def test_retries_are_told_where_nobody_says_a_word_as_well(cli: Cli, shop: FakeApi) -> None:
    assert said(cli, "orders", "web")["retry"] == ("3 more on unavailable, closed, 10% of requests", "built in")
    assert said(cli, "web", "->", "orders")["try_timeout"] == ("off", "built in")


def test_the_instances_that_would_get_it_are_named_and_the_others_with_their_cause(cli: Cli, shop: FakeApi) -> None:
    told = cli("explain", "GET", "/api/orders/7").out
    assert "goes to orders-1" in told
    assert "L4CON: refused" in told
    (part,) = cli("explain", "GET", "/api/orders/7", "--json").json["parts"]
    assert [(one["instance"], one["takes"]) for one in part["instances"]] == [("orders-1", True), ("orders-2", False)]


@pytest.mark.parametrize(
    ("report", "word", "now"),
    [
        (BreakerState.OPEN, None, "503 breaker-open: tried again in 12s"),
        (BreakerState.HALF_OPEN, None, "as a probe"),
        (BreakerState.CLOSED, None, "goes to orders-1"),
        (BreakerState.OPEN, BreakerState.CLOSED, "goes to orders-1"),
        (BreakerState.CLOSED, BreakerState.OPEN, "503 breaker-open: forced for another 1m (why\\x1b)"),
    ],
)
def test_what_would_happen_now_follows_the_breaker(
    cli: Cli, shop: FakeApi, report: BreakerState, word: BreakerState | None, now: str
) -> None:
    assert cli.clock is not None
    wall = cli.clock.wall()
    forced = BreakerWord(state=word, until=wall + 90, reason="why\x1b") if word else BreakerWord()
    shop.put(Service(name=ORDERS, policy=Policy(circuit_breaker=Breaker(enabled=True)), breaker_word=forced))
    told = BreakerReport(service=ORDERS, state=report, until=wall + 12)
    shop.report(NodeReport(node=NodeName("other"), breakers=(told,)))
    assert now in cli("explain", "orders").out


def test_an_option_that_does_not_exist_is_no_service(cli: Cli, shop: FakeApi) -> None:
    found = cli("explain", "web", "--jsno")
    assert (found.code, "--jsno" in found.err) == (2, True)


def test_a_word_on_a_call_goes_before_the_one_on_its_service(cli: Cli, shop: FakeApi) -> None:
    assert cli.clock is not None
    word = BreakerWord(state=BreakerState.OPEN, until=cli.clock.wall() + 90, reason="only web")
    shop.put(Service(name=WEB, mesh_index=1, calls={ORDERS: Call(breaker_word=word, mesh_index=2)}))
    assert "(only web)" in cli("explain", "web", "orders").out
    assert "(only web)" not in cli("explain", "orders").out


def test_no_route_is_told_and_exits_1(cli: Cli, shop: FakeApi) -> None:
    found = cli("explain", "GET", "/nowhere")
    assert found.code == 1
    assert "404, no route takes it" in found.out


def test_a_service_that_is_not_there_is_refused_with_the_ones_that_are(cli: Cli, shop: FakeApi) -> None:
    found = cli("explain", "web", "ordres")
    assert found.code == 1
    assert "did you mean `orders`" in found.err


def test_a_limit_that_is_reached_and_the_room_of_instances_are_told(cli: Cli, shop: FakeApi) -> None:
    shop.put(
        Service(name=ORDERS, policy=Policy(max_concurrency=3), instance_concurrency=2, queue=Queue(size=4)),
        Service(name=WEB, mesh_index=1, calls={ORDERS: Call(policy=Policy(max_concurrency=1), mesh_index=2)}),
    )
    told = (LimitReport(who="orders", under_way=2), LimitReport(who="web>orders", under_way=1))
    shop.report(NodeReport(node=NodeName("local"), limits=told))
    assert said(cli, "orders")["instance_concurrency"] == ("2", "services.orders")
    assert said(cli, "orders")["queue"] == ("size 4, timeout 1s", "services.orders")
    (own,) = cli("explain", "web", "orders", "--json").json["parts"]
    assert own["now"] == "503 too-busy: 1 requests of web>orders are under way"
    (whole,) = cli("explain", "orders", "--json").json["parts"]
    assert whole["now"].startswith("goes to")


def now(cli: Cli, *words: str) -> str:
    (part,) = cli("explain", *words, "--json").json["parts"]
    return str(part["now"])


def test_it_tells_of_maintenance_of_another_group_and_of_the_one_that_leads(cli: Cli, shop: FakeApi) -> None:
    shop.put(Service(name=ORDERS, mode=Mode.ACTIVE_PASSIVE))
    assert now(cli, "orders") == "503 no-instance: 0 of 2 take requests"
    shop.put(Leader(service=ORDERS, instance=InstanceId("orders-1"), fencing=3))
    assert now(cli, "orders") == "goes to orders-1"
    shop.put(Maintenance(target="orders", reason="moves"))
    assert now(cli, "orders") == "503 maintenance: moves"
    groups = Failover(groups=(parse_group("orders"), parse_group("web")))
    shop.put(Service(name=ORDERS, failover=groups))
    moved = FailoverReport(service=ORDERS, group="web", at=1, cause="orders: none of its instances takes requests")
    shop.report(NodeReport(node=NodeName("local"), failovers=(moved,)))
    assert now(cli, "orders") == "goes to web (orders: none of its instances takes requests)"
    assert said(cli, "orders")["failover"] == ("orders → web", "services.orders")


@pytest.mark.parametrize("words", [("--as", "mobile"), ("--as=mobile",), ("--as",)])
def test_who_calls_the_gateway_makes_no_difference_and_is_refused_at_once_with_what_to_do(
    cli: Cli, shop: FakeApi, words: tuple[str, ...]
) -> None:
    done = cli("explain", "GET", "/api/orders/7", *words)
    assert (done.code, done.out) == (2, "")
    assert "there are no consumers" in done.err
    assert "atoll explain CALLER CALLEE" in done.err
    assert not shop.requests, "nobody was asked, so nobody is waited for"
