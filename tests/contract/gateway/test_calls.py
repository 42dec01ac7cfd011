from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from atoll.model.names import ServiceName
from atoll.model.policy import Call, Policy
from tests.contract.gateway.rig import Echo, free_range, instance, running, service, small_settings, snapshot_of

ORDERS = ServiceName("orders")


class Late(Echo):
    """Answers half a second late; who is asked for less waits in vain."""

    def __init__(self, name: str) -> None:
        self.over = threading.Event()
        super().__init__(name)

    def respond(self, handler: object, asked: dict[str, Any]) -> None:
        if asked["path"] == "/in-vain":
            self.over.wait(20)
        else:
            time.sleep(0.5)
        super().respond(handler, asked)  # type: ignore[arg-type]


def test_what_a_caller_says_counts_on_its_own_port_and_nowhere_else(tmp_path: Path) -> None:
    services = [
        service("orders"),
        service("web", mesh_index=1, calls={ORDERS: Call(policy=Policy(timeout=0.1), mesh_index=2)}),
    ]
    ports = free_range(3)
    settings = small_settings(mesh_ports=ports, mesh_count=3)
    with (
        Late("o") as late,
        running(snapshot_of(services, [instance("orders", late.port)]), tmp_path, settings) as haproxy,
    ):
        assert haproxy.ask("/in-vain", port=ports + 2).status == 504
        late.over.set()
        assert haproxy.ask("/", port=ports).status == 200
        assert haproxy.ask("/", host="orders", port=haproxy.settings.mesh_port).status == 200


def test_what_a_service_says_counts_for_all_who_call_it_but_not_for_routes_that_say_otherwise(tmp_path: Path) -> None:
    services = [
        service("orders", policy=Policy(timeout=0.1)),
        service("web", mesh_index=1, calls={ORDERS: Call(policy=Policy(timeout=9), mesh_index=2)}),
    ]
    ports = free_range(3)
    settings = small_settings(mesh_ports=ports, mesh_count=3)
    with (
        Late("o") as late,
        running(snapshot_of(services, [instance("orders", late.port)]), tmp_path, settings) as haproxy,
    ):
        assert haproxy.ask("/in-vain", port=ports).status == 504
        late.over.set()
        assert haproxy.ask("/", port=ports + 2).status == 200
