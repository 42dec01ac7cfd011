"""The demo: one order through the shop is one trace of all who take part in it, with the lines that they print."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.platform.stage import SHOP, Platform, closing, free_port, until

pytest.importorskip("chdb")


@pytest.fixture(scope="module")
def shop() -> Iterator[Platform]:
    folder = Path(tempfile.mkdtemp(prefix="atoll-shop-"))
    unwanted = shutil.ignore_patterns("data", ".atoll", "__pycache__", "*.pyc")
    shutil.copytree(SHOP, folder, dirs_exist_ok=True, ignore=unwanted)
    told = {"SHOP_DATA": str(folder / "data"), "XDG_CACHE_HOME": str(folder / "cache")}
    ports = {f"ATOLL_TELEMETRY_{kind}_PORT": str(free_port()) for kind in ("HTTP", "GRPC")}
    with closing(Platform(folder, ATOLL_TELEMETRY_ENABLED="1", **told, **ports)) as platform:
        platform.up()
        yield platform


def order_trace(shop: Platform) -> dict[str, Any] | None:
    found = shop("traces", "--json", "--service", "payments")
    traces = json.loads(found.out)["traces"] if found.code == 0 else []
    return next((one for one in traces if "storefront" in one["services"]), None)


@pytest.mark.slow
def test_one_order_is_one_trace_of_all_five_with_their_lines(shop: Platform) -> None:
    base = f"http://127.0.0.1:{shop.gateway_port}"
    until(lambda: shop("traces").code == 0, "telemetry answers", 20, every=0.2)
    subprocess.run([sys.executable, SHOP / "journey.py", "--base", base], check=True, timeout=30, capture_output=True)
    trace = until(lambda: order_trace(shop), "the order's trace", 10, every=0.2) or {}
    assert {"gateway", "storefront", "orders", "catalog", "payments"} <= set(trace["services"])

    def printed() -> bool:
        drawn = shop("traces", trace["id"]).out
        return all(line in drawn for line in ("POST /checkout 201", "POST /orders 201", "Charge OK", "/reserve 200"))

    until(printed, "the lines of all services in the waterfall", 10, every=0.2)


@pytest.mark.slow
def test_every_service_of_the_shop_says_what_it_was_given_and_complains_of_nothing(shop: Platform) -> None:
    for name in ("storefront", "catalog", "orders", "payments", "recommendations"):
        told = shop("env", name, "--json").json
        given = {one["name"]: one for one in told["variables"]}
        assert given["OTEL_SERVICE_NAME"]["value"] == name
        assert given["OTEL_EXPORTER_OTLP_HEADERS"]["masked"]
    assert "atoll:" not in shop("logs").out
