"""What gateway and mesh answer by themselves, on a real HAProxy: who it was, and whether it may be sent again."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.route import Match, Route, Share
from tests.contract.gateway.rig import Running, instance, running, service, snapshot_of
from tests.contract.gateway.test_traps_retry import Hangup

OWN = b'{"code":"sold-out","type":"about:blank","status":503,"detail":"\\u00e4 none left"}'
"""What a service says itself."""


def route(name: str) -> Route:
    return Route(
        name=RouteName(name), match=Match(path=PathText(f"/{name}")), shares=(Share(service=ServiceName(name)),)
    )


class Refuses(socketserver.BaseRequestHandler):
    """Answers 503 with a problem document of its own."""

    def handle(self) -> None:
        while b"\r\n\r\n" not in (got := self.request.recv(65536)) and got:
            pass
        head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nx-own: 1\r\n"
        self.request.sendall(f"{head}content-length: {len(OWN)}\r\n\r\n".encode() + OWN)


@contextmanager
def refusing() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuses) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def haproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Hangup("rude") as rude, refusing() as port:
        names = ("rude", "own", "empty", "gone")
        members = [instance("rude", rude.port), instance("own", port), instance("gone", 1)]
        facts = snapshot_of([service(name) for name in names], members, [route(name) for name in names])
        with running(facts, tmp_path_factory.mktemp("answers")) as found:
            yield found


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "origin", "retryable"),
    [
        ("GET", "/nowhere", 404, "no-route", "client", False),
        ("GET", "/own%2f", 400, "path-refused", "client", False),
        ("GET", "/rude", 502, "upstream-answer", "service", True),
        ("DELETE", "/rude", 502, "upstream-answer", "service", True),
        ("POST", "/rude", 502, "upstream-answer", "service", False),
        ("GET", "/empty", 503, "no-instance", "service", True),
        ("POST", "/empty", 503, "no-instance", "service", True),
        ("POST", "/gone", 503, "upstream-unreachable", "network", True),
    ],
)
def test_an_answer_says_who_it_was_and_whether_to_come_again(
    haproxy: Running, method: str, path: str, status: int, code: str, origin: str, retryable: bool
) -> None:
    answer = haproxy.ask(path, method=method)
    assert answer.status == status
    said = json.loads(answer.body)
    assert (said["code"], said["status"], said["origin"], said["retryable"]) == (code, status, origin, retryable)
    assert said["instance"] == path
    assert said["type"] == f"urn:atoll:error:{code}"
    if status == 503:
        assert said["service"] == path[1:]
        assert said["passing"] == (1 if code == "upstream-unreachable" else 0)
        assert answer.header("retry-after") == "1"


def test_a_key_makes_a_post_that_may_be_sent_again(haproxy: Running) -> None:
    answer = haproxy.ask("/rude", method="POST", headers=[("Idempotency-Key", "one")])
    assert (answer.status, json.loads(answer.body)["retryable"]) == (502, True)


def test_an_error_of_a_service_passes_untouched(haproxy: Running) -> None:
    answer = haproxy.ask("/own")
    assert (answer.status, answer.body, answer.header("x-own")) == (503, OWN, "1")
    assert answer.header("retry-after") is None


def times_of_refusals(haproxy: Running) -> list[float]:
    """Seconds, sorted."""
    took = []
    for _ in range(21):
        began = time.perf_counter()
        assert haproxy.ask("/empty").status == 503
        took.append(time.perf_counter() - began)
    return sorted(took)


def test_that_nobody_is_there_is_said_without_waiting_for_anybody(haproxy: Running) -> None:
    least = times_of_refusals(haproxy)[0]
    assert least < min(haproxy.settings.connect_timeout, 1.0) / 2, "what HAProxy waits between two tries"


@pytest.mark.slow  # where the machine has other things to do, it takes longer
def test_that_nobody_is_there_is_said_in_less_than_5_ms(haproxy: Running) -> None:
    took = times_of_refusals(haproxy)
    assert took[len(took) // 2] < 0.005
