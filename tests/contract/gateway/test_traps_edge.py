"""Hygiene at the edge, names that hold anything, and services without instances, on a real HAProxy."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.gateway.config import GatewayConfig
from atoll.gateway.quote import line
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.policy import Policy
from atoll.model.route import Match, Route, Share
from atoll.model.service import Balance, BalanceKind, Protocol
from tests.contract.gateway import rig
from tests.contract.gateway.rig import Echo, instance, running, running_config, service, small_settings, snapshot_of

ALL = Route(name=RouteName("all"), shares=(Share(service=ServiceName("s")),))


def test_what_a_client_says_of_itself_is_said_anew(tmp_path: Path) -> None:
    with (
        Echo("s") as echo,
        running(snapshot_of([service("s")], [instance("s", echo.port)], [ALL]), tmp_path) as haproxy,
    ):
        lies = [
            ("X-Forwarded-For", "1.2.3.4"),
            ("X-Forwarded-For", "5.6.7.8"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil"),
            ("X-Forwarded-Prefix", "/evil"),
            ("Forwarded", "for=1.2.3.4"),
            ("X-Real-IP", "1.2.3.4"),
            ("X-Atoll-Consumer", "root"),
            ("Proxy", "http://evil"),
            ("Proxy-Connection", "keep-alive"),
            ("Keep-Alive", "timeout=5"),
            ("Connection", "X-Real-IP, X-Api-Key"),
            ("X-Api-Key", "k"),
            ("Upgrade", "h2c"),
        ]
        answer = haproxy.ask("/", headers=lies, host="Shop.Test:8080")
        said = {name: answer.seen_header(name.lower()) for name, _ in lies}
        assert said == {
            "X-Forwarded-For": ["127.0.0.1"],
            "X-Forwarded-Proto": ["http"],
            "X-Forwarded-Host": [],
            "X-Forwarded-Prefix": [],
            "Forwarded": [],
            "X-Real-IP": ["127.0.0.1"],
            "X-Atoll-Consumer": [],
            "Proxy": [],
            "Proxy-Connection": [],
            "Keep-Alive": [],
            "Connection": [],
            "X-Api-Key": ["k"],
            "Upgrade": [],
        }
        assert answer.seen_header("host") == ["Shop.Test:8080"]
        assert answer.seen_header("host") == ["Shop.Test:8080"]


def test_a_request_id_is_kept_when_it_is_one_and_made_when_not(tmp_path: Path) -> None:
    with (
        Echo("s") as echo,
        running(snapshot_of([service("s")], [instance("s", echo.port)], [ALL]), tmp_path) as haproxy,
    ):
        for port in (haproxy.settings.port, haproxy.settings.mesh_port):
            kept = haproxy.ask("/", host="s", headers=[("x-request-id", "abc-1.2_3")], port=port)
            assert kept.seen_header("x-request-id") == ["abc-1.2_3"]
            made = [
                haproxy.ask("/", host="s", headers=[("x-request-id", bad)], port=port).seen_header("x-request-id")
                for bad in ("", "a b", "x" * 129, "%[src]", "a;b")
            ]
            assert len({one for (one,) in made}) == len(made)
            assert all(len(one) > 36 and " " not in one for (one,) in made)


def test_a_header_name_with_an_underscore_is_refused_at_the_gateway_and_says_why(tmp_path: Path) -> None:
    with (
        Echo("s") as echo,
        running(snapshot_of([service("s")], [instance("s", echo.port)], [ALL]), tmp_path) as haproxy,
    ):
        answer = haproxy.ask("/", headers=[("x_real_ip", "1.2.3.4")])
        assert answer.status == 403
        assert answer.json()["code"] == "header-refused"
        assert haproxy.ask("/", host="s", headers=[("x_meta", "1")], port=haproxy.settings.mesh_port).status == 200


def test_a_prefix_is_rewritten_and_the_rest_survives_byte_for_byte(tmp_path: Path) -> None:
    routes = [
        Route(
            name=RouteName(f"r{at}"),
            match=Match(path=PathText(path), exact=exact),
            rewrite=PathText(to),
            shares=ALL.shares,
        )
        for at, (path, to, exact) in enumerate(
            [
                ("/api", "/", False),
                ("/a/b", "/x/y/z", False),
                ("/one", "/two", True),
                ("/t", "/v2", False),
                ("/same", "/same", False),
            ]
        )
    ]
    expected = {
        "/api": "/",
        "/api/": "/",
        "/api?q": "/?q",
        "/api/x%20y;z/%C3%A9?a=%2f&b=//..": "/x%20y;z/%C3%A9?a=%2f&b=//..",
        "/a/b/c^d^e": "/x/y/z/c^d^e",
        "/a/b": "/x/y/z",
        "/one": "/two",
        "/t": "/v2",
        "/t/": "/v2/",
        "/t/t/t": "/v2/t/t",
        "/same/x": "/same/x",
    }
    with (
        Echo("s") as echo,
        running(snapshot_of([service("s")], [instance("s", echo.port)], routes), tmp_path) as haproxy,
    ):
        assert {path: haproxy.ask(path).json()["path"] for path in expected} == expected
        assert haproxy.ask("/a/b/c").seen_header("x-forwarded-prefix") == ["/a/b"]


def test_a_service_without_instances_has_a_backend_and_answers_503_with_the_reason(tmp_path: Path) -> None:
    routes = [
        Route(name=RouteName("e"), match=Match(path=PathText("/empty")), shares=(Share(service=ServiceName("empty")),)),
        Route(name=RouteName("g"), match=Match(path=PathText("/gone")), shares=(Share(service=ServiceName("gone")),)),
        Route(
            name=RouteName("v"),
            match=Match(path=PathText("/version")),
            shares=(Share(service=ServiceName("empty"), version="v9"),),  # type: ignore[arg-type]
        ),
    ]
    (nobody,) = rig.free_ports(1)
    with running(
        snapshot_of([service("empty"), service("dead")], [instance("dead", nobody)], routes),
        tmp_path,
        small_settings(connect_timeout=0.2),
    ) as haproxy:
        assert any("gone" in objection for objection in haproxy.refused)
        for path, named in (("/empty", "empty"), ("/gone", "gone"), ("/version", "empty")):
            answer = haproxy.ask(path)
            assert answer.status == 503
            assert answer.header("retry-after") == "1"
            assert (answer.json()["code"], answer.json()["service"]) == ("no-instance", named)
        dead = haproxy.ask("/", host="dead", port=haproxy.settings.mesh_port)
        assert (dead.status, dead.json()["code"]) == (503, "upstream-unreachable")
        unknown = haproxy.ask("/", host="nope", port=haproxy.settings.mesh_port)
        assert (unknown.status, unknown.json()["code"]) == (503, "unknown-service")


def test_haproxy_starts_from_nothing_at_all(tmp_path: Path) -> None:
    with running_config(GatewayConfig(), tmp_path, small_settings()) as haproxy:
        answer = haproxy.ask('/x"y')
        assert (answer.status, answer.json()["code"], answer.json()["instance"]) == (404, "no-route", '/x"y')


def test_a_route_with_a_timeout_of_its_own_ends_in_504_by_then(tmp_path: Path) -> None:
    class Slow(Echo):
        def respond(self, handler: object, asked: object) -> None:
            import time

            time.sleep(5)

    route = Route(name=RouteName("all"), shares=ALL.shares, policy=Policy(timeout=0.1))
    with (
        Slow("s") as echo,
        running(snapshot_of([service("s")], [instance("s", echo.port)], [route]), tmp_path) as haproxy,
    ):
        answer = haproxy.ask("/")
        assert (answer.status, answer.json()["code"]) == (504, "upstream-timeout")


def test_hashing_sends_equal_values_to_one_instance_and_spreads_the_others(tmp_path: Path) -> None:
    names = ("client_ip", "path", "header:x-user")
    with Echo("a") as a, Echo("b") as b, Echo("c") as c:
        facts = snapshot_of(
            [service(f"s{at}", balance=Balance(kind=BalanceKind.HASH, hash_on=on)) for at, on in enumerate(names)],
            [instance(f"s{at}", echo.port, echo.name) for at in range(3) for echo in (a, b, c)],
        )
        with running(facts, tmp_path) as haproxy:

            def ask(host: str, at: int) -> str:
                headers = [("x-user", str(at)), ("x-forwarded-for", f"10.0.0.{at}, 1.1.1.1")]
                answer = haproxy.ask(f"/{at}", host=host, headers=headers, port=haproxy.settings.mesh_port)
                return str(answer.json()["name"])

            for host in ("s0", "s1", "s2"):
                chosen = [ask(host, at) for at in range(30)]
                assert len(set(chosen)) > 1, host
                assert chosen == [ask(host, at) for at in range(30)]


def test_a_tcp_service_has_a_listener_of_its_own_on_its_mesh_port(tmp_path: Path) -> None:
    base = rig.free_range(3)
    settings_ = small_settings(mesh_ports=base, mesh_count=3)
    with Echo("s") as echo:
        facts = snapshot_of(
            [
                service("bytes", protocol=Protocol.TCP, mesh_index=1),
                service("web", mesh_index=0),
                service("more", mesh_index=2),
            ],
            [instance(name, echo.port) for name in ("bytes", "web", "more")],
        )
        with running(facts, tmp_path, settings_) as haproxy:
            assert haproxy.ask("/", port=base).seen_header("x-request-id")
            assert haproxy.ask("/", port=base + 2).seen_header("x-request-id")
            assert haproxy.ask("/", port=base + 1).seen_header("x-request-id") == []


@settings(max_examples=8)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1), min_size=10, max_size=40)
)
def test_a_quoted_word_is_read_by_haproxy_as_it_was_written(words: list[str]) -> None:
    nasty = ["%[src]", "${HOME}", "$HOME", "a b", "a'b", '"', "\\", "\\n", "#x", ";", "{ }", "' '", "''", "if", "\\'"]
    words = [*words, *nasty]
    with tempfile.TemporaryDirectory() as folder:
        port = rig.free_ports(1)[0]
        rules = [
            f"{line('http-request', 'return', 'status', '200', 'content-type', 'text/plain', 'string', word)}"
            f" if {{ path /{at} }}"
            for at, word in enumerate(words)
        ]
        text = "\n".join(
            ["defaults", "  mode http", "  timeout client 5s", "frontend f", f"  bind 127.0.0.1:{port}", *rules, ""]
        )
        with rig.raw_haproxy(text, Path(folder), port) as ask:
            assert [ask(f"/{at}").decode() for at in range(len(words))] == words
