"""Services that atoll does not run: registered from outside with nothing but HTTP; what the registry refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.system.platform.conftest import running
from tests.system.platform.stage import Platform, ask, until

pytestmark = pytest.mark.timeout(60)
PROJECT = """
name: open
services:
  web: {command: python service.py}
gateway:
  routes: [{match: {path_prefix: /}, service: web}]
"""
HOSTILE = [
    "a\nb",
    "a b",
    "a;b",
    "%[src]",
    "${HOME}",
    'a"b',
    "a'b",
    "a\x00b",
    "\x1b[31m",
    "../x",
    "a/b",
    "é",
    "-a",
    "a" * 300,
]


@pytest.fixture(scope="module")
def open_platform() -> Iterator[Platform]:
    with running(PROJECT) as platform:
        yield platform


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("169.254.169.254", 80),
        ("::ffff:169.254.169.254", 80),
        ("0.0.0.0", 80),
        ("::", 80),
        ("2852039166", 80),
        ("0251.0376.0251.0376", 80),
        ("0xa9fea9fe", 80),
        ("127.1", 80),
        ("rebind.example.com", 80),
        ("unix@/run/x.sock", 80),
        ("/run/x.sock", 80),
        ("fd@3", 80),
        ("127.0.0.1 check", 80),
        ("127.0.0.1\nshow info", 80),
        ("224.0.0.1", 80),
        ("fe80::1", 80),
        ("127.0.0.1", "api"),
        ("127.0.0.1", "gateway"),
        ("127.0.0.1", "mesh"),
    ],
)
def test_addresses_that_nobody_may_register_are_refused(open_platform: Platform, host: str, port: int | str) -> None:
    ours = {"api": open_platform.api_port, "gateway": open_platform.gateway_port, "mesh": open_platform.mesh_port}
    number = ours[port] if isinstance(port, str) else port
    answer = open_platform.api("PUT", "/services/evil/instances/evil-1", {"host": host, "port": number})
    assert answer.status == 422, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["code"] == "address-forbidden"
    assert answer.json["hint"]
    assert open_platform.api("GET", "/services/evil").status == 404


def test_hostile_text_is_refused_in_every_field_and_named(open_platform: Platform) -> None:
    for text in HOSTILE:
        for path in (
            f"/services/{quote(text, safe='')}/instances/x-1",
            f"/services/x/instances/{quote(text, safe='')}",
        ):
            answer = open_platform.api("PUT", path, {"port": 9})
            assert answer.status in {404, 405, 422}, (text, path, answer)
        for field in ("version", "zone", "node"):
            answer = open_platform.api("PUT", "/services/x/instances/x-1", {"port": 9, field: text})
            assert answer.status == 422, (field, text, answer)
        for more in ({"tags": [text]}, {"metadata": {text: "v"}}):
            answer = open_platform.api("PUT", "/services/x/instances/x-1", {"port": 9, **more})
            assert answer.status == 422, (more, answer)
    for value in ("a\nb", "\x1b[2J", "a\x00b", "x" * 2000):
        answer = open_platform.api("PUT", "/services/x/instances/x-1", {"port": 9, "metadata": {"k": value}})
        assert answer.status == 422, value
        assert b"\x1b" not in answer.body
    shown = open_platform("ps").out + open_platform("service", "ls").out
    assert not [byte for byte in shown if byte < " " and byte != "\n"]
    answer = open_platform.api(
        "PUT", "/services/x/instances/x-1", {"port": 9, "metadata": {"k": "%[src] ${HOME} ;'\""}}
    )
    assert answer.status in {200, 201}, "printable text is data, and only data"
    open_platform.api("DELETE", "/services/x/instances/x-1")
    assert open_platform.get("/").status == 200
    assert open_platform.gateway()["errors"] == 0


def test_routes_with_hostile_text_or_without_a_service_are_refused(open_platform: Platform) -> None:
    def put(match: dict[str, object], service: str = "web", **more: object) -> int:
        body = {"name": "r", "match": match, "shares": [{"service": service}], **more}
        return open_platform.api("PUT", "/routes/r", body).status

    for text in ("/a\nb", "/a b", "/%[src]", "/${x}", "no-slash", "/a;b\x00", "/../x"):
        assert put({"path": text}) == 422, text
        assert put({"path": "/fine"}, rewrite=text) == 422, text
    for text in ("a b", "a\nb", "%[src]", "*.*.x", "host:80"):
        assert put({"path": "/fine", "hosts": [text]}) == 422, text
    for name, value in (("x y", "v"), ("x-a", "a\nb"), ("x-a", "a\x00")):
        assert put({"path": "/fine", "headers": {name: value}}) == 422, (name, value)
    assert put({"path": "/fine"}, service="nobody") == 422
    assert put({"path": "/"}) == 409, "the project's own route has this match"
    assert put({"path": "/"}, weird=1) in {400, 422}
    assert open_platform.api("GET", "/routes/r").status == 404


@pytest.mark.parametrize("ttl", [0, -1, 1e9, "soon"])
def test_absurd_numbers_are_refused(open_platform: Platform, ttl: object) -> None:
    for said in (
        {"ttl": ttl},
        {"weight": 257 if ttl == 0 else -1},
        {"port": 0},
        {"port": 65536},
        {"tags": ["t"] * 10_000},
    ):
        answer = open_platform.api("PUT", "/services/x/instances/x-1", {"port": 9, **said})
        assert answer.status == 422, (said, answer)


def test_the_api_wants_its_token_and_its_own_name(open_platform: Platform) -> None:
    bearer = {"Authorization": f"Bearer {open_platform.token}"}
    path = "/api/v1/services"
    assert ask(open_platform.api_port, path, headers=bearer).status == 200
    assert ask(open_platform.api_port, path).status == 401
    assert ask(open_platform.api_port, path, headers={"Authorization": "Bearer wrong"}).status == 401
    assert ask(open_platform.api_port, path, headers={**bearer, "Host": "evil.example"}).status == 403
    assert ask(open_platform.api_port, path, headers={**bearer, "Origin": "http://evil.example"}).status == 403


def test_a_newer_registration_wins_and_the_older_holder_is_told(open_platform: Platform) -> None:
    first, second = open_platform.guest("twin"), open_platform.guest("twin")
    old = open_platform.register("twins", "twin", first)
    new = open_platform.register("twins", "twin", second)
    assert old["lease"] != new["lease"]
    stale = open_platform.api("PUT", "/services/twins/instances/twin", {"port": first, "lease": old["lease"]})
    assert (stale.status, stale.json["code"]) == (409, "lease-conflict")
    found = open_platform.done("GET", "/services/twins/instances")["instances"]
    assert [one["port"] for one in found] == [second]
    answer = open_platform.api("DELETE", f"/services/twins/instances/twin?lease={old['lease']}")
    assert answer.status == 409, "and cannot remove the newer one"
    open_platform.done("DELETE", f"/services/twins/instances/twin?lease={new['lease']}")


@pytest.mark.slow
def test_an_instance_that_stops_renewing_goes_and_the_last_one_stays(open_platform: Platform) -> None:
    ports = [open_platform.guest(f"quiet-{number}") for number in range(2)]
    for number, port in enumerate(ports):
        open_platform.register("quiet", f"quiet-{number}", port, ttl=2)

    def left() -> list[str]:
        return [one["id"] for one in open_platform.done("GET", "/services/quiet/instances")["instances"]]

    until(lambda: len(left()) == 1, "one of two expired", within=15, every=0.2)
    records = open_platform.done("GET", "/services/quiet/history")["records"]
    assert "expired" in {record["verb"] for record in records}
    until(
        lambda: ask(open_platform.port_of("quiet"), "/").instance in left(),
        "the last one of a service is not taken by time alone",
    )
    assert json.loads(open_platform("service", "history", "quiet", "--json").out)["records"]
