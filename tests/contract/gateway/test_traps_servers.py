"""A server added while HAProxy runs is the same as one of the file, and a failing one is taken out."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from atoll.gateway.backend import server_options
from atoll.model.names import RouteName, ServiceName
from atoll.model.route import Route, Share
from atoll.model.service import Check, CheckKind
from tests.contract.gateway.rig import Echo, Running, instance, running, service, snapshot_of

CHECK = Check(kind=CheckKind.HTTP, path="/ready", interval=1.0, fall=4, rise=30)
"""Asked soon, and back half a minute after it was taken out."""


class Broken(Echo):
    """Healthy when checked, 500 otherwise."""

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        handler.send_response(200 if asked["path"] == "/ready" else 500)
        handler.send_header("content-length", "0")
        handler.end_headers()


def stat(haproxy: Running, backend: str, server: str) -> dict[str, str]:
    return haproxy.servers()[backend, server]


@pytest.mark.parametrize("how", ["file", "runtime"])
def test_a_server_that_fails_five_requests_is_taken_out_whether_of_the_file_or_added_later(
    tmp_path: Path, how: str
) -> None:
    with Broken("bad") as bad, Echo("good") as good:
        route = Route(name=RouteName("all"), shares=(Share(service=ServiceName("s")),))
        facts = snapshot_of(
            [service("s", check=CHECK)], [instance("s", bad.port, "bad"), instance("s", good.port, "good")], [route]
        )
        with running(facts, tmp_path) as haproxy:
            (backend,) = haproxy.config.backends
            written = {server.name: stat(haproxy, "s", server.name) for server in backend.servers}
            if how == "runtime":
                for server in backend.servers:
                    where = f"{backend.name}/{server.name}"
                    haproxy.command(f"set server {where} state maint")
                    assert "deleted" in haproxy.command(f"del server {where}")
                    words = " ".join(server_options(backend.traits, server))
                    assert "New server" in haproxy.command(f"add server {where} {server.host}:{server.port} {words}")
                    haproxy.command(f"enable health {where}; enable server {where}")
                for name, before in written.items():
                    after = stat(haproxy, "s", name)
                    same = (
                        "weight",
                        "check_rise",
                        "check_fall",
                        "addr",
                        "cookie",
                        "mode",
                        "algo",
                        "act",
                        "bck",
                        "slim",
                        "qlimit",
                    )
                    assert {key: after[key] for key in same} == {key: before[key] for key in same}
            haproxy.wait_for(lambda: all(stat(haproxy, "s", name)["check_status"] == "L7OK" for name in written))
            statuses = [haproxy.ask("/").status for _ in range(14)]
            assert statuses.count(500) == 5
            name = next(each for each in written if each.startswith("bad"))
            assert stat(haproxy, "s", name)["status"] == "DOWN"


def test_the_only_server_is_never_taken_out_by_failed_requests(tmp_path: Path) -> None:
    with Broken("bad") as bad:
        route = Route(name=RouteName("all"), shares=(Share(service=ServiceName("s")),))
        facts = snapshot_of([service("s", check=CHECK)], [instance("s", bad.port, "bad")], [route])
        with running(facts, tmp_path) as haproxy:
            assert [haproxy.ask("/").status for _ in range(12)] == [500] * 12
