"""Ports for what a test starts: such as no outgoing connection is ever given.

A port of the ephemeral range may be free when it is looked at and be some connection's own a moment later, before who shall
listen there has begun: between two tests, two test runs or a whole neighbourhood of them.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections import deque

RECENT = 2_000
"""Ports that are not given again soon: whoever got them may not have begun to listen yet."""
FIRST, LAST = 5_000, 15_000
"""Below those that Linux gives to outgoing connections (from 32,768 on), and that atoll gives to meshes and services."""


_given: deque[int] = deque(maxlen=RECENT)


def free_range(count: int) -> int:
    """The first of `count` neighbouring ports that nobody uses now."""
    choice = random.SystemRandom()
    while True:
        first = choice.randrange(FIRST, LAST - count)
        wanted = range(first, first + count)
        if not set(wanted).isdisjoint(_given):
            continue
        with contextlib.ExitStack() as stack:
            try:
                for port in wanted:
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.extend(wanted)
            return first


def free_port() -> int:
    """One that nobody uses now."""
    return free_range(1)


def free_ports(count: int) -> list[int]:
    """Different ones that nobody uses now."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)
