from __future__ import annotations

from typing import Any

import pytest

from tests.contract.telemetry.query.stage import NOON, WALL, Stage, span_id, trace_id

CLIENT, SERVER, PRODUCER, CONSUMER = 3, 2, 4, 5


async def requests(
    stage: Stage,
    service: str,
    count: int,
    *,
    edge: str = "mesh",
    caller: str = "",
    failed: int = 0,
    ago: int = 60,
    micros: int = 10_000,
    route: str = "",
    instance: str = "",
) -> None:
    """Ten seconds of requests in the roll-up, each of them in the bucket below `micros`."""
    await stage.pool.command(
        "INSERT INTO requests (Time, Edge, Service, Route, Instance, Caller, Method, Status, Count, Failed, DurationSum, Buckets)"
        f" SELECT toDateTime({int(WALL) - ago}), '{edge}', '{service}', '{route}', '{instance}', '{caller}', 'GET', 200,"
        f" {count}, {failed}, {count * micros}, map({micros * 4 // 5}, {count})"
    )


async def proxied(stage: Stage, trace: str, name: str, parent: str, at: float, *, source: str, upstream: str) -> None:
    """A span that the request log was made into."""
    above = f"unhex('{span_id(parent).hex()}')" if parent else "''"
    await stage.pool.command(
        "INSERT INTO spans (Timestamp, TraceId, SpanId, ParentSpanId, ServiceName, SpanName, SpanKind, Source, Duration, SpanAttributes)"
        f" SELECT fromUnixTimestamp64Nano({NOON + int(at * 1e6)}), toFixedString(unhex('{trace}'), 16),"
        f" toFixedString(unhex('{span_id(name).hex()}'), 8), toFixedString({above}, 8), '{source}', '{name}', 2, '{source}',"
        f" 50000000, map('atoll.upstream', '{upstream}')"
    )


def edges(answer: Any) -> dict[tuple[str, str], tuple[str, int, int]]:
    return {
        (edge["caller"], edge["callee"]): (edge["source"], edge["figures"]["requests"], edge["figures"]["errors"])
        for edge in answer["edges"]
    }


def nodes(answer: Any) -> dict[str, str]:
    return {node["name"]: node["kind"] for node in answer["nodes"]}


@pytest.fixture
async def order(stage: Stage) -> Stage:
    """gateway → web → (mesh) → orders → (no proxy) payments, a database, a job; all of it as spans."""
    trace = trace_id(7)
    await proxied(stage, trace, "gw", "", -10_000, source="gateway", upstream="web")
    stage.span(trace, "web", -9_999, -9_900, parent="gw")
    stage.span(trace, "call", -9_990, -9_910, parent="web", kind=CLIENT)
    await proxied(stage, trace, "mesh", "call", -9_989, source="mesh", upstream="orders")
    stage.span(trace, "orders", -9_988, -9_912, service="orders", parent="mesh", error=True)
    stage.span(trace, "inner", -9_987, -9_913, service="orders", parent="orders", kind=1)
    stage.span(trace, "app", -9_986, -9_914, service="orders", parent="inner", kind=SERVER)
    stage.span(trace, "charge", -9_980, -9_930, service="orders", parent="app", kind=CLIENT)
    stage.span(trace, "payments", -9_979, -9_931, service="payments", parent="charge")
    stage.span(
        trace,
        "select",
        -9_929,
        -9_928,
        service="orders",
        parent="app",
        kind=CLIENT,
        attributes={"db.system": "postgresql"},
    )
    stage.span(trace, "send", -9_927, -9_926, service="orders", parent="app", kind=PRODUCER)
    stage.span(trace, "job", -5_000, -4_000, service="mailer", parent="send", kind=CONSUMER)
    await stage.commit()
    return stage


async def test_the_map_passes_through_gateway_and_mesh(order: Stage) -> None:
    answer = await order.ask("map")
    assert edges(answer) == {
        ("gateway", "web"): ("spans", 1, 0),
        ("web", "orders"): ("spans", 1, 0),
        ("orders", "payments"): ("spans", 1, 0),
        ("orders", "postgresql"): ("spans", 1, 0),
        ("orders", "mailer"): ("spans", 1, 0),
    }
    assert nodes(answer) == {
        "gateway": "gateway",
        "web": "service",
        "orders": "service",
        "payments": "service",
        "mailer": "service",
        "postgresql": "database",
    }
    (edge,) = [one for one in answer["edges"] if one["callee"] == "payments"]
    assert edge["figures"]["p50_ms"] == pytest.approx(48)


