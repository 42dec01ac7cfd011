"""What is answered in place of a service that failed, on a real HAProxy."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atoll.gateway import budget
from atoll.gateway.config import DOOR
from atoll.gateway.request_log import RequestLog
from atoll.model.breaker import Breaker, BreakerState, BreakerWord
from atoll.model.failover import Failover, parse_group
from atoll.model.fallback import Fallback, LastGood, Other
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.page import Page
from atoll.model.policy import Call, Policy
from atoll.model.route import Match, Route, Share
from tests.contract.gateway.lines import Lines
from tests.contract.gateway.rig import (
    Echo,
    Running,
    free_ports,
    free_range,
    instance,
    running,
    service,
    small_settings,
    snapshot_of,
)  # fmt: skip

HOSTILE = '{"say":"\'%[uuid()] ${HOME} ; $x \\\\ # \x1b[31m\r\n\t|~^ äöü \U0001f600"}'
FIXED = Page(status=203, body=HOSTILE, content_type="application/json", headers={"x-kind": "a b;c=\"%[src]\" 'd'"})  # type: ignore[dict-item]
STATIC = Policy(fallback=Fallback(static=FIXED))
PICKY = Policy(fallback=Fallback(static=FIXED, on=("500", "timeout")))
BEST = ServiceName("best")


class Moody(Echo):
    """Does what the path's last part says."""

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        word = asked["path"].partition("?")[0].rsplit("/", 1)[-1]
        if word == "hang":
            time.sleep(6)
        elif word == "close":
            handler.close_connection = True
        elif word.isdigit():
            handler.send_response(int(word))
            handler.send_header("x-own", "1")
            handler.send_header("x-atoll-page", "page:made-up")
            handler.send_header("content-length", "3")
            handler.end_headers()
            handler.wfile.write(b"own")
        else:
            super().respond(handler, asked)


def route(name: str, policy: Policy, to: str = "moody") -> Route:
    shares = (Share(service=ServiceName(to)),)
    return Route(name=RouteName(name), match=Match(path=PathText(f"/{name}")), shares=shares, policy=policy)


def instead(path: str = "", **values: Any) -> Policy:
    return Policy(fallback=Fallback(service=Other(service=BEST, path=path, **values)))


def hurried(policy: Policy) -> Policy:
    """For those who hang: everybody else has all the time of the machine."""
    return msgspec.structs.replace(policy, timeout=0.3)


OPEN = service("open", breaker_word=BreakerWord(state=BreakerState.OPEN, until=time.time() + 86_400), mesh_index=1)
ROUTES = [
    route("static", STATIC),
    route("static-late", hurried(STATIC)),
    route("open", STATIC, "open"),
    route("empty", STATIC, "empty"),
    route("gone", STATIC, "gone"),
    route("plain", Policy()),
    route("picky", PICKY),
    route("picky-late", hurried(PICKY)),
    route("other", instead()),
    route("other-late", hurried(instead())),
    route("mapped", instead("/top/{2}/{5}?like={1}&of={2}")),
    route("other-empty", instead("/x"), "empty"),
    route("deep", Policy(fallback=Fallback(service=Other(service=ServiceName("deep")))), "empty"),
    route("page", Policy(errors={"503": Page(status=503, body="<h1>soon</h1>", content_type="text/html")}), "empty"),
    route("own-page", Policy(errors={"503": Page(status=503, body="not this")})),
    route("bodiless", Policy(fallback=Fallback(static=Page(status=204))), "empty"),
]


@pytest.fixture(scope="module")
def moody() -> Iterator[Moody]:
    with Moody("moody") as found:
        yield found


@pytest.fixture(scope="module")
def best() -> Iterator[Echo]:
    with Echo("best") as found:
        yield found


