"""What `atoll doctor` finds out about what runs: ports, the platform itself, processes that nobody looks after."""

from __future__ import annotations

import os
from collections.abc import Iterator

from atoll.cli import nodefile
from atoll.cli.api import Api
from atoll.cli.check import Finding, Verdict
from atoll.cli.check_health import control_plane_findings, maintenance_findings, node_findings
from atoll.cli.facts import V1, nodes, snapshot
from atoll.cli.leftovers import left_behind
from atoll.errors import AtollError
from atoll.gateway.config import Files
from atoll.gateway.process import alive, recorded
from atoll.kit.listeners import Listener, listeners
from atoll.model.answers import Status
from atoll.model.keys import INSTANCES, MAINTENANCE
from atoll.settings import Settings
from atoll.supervisor import processes
from atoll.wiring import telemetry_ports
from atoll.wiring.mesh import known
from atoll.wiring.telemetry_part import missing_packages

PORTS = {
    "api": "ATOLL_API_PORT",
    "gateway": "ATOLL_GATEWAY_PORT",
    "mesh": "ATOLL_GATEWAY_MESH_PORT",
    "otlp/http": telemetry_ports.VARIABLES["http_port"],
    "otlp/grpc": telemetry_ports.VARIABLES["grpc_port"],
}
"""Our ports, and the settings that choose them."""
OTLP = frozenset({"otlp/http", "otlp/grpc"})
"""Ports for which another one is taken when nobody asked for these."""
_ANYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  # compared with, not bound


def check_ports(settings: Settings) -> Iterator[Finding]:
    """The platform's own ports: free, ours, or taken (by whom)."""
    present = listeners()
    ours = family(settings)
    gateway = known(settings, os.environ).gateway
    node = nodefile.read(settings)
    host, _, shown = (node.parts.get("gateway", "") if node is not None else "").rpartition("/")[2].rpartition(":")
    wanted = {
        "api": (settings.api.host, settings.api.port),
        "gateway": (host.strip("[]"), int(shown)) if shown.isdigit() else (gateway.host, gateway.port),
        "mesh": ("127.0.0.1", gateway.mesh_port),
    }
    telemetry = telemetry_ports.settled(settings, (), os.environ).telemetry if node is not None else settings.telemetry
    if telemetry.enabled and not missing_packages(telemetry):
        wanted["otlp/http"] = (telemetry.host, telemetry.http_port)
        wanted["otlp/grpc"] = (telemetry.host, telemetry.grpc_port)
    for name, (host, port) in wanted.items():
        holders = [found for found in present if found.port == port and (found.host == host or found.host in _ANYWHERE)]
        found = port_finding(name, host, port, holders, ours)
        if found.verdict is Verdict.BROKEN and name in OTLP and PORTS[name] not in os.environ and node is None:
            found = Finding(check="ports", detail=f"{found.detail}; `atoll up` takes a free one")
        yield found


def port_finding(name: str, host: str, port: int, holders: list[Listener], ours: set[int]) -> Finding:
    """Whether a port may be used. Pure."""
    where = f"{name} port {host}:{port}"
    strangers = [holder for holder in holders if holder.pid not in ours]
    if not holders:
        return Finding(check="ports", detail=f"{where} is free")
    if not strangers:
        return Finding(check="ports", detail=f"{where} is ours (pid {holders[0].pid})")
    who = strangers[0]
    known = who.pid is not None
    return Finding(
        check="ports",
        verdict=Verdict.BROKEN,
        detail=f"{where} is taken by " + (f"{who.program} (pid {who.pid})" if known else "another user's process"),
        fix=(f"stop it (kill {who.pid})" if known else f"sudo ss -ltnp 'sport = :{port}' tells whose")
        + f", or choose another port with {PORTS[name]}",
    )


def family(settings: Settings) -> set[int]:
    """The node, what it started or took over from the node before it, and every process below those."""
    node = nodefile.read(settings)
    proxy = recorded(Files(settings.run / "haproxy").pid)
    roots = {node.pid} if node is not None else set()
    roots |= {pid for found in left_behind(settings) for pid, _ in (found.keeper, found.child or found.keeper)}
    roots |= {proxy.pid} if proxy is not None and alive(proxy) else set()
    present = processes.table()
    return roots | {one.pid for root in roots for one in processes.below(root, present)}


def check_platform(settings: Settings | None, api: Api | None) -> Iterator[Finding]:
    """Whether the platform runs and what it says of itself."""
    node = nodefile.read(settings) if settings is not None else None
    if api is None:
        if node is not None:
            yield Finding(
                check="platform",
                verdict=Verdict.BROKEN,
                detail=f"the node runs (pid {node.pid}) but its control plane's socket is missing",
                fix="look into .atoll/logs/node.log; then atoll down and atoll up",
            )
        else:
            yield Finding(check="platform", detail="not running; `atoll up` starts it")
        return
    try:
        status = api.get_as(f"{V1}/status", Status)
        seen = nodes(api)
    except AtollError as error:
        yield Finding(check="platform", verdict=Verdict.BROKEN, detail=error.detail, fix=error.hint or "")
        return
    yield Finding(check="platform", detail=f"control plane {status.version} answers (pid {status.pid})")
    yield from control_plane_findings(status)
    yield from node_findings(status, seen)


def check_maintenance(api: Api | None, wall: float) -> Iterator[Finding]:
    """What operators took out of the traffic."""
    if api is not None:
        yield from maintenance_findings(snapshot(api, INSTANCES, MAINTENANCE), wall)


def check_dangling(settings: Settings) -> Iterator[Finding]:
    """What an earlier node left behind and nobody looks after now."""
    node = nodefile.read(settings)
    left = left_behind(settings, ("children", "platform"))
    if node is None and left:
        named = ", ".join(
            f"{found.note.instance} (pid {found.child[0] if found.child else '?'})" for found in left[:10]
        )
        yield Finding(
            check="processes",
            verdict=Verdict.WARNING,
            detail=f"without a node run: {named}" + (", …" if len(left) > 10 else ""),
            fix="`atoll up` takes them over, `atoll down` ends them",
        )
    else:
        yield Finding(
            check="processes", detail=f"{len(left)} children, all looked after" if left else "none left behind"
        )
