"""Who listens on this machine's TCP ports, for the message of whoever finds one taken. Reading only, a few milliseconds."""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass

import psutil

from atoll.kit.text import scrub


@dataclass(frozen=True)
class Listener:
    """Somebody who listens; `pid` and `program` are None when it belongs to another user."""

    host: str
    port: int
    pid: int | None = None
    program: str | None = None

    def __str__(self) -> str:
        return (
            f"{self.program or 'a process'} (pid {self.pid})" if self.pid is not None else "a process of another user"
        )


def listeners() -> list[Listener]:
    """Everybody who listens, those that can be named first. Blocking: reads /proc of every process of this user."""
    found: list[Listener] = []
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr:
                address = connection.laddr
                found.append(Listener(_plain(address.ip), address.port, connection.pid, _program(connection.pid)))
    return sorted(found, key=lambda one: one.pid is None)


def listener_of(port: int) -> Listener | None:
    """Who listens on `port`, on whatever address; None when nobody does."""
    return next((one for one in listeners() if one.port == port), None)


def _plain(host: str) -> str:
    """An IPv4 address that is listened on through an IPv6 socket, as gRPC does, is that address."""
    address = ipaddress.ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or host)


def _program(pid: int | None) -> str | None:
    if pid is None:
        return None
    try:
        return scrub(psutil.Process(pid).name(), limit=64)
    except psutil.Error:
        return None
