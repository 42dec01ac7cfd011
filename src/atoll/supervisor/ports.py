"""Ports for children: a free one that stays free as far as that can be, and who has one that is not.

A port is tried by binding it, on every address, and let go: between that and the child's own bind somebody else could
take it. So ports come from below the kernel's ephemeral range (outgoing connections never take those), at random (two
nodes rarely pick alike), never one given in the last minutes, never one of atoll's own.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Collection
from pathlib import Path

from atoll.errors import PortTaken
from atoll.kit.clock import Clock
from atoll.kit.listeners import listener_of

LOWEST = 20_000
"""Below are the ports that people choose by hand, and atoll's own."""
REST = 120.0
"""Seconds a port rests before another instance gets it: longer than TIME_WAIT (60 s) and any stop grace in use."""
TRIES = 200
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Nothing can be said. Other errors (no IPv6 here, a privileged port) do not mean that somebody listens."""


class Ports:
    """Gives ports out. One per node; not thread-safe."""

    def __init__(self, clock: Clock, rng: random.Random, *, reserved: Collection[int] = ()) -> None:
        self._clock = clock
        self._rng = rng
        self._reserved = frozenset(reserved)
        self._given: dict[int, float] = {}

    def choose(self) -> int:
        """A port on which nobody listens; it is not given again within REST seconds.

        Raises:
            PortTaken: none was found.
        """
        now = self._clock.now()
        self._given = {port: at for port, at in self._given.items() if now - at < REST}
        low, high = _range()
        for _ in range(TRIES):
            port = self._rng.randrange(low, high)
            if port not in self._reserved and port not in self._given and free(port):
                self._given[port] = now
                return port
        raise PortTaken(f"no free port found between {low} and {high}", hint="what listens on so many? see `ss -ltnp`")

    def keep(self, port: int) -> None:
        """This port is in use by an instance: give it to no other."""
        self._given[port] = self._clock.now()


def require(port: int) -> None:
    """Make sure that a child can listen on `port`. Blocking: reads the machine's sockets when it cannot.

    Raises:
        PortTaken: somebody else listens there; says who.
    """
    if free(port, again=True):
        return
    holder = listener_of(port)
    who = str(holder) if holder is not None else "another process"
    raise PortTaken(
        f"port {port} is taken by {who}",
        hint="stop it, or give the service another port (or none: one is chosen)",
        port=port,
        pid=holder.pid if holder else None,
        program=holder.program if holder else None,
    )


def free(port: int, *, again: bool = False) -> bool:
    """Whether one can listen on `port` on every address; `again`: connections that just closed do not matter.

    Raises:
        OSError: no descriptors or memory left to try it.
    """
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        try:
            with socket.socket(family, socket.SOCK_STREAM) as tried:
                if again:
                    tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                tried.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            if error.errno in _EXHAUSTED:
                raise
    return True


def _range() -> tuple[int, int]:
    try:
        lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        lowest_ephemeral = 32_768
    return (LOWEST, lowest_ephemeral) if lowest_ephemeral - LOWEST >= 1000 else (LOWEST, 61_000)
