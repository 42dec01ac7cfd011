"""`atoll routes test` says what the gateway does, for paths that servers like to disagree about."""

from __future__ import annotations

import socket
import sys

import pytest

from atoll.cli.api import Api
from atoll.cli.facts import snapshot
from atoll.cli.invocation import Invocation
from atoll.gateway.explain import explain
from tests.system.cli_shell import project

SERVICE = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.environ['ATOLL_SERVICE']} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
PROJECT = """
name: odd
services:
  one: {python} service.py
  two: {python} service.py
  three: {python} service.py
gateway:
  routes:
    - {{name: one, match: {{path_prefix: /api}}, service: one, rewrite: {{path_prefix: /}}}}
    - {{name: two, match: {{path_prefix: /api/orders, methods: [GET]}}, service: two}}
    - {{name: three, match: {{path_prefix: /, host: shop.test}}, service: three}}
"""
REQUESTS = [
    *(("GET", f"/api{rest}", "h") for rest in ("", "/", "x", "//orders/1", "/./orders", "/orders/..", "/x/.", "/.x")),
    *(("GET", f"/api{rest}", "h") for rest in ("/%20a", "/%7e", "?x=/../", "/a;b", "%2forders", "/orders%2e", "/%zz")),
    *(("GET", path, "h") for path in ("/%61pi/orders", "/a/%2e%2e/api/q", "//api", "/a/..;/api", "/api/%00")),
    *(("GET", path, "shop.test") for path in ("/..", "/...", "/api/../x", "/x%zz", "/a\\b")),
    *(("GET", "/x", host) for host in ("SHOP.test.", "shop.test:99", "h", "x.shop.test")),
    ("POST", "/api/orders", "h"),
    ("DELETE", "/x", "h"),
]


def ask(port: int, method: str, path: str, host: str) -> tuple[int, str]:
    """Status and body; the path goes out as it is written."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    status, _, body = answer.partition(b"\r\n\r\n")
    return int(status.split()[1]), body.decode()


@pytest.mark.timeout(60)
def test_what_is_explained_is_what_happens() -> None:
    with project(PROJECT.format(python=sys.executable), service=SERVICE) as shell:
        assert shell("up", "-d", "--wait").code == 0
        invocation = Invocation(shell.environ)
        invocation.folder = shell.folder
        facts = snapshot(Api(invocation.place, timeout=5, clock=invocation.clock))
        port = int(shell.environ["ATOLL_GATEWAY_PORT"])
        for method, path, host in REQUESTS:
            found = explain(facts, method, path, {"Host": host})
            status, body = ask(port, method, path, host)
            assert found.status == status, (method, path, host)
            if found.route is not None:
                assert f"{found.route} {(found.sent_path or '').partition('?')[0]}" == body.partition("?")[0], (
                    method,
                    path,
                    host,
                )
