"""Which block of loopback ports this node's mesh uses: the usual one, or the next that is free, the same ever after.

Children are told their peers' ports in their environment, so the block must not move while they live: once chosen, it is
written to `<state>/mesh.json` and kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import msgspec

from atoll.errors import PortTaken
from atoll.kit.files import private_folder, replace_file
from atoll.settings import Gateway, Settings

BLOCKS = 40
"""Blocks that are looked at: with the usual sizes up to port 25,000, below the kernel's ephemeral range."""
VARIABLES = ("ATOLL_GATEWAY_MESH_PORT", "ATOLL_GATEWAY_MESH_PORTS")


class Block(msgspec.Struct, frozen=True):
    """The general listener's port, the first stable port, and how many follow."""

    mesh_port: int
    mesh_ports: int
    mesh_count: int

    def ports(self) -> list[int]:
        """All of them."""
        return [self.mesh_port, *range(self.mesh_ports, self.mesh_ports + self.mesh_count)]


def choose(knobs: Gateway, kept: Block | None, taken: Collection[int], *, fixed: bool) -> Block:
    """The block to use. `taken`: ports that somebody else listens on. Pure.

    Raises:
        PortTaken: no block is free.
    """
    usual = Block(knobs.mesh_port, knobs.mesh_ports, knobs.mesh_count)
    if fixed:
        return usual
    if kept is not None and kept.mesh_count >= knobs.mesh_count:
        return kept
    span = knobs.mesh_ports - knobs.mesh_port + knobs.mesh_count
    for number in range(BLOCKS):
        block = Block(usual.mesh_port + number * span, usual.mesh_ports + number * span, usual.mesh_count)
        if not any(port in taken for port in block.ports()):
            return block
    raise PortTaken("no block of mesh ports is free", hint="choose one with ATOLL_GATEWAY_MESH_PORT and _MESH_PORTS")


def settled(settings: Settings, taken: Collection[int], environ: Mapping[str, str]) -> Settings:
    """Settings with this platform's own mesh block; a first choice is written down. Blocking."""
    file = settings.state / "mesh.json"
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=Block)
    except (OSError, msgspec.DecodeError):
        kept = None
    block = choose(settings.gateway, kept, taken, fixed=any(name in environ for name in VARIABLES))
    if block != kept:
        private_folder(settings.state)
        replace_file(file, msgspec.json.encode(block))
    return replace(settings, gateway=replace(settings.gateway, **msgspec.structs.asdict(block)))
