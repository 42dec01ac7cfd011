"""An island: a network namespace that one veth pair joins to ours, and that can be cut off without a word.

Owns the namespace and the pair for the length of the block. A cut takes the far end down: ours has no carrier then, but
keeps its route, so that nothing is sent another way: no RST, no FIN, connections stay half open, exactly as when a cable is
pulled.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.fault.faults import needs


class Island:
    """`here` and `there` are the addresses of the two ends; `inside` puts a command there."""

    def __init__(self, name: str, subnet: int) -> None:
        self.name = name
        self.link = f"v{name[-8:]}"
        self.far = f"w{name[-8:]}"
        self.net = f"10.231.{subnet}.0/24"
        self.here = f"10.231.{subnet}.1"
        self.there = f"10.231.{subnet}.2"

    def inside(self) -> list[str]:
        """The words before a command that shall run on the island."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        """Pull the cable."""
        _ip("-n", self.name, "link", "set", self.far, "down")

    def heal(self) -> None:
        """Plug it in again."""
        _ip("-n", self.name, "link", "set", self.far, "up")


@contextmanager
def island() -> Iterator[Island]:
    """An island for the length of the block; what still runs there is ended."""
    needs.namespaces()
    made = Island(f"atoll-{os.getpid()}-{secrets.token_hex(3)}", secrets.randbelow(254) + 1)
    _ip("netns", "add", made.name)
    try:
        # whatever becomes of the pair, no packet for the island takes the way that others take
        _ip("route", "add", "blackhole", made.net, "metric", "4096")
        _ip("link", "add", made.link, "type", "veth", "peer", "name", made.far)
        _ip("link", "set", made.far, "netns", made.name)
        _ip("addr", "add", f"{made.here}/24", "dev", made.link)
        _ip("link", "set", made.link, "up")
        _ip("-n", made.name, "addr", "add", f"{made.there}/24", "dev", made.far)
        _ip("-n", made.name, "link", "set", made.far, "up")
        _ip("-n", made.name, "link", "set", "lo", "up")
        yield made
    finally:
        for pid in _ip("netns", "pids", made.name).split():
            os.kill(int(pid), 9)
        for words in (["link", "del", made.link], ["route", "del", "blackhole", made.net, "metric", "4096"]):
            subprocess.run(["ip", *words], capture_output=True, check=False)
        _ip("netns", "del", made.name)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, check=True, text=True).stdout
