"""Binding what the control plane listens on, and saying who is in the way when that fails."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

import psutil

from atoll.errors import AddressForbidden, PortTaken
from atoll.kit.files import private_folder
from atoll.kit.listeners import listener_of
from atoll.kit.text import scrub

SOCKET_MODE = 0o600
BACKLOG = 2048


def bind_tcp(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Raises:
        PortTaken: somebody else listens there; fields `pid` and `program` when they can be seen.
        AddressForbidden: the host is not an address of this machine, or the port needs rights we do not have.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise AddressForbidden(f"{scrub(host)} is no address to listen on", hint="set ATOLL_API_HOST") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise taken(host, port) from None
        raise AddressForbidden(
            f"cannot listen on {scrub(host)}:{port}: {os.strerror(error.errno or 0)}",
            hint="set ATOLL_API_HOST and ATOLL_API_PORT",
        ) from None
    listener.setblocking(False)
    return listener


def bind_unix(path: Path) -> socket.socket:
    """A listening unix socket that only this user can talk to. Call it only as the one owner of its folder.

    Raises:
        AddressForbidden: others can write to its folder, and could put a socket of their own in its place.
    """
    folder = private_folder(path.parent).stat()
    if folder.st_uid != os.getuid() or folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise AddressForbidden(
            f"others can write to {scrub(str(path.parent))}, where the control plane's socket would be",
            hint=f"chmod 700 {scrub(str(path.parent))}, or remove it",
        )
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def taken(host: str, port: int) -> PortTaken:
    """The error that somebody else listens on a port, with pid and program if this user may see them."""
    holder = listener_of(port)
    by = f" by {holder}" if holder else ""
    stop = f"stop it (kill {holder.pid}), or " if holder and holder.pid else ""
    known = {"pid": holder.pid, "program": holder.program} if holder and holder.pid else {}
    return PortTaken(
        f"port {port} is taken{by}", hint=f"{stop}choose another port: ATOLL_API_PORT", host=host, port=port, **known
    )


def local_addresses() -> frozenset[str]:
    """Every IP address of this machine."""
    found = (entry.address for entries in psutil.net_if_addrs().values() for entry in entries)
    return frozenset(address.partition("%")[0] for address in found)
