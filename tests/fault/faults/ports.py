"""A thief who listens on a port that somebody else needs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stolen(port: int, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """The port is taken for the length of the block; connections to it are accepted by nobody."""
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind((host, port))
        thief.listen(1)
        yield thief