async def test_a_service_that_sends_no_spans_but_passes_the_trace_on_is_a_caller_and_is_called(stage: Stage) -> None:
    trace = trace_id(8)
    await proxied(stage, trace, "gw", "browser", -10_000, source="gateway", upstream="storefront")
    await proxied(stage, trace, "mesh", "gw", -9_999, source="mesh", upstream="orders")
    stage.span(trace, "orders", -9_998, -9_990, service="orders", parent="mesh")
    stage.span(trace, "call", -9_997, -9_996, service="orders", parent="orders", kind=CLIENT)
    await proxied(stage, trace, "mesh2", "call", -9_997, source="mesh", upstream="legacy")
    await stage.commit()
    answer = await stage.ask("map")
    assert edges(answer) == {
        ("gateway", "storefront"): ("spans", 1, 0),
        ("storefront", "orders"): ("spans", 1, 0),
        ("orders", "legacy"): ("spans", 1, 0),
    }
    (row,) = (await stage.ask("traces"))["traces"]
    assert row["services"] == ["gateway", "legacy", "orders", "storefront"]
    whole = await stage.ask(f"traces/{trace}")
    assert whole["services"] == ["gateway", "storefront", "orders", "legacy"]


async def test_where_the_request_log_knows_an_edge_its_count_stands(order: Stage) -> None:
    await requests(order, "web", 500, edge="gateway", failed=5)
    await requests(order, "orders", 300, caller="web")
    await requests(order, "legacy", 40, caller="orders", micros=100_000)
    await requests(order, "payments", 8)
    found = edges(await order.ask("map"))
    assert found["gateway", "web"] == ("requests", 500, 5)
    assert found["web", "orders"] == ("requests", 300, 0)
    assert found["orders", "legacy"] == ("requests", 40, 0)
    assert found["orders", "payments"] == ("spans", 1, 0)
    assert found["unknown", "payments"] == ("requests", 7, 0)


async def test_a_grpc_error_that_only_a_span_knows_is_one_of_the_edge_and_of_the_service(stage: Stage) -> None:
    trace = trace_id(9)
    for number, failed in enumerate([True, False, True]):
        system: dict[str, str | int] = {"rpc.system": "grpc"} if number < 2 else {}
        stage.span(trace, f"call{number}", -9_997, -9_996, service="web", kind=CLIENT)
        await proxied(stage, trace, f"mesh{number}", f"call{number}", -9_997, source="mesh", upstream="payments")
        stage.span(
            trace,
            f"pay{number}",
            -9_996,
            -9_995,
            service="payments",
            parent=f"mesh{number}",
            error=failed,
            attributes=system,
        )
    await stage.commit()
    assert edges(await stage.ask("map"))["web", "payments"] == ("spans", 3, 1)
    await requests(stage, "payments", 40, caller="web")
    answer = await stage.ask("map")
    assert edges(answer)["web", "payments"] == ("requests", 40, 1)
    (node,) = [one for one in answer["nodes"] if one["name"] == "payments"]
    assert (node["figures"]["requests"], node["figures"]["errors"]) == (40, 1)


async def test_the_map_is_of_the_time_that_was_asked_for(order: Stage) -> None:
    empty = await order.ask("map", until=str(WALL - 60))
    assert (empty["edges"], empty["nodes"]) == ([], [])
    assert empty["until"] == "2026-11-18T11:05:40.000000Z"


