"""A small body that can be sent again is held back until it is whole: one that took over half a second was refused (408)."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

from atoll.model.fallback import Fallback
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.page import Page
from atoll.model.policy import Policy
from atoll.model.route import Match, Route, Share
from tests.contract.gateway.rig import Echo, instance, running, service, snapshot_of

ORDERS = ServiceName("orders")
ROUTES = [
    Route(name=RouteName(name), match=Match(path=PathText(f"/{name}")), shares=(Share(service=ORDERS),), policy=policy)
    for name, policy in (("plain", Policy()), ("guarded", Policy(fallback=Fallback(static=Page(body="instead")))))
]


def test_a_small_body_that_comes_a_second_late_is_served(tmp_path: Path) -> None:
    asked = [("PUT", "/plain"), ("DELETE", "/plain"), ("PUT", "/guarded"), ("POST", "/guarded")]
    with contextlib.ExitStack() as stack:
        echo = stack.enter_context(Echo("one"))
        facts = snapshot_of([service("orders")], [instance("orders", echo.port)], ROUTES)
        port = stack.enter_context(running(facts, tmp_path)).settings.port
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=15)) for _ in asked]
        for client, (method, path) in zip(clients, asked, strict=True):
            head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 5\r\n\r\n"
            client.sendall(head.encode())
        time.sleep(1.0)
        for client, (method, path) in zip(clients, asked, strict=True):
            client.sendall(b"hello")
            answer = b""
            while chunk := client.recv(65536):
                answer += chunk
            assert answer.startswith(b"HTTP/1.1 200 "), (method, path, answer)
        seen = [(each["method"], each["path"], each["body"]) for each in echo.seen]
        assert seen == [(method, path, "hello") for method, path in asked]
