"""atoll's own gateway for the benchmark: the file that the product renders, for one service and many routes."""

from __future__ import annotations

from pathlib import Path

from atoll.gateway.config import Files
from atoll.gateway.intent import intend, topped_up
from atoll.gateway.render import render
from atoll.model.names import InstanceId, PathText, RouteName, ServiceName
from atoll.model.route import Match, Route, Share
from atoll.model.service import Check, CheckKind, Instance, Service
from atoll.model.snapshot import Snapshot
from atoll.settings import Gateway
from bench.peers import bundled_haproxy
from bench.processes import free_port

BENCH = ServiceName("bench")


def snapshot_with_routes(upstream: int, routes: int) -> Snapshot:
    """One service with one instance at `upstream`, and `/route-0` to `/route-<routes - 1>` that lead to it."""
    snapshot = Snapshot(revision=1)
    snapshot.services[BENCH] = Service(name=BENCH, check=Check(kind=CheckKind.TCP))
    one = Instance(service=BENCH, id=InstanceId("bench-1"), host="127.0.0.1", port=upstream)
    snapshot.instances[BENCH, one.id] = one
    for number in range(routes):
        name = RouteName(f"route-{number}")
        snapshot.routes[name] = Route(
            name=name, match=Match(path=PathText(f"/route-{number}")), shares=(Share(service=BENCH),)
        )
    return snapshot


def gateway_with_routes(folder: Path, port: int, upstream: int, routes: int) -> list[str]:
    """The command line of HAProxy with the gateway's whole configuration, written under `folder`."""
    knobs = Gateway(port=port, mesh_port=free_port(), mesh_ports=free_port(), mesh_count=1, threads=2)
    config = topped_up(intend(snapshot_with_routes(upstream, routes), None, knobs).config, knobs)
    files = Files(folder)
    rendered = render(config, knobs, files)
    files.config.write_text(rendered.config)
    for name, text in rendered.maps.items():
        path = files.map(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, text in rendered.scripts.items():
        (folder / name).write_text(text)
    return [bundled_haproxy(), "-W", "-db", "-C", str(folder), "-f", str(files.config)]
