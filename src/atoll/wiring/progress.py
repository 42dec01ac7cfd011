"""How far the services are, for the person who started them. Pure: sees facts and reports, remembers what was told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from atoll.model.names import InstanceId, ServiceName
from atoll.model.report import ChildReport, Phase
from atoll.model.service import Restart, Service

FAILED = frozenset({Phase.BACKOFF, Phase.CRASH_LOOP})


class Progress:
    """Of the services in `wanted`: instances that run against instances that shall."""

    def __init__(self, wanted: frozenset[ServiceName]) -> None:
        self._wanted = wanted
        self._told: dict[InstanceId, Phase] = {}
        self._failures: list[tuple[str, str, tuple[str, ...]]] = []
        self.counts: dict[str, tuple[int, int]] = {}

    def see(self, services: Mapping[ServiceName, Service], children: Iterable[ChildReport]) -> None:
        """Take over how things are now."""
        up: dict[ServiceName, int] = dict.fromkeys(self._wanted, 0)
        for child in children:
            if child.service in up:
                up[child.service] += _counts(child, services.get(child.service))
                self._watch(child)
        self.counts = {
            name: (min(up[name], _replicas(services.get(name))), _replicas(services.get(name))) for name in sorted(up)
        }

    @property
    def complete(self) -> bool:
        """Whether every wanted instance is there."""
        return all(passing >= wanted for passing, wanted in self.counts.values())

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


def _counts(child: ChildReport, service: Service | None) -> bool:
    if child.phase is Phase.RUNNING:
        return True
    once = service is not None and service.run is not None and service.run.restart is not Restart.ALWAYS
    return once and child.phase is Phase.EXITED and child.exit_code == 0


def _replicas(service: Service | None) -> int:
    if service is None or service.run is None:
        return 1
    return 0 if service.run.stopped else service.run.replicas
