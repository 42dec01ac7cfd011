"""What is scraped, and how it is told apart from what only might be. Pure.

A target that somebody named is asked at its interval, and `up` says how that went. Of an HTTP service that nobody
named one instance is asked once, politely: an exposition makes it a target, anything else is not asked again for long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from atoll.kit.clock import Instant
from atoll.model.service import Instance, Protocol, Scrape, Service, State

INTERVAL = 15.0
"""Seconds between two scrapes when nobody says otherwise."""
TIMEOUT = 10.0
"""Seconds that a scrape may take; never more than the interval."""
PATH = "/metrics"
AGAIN = 3600.0
"""Seconds before a service without metrics is asked again; a new version of it is asked at once."""
SERVICES_LIMIT = 10_000
"""Services whose answer is remembered."""


@dataclass(frozen=True)
class Target:
    """An endpoint with metrics, or that may have some."""

    service: str
    instance: str
    host: str
    port: int
    path: str = PATH
    interval: float = INTERVAL
    timeout: float = TIMEOUT
    asked_for: bool = False
    """Somebody named it: failures are shown by `up`."""
    own_labels: bool = False
    """What it says of `service` and `instance` is taken as it is: our own parts speak of others."""
    version: str = ""
    socket: str = ""
    """Path of a unix socket, instead of host and port."""
    token: str = field(default="", repr=False)

    @property
    def labels(self) -> dict[str, str]:
        """Whose its series are."""
        return {"service": self.service, "job": self.service, "instance": self.instance}


@dataclass
class Politeness:
    """Which of the services that nobody named may be asked now, and which have turned out to have metrics."""

    _answered: dict[tuple[str, str], Instant] = field(default_factory=dict)
    _exposing: set[tuple[str, str]] = field(default_factory=set)

    def chosen(self, targets: Iterable[Target], now: Instant) -> list[Target]:
        """The targets to scrape: all that are named or known to expose, and one of each service to try."""
        chosen, tried = [], set()
        for target in targets:
            service = (target.service, target.version)
            if target.asked_for or service in self._exposing:
                chosen.append(target)
            elif service not in tried and now - self._answered.get(service, float("-inf")) >= AGAIN:
                tried.add(service)
                chosen.append(target)
        return chosen

    def exposes(self, target: Target) -> None:
        """It answered with metrics."""
        if len(self._exposing) < SERVICES_LIMIT:
            self._exposing.add((target.service, target.version))

    def refuses(self, target: Target, now: Instant) -> None:
        """It answered, and not with metrics."""
        if len(self._answered) >= SERVICES_LIMIT:
            self._answered.clear()
        self._answered[target.service, target.version] = now

    def known(self, target: Target) -> bool:
        """Whether its failures are of interest: somebody named it, or it has had metrics."""
        return target.asked_for or (target.service, target.version) in self._exposing


def targets_of(services: Iterable[Service], instances: Iterable[Instance]) -> list[Target]:
    """The endpoints of services that are or may be scraped.

    Whoever said `scrape:` gets all instances asked, so that `up` shows what fails. Else only an HTTP service is tried,
    at an instance that passes its check.
    """
    known = {service.name: service for service in services}
    found = []
    for one in instances:
        said = known[one.service].scrape if one.service in known else None
        if said is None and one.protocol is Protocol.HTTP and one.state is State.PASSING:
            found.append(_target(one, Scrape(), asked_for=False))
        elif said is not None and said.enabled and one.state is not State.MAINT:
            found.append(_target(one, said, asked_for=True))
    return sorted(found, key=lambda target: (target.service, target.instance))


def _target(one: Instance, said: Scrape, *, asked_for: bool) -> Target:
    return Target(
        service=one.service,
        instance=one.id,
        host=one.host,
        port=said.port or one.port,
        path=said.path,
        interval=said.interval,
        timeout=said.timeout,
        asked_for=asked_for,
        version=one.version or "",
    )
