"""Active-passive services in HAProxy: one server gets everything, and every request says in whose term it was sent.

The leaders map has of each such service `<server>|<fencing number>`, looked up once a request: where it goes and what
it is told cannot disagree. A request is only ever given to another server when that one does not answer; it then keeps
the older number. While the leader is down and nobody has taken over, the answer is 503.

The rules stand in `defaults` of their own, which only sections of such services come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from atoll.gateway.config import LEADERS, Backend, Kind, Traits, map_path
from atoll.model.leader import Leader
from atoll.model.names import ServiceName

HEADER = "x-atoll-fencing"
_LEADER = "txn.leader"

RULES = f"""\
  http-request set-var({_LEADER}) var(txn.at),field(4,|),map_str({map_path(LEADERS)})
  http-request set-header {HEADER} %[var({_LEADER}),field(2,|)] if {{ var({_LEADER}) -m found }}
"""
"""Before all others of the section."""

PIN = f"  use-server %[var({_LEADER}),field(1,|)] if {{ var({_LEADER}) -m found }}"


def speaks(traits: Traits) -> bool:
    """Whether a section has these rules: of bytes only the leader's weight tells where they go."""
    return traits.led and traits.kind is not Kind.TCP


def leader_entries(backends: Iterable[Backend], leaders: Mapping[ServiceName, Leader]) -> Iterator[tuple[str, str]]:
    """The map: a line for each led service whose leader has a server."""
    for backend in backends:
        leader = leaders.get(backend.service)
        if not speaks(backend.traits) or leader is None or backend.upstream != backend.service:
            continue
        for server in backend.servers:
            if server.instance == leader.instance:
                yield backend.service, f"{server.name}|{leader.fencing}"
