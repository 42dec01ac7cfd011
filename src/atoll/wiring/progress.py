"""How far the services are, for the person who started them. Pure: sees facts and reports, remembers what was told."""

from __future__ import annotations

from collections.abc import Iterable

from atoll.model.names import InstanceId, ServiceName
from atoll.model.readiness import Readiness, lag, readiness
from atoll.model.report import ChildReport, GatewayReport, Phase, ServerReport
from atoll.model.snapshot import Snapshot

FAILED = frozenset({Phase.BACKOFF, Phase.CRASH_LOOP})


class Progress:
    """Of the services in `wanted`: what passes against what shall."""

    def __init__(self, wanted: frozenset[ServiceName]) -> None:
        self._wanted = tuple(sorted(wanted))
        self._told: dict[InstanceId, Phase] = {}
        self._failures: list[tuple[str, str, tuple[str, ...]]] = []
        self._services: dict[str, Readiness] = {}

    def see(
        self,
        facts: Snapshot,
        children: Iterable[ChildReport],
        servers: Iterable[ServerReport] = (),
        gateway: GatewayReport | None = None,
    ) -> None:
        """Take over how things are now. `gateway`: the one that has to run the facts before anything is ready."""
        run = {(child.service, child.instance): child for child in children}
        checked = {(server.service, server.instance): server for server in servers}
        late = lag(gateway, facts.revision) if gateway is not None else ""
        self._services = readiness(facts, run, checked, self._wanted, late)
        for child in run.values():
            if child.service in self._wanted:
                self._watch(child)

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Of every service: instances that pass, instances wanted."""
        return {name: (one.passing, one.wanted) for name, one in self._services.items()}

    @property
    def complete(self) -> bool:
        """Whether everything wanted passes."""
        return len(self._services) == len(self._wanted) and all(one.ready for one in self._services.values())

    def new_failures(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """(service, cause, last lines) of every episode that began since the last call."""
        found, self._failures = self._failures, []
        return found

    def _watch(self, child: ChildReport) -> None:
        before = self._told.get(child.instance)
        if child.phase in FAILED:
            if before is None or (child.phase is Phase.CRASH_LOOP and before is not Phase.CRASH_LOOP):
                self._failures.append((child.service, f"{child.instance}: {child.cause}", child.last_lines))
                self._told[child.instance] = child.phase
        elif child.phase is Phase.RUNNING:
            self._told.pop(child.instance, None)
