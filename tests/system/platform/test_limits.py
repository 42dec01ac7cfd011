"""Limits of concurrency on a running platform: said in the project file, kept by the gateway, counted, changed as it runs.

Requests that are let through are held by the service until all are where they belong, so nothing here is a matter of time.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.system.platform.conftest import running
from tests.system.platform.stage import Platform, ask, until

pytestmark = pytest.mark.timeout(90)
PROJECT = """
name: narrow
services:
  web: {command: python service.py, healthcheck: {http: /healthz}, max_concurrency: 3}
  wide: {command: python service.py, healthcheck: {http: /healthz}, max_concurrency: 5}
  desk: {command: python service.py, healthcheck: {http: /healthz}, instance_concurrency: 2, queue: {size: 2, timeout: 30s}}
  till: {command: python service.py, healthcheck: {http: /healthz}, instance_concurrency: 2, queue: {size: 4, timeout: 200ms}}
gateway:
  routes:
    - {match: {path_prefix: /web}, service: web}
    - {match: {path_prefix: /wide}, service: wide}
    - {match: {path_prefix: /desk}, service: desk}
    - {match: {path_prefix: /till}, service: till}
"""


@pytest.fixture(scope="module")
def narrow() -> Iterator[Platform]:
    with running(PROJECT) as platform:
        for path in ("/web/x", "/wide/x", "/desk/x", "/till/x"):
            until(lambda path=path: ask(platform.gateway_port, path).status == 200, "the gateway reaches it")  # type: ignore[misc]
        yield platform


def answers(platform: Platform, path: str, count: int, *, waiting: int = 0) -> Counter[str]:
    """What so many requests at once get: `200`, or the problem's code; `waiting` of them only once others have ended."""
    gate = Path(tempfile.mkdtemp(dir=platform.folder))
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(ask, platform.gateway_port, f"{path}?gate={gate.name}", timeout=40) for _ in range(count)]
        try:
            until(
                lambda: sum(one.done() for one in asked) + len(list(gate.iterdir())) == count - waiting,
                "each is held, refused or waits",
            )
        finally:
            (gate / "open").touch()
        found = [one.result() for one in asked]
    return Counter("200" if one.status == 200 else one.json["code"] for one in found)


def metrics(platform: Platform) -> str:
    return ask(platform.api_port, "/metrics", headers={"Authorization": f"Bearer {platform.token}"}).body.decode()


def test_what_is_too_much_is_refused_counted_and_explained(narrow: Platform) -> None:
    assert answers(narrow, "/web/x", 8) == {"200": 3, "too-busy": 5}
    until(lambda: 'limit="web"} 5' in metrics(narrow), "the refusals are counted")
    told = narrow("explain", "web", "--json").json["parts"][0]["policy"]
    assert ("max_concurrency", "3", "services.web") in {(one["field"], one["text"], one["origin"]) for one in told}


def test_what_cannot_wait_is_refused_and_what_can_is_answered(narrow: Platform) -> None:
    assert answers(narrow, "/desk/x", 7, waiting=2) == {"200": 4, "queue-full": 3}


def test_what_waits_too_long_is_refused(narrow: Platform) -> None:
    assert answers(narrow, "/till/x", 5) == {"200": 2, "queue-timeout": 3}


def test_another_limit_holds_without_a_reload(narrow: Platform) -> None:
    before = narrow.gateway()["reloads"]
    narrow.edit("max_concurrency: 5", "max_concurrency: 6")
    assert narrow("apply", "--yes").code == 0
    until(lambda: answers(narrow, "/wide/x", 8) == {"200": 6, "too-busy": 2}, "it holds")
    assert narrow.gateway()["reloads"] == before
