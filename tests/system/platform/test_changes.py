"""What an operator does to a platform under load: nobody outside may notice, and the proxy is not reloaded for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.platform.conftest import running
from tests.system.platform.load import Load
from tests.system.platform.stage import Platform, ask, until

pytestmark = pytest.mark.timeout(90)
PROJECT = """
name: loaded
services:
  web: {command: python service.py, replicas: 4, healthcheck: {http: /healthz}}
  other: {command: python service.py}
gateway:
  routes:
    - {name: web, match: {path_prefix: /}, service: web}
    - {name: other, match: {path_prefix: /other}, service: other}
"""
SLOW = "/x?ms=30"
"""At 500 a second some fifteen requests are in flight whenever an instance has to go."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Platform]:
    with running(PROJECT) as platform:
        yield platform


@pytest.fixture
def loaded(shared: Platform) -> Platform:
    """Four of `web`, all routed, and no reload so far."""
    shared.done("POST", "/services/web/scale", {"replicas": 4})
    shared.until_ready()
    until(lambda: len(shared.pids("web")) == 4 and shared.settled(), "four of them")
    assert shared.gateway()["reloads"] == 0
    return shared


def test_scaling_down_to_one_under_load_fails_no_request(loaded: Platform) -> None:
    with Load(loaded.gateway_port, SLOW) as load:
        load.more(500)
        assert set(load.instances) == set(loaded.pids("web")), "all four answer"
        assert loaded("scale", "web=1").code == 0
        until(lambda: len(loaded.pids("web")) == 1, "three instances have gone", within=30)
        load.more(500)
    assert load.failed == [], load.told
    assert loaded.gateway()["reloads"] == 0

    def registered() -> list[str]:
        return [one["id"] for one in loaded.done("GET", "/services/web/instances")["instances"]]

    until(lambda: registered() == list(loaded.pids("web")), "nobody else is registered")


@pytest.mark.slow
def test_scaling_up_under_load_fails_no_request_and_spreads_it(loaded: Platform) -> None:
    loaded("scale", "web=1")
    until(lambda: len(loaded.pids("web")) == 1, "three instances have gone", within=30)
    with Load(loaded.gateway_port, SLOW) as load:
        load.more(200)
        assert loaded("scale", "web=4").code == 0
        until(lambda: len(load.instances) == 4 or load.failed, "all four answer", within=20)
        load.more(300)
    assert load.failed == [], load.told
    assert loaded.gateway()["reloads"] == 0


def test_a_rolling_restart_under_load_fails_no_request(loaded: Platform) -> None:
    before = set(loaded.pids("web").values())
    with Load(loaded.gateway_port, SLOW) as load:
        load.more(200)
        assert loaded("restart", "--rolling", "web").code == 0

        def replaced() -> bool:
            now = set(loaded.pids("web").values())
            return len(now) == 4 and not now & before

        until(replaced, "all four are new", within=60)
        load.more(300)
    assert load.failed == [], load.told
    assert loaded.gateway()["reloads"] == 0
    assert len(loaded.pids("other")) == 1


def test_a_hundred_instance_changes_reload_nothing_and_fail_nothing(loaded: Platform) -> None:
    ports = [loaded.guest(f"guest-{number}") for number in range(4)]
    with Load(loaded.gateway_port, SLOW) as load:
        for turn in range(50):
            name = f"guest-{turn % 4}"
            loaded.register("web", name, ports[turn % 4], ttl=60, weight=50 + turn)
            if turn % 7 == 0:
                until(lambda name=name: load.instances[name] > 0, f"{name} gets requests")  # type: ignore[misc]
            loaded.done("DELETE", f"/services/web/instances/{name}")
        until(loaded.settled, "the gateway runs the newest facts")
        load.more(200)
    assert load.failed == [], load.told
    report = loaded.gateway()
    assert (report["reloads"], report["errors"]) == (0, 0), report


def test_a_new_service_with_a_route_is_reached_without_a_reload(loaded: Platform) -> None:
    ports = {f"fresh-{number}": loaded.guest(f"fresh-{number}") for number in (1, 2, 3)}
    with Load(loaded.gateway_port, SLOW) as load:
        for name, port in ports.items():
            loaded.register("fresh", name, port, ttl=60)
        route = {"name": "fresh", "match": {"path": "/fresh"}, "shares": [{"service": "fresh"}], "rewrite": "/"}
        loaded.done("PUT", "/routes/fresh", route)
        first = until(
            lambda: (a := loaded.get("/fresh/x")).json.get("instance", "").startswith("fresh") and a, "routed"
        )
        assert first.json["path"] == "/x"
        seen = {loaded.get("/fresh/x").instance for _ in range(30)}
        assert seen == set(ports), "all three take requests"
        assert ask(loaded.port_of("fresh"), "/y").instance in ports
        assert ask(loaded.mesh_port, "/y", headers={"Host": "fresh"}).instance in ports
        loaded.done("DELETE", "/routes/fresh")
        until(lambda: loaded.get("/fresh/x").instance.startswith("web"), "the route is gone")
    assert load.failed == [], load.told
    assert loaded.gateway()["reloads"] == 0


def test_what_was_stopped_answers_503_and_comes_back_on_the_same_mesh_port(loaded: Platform) -> None:
    port = loaded.port_of("other")
    assert ask(port, "/").status == 200
    assert loaded("stop", "other").code == 0
    until(lambda: not loaded.pids("other") and loaded.settled(), "it has stopped")
    for answer in (ask(port, "/"), loaded.get("/other")):
        assert answer.status == 503
        assert answer.json["code"] == "no-instance"
        assert "retry-after" in answer.headers
    assert loaded("start", "other").code == 0
    assert loaded("wait", "other").code == 0
    assert until(lambda: ask(port, "/").status == 200, "it is back")