async def test_red_of_services_comes_from_the_request_log_and_from_spans_of_those_that_are_not_in_it(
    order: Stage,
) -> None:
    await requests(order, "web", 600, edge="gateway", failed=6, ago=1800)
    await requests(order, "web", 200, failed=100, ago=60)
    answer = await order.ask("red")
    assert answer["step"] == 60
    by_name = {one["service"]: one for one in answer["series"]}
    web = by_name["web"]
    assert (web["source"], web["total"]["requests"], web["total"]["errors"]) == ("requests", 800, 106)
    assert web["total"]["rps"] == pytest.approx(800 / 3600, abs=1e-3)
    assert web["total"]["p50_ms"] == pytest.approx(9, abs=1)
    assert [(point["time"], point["requests"], point["error_share"]) for point in web["points"]] == [
        ("2026-11-18T10:36:00.000000Z", 600, 0.01),
        ("2026-11-18T11:05:00.000000Z", 200, 0.5),
    ]
    orders = by_name["orders"]
    assert (orders["source"], orders["total"]["requests"], orders["total"]["errors"]) == ("spans", 2, 1)
    assert set(by_name) == {"web", "orders", "payments", "mailer"}
    assert answer["series"][0]["service"] == "web"


async def test_red_is_told_by_route_instance_and_edge(stage: Stage) -> None:
    await requests(stage, "web", 10, edge="gateway", route="shop", instance="web-1")
    await requests(stage, "web", 20, caller="orders", instance="web-2")
    for by, field, expected in (
        ("route", "route", {"shop": 10, "web": 20}),
        ("instance", "instance", {"web-1": 10, "web-2": 20}),
        ("edge", "caller", {"gateway": 10, "orders": 20}),
    ):
        answer = await stage.ask("red", by=by, step="10")
        assert {one[field]: one["total"]["requests"] for one in answer["series"]} == expected
    (only,) = (await stage.ask("red", service="web", instance="web-2"))["series"]
    assert only["total"]["requests"] == 20
    assert (await stage.ask("red", by="instance", limit="1"))["cut"] == 1


async def test_a_latency_bucket_has_traces_for_examples(stage: Stage) -> None:
    for number, length in enumerate((9, 9, 9, 9, 90)):
        stage.span(trace_id(number), "GET", -1000 * (number + 1), -1000 * (number + 1) + length, error=length == 90)
    await stage.commit()
    buckets = (await stage.ask("red/latency", service="web"))["buckets"]
    assert [(one["above_ms"], one["upto_ms"], one["requests"], one["errors"]) for one in buckets] == [
        (8.0, 10.0, 4, 0),
        (80.0, 100.0, 1, 1),
    ]
    assert buckets[0]["traces"] == [trace_id(0), trace_id(1), trace_id(2)]
    assert buckets[1]["traces"] == [trace_id(4)]


async def test_a_service_without_spans_has_examples_from_the_gateway(stage: Stage) -> None:
    await proxied(stage, trace_id(3), "gw", "", -5000, source="gateway", upstream="legacy")
    (bucket,) = (await stage.ask("red/latency", service="legacy"))["buckets"]
    assert (bucket["upto_ms"], bucket["traces"]) == (50.0, [trace_id(3)])


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("map?since=5&until=5", "since"),
        ("map?since=0", "since"),
        ("map?service=web", "service"),
        ("red?by=colour", "by"),
        ("red?step=1", "step"),
        ("red?step=10&since=1794900000", "step"),
        ("red?step=inf", "step"),
        ("red?limit=501", "limit"),
        ("red/latency?by=service", "by"),
    ],
)
async def test_a_bad_question_says_which_parameter_it_was(stage: Stage, path: str, field: str) -> None:
    response = await stage.client.get(f"/api/v1/{path}")
    assert (response.status_code, response.json()["field"]) == (422, field)


async def test_coverage_tells_who_sends_what_and_which_libraries_nobody_sees_into(stage: Stage) -> None:
    stage.span(trace_id(11), "work", -5_000, -4_000, service="web")
    await stage.commit()
    await requests(stage, "legacy", 40)
    await requests(stage, "web", 2)
    await stage.log(
        "this service uses asyncpg", -90_000_000, service="web", scope="atoll", said={"atoll.unseen": "asyncpg"}
    )
    await stage.log("hello", -1_000, service="talker")
    await stage.log("long ago", -90_000_000, service="gone")
    answer = await stage.ask("telemetry/coverage")
    assert {one.pop("service"): one for one in answer["services"]} == {
        "legacy": {"spans": False, "metrics": False, "lines": False, "requests": 40, "unseen": []},
        "talker": {"spans": False, "metrics": False, "lines": True, "requests": 0, "unseen": []},
        "web": {"spans": True, "metrics": False, "lines": False, "requests": 2, "unseen": ["asyncpg"]},
    }
