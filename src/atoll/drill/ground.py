"""What drills and chaos runs ask of a platform, and what "as it was before" means. The answers come from whoever runs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from atoll.gateway.counts import ServerCounts
from atoll.model.answers import FaultRequest, NodeView
from atoll.model.names import ServiceName
from atoll.model.report import Phase
from atoll.model.service import State
from atoll.model.snapshot import Snapshot
from atoll.settings import Settings


class Ground(Protocol):
    """A platform of this machine. Methods block, for a second or so: call them in a thread. They raise AtollError."""

    settings: Settings

    def facts(self) -> Snapshot:
        """All facts."""

    def nodes(self) -> Sequence[NodeView]:
        """What every node last said of itself."""

    def telemetry(self) -> None:
        """Ask telemetry how it is; raises when it does not answer."""

    def note(self, service: ServiceName, instances: Sequence[str], what: str) -> None:
        """Write into the history of these instances."""

    def inject(self, fault: FaultRequest) -> None:
        """Inject a fault; one of the same name is replaced."""

    def clear(self, name: str) -> None:
        """Take an injected fault back; one that is over is no error."""

    def reset_breaker(self, service: ServiceName) -> None:
        """Let the breaker of a service begin anew."""


class Picture:
    """How many instances of each service run, pass and are served: what must be so again after each fault."""

    def __init__(self, facts: Snapshot, nodes: Iterable[NodeView], counts: Iterable[ServerCounts]) -> None:
        self.running = Counter(
            child.service
            for node in nodes
            for child in node.report.children
            if child.phase is Phase.RUNNING and child.pid is not None
        )
        self.passing = Counter(key[0] for key, one in facts.instances.items() if one.state is State.PASSING)
        # a service may have several sections with the same instances: each server is one place of one instance
        self.served = Counter(one.backend for one in counts if one.server and one.up and one.weight > 0)

    def wrong(self, now: Picture) -> list[str]:
        """What is less `now` than here."""
        found = [
            f"{name}: {now.running[name]} of {count} run"
            for name, count in sorted(self.running.items())
            if now.running[name] < count
        ]
        found += [
            f"{name}: {now.passing[name]} of {count} pass"
            for name, count in sorted(self.passing.items())
            if now.passing[name] < count
        ]
        if sum(now.served.values()) < sum(self.served.values()):
            found.append(f"HAProxy serves {sum(now.served.values())} of {sum(self.served.values())} servers")
        return found
