"""Requests on their way through a gateway with every kind of route, and `atoll routes test` beside them."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.system.platform.stage import Platform, ask, closing, until

pytestmark = pytest.mark.timeout(60)
PROJECT = """
name: crossing
services:
  alpha: {command: python service.py, replicas: 2, healthcheck: {http: /}}
  beta: {command: python service.py, version: v1}
  sticky: {command: python service.py, replicas: 2, sticky: true}
  newer: {command: python h2c_service.py, protocol: h2c}
  absent: {healthcheck: {http: /}}
gateway:
  routes:
    - {name: alpha, match: {host: shop.test, path_prefix: /}, service: alpha}
    - {name: api, match: {host: shop.test, path_prefix: /api}, rewrite: {path_prefix: /}, service: beta}
    - {name: deep, match: {host: shop.test, path_prefix: /api/v2/x}, rewrite: {path_prefix: /below}, service: alpha}
    - {name: exact, match: {host: shop.test, path: /api/exact}, service: alpha}
    - {name: read, match: {host: shop.test, path_prefix: /read, methods: [GET, HEAD]}, service: beta}
    - {name: try, match: {host: shop.test, path_prefix: /api, headers: {x-try: "yes"}}, service: alpha}
    - {name: wild, match: {host: "*.shop.test"}, service: beta}
    - {name: nobody, match: {host: shop.test, path_prefix: /nobody}, service: absent}
    - name: only-reads
      match: {host: reads.test, path_prefix: /r, methods: [GET]}
      service: beta
    - {name: any-host, match: {path_prefix: /anywhere}, service: alpha}
    - {name: sticky, match: {path_prefix: /sticky}, service: sticky}
    - {name: newer, match: {path_prefix: /newer}, service: newer}
    - name: canary
      match: {host: canary.test}
      backends: [{service: beta, weight: 95}, {service: beta, version: v2, weight: 5}]
