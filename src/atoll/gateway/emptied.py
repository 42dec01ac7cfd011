"""Sections of which no server takes requests: out of how many, and since when, for the answer that HAProxy then gives.

HAProxy knows how many servers are up, but no rule of it can ask how many there are, nor since when. So the node looks
every second or two, and a map holds a line for each section that is empty, as members of the problem document. Until it
has looked, the answer says less. Its values are base64: quotes have no place in a map.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from atoll.gateway.config import Backend
from atoll.gateway.counts import ServerStat


class Empty(msgspec.Struct, frozen=True):
    """A section none of whose servers takes requests."""

    of: int
    """How many it has."""
    since: float
    """Wall time at which the last one was lost."""


Sections = Mapping[str, Empty]
"""By the section's name."""
NONE: Sections = {}


def emptied(
    before: Sections, backends: Iterable[Backend], stats: Iterable[ServerStat], wall: float
) -> dict[str, Empty]:
    """The sections that are empty at `wall`; one that was `before` keeps its moment, whatever rounding says."""
    told: dict[str, list[ServerStat]] = {}
    for stat in stats:
        told.setdefault(stat.backend, []).append(stat)
    found = {}
    for backend in backends:
        servers = {server.name: server for server in backend.servers}
        seen = [stat for stat in told.get(backend.name, ()) if stat.server in servers]
        if not seen or any(stat.up and servers[stat.server].effective_weight > 0 for stat in seen):
            continue
        known = before.get(backend.name)
        lost = [float(stat.since) for stat in seen if not stat.up]
        since = known.since if known is not None else wall - min(lost, default=0.0)
        found[backend.name] = Empty(len(servers), since)
    return found


def empty_entries(backends: Iterable[Backend], sections: Sections) -> Iterator[tuple[str, str]]:
    """The map: what is known to be empty, and what has no server at all."""
    for backend in backends:
        if not backend.servers:
            yield backend.name, _word(',"of":0')
        elif (empty := sections.get(backend.name)) is not None:
            since = datetime.fromtimestamp(empty.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            yield backend.name, _word(f',"of":{empty.of},"since":"{since}"')


def _word(members: str) -> str:
    return base64.b64encode(members.encode()).decode()
