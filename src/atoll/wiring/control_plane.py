"""The control plane as this node keeps it: `atoll server`, told where this node's gateway listens."""

from __future__ import annotations

from atoll.kit.clock import Clock
from atoll.settings import Settings
from atoll.wiring.kept import KeptProcess, Part

NAME = "control-plane"
PATIENCE = 1.0
"""Seconds before it is started again, at most, and between two of our tries to hear it: a start costs 0.4 s of CPU, and
whoever waits for the registry after an outage waits for this."""
TOLD = ("host", "port", "mesh_port", "mesh_ports", "mesh_count")


def kept_control_plane(settings: Settings, clock: Clock) -> KeptProcess:
    """The control plane of this platform. It is told the gateway's addresses, so that nobody can register them."""
    knobs = settings.gateway
    told = {f"ATOLL_GATEWAY_{name}".upper(): str(getattr(knobs, name)) for name in TOLD}
    part = Part(NAME, "the control plane", "server", settings.socket, settings.api.port, told, PATIENCE)
    return KeptProcess(part, settings, clock)
