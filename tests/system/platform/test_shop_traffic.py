"""The shop through the gateway and through the mesh: a journey, WebSocket, server-sent events, gRPC, large bodies."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import itertools
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from websockets.sync.client import connect

from tests.system.platform.stage import SHOP, Platform, ask, until

pytestmark = pytest.mark.timeout(60)
PIECE = os.urandom(1 << 16)
PIECES = 1024
"""64 MiB in all."""
CATALOG = re.compile(r"catalog-\d+")


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_customer_comes_from_the_home_page_to_the_delivered_order(
    shop: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = SHOP / "journey.py"
    spec = importlib.util.spec_from_file_location("shop_journey", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "shop_journey", module)
    spec.loader.exec_module(module)
    journey = module.run_once(f"http://127.0.0.1:{shop.gateway_port}")
    assert journey.order["status"] == "delivered"
    assert [step.name for step in journey.steps] == list(module.STEPS)


# The mesh ---------------------------------------------------------------------------------------------------------


def test_the_mesh_finds_a_service_by_host_by_path_and_by_its_port(shop: Platform) -> None:
    ways = {
        "host": ask(shop.mesh_port, "/products/1", headers={"Host": "catalog"}),
        "path": ask(shop.mesh_port, "/svc/catalog/products/1"),
        "port": ask(shop.port_of("catalog"), "/products/1"),
    }
    for way, answer in ways.items():
        assert answer.status == 200, (way, answer)
        assert answer.json["id"] == 1, way
        assert CATALOG.fullmatch(answer.headers["x-instance"]), way


def test_both_instances_of_the_catalog_are_called(shop: Platform) -> None:
    through_gateway = {shop.get("/api/catalog/products/1").headers["x-instance"] for _ in range(40)}
    through_mesh = {ask(shop.port_of("catalog"), "/products/1").headers["x-instance"] for _ in range(40)}
    assert through_gateway == through_mesh == {"catalog-1", "catalog-2"}


def test_an_unknown_service_of_the_mesh_is_a_problem_document(shop: Platform) -> None:
    for answer in (
        ask(shop.mesh_port, "/x", headers={"Host": "nobody"}),
        ask(shop.mesh_port, "/svc/nobody/x"),
    ):
        assert answer.status == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["code"] == "unknown-service"


# WebSocket and server-sent events -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["gateway", "mesh"])
def test_a_websocket_talks_both_ways_and_survives_silence(shop: Platform, way: str) -> None:
    gateway = f"ws://127.0.0.1:{shop.gateway_port}/api/catalog/live"
    url = gateway if way == "gateway" else f"ws://127.0.0.1:{shop.port_of('catalog')}/live"
    with connect(url, proxy=None, open_timeout=10) as socket:
        socket.send(json.dumps({"hello": "lagoon"}))
        socket.send(b"\x00" * 60_000)
        echoes: list[dict[str, Any]] = []
        prices = 0
        while len(echoes) < 2 or prices < 2:
            message = json.loads(socket.recv(timeout=10))
            if message["type"] == "echo":
                echoes.append(message)
            else:
                prices += 1
    assert echoes[0]["message"] == {"hello": "lagoon"}
    assert echoes[1]["bytes"] == 60_000
    assert CATALOG.fullmatch(echoes[0]["instance"])


@pytest.mark.parametrize("way", ["gateway", "mesh"])
def test_server_sent_events_arrive_one_by_one(shop: Platform, way: str) -> None:
    """A machine that stands still for a moment delivers several at once; a gateway that holds them back always does."""
    until(lambda: min(pauses(shop, way)[1:]) > 0.1, "events that come one by one")


def pauses(shop: Platform, way: str) -> list[float]:
    """Seconds between the events of a new order; the shop makes those after the second 0.2 s apart."""
    order = ordered(shop)
    port = shop.gateway_port if way == "gateway" else shop.port_of("orders")
    path = f"/api/orders/{order}/events" if way == "gateway" else f"/orders/{order}/events"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    connection.request("GET", path, headers={"Accept": "text/event-stream"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    seen = [(line[6:].strip().decode(), time.monotonic()) for line in answer if line.startswith(b"event:")]
    connection.close()
    assert [stage for stage, _ in seen] == ["created", "paid", "packed", "shipped", "delivered"]
    return [later - earlier for (_, earlier), (_, later) in itertools.pairwise(seen)]


def ordered(shop: Platform) -> str:
    """A new order's id."""
    body = {"customer": f"sse-{secrets.token_hex(3)}", "items": [{"product_id": 1, "quantity": 1}]}
    content = {"Content-Type": "application/json"}
    answer = shop.get("/api/orders", method="POST", body=json.dumps(body).encode(), headers=content)
    assert answer.status == 201, answer
    return str(answer.json["id"])


# gRPC ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def payments() -> ModuleType:
    return load_module(SHOP / "payments" / "payments_pb2.py")