"""
REQUESTS: list[tuple[str, str, dict[str, str]]] = [
    ("GET", "http://shop.test/", {}),
    ("GET", "http://SHOP.test/some/where?a=1&b=%2F", {}),
    ("POST", "http://shop.test/some", {}),
    ("GET", "http://shop.test/api", {}),
    ("GET", "http://shop.test/api/", {}),
    ("GET", "http://shop.test/api/things/7?q=x", {}),
    ("GET", "http://shop.test/apix", {}),
    ("GET", "http://shop.test/api/v2/x/y", {}),
    ("GET", "http://shop.test/api/v2/xy", {}),
    ("GET", "http://shop.test/api/exact", {}),
    ("GET", "http://shop.test/api/exact/more", {}),
    ("GET", "http://shop.test/api/things", {"x-try": "yes"}),
    ("GET", "http://shop.test/api/things", {"x-try": "no"}),
    ("HEAD", "http://shop.test/read/1", {}),
    ("DELETE", "http://shop.test/read/1", {}),
    ("GET", "http://a.shop.test/x", {}),
    ("GET", "http://a.b.shop.test/x", {}),
    ("GET", "http://other.test/x", {}),
    ("GET", "http://other.test/anywhere/x", {}),
    ("PUT", "http://reads.test/r/1", {}),
    ("GET", "http://reads.test/r/1", {}),
    ("GET", "http://reads.test/", {}),
    ("GET", "http://shop.test/nobody/x", {}),
    ("GET", "http://shop.test//api/./things/../exact", {}),
    ("GET", "http://shop.test/%61pi/%7ehome?q=%7e", {}),
    ("GET", "http://shop.test/a%2fb", {}),
    ("GET", "http://shop.test/api%5c..%5cetc", {}),
]
CODES = {
    400: {"path-refused"},
    404: {"no-route"},
    405: {"method-not-allowed"},
    503: {"no-instance"},
}
"""What the gateway answers by itself, by status."""


@pytest.fixture(scope="module")
def crossing() -> Iterator[Platform]:
    with closing(Platform.of(PROJECT)) as platform:
        shutil.copy(Path(__file__).with_name("h2c_service.py"), platform.folder)
        platform.up_without("absent")
        until(platform.settled, "the gateway runs it all")
        yield platform


def sent(crossing: Platform, method: str, url: str, headers: dict[str, str]) -> Any:
    host, _, path = url.removeprefix("http://").partition("/")
    return crossing.get(f"/{path}", method=method, headers={"Host": host, **headers})


@pytest.mark.parametrize(("method", "url", "headers"), REQUESTS, ids=lambda value: str(value))
def test_routes_test_agrees_with_what_happens(
    crossing: Platform, method: str, url: str, headers: dict[str, str]
) -> None:
    given = [text for name, value in headers.items() for text in ("-H", f"{name}: {value}")]
    told = crossing("routes", "test", method, url, *given, "--json")
    answer = sent(crossing, method, url, headers)
    said = told.json
    assert answer.status == said["status"], said
    if answer.status in CODES:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["code"] in CODES[answer.status]
        assert told.code == (0 if answer.status == 503 else 1)
    if answer.status == 405:
        assert answer.headers["allow"].split(",") == said["allow"]
    if answer.status == 503:
        assert answer.json["service"] == said["parts"][0]["upstream"]
    if answer.status == 200 and method != "HEAD":
        takers = [one["instance"] for part in said["parts"] for one in part["candidates"] if one["weight"] > 0]
        assert answer.instance in takers
        assert answer.json["path"] == said["sent_path"]


@pytest.mark.parametrize(
    ("method", "url", "status", "code"),
    [
        ("GET", "http://other.test/", 404, "no-route"),
        ("PUT", "http://reads.test/r/1", 405, "method-not-allowed"),
        ("GET", "http://shop.test/nobody", 503, "no-instance"),
        ("GET", "http://shop.test/a%2fb", 400, "path-refused"),
        ("GET", "http://shop.test/..%5c..%5cetc", 400, "path-refused"),
        ("GET", "http://bad~host/", 400, "host-refused"),
    ],
)
def test_what_the_gateway_refuses_it_explains_with_a_stable_code(
    crossing: Platform, method: str, url: str, status: int, code: str
) -> None:
    answer = sent(crossing, method, url, {})
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["code"] == code
    assert problem["type"] == f"urn:atoll:error:{code}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]


def test_hostile_requests_reach_nobody_and_break_nothing(crossing: Platform) -> None:
    hostile = ["/%0d%0aSet-Cookie:x", "/%00", "/x;y|z^w", "/%[src]", "/${HOME}", "/'\"`", "/../../etc/passwd", "/%"]
    before = {path: crossing.get(path, headers={"Host": "shop.test"}) for path in hostile}
    for path, answer in before.items():
        assert answer.status in {200, 400, 404}, (path, answer)
        assert "set-cookie" not in answer.headers, path
        if answer.status == 200:
            assert ".." not in answer.json["path"], path
    spoofed = crossing.get("/", headers={"Host": "shop.test", "X-Forwarded-For": "6.6.6.6", "X-Atoll-Service": "root"})
    headers = spoofed.json["headers"]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert "x-atoll-service" not in headers


def test_a_canary_gets_its_share(crossing: Platform) -> None:
    port = crossing.guest("beta-canary", SERVICE_VERSION="v2")
    crossing.register("beta", "beta-canary", port, version="v2", ttl=60)
    try:
        until(lambda: canary(crossing, 200)["v2"] > 0 and crossing.settled(), "the canary gets requests", within=10)
        count = canary(crossing, 2000)
    finally:
        crossing.done("DELETE", "/services/beta/instances/beta-canary")
        until(crossing.settled, "the canary is gone from the gateway")
    assert count.total() == 2000
    sigma = math.sqrt(2000 * 0.05 * 0.95)
    assert abs(count["v2"] - 100) <= 5 * sigma, count


def canary(crossing: Platform, requests: int) -> Counter[str]:
    """Which version answered how often."""
    with httpx2.Client(trust_env=False, headers={"Host": "canary.test"}) as client:
        url = f"http://127.0.0.1:{crossing.gateway_port}/"
        return Counter(client.get(url).raise_for_status().json()["version"] for _ in range(requests))


def test_a_client_with_the_cookie_stays_where_it_is_when_instances_come(crossing: Platform) -> None:
    first = crossing.get("/sticky")
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert "httponly" in first.headers["set-cookie"].lower()
    home = first.instance

    def homes() -> set[str]:
        return {crossing.get("/sticky", headers={"Cookie": cookie}).instance for _ in range(25)}

    assert homes() == {home}
    reloads = crossing.gateway()["reloads"]
    for number in range(3):
        name = f"sticky-guest-{number}"
        crossing.register("sticky", name, crossing.guest(name), ttl=60)
    try:
        until(lambda: len({crossing.get("/sticky").instance for _ in range(60)}) == 5, "the new ones get requests")
        assert homes() == {home}
    finally:
        for number in range(3):
            crossing.done("DELETE", f"/services/sticky/instances/sticky-guest-{number}")
    until(crossing.settled, "the guests are gone from the gateway")
    assert homes() == {home}
    assert crossing.gateway()["reloads"] == reloads


def test_http_2_without_tls_passes_on_either_side(crossing: Platform) -> None:
    base = f"http://127.0.0.1:{crossing.gateway_port}"
    one_to_two = crossing.get("/newer/x", method="POST", body=b"12345")
    assert (one_to_two.json["protocol"], one_to_two.json["received"]) == ("h2c", 5)
    with httpx2.Client(http1=False, http2=True, trust_env=False) as client:
        two_to_two = client.post(f"{base}/newer/y", content=b"123")
        assert two_to_two.http_version == "HTTP/2"
        assert (two_to_two.json()["path"], two_to_two.json()["received"]) == ("/newer/y", 3)
        two_to_one = client.get(f"{base}/anywhere")
        assert two_to_one.http_version == "HTTP/2"
        assert two_to_one.json()["instance"].startswith("alpha-")
    mesh = ask(crossing.port_of("newer"), "/direct")
    assert mesh.json["protocol"] == "h2c"