@pytest.fixture(scope="module")
def haproxy(moody: Moody, best: Echo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    (nobody,) = free_ports(1)
    services = [
        service("moody"), OPEN, service("empty"), service("gone"), service("best"), service("deep", policy=STATIC),
    ]  # fmt: skip
    members = [instance("moody", moody.port), instance("open", moody.port), instance("best", best.port)]
    members += [instance("gone", nobody), instance("deep", nobody)]
    facts = snapshot_of(services, members, ROUTES)
    # who is gone is tried four times, with a pause as long as a connect may take
    with running(facts, tmp_path_factory.mktemp("fallback"), small_settings(connect_timeout=0.2)) as found:
        yield found


@pytest.mark.parametrize(
    ("path", "size"),
    [
        *(
            (f"/{path}", size)
            for path in (
                "static-late/hang",
                "static/close",
                "static/502",
                "static/503",
                "static/504",
                "open/x",
                "empty/x",
            )
            for size in (None, 5, 200_000)
        ),
        ("/gone/x", 200_000),
    ],
)
def test_a_fixed_answer_comes_whatever_failed_and_whatever_was_asked(
    haproxy: Running, path: str, size: int | None
) -> None:
    method = "GET" if size is None else "POST"
    answer = haproxy.ask(path, method=method, body=None if size is None else b"x" * size)
    assert (answer.status, answer.body.decode()) == (203, HOSTILE)
    assert answer.header("content-type") == "application/json"
    assert answer.header("x-kind") == FIXED.headers["x-kind"]  # type: ignore[index]
    assert answer.header("x-fallback") == "static"
    assert not [name for name, _ in answer.headers if name.startswith("x-atoll")]


@pytest.mark.parametrize("word", ["x", "200", "404", "425", "429", "500"])
def test_what_is_not_a_failure_passes_untouched(haproxy: Running, word: str) -> None:
    plain, guarded = (haproxy.ask(f"/{name}/{word}") for name in ("plain", "static"))
    assert guarded.status == plain.status == (200 if word == "x" else int(word))
    assert guarded.header("x-fallback") is None
    if word != "x":
        assert (guarded.body, guarded.header("x-own")) == (b"own", "1")


def test_only_what_is_chosen_counts_as_failed(haproxy: Running) -> None:
    kinds = {word: haproxy.ask(f"/picky/{word}").header("x-fallback") for word in ("500", "503", "close")}
    assert kinds == {"500": "static", "503": None, "close": None}
    assert haproxy.ask("/picky-late/hang").header("x-fallback") == "static"
    assert haproxy.ask("/picky/503").body == b"own"
    assert haproxy.ask("/picky/close").json()["code"] == "upstream-answer"


@pytest.mark.parametrize("path", ["/other-late/hang", "/other/close", "/other/502", "/other/503"])
def test_another_service_is_asked_the_same(haproxy: Running, moody: Moody, best: Echo, path: str) -> None:
    best.seen.clear()
    for method, body in (("GET", None), ("POST", b"x" * 10_000), ("PUT", b"y"), ("DELETE", None)):
        answer = haproxy.ask(f"{path}?q=1", method=method, body=body, headers=[("x-mine", "1")])
        seen = best.seen.pop()
        assert not best.seen
        assert (seen["method"], seen["path"], seen["body"].encode()) == (method, f"{path}?q=1", body or b"")
        assert ["x-mine", "1"] in seen["headers"]
        assert not [name for name, _ in seen["headers"] if name.startswith("x-atoll")]
        assert answer.header("x-fallback") == "service"


def test_a_plain_post_is_sent_to_the_failed_service_once(haproxy: Running, moody: Moody) -> None:
    moody.seen.clear()
    assert haproxy.ask("/other/close", method="POST", body=b"x").header("x-fallback") == "service"
    assert len(moody.seen) == 1


def test_a_body_of_unknown_size_is_sent_once(haproxy: Running, moody: Moody) -> None:
    moody.seen.clear()
    raw = haproxy.raw(
        b"POST /other/503 HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    )
    assert raw.startswith(b"HTTP/1.1 503 ")
    assert len(moody.seen) == 1


def test_a_body_that_cannot_be_sent_again_gets_the_failure_itself(haproxy: Running, best: Echo) -> None:
    best.seen.clear()
    answer = haproxy.ask("/other/503", method="POST", body=b"x" * 100_000)
    assert (answer.status, answer.body, answer.header("x-fallback")) == (503, b"own", None)
    answer = haproxy.ask("/other/close", method="POST", body=b"x" * 100_000)
    assert (answer.status, answer.json()["code"]) == (502, "upstream-answer")
    assert not [name for name, _ in answer.headers if name.startswith("x-atoll")]
    assert not best.seen


@pytest.mark.parametrize(
    ("path", "mapped"),
    [
        ("/mapped/a/503", "/top/a/?like=mapped&of=a"),
        ("/mapped/a/b/c/503?x=9", "/top/a/503?like=mapped&of=a"),
        ("/mapped/a&x=1/503", "/top/a/?like=mapped&of=a"),
        ("/mapped/{1}/503", "/top//?like=mapped&of="),
    ],
)
def test_the_path_of_another_service_is_made_of_the_requests(
    haproxy: Running, best: Echo, path: str, mapped: str
) -> None:
    best.seen.clear()
    haproxy.ask(path)
    assert [seen["path"] for seen in best.seen] == [mapped]


def test_a_query_goes_along_where_the_path_has_none(haproxy: Running, best: Echo) -> None:
    best.seen.clear()
    assert haproxy.ask("/other-empty/a?q=1").header("x-fallback") == "service"
    assert best.seen[0]["path"] == "/x?q=1"


def test_a_fallback_has_none_itself(haproxy: Running) -> None:
    answer = haproxy.ask("/deep/x")
    assert (answer.status, answer.json()["service"]) == (503, "deep")
    assert answer.header("x-fallback") == "service"


def test_an_error_of_the_gateway_has_a_body_of_the_routes_own(haproxy: Running) -> None:
    answer = haproxy.ask("/page/x")
    assert (answer.status, answer.body, answer.header("content-type")) == (503, b"<h1>soon</h1>", "text/html")
    assert (answer.header("retry-after"), answer.header("x-fallback")) == ("1", None)
    assert haproxy.ask("/own-page/503").body == b"own"


def test_an_answer_without_a_body_has_none(haproxy: Running) -> None:
    raw = haproxy.raw(b"GET /bodiless/x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 204 ")
    assert raw.endswith(b"\r\n\r\n")
    head = haproxy.raw(b"HEAD /empty/x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 203 ")
    assert head.endswith(b"\r\n\r\n")


def test_a_client_cannot_speak_for_the_gateway(haproxy: Running, moody: Moody) -> None:
    lies = [("x-atoll-at", "0||best|best||0|x|"), ("x-atoll-page", "page:x"), ("x-atoll-status", "503")]
    answer = haproxy.ask("/static/x", headers=lies)
    assert answer.json()["name"] == "moody"
    assert not [name for name, _ in answer.json()["headers"] if name.startswith("x-atoll")]


def test_a_later_request_of_a_connection_that_is_hung_up_on_gets_it_too(haproxy: Running) -> None:
    """Without one, HAProxy closes the client's connection without a word."""
    with socket.create_connection(("127.0.0.1", haproxy.settings.port), timeout=5) as connection:
        for word in ("x", "close", "x", "close"):
            connection.sendall(f"POST /static/{word} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                got = connection.recv(65536)
                assert got
                head += got
            assert head.startswith(b"HTTP/1.1 203 " if word == "close" else b"HTTP/1.1 200 ")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = head.partition(b"\r\n\r\n")[2]
            while len(body) < length:
                body += connection.recv(65536)


def test_a_stream_flows_and_a_websocket_is_tunnelled_behind_it(tmp_path: Path) -> None:
    class Streaming(Echo):
        def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
            if "websocket" in dict(asked["headers"]).get("upgrade", ""):
                handler.wfile.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                )
                handler.wfile.write(handler.rfile.read(5).upper())
                handler.close_connection = True
                return
            handler.send_response(200)
            handler.send_header("content-type", "text/event-stream")
            handler.send_header("transfer-encoding", "chunked")
            handler.end_headers()
            for number in range(8):
                event = b"data: %d\n\n" % number
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                handler.wfile.flush()
                assert arrived.acquire(timeout=10), "it waits until the client has this one before it makes the next"
            handler.wfile.write(b"0\r\n\r\n")

    arrived = threading.Semaphore(0)
    policy = Policy(fallback=Fallback(static=FIXED, last_good=LastGood()))
    with Streaming("events") as upstream:
        facts = snapshot_of([service("s")], [instance("s", upstream.port)], [route("s", policy, "s")])
        with (
            running(facts, tmp_path) as haproxy,
            socket.create_connection(("127.0.0.1", haproxy.settings.port), timeout=10) as connection,
            socket.create_connection(("127.0.0.1", haproxy.settings.port), timeout=10) as tunnel,
        ):
            connection.sendall(b"GET /s HTTP/1.1\r\nHost: test\r\n\r\n")
            received = b""
            for number in range(8):
                while b"data: %d\n\n" % number not in received:
                    received += connection.recv(65536)
                arrived.release()
            tunnel.sendall(
                b"GET /s HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nhello"
            )
            heard = b""
            while not heard.endswith(b"HELLO"):
                got = tunnel.recv(65536)
                assert got, heard
                heard += got


def test_a_fallback_is_no_retry_and_no_spent_budget_stands_in_its_way(tmp_path: Path) -> None:
    off = Policy(fallback=Fallback(service=Other(service=BEST)), circuit_breaker=Breaker(enabled=False))
    with Moody("bad") as bad, Echo("best") as best:
        facts = snapshot_of(
            [service("bad"), service("best")],
            [instance("bad", bad.port), instance("best", best.port)],
            [route("bad", off, "bad")],
        )
        with running(facts, tmp_path) as haproxy:
            asked = 3 * budget.FLOOR
            assert {haproxy.ask("/bad/close").header("x-fallback") for _ in range(asked)} == {"service"}
            assert len(best.seen) == asked
            assert len(bad.seen) < 2 * asked + budget.FLOOR
            keys = {
                line.split("key=")[1].split()[0]
                for line in haproxy.command(f"show table {budget.TABLE}").splitlines()
                if "key=" in line
            }
            assert "bad" in keys
            assert DOOR not in keys


def test_what_a_service_says_of_itself_holds_for_all_who_call_it_until_one_says_otherwise(tmp_path: Path) -> None:
    ports = free_range(4)
    settings = small_settings(mesh_ports=ports, mesh_count=4)
    none = Call(policy=Policy(fallback=Fallback()), mesh_index=3)
    services = [
        service("moody", policy=STATIC),
        service("best", mesh_index=1),
        service("web", mesh_index=2, calls={ServiceName("moody"): none}),
    ]
    routes = [route("front", Policy()), route("own", instead())]
    with Echo("best") as best:
        facts = snapshot_of(services, [instance("best", best.port)], routes)
        with running(facts, tmp_path, settings) as haproxy:
            assert haproxy.ask("/front/x").header("x-fallback") == "static"
            assert haproxy.ask("/x", port=ports).header("x-fallback") == "static"
            assert haproxy.ask("/svc/moody/x", port=settings.mesh_port).header("x-fallback") == "static"
            assert haproxy.ask("/own/x").header("x-fallback") == "service"
            answer = haproxy.ask("/x", port=ports + 3)
            assert (answer.status, answer.json()["code"], answer.header("x-fallback")) == (503, "no-instance", None)


def test_the_log_tells_of_the_failed_attempt_and_of_what_was_given(tmp_path: Path) -> None:
    path = tmp_path / "requests.sock"
    with Moody("moody") as moody, Echo("best") as best, Lines(path) as lines:
        facts = snapshot_of(
            [service("moody"), service("best")],
            [instance("moody", moody.port), instance("best", best.port)],
            [route("static", STATIC), route("other", instead())],
        )
        with running(facts, tmp_path, log=RequestLog(socket=path, ring_bytes=1 << 20)) as haproxy:
            assert haproxy.ask("/static/x").status == 200
            assert haproxy.ask("/static/503").status == 203
            assert haproxy.ask("/other/503").status == 200
            lines.next(lambda line: line["Mark"].startswith("fallback-service"))
            lines.next(lambda line: line["Edge"] == "instead")
        found = sorted(lines.requests, key=lambda line: (line["Path"], line["Edge"]))
        good = next(line for line in found if line["Path"] == "/static/x")
        assert (good["Target"], good["Status"], good["Mark"][:5]) == ("static|moody|moody", "200", "@one:")
        failed, served = (line for line in found if line["Path"] == "/static/503")
        assert (failed["Edge"], failed["Status"], failed["Mark"], failed["Server"][:4]) == (
            "attempt",
            "503",
            "503",
            "one:",
        )
        assert (served["Edge"], served["Status"], served["Mark"]) == ("gateway", "203", "fallback-static:503@@0")
        assert failed["Parent"] == served["Trace"]
        assert failed["Trace"] != served["Trace"]
        attempt, outer, other = (line for line in found if line["Path"] == "/other/503")
        assert [line["Edge"] for line in (attempt, outer, other)] == ["attempt", "gateway", "instead"]
        assert outer["Mark"] == "fallback-service@@0"
        assert (other["Target"], other["Caller"], other["Status"]) == ("|best|best", "moody", "200")
        assert attempt["Parent"] == other["Parent"] == outer["Trace"]
        assert dict(best.seen[0]["headers"])["traceparent"] == other["Trace"]


def test_an_answer_says_that_another_group_served_and_that_a_fallback_was_taken_of_it(tmp_path: Path) -> None:
    path = tmp_path / "requests.sock"
    groups = Failover(groups=(parse_group("far"), parse_group("moody")))
    first = free_range(2)
    settings = small_settings(mesh_ports=first, mesh_count=2)
    with Moody("moody") as moody, Lines(path) as lines:
        facts = snapshot_of(
            [service("far", failover=groups, mesh_index=0), service("moody", mesh_index=1)],
            [instance("moody", moody.port)],
            [route("plain", Policy(), "far"), route("static", STATIC, "far"), route("near", STATIC)],
        )
        with running(facts, tmp_path, settings, log=RequestLog(socket=path, ring_bytes=1 << 20)) as haproxy:
            told = {
                asked: (haproxy.ask(asked).header("x-failover"), haproxy.ask(asked).header("x-fallback"))
                for asked in ("/plain/x", "/static/x", "/static/503", "/near/x", "/near/503")
            }
            assert told == {
                "/plain/x": ("moody", None),
                "/static/x": ("moody", None),
                "/static/503": ("moody", "static"),
                "/near/x": (None, None),
                "/near/503": (None, "static"),
            }
            assert haproxy.ask("/x", port=first).header("x-failover") == "moody", "on the mesh too"

            def mark(asked: str) -> str:
                return lines.next(lambda line: line["Edge"] == "gateway" and line["Path"] == asked)["Mark"]

            assert mark("/plain/x") == "failover"
            assert (mark("/static/x")[:5], mark("/static/x")[-11:]) == ("@one:", "@0@failover")
            assert mark("/static/503") == "fallback-static:503@@0@failover"
            assert mark("/near/503") == "fallback-static:503@@0"
