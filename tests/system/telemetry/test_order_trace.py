"""The demo's promise: one order is one trace through every service, with its log lines, found at once."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.platform.stage import SHOP, Answer, Platform, closing, free_port, until

pytestmark = pytest.mark.timeout(120)
ORDERS = 20
VISIBLE = 1.0
"""Seconds from the answer until the whole trace is found: 95 of 100."""
ORDER = json.dumps({"customer": "ada", "items": [{"product_id": 1, "quantity": 1}]}).encode()
PAUSE = 2.0
"""Seconds between two orders: somebody tries the demo. Under steady traffic there is one insert a second."""
TOLD = {"gateway", "storefront", "orders", "catalog", "payments"}


@pytest.fixture(scope="module")
def shop() -> Iterator[Platform]:
    """The demo shop with telemetry. Orders go through the storefront, as in a shop whose API is its page's server."""
    folder = Path(tempfile.mkdtemp(prefix="atoll-shop-"))
    shutil.copytree(
        SHOP, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", ".atoll", "__pycache__", "*.pyc")
    )
    file = folder / "atoll.yaml"
    text = file.read_text()
    begin, end = text.index("    - name: orders "), text.index("    - name: recommendations")
    file.write_text(text[:begin] + text[end:])
    # gunicorn lets the connections that HAProxy keeps open linger for two seconds when it is told to end
    server = folder / "orders" / "gunicorn.conf.py"
    server.write_text(server.read_text().replace("keepalive = 75", "keepalive = 0"))
    environ = {
        "SHOP_DATA": str(folder / "data"),
        "ATOLL_TELEMETRY_ENABLED": "1",
        "ATOLL_TELEMETRY_HTTP_PORT": str(free_port()),
        "ATOLL_TELEMETRY_GRPC_PORT": str(free_port()),
    }
    with closing(Platform(folder, **environ)) as platform:
        platform.up()
        until(lambda: platform.api("GET", "/telemetry/status").status == 200, "telemetry answers")
        until(lambda: order(platform).status == 201, "an order is taken")
        yield platform


def order(shop: Platform) -> Answer:
    return shop.get("/api/orders", method="POST", body=ORDER, headers={"Content-Type": "application/json"})


def whole_trace(shop: Platform, answer: Answer) -> dict[str, Any]:
    """The trace of an answer as it is now; empty while spans, or the line that payments printed, are missing."""
    found = shop.api("GET", f"/traces/{answer.headers['x-trace-id']}")
    if found.status != 200:
        return {}
    trace: dict[str, Any] = found.json
    sent = {span["service"] for span in trace["spans"] if span["source"] == "otlp"}
    logged = {record["service"] for record in trace["logs"]}
    there = {"orders", "catalog", "payments"} <= sent and set(trace["services"]) >= TOLD and "payments" in logged
    named = {record["span"] for record in trace["logs"]} <= {span["id"] for span in trace["spans"]}
    return trace if there and named and not any(span["missing"] for span in trace["spans"]) else {}


def test_an_order_is_one_trace_with_its_log_lines(shop: Platform) -> None:
    answer = order(shop)
    assert answer.status == 201
    trace = until(lambda: whole_trace(shop, answer), "the trace is there", within=40)
    assert [span["depth"] for span in trace["spans"]].count(0) == 1
    assert trace["spans"][0]["source"] == "gateway"
    by_id = {span["id"]: span for span in trace["spans"]}
    for record in trace["logs"]:
        assert by_id[record["span"]]["service"] == record["service"], record
    assert "payments" in {record["service"] for record in trace["logs"]}
    drawn = shop("traces", answer.headers["x-trace-id"][:12])
    assert drawn.code == 0, drawn.err
    for words in ("gateway POST storefront 201 by storefront-1", "orders POST /orders 201", "Charge OK"):
        assert words in drawn.out


def test_a_failed_order_is_found_by_its_service_and_status(shop: Platform) -> None:
    assert shop("stop", "payments").code == 0
    try:
        answer = until(lambda: [found for found in (order(shop),) if found.status == 503], "orders are refused")[0]
    finally:
        assert shop("start", "payments").code == 0
        until(lambda: order(shop).status == 201, "orders are taken again")
    wanted = answer.headers["x-trace-id"]
    rows = until(
        lambda: [row for row in listed(shop, "--service", "orders", "--status", "error") if row["id"] == wanted],
        "the failed order is listed",
        within=40,
    )
    assert rows[0]["errors"] > 0
    assert wanted not in [row["id"] for row in listed(shop, "--status", "ok")]
    assert wanted in [row["id"] for row in listed(shop, "--http", "503", "--since", "5m")]


def listed(shop: Platform, *options: str) -> list[dict[str, Any]]:
    done = shop("traces", *options, "--json")
    assert done.code == 0, done.err
    rows: list[dict[str, Any]] = done.json["traces"]
    return rows


def test_the_map_and_the_figures_know_who_called_whom(shop: Platform) -> None:
    wanted = {("gateway", "storefront"), ("storefront", "orders"), ("orders", "catalog"), ("orders", "payments")}
    until(
        lambda: {(edge["caller"], edge["callee"]) for edge in shop("map", "--json").json["edges"]} >= wanted,
        "all edges are on the map",
        within=40,
    )
    figures = {one["service"]: one["total"]["requests"] for one in shop("red", "--json").json["series"]}
    assert figures["orders"] >= 1
    assert figures["payments"] >= 1


@pytest.mark.slow
def test_the_whole_trace_is_found_within_a_second_of_its_end(shop: Platform) -> None:
    waits = []
    for _ in range(ORDERS):
        answer = order(shop)
        ended = time.monotonic()
        until(functools.partial(whole_trace, shop, answer), "the trace is there", within=40, every=0.05)
        waits.append(time.monotonic() - ended)
        time.sleep(PAUSE)
    waits.sort()
    told = " ".join(f"{wait:.2f}" for wait in waits)
    print(f"seconds until a trace is whole: {told}")
    assert waits[int(ORDERS * 0.95) - 1] < VISIBLE, told
