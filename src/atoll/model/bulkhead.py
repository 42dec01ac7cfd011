"""How much at once: what keeps one slow service from taking everybody's room.

`max_concurrency` bounds the requests that are under way to a service, by a route or in a call, whoever answers them;
`instance_concurrency` bounds those that one instance has. What an instance has no room for waits in the service's
queue, which is bounded as well; who matters more goes first, and who matters less is refused first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum

import msgspec

CONCURRENCY_CEILING = 1_000_000
QUEUE_CEILING = 100_000
WAIT_CEILING = 60.0
"""Seconds: who waits longer than that has left."""
WAIT_FLOOR = 0.001


class Priority(StrEnum):
    """Who goes first where requests wait."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Queue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Requests of a service that wait for an instance to have room."""

    size: int = 100
    """As many may wait; a further one is answered at once. Requests of low priority may take half of it."""
    timeout: float = 1.0
    """Seconds a request waits at most."""


def concurrency_problem(said: int) -> str | None:
    """What is absurd in a limit."""
    if isinstance(said, bool) or not 1 <= said <= CONCURRENCY_CEILING:
        return f"{said} is not a whole number from 1 to {CONCURRENCY_CEILING}"
    return None


def room_problems(each: int | None, queue: Queue | None) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is absurd in a service's `instance_concurrency` and `queue`: the path of a field, and the reason."""
    if each is not None and (wrong := concurrency_problem(each)):
        yield ("instance_concurrency",), wrong
    if queue is None:
        return
    if each is None:
        yield ("queue",), "nothing waits where instances take all: say instance_concurrency"
    if not 0 <= queue.size <= QUEUE_CEILING:
        yield ("queue", "size"), f"{queue.size} is not a whole number from 0 to {QUEUE_CEILING}"
    if not math.isfinite(queue.timeout) or not WAIT_FLOOR <= queue.timeout <= WAIT_CEILING:
        yield ("queue", "timeout"), f"{queue.timeout:g} is not {WAIT_FLOOR:g} to {WAIT_CEILING:g} seconds"
