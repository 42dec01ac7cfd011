"""What a drill saw, as values: its requests, its looks at HAProxy, and when the fault came and went.

Pure words, and the arithmetic on single ones. Times are seconds since the drill's load began.
"""

from __future__ import annotations

import msgspec

NO_ANSWER = 0
"""Status of a request that got none."""


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """One request of the drill's own load."""

    start: float
    end: float
    status: int
    """HTTP status; NO_ANSWER when none came whole."""
    error: str = ""
    """Why none came: `timeout`, or what happened to the connection; of gRPC, its status."""
    code: str = ""
    """`code` of a problem document: who answered in the service's place, and why."""
    trace: str = ""
    """Of the trace that it began, where somebody keeps traces."""
    fallback: str = ""
    """What was given in the service's place (`x-fallback`)."""

    @property
    def lost(self) -> bool:
        """No answer, or one of 500 or above; also a gRPC call that failed."""
        return self.status >= 500 or bool(self.error)

    @property
    def took(self) -> float:
        """Seconds."""
        return self.end - self.start


class Server(msgspec.Struct, frozen=True, array_like=True):
    """One server of the service as HAProxy has it, and its counters."""

    name: str
    instance: str
    up: bool
    weight: int
    tries: int
    """Requests given to it and connections to it that failed."""
    requests: int

    @property
    def serving(self) -> bool:
        """Whether HAProxy gives it requests."""
        return self.up and self.weight > 0


class Look(msgspec.Struct, frozen=True, array_like=True):
    """HAProxy at one moment. `retried`: attempts after the first one, of all requests of the service."""

    at: float
    servers: tuple[Server, ...]
    retried: int


class History(msgspec.Struct, frozen=True, kw_only=True):
    """All of one drill."""

    requests: tuple[Asked, ...] = ()
    looks: tuple[Look, ...] = ()
    unsent: int = 0
    """Requests that were due and could not be sent: the load's own connections were all waiting."""
    fault_at: float
    undone_at: float | None = None
    """None: there was nothing to undo (a killed process)."""
    targets: tuple[str, ...] = ()
    """HAProxy's names of the servers that the fault concerned."""
    silent: bool = True
    """Whether they cannot answer while it lasts; else (they are only slow, say) they may be asked all the same."""
    wanted: int = 0
    """Instances that served before."""
