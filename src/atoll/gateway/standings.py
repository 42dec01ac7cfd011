"""At which of their groups services are: `failover.decide` asked again with every look, and what became of it told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from atoll.gateway.config import Failovers
from atoll.gateway.counts import ServerStat
from atoll.gateway.failover import Look, Standing, decide, taken_over
from atoll.kit.clock import Clock
from atoll.model.names import ServiceName
from atoll.model.report import FailoverReport


class Standings:
    """Of one HAProxy. A node that was started again goes on where HAProxy's map says that requests go."""

    def __init__(self, clock: Clock) -> None:
        self.reports: tuple[FailoverReport, ...] = ()
        """Of every service with groups."""
        self.on_standings: Callable[[dict[ServiceName, int]], None] = lambda _: None
        """Called with every look: at which of its groups a service is, where that is not the first."""
        self.on_move: Callable[[FailoverReport], None] = lambda _: None
        """Called when a service's requests go to another group than before."""
        self._clock = clock
        self._said: tuple[Failovers, ...] = ()
        self._sections: Mapping[str, Look] = {}
        self._tripped: Collection[ServiceName] = ()
        self._standings: dict[ServiceName, Standing] = {}
        self._heard: dict[ServiceName, float] = {}
        """When the operator's word was said that was obeyed last."""
        self._recalled: dict[ServiceName, int] = {}

    def recall(self, standings: Mapping[ServiceName, int]) -> None:
        """At which of their groups services were when this node began, where that was not the first."""
        self._recalled = dict(standings)

    def look(self, said: tuple[Failovers, ...], sections: Mapping[str, Look], tripped: Collection[ServiceName]) -> None:
        """Decide again. `sections`: what is seen of each; `tripped`: services whose breaker is open."""
        self._sections, self._tripped = sections, tripped
        self._decide(said)

    def applied(self, said: tuple[Failovers, ...]) -> None:
        """HAProxy runs another config: an operator's word in it does not wait for the next look."""
        if said != self._said:
            self._decide(said)

    def _decide(self, every: tuple[Failovers, ...]) -> None:
        self._said = every
        known = {said.service for said in every}
        self._standings = {name: each for name, each in self._standings.items() if name in known}
        self._heard = {name: each for name, each in self._heard.items() if name in known}
        self.reports = tuple(map(self._one, every))
        self.on_standings({name: each.at for name, each in self._standings.items() if each.at})

    def _one(self, said: Failovers) -> FailoverReport:
        now, wall = self._clock.now(), self._clock.wall()
        before, word = self._standings.get(said.service), said.word
        was = self._recalled.pop(said.service, 0)
        if before is None and 0 < was < len(said.groups):
            before = taken_over(said, was, now)
            self._heard[said.service] = word.since
        to = str(word.holds(wall))
        after = decide(
            said,
            before,
            self._looks(said),
            now,
            forced=next((at for at, group in enumerate(said.groups) if group.name == to), None),
            back=word.to is None and self._heard.get(said.service, 0.0) < word.since,
        )
        self._heard[said.service] = word.since
        self._standings[said.service] = after
        report = FailoverReport(
            service=said.service,
            group=said.groups[after.at].name,
            at=after.at,
            since=wall - (now - after.since) if after.cause else 0.0,
            cause=after.cause,
            forced=after.forced,
            troubles=tuple(each.trouble for each in after.groups),
        )
        if after.at != (before.at if before is not None else 0):
            self.on_move(report)
        return report

    def _looks(self, said: Failovers) -> Sequence[Look]:
        return [
            msgspec.structs.replace(self._sections.get(group.section, Look()), tripped=group.service in self._tripped)
            for group in said.groups
        ]


def seen(before: Look | None, stat: ServerStat, *, takes: bool) -> Look:
    """What a section's servers are together; `takes`: this one takes requests."""
    known = before or Look()
    return Look(
        usable=known.usable or takes,
        requests=known.requests + stat.requests,
        failures=known.failures + stat.failures,
    )
