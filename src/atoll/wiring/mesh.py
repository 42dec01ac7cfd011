"""Which block of loopback ports this node's mesh uses: the usual one, or the next that is free, the same ever after.

Children are told their peers' ports in their environment, so the block should not move: once chosen, it is written to
`<state>/mesh.json` and kept for as long as nobody else listens there or claims it (`claims`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil

from atoll.errors import PortTaken
from atoll.kit.clock import Clock
from atoll.kit.files import LockFile, private_folder, replace_file
from atoll.kit.listeners import Listener
from atoll.settings import Gateway, Settings, runtime_folder
from atoll.wiring.claims import Claims
from atoll.wiring.console import Event

BLOCKS = 40
"""Blocks that are looked at: with the usual sizes up to port 25,000, below the kernel's ephemeral range."""
LOCK_WAIT = 15.0
"""Seconds to wait for another node that is starting."""
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
    """The block to use. `taken`: ports that somebody else listens on or claims. Pure.

    Raises:
        PortTaken: no block is free.
    """
    usual = Block(knobs.mesh_port, knobs.mesh_ports, knobs.mesh_count)
    if fixed:
        return usual
    if kept is not None and kept.mesh_count >= knobs.mesh_count and not any(port in taken for port in kept.ports()):
        return kept
    span = knobs.mesh_ports - knobs.mesh_port + knobs.mesh_count
    for number in range(BLOCKS):
        block = Block(usual.mesh_port + number * span, usual.mesh_ports + number * span, usual.mesh_count)
        if not any(port in taken for port in block.ports()):
            return block
    raise PortTaken("no block of mesh ports is free", hint="choose one with ATOLL_GATEWAY_MESH_PORT and _MESH_PORTS")


def settled(settings: Settings, present: Iterable[Listener], environ: Mapping[str, str]) -> Settings:
    """Settings with this platform's own mesh block; the choice is written down and claimed for this process. Blocking.

    `present`: who listens on this machine. A HAProxy that an earlier node of this platform left running is ours.
    """
    kept, claims = _kept(settings), _claims()
    taken = {one.port for one in present if not _ours(one.pid, settings)}
    taken.update(port for claim in claims.others(settings) for port in claim.ports)
    block = choose(settings.gateway, kept, taken, fixed=_asked(environ))
    if block != kept:
        private_folder(settings.state)
        replace_file(_file(settings), msgspec.json.encode(block))
    claims.make(settings, block.ports())
    return _with(settings, block)


def known(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Settings with the block that was chosen last, for who only looks. Blocking."""
    return _with(settings, choose(settings.gateway, _kept(settings), (), fixed=_asked(environ)))


def left(settings: Settings) -> None:
    """This node ends: the block is anybody's, unless its HAProxy goes on. Blocking."""
    _claims().drop(settings)


def moved(taken: PortTaken, settings: Settings, environ: Mapping[str, str]) -> bool:
    """Whether another block gets around this: the port is the mesh's, and nobody asked for just this block."""
    knobs = settings.gateway
    block = Block(knobs.mesh_port, knobs.mesh_ports, knobs.mesh_count)
    return taken.fields.get("port") in block.ports() and not _asked(environ)


def _asked(environ: Mapping[str, str]) -> bool:
    return any(name in environ for name in VARIABLES)


def _file(settings: Settings) -> Path:
    return settings.state / "mesh.json"


def _kept(settings: Settings) -> Block | None:
    try:
        return msgspec.json.decode(_file(settings).read_bytes(), type=Block)
    except (OSError, msgspec.DecodeError):
        return None


def _with(settings: Settings, block: Block) -> Settings:
    return replace(settings, gateway=replace(settings.gateway, **msgspec.structs.asdict(block)))


def _claims() -> Claims:
    return Claims(runtime_folder() / "mesh")


def _ours(pid: int | None, settings: Settings) -> bool:
    try:
        return pid is not None and any(str(settings.run) in word for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


@asynccontextmanager
async def choosing(clock: Clock, stop: Event) -> AsyncIterator[Callable[[], None]]:
    """One node of this user at a time looks for a block and binds it; call what is given when it is bound.

    Without it two nodes that start together would both find the same block free. Nobody waits for a turn when `stop` is set.
    """
    lock = LockFile(private_folder(runtime_folder()) / "mesh.lock")
    until = clock.now() + LOCK_WAIT
    while True:
        try:
            lock.acquire()
        except BlockingIOError:
            if clock.now() > until or stop.is_set():
                break  # somebody hangs while starting: a clash would be told as one
            await clock.sleep(0.05)
        else:
            break
    try:
        yield lock.release
    finally:
        lock.release()
