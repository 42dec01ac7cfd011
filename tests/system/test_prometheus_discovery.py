"""A Prometheus finds what to scrape by our service discovery, and takes our own metrics."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.telemetry.promql import prometheus
from tests.serving import serving
from tests.system.api_stage import Plane, plane_at, settings_in
from tests.system.test_telemetry_forward import FakeTelemetry, says

UP = json.dumps(
    {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {"service": "orders"}, "value": [1, "1"]}]},
    }
).encode()


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane_at(settings_in(tmp_path)) as found:
        await found.register("orders", "orders-1", 9001, version="1.2")
        await found.register("web", "web-1", 9002)
        yield found


@pytest.fixture
async def telemetry(plane: Plane) -> AsyncIterator[FakeTelemetry]:
    fake = FakeTelemetry()
    fake.behave = says(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(UP), UP))
    path = plane.serving.control.settings.telemetry_socket
    path.parent.mkdir(parents=True, exist_ok=True)
    async with serving(fake.serve, path):
        yield fake
    path.unlink(missing_ok=True)


async def targets(plane: Plane, query: str = "") -> dict[str, Any]:
    answer = await plane.ask("GET", "/sd/prometheus" + query)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    return {group["labels"].get("service", "atoll"): group for group in answer.json()}


async def test_services_with_metrics_and_the_control_plane_are_listed(plane: Plane, telemetry: FakeTelemetry) -> None:
    found = await targets(plane)
    assert set(found) == {"atoll", "orders"}
    assert found["orders"]["targets"] == ["127.0.0.1:9001"]
    assert found["orders"]["labels"] == {
        "job": "orders", "service": "orders", "instance": "orders-1", "__meta_atoll_kind": "service",
        "__meta_atoll_service": "orders", "__meta_atoll_instance": "orders-1", "__meta_atoll_version": "1.2",
        "__meta_atoll_zone": "", "__meta_atoll_node": "", "__meta_atoll_state": "passing",
    }  # fmt: skip
    assert found["atoll"]["targets"] == [f"127.0.0.1:{plane.serving.port}"]


async def test_all_services_are_listed_when_asked_for(plane: Plane) -> None:
    assert set(await targets(plane, "?all=true")) == {"atoll", "orders", "web"}


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{", b"?"]
)
async def test_the_list_stays_as_it_was_while_telemetry_is_away_or_talks_nonsense(
    plane: Plane, telemetry: FakeTelemetry, answer: bytes
) -> None:
    assert "orders" in await targets(plane)
    telemetry.behave = says(answer)
    assert "orders" in await targets(plane)


async def test_without_a_token_there_is_no_list(plane: Plane) -> None:
    answer = await plane.http.get("/sd/prometheus", headers={"Authorization": "Bearer no"})
    assert answer.status_code == 401


@pytest.mark.slow
@pytest.mark.skipif(prometheus.PROMETHEUS is None, reason="no `prometheus` on this machine")
async def test_a_prometheus_discovers_by_http_sd_and_scrapes_the_control_plane(plane: Plane, tmp_path: Path) -> None:
    token = tmp_path / "its-token"
    token.write_text(plane.token)
    folder = tmp_path / "prometheus"
    folder.mkdir()
    config = f"""
scrape_configs:
  - job_name: atoll
    scrape_interval: 1s
    authorization: {{type: Bearer, credentials_file: {token}}}
    http_sd_configs:
      - url: http://127.0.0.1:{plane.serving.port}/sd/prometheus?all=true
        refresh_interval: 1s
        authorization: {{type: Bearer, credentials_file: {token}}}
    relabel_configs:
      - {{source_labels: [__meta_atoll_kind], regex: platform, action: keep}}
"""
    running = prometheus.running(folder, config=config)
    url = await asyncio.to_thread(running.__enter__)
    try:
        query = {"query": 'atoll_build_info and on (instance) up{job="atoll"} == 1'}
        for _ in range(200):
            said = await asyncio.to_thread(prometheus.ask, url, "/api/v1/query", query)
            if said["data"]["result"]:
                break
            await asyncio.sleep(0.1)
        assert said["data"]["result"], (folder / "prometheus.log").read_text()
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no `promtool` on this machine")
async def test_promtool_finds_no_fault_in_our_metrics(plane: Plane) -> None:
    page = (await plane.ask("GET", "/metrics")).content
    process = await asyncio.create_subprocess_exec(
        "promtool", "check", "metrics", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate(page)
    assert process.returncode == 0, said.decode()