@pytest.fixture(params=["gateway", "mesh"])
def channel(shop: Platform, request: pytest.FixtureRequest) -> Iterator[grpc.Channel]:
    port = shop.gateway_port if request.param == "gateway" else shop.port_of("payments")
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as made:
        yield made


def unary(channel: grpc.Channel, payments: ModuleType, method: str, request: Any) -> Any:
    call = channel.unary_unary(
        f"/shop.payments.v1.Payments/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=payments.ChargeRecord.FromString,
    )
    return call.with_call(request, timeout=10)


def charge(payments: ModuleType, customer: str) -> Any:
    return payments.ChargeRequest(
        order_id=f"o_{secrets.token_hex(8)}", customer=customer, amount_cents=1234, currency="EUR"
    )


def test_grpc_calls_answer_with_status_and_trailers(channel: grpc.Channel, payments: ModuleType) -> None:
    record, call = unary(channel, payments, "Charge", charge(payments, "ada"))
    assert record.status == payments.PAID
    assert call.code() is grpc.StatusCode.OK
    assert call.trailing_metadata() is not None

    with pytest.raises(grpc.RpcError) as unknown:
        unary(channel, payments, "GetCharge", payments.GetChargeRequest(charge_id="ch_none"))
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    assert unknown.value.details() == "no such charge"

    with pytest.raises(grpc.RpcError) as wrong:
        unary(channel, payments, "Charge", payments.ChargeRequest())
    assert wrong.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_grpc_stream_tells_each_charge_as_it_is_made(channel: grpc.Channel, payments: ModuleType) -> None:
    customer = f"stream-{secrets.token_hex(3)}"

    def begun() -> Any:
        """The service takes 8 watchers, and those of the test before may still be on their way out."""
        watch = channel.unary_stream(
            "/shop.payments.v1.Payments/WatchCharges",
            request_serializer=payments.WatchChargesRequest.SerializeToString,
            response_deserializer=payments.ChargeRecord.FromString,
        )(payments.WatchChargesRequest(customer=customer), timeout=20)
        watch.initial_metadata()
        return watch if watch.is_active() else None

    watch = until(begun, "there is room for a watcher", within=10)
    for _ in range(3):
        record, _ = unary(channel, payments, "Charge", charge(payments, customer))
        assert next(watch).id == record.id, "told before the next one is made: nothing is held back"
    watch.cancel()
    with pytest.raises(grpc.RpcError):
        next(watch)
    assert watch.code() is grpc.StatusCode.CANCELLED


def test_a_grpc_stream_that_nobody_reads_any_more_ends_at_the_service(
    channel: grpc.Channel, payments: ModuleType
) -> None:
    """The service takes 8 watchers at most: more than that, one after the other, only work if cancels arrive there."""
    for _ in range(20):

        def watched() -> bool:
            watch = channel.unary_stream(
                "/shop.payments.v1.Payments/WatchCharges",
                request_serializer=payments.WatchChargesRequest.SerializeToString,
                response_deserializer=payments.ChargeRecord.FromString,
            )(payments.WatchChargesRequest(customer="nobody"), timeout=5)
            try:
                watch.initial_metadata()
                return watch.code() is None if not watch.is_active() else True
            finally:
                watch.cancel()

        until(watched, "there is room for another watcher", within=10)


# Large bodies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["gateway", "mesh"])
def test_a_large_body_streams_up_and_down_unharmed(shop: Platform, way: str) -> None:
    port, path = (
        (shop.gateway_port, "/api/catalog/products/7/image")
        if way == "gateway"
        else (shop.port_of("catalog"), "/products/7/image")
    )
    salt = os.urandom(64)
    digest = hashlib.sha256(salt)
    for _ in range(PIECES):
        digest.update(PIECE)
    length = {"Content-Length": str(len(salt) + PIECES * len(PIECE)), "Content-Type": "image/png"}
    put = ask(port, path, "PUT", itertools.chain([salt], itertools.repeat(PIECE, PIECES)), length)
    assert put.status == 200, put
    assert put.json["sha256"] == digest.hexdigest()

    chunked = ask(port, path, "PUT", itertools.chain([salt], itertools.repeat(PIECE, 100)), {"Content-Type": "a/b"})
    assert chunked.json["bytes"] == len(salt) + 100 * len(PIECE), "a body of unknown length"
    ask(port, path, "PUT", itertools.chain([salt], itertools.repeat(PIECE, PIECES)), length)

    proxy = int(shop.gateway()["pid"])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    received = hashlib.sha256()
    while piece := answer.read(1 << 20):
        received.update(piece)
    connection.close()
    assert received.hexdigest() == digest.hexdigest()
    assert resident(proxy) < 200 << 20, "HAProxy does not hold bodies"


def resident(pid: int) -> int:
    import psutil

    process = psutil.Process(pid)
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
