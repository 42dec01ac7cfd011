"""A small body that can be sent again is held back until it is whole: one that took over half a second was refused (408)."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(("method", "path"), [("PUT", "/plain"), ("DELETE", "/plain"), ("POST", "/guarded")])
def test_a_small_body_that_comes_a_second_late_is_served(tmp_path: Path, method: str, path: str) -> None:
    with (
        Echo("one") as echo,
        running(snapshot_of([service("orders")], [instance("orders", echo.port)], ROUTES), tmp_path) as haproxy,
        socket.create_connection(("127.0.0.1", haproxy.settings.port), timeout=15) as connection,
    ):
        head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 5\r\n\r\n"
        connection.sendall(head.encode())
        time.sleep(1.0)
        connection.sendall(b"hello")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert [seen["body"] for seen in echo.seen] == ["hello"]
