"""What nodes last reported, in memory only, and what HAProxy's checks on them say of each instance."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.errors import LimitReached
from atoll.kit.clock import Instant
from atoll.model.names import NodeName
from atoll.model.report import NodeReport, ServerReport
from atoll.registry.expiry import InstanceKey

REPORT_TTL = 15.0
"""Seconds after which a node's opinion of an instance no longer counts."""
FORGET = 3600.0
"""Seconds after which a node that is silent is no longer listed."""
LIMIT = 256
"""Nodes at most; more are refused."""


@dataclass(frozen=True)
class Heard:
    """A report and when it came."""

    report: NodeReport
    at: Instant
    servers: dict[InstanceKey, ServerReport]


class Nodes:
    """The last report of each node."""

    def __init__(self) -> None:
        self._heard: dict[NodeName, Heard] = {}

    def last(self, node: NodeName) -> NodeReport | None:
        """What a node last reported."""
        heard = self._heard.get(node)
        return heard.report if heard is not None else None

    def take(self, report: NodeReport, now: Instant) -> None:
        """Keep a report in place of the node's earlier one.

        Raises:
            LimitReached: `LIMIT` other nodes report already.
        """
        self._forget(now)
        if report.node not in self._heard and len(self._heard) >= LIMIT:
            raise LimitReached(f"{LIMIT} nodes report already", hint="give every machine one stable node name")
        servers = {(server.service, server.instance): server for server in report.servers}
        self._heard[report.node] = Heard(report, now, servers)

    def checks(self, key: InstanceKey, port: int, now: Instant) -> list[ServerReport]:
        """What each node that reported lately says of an instance at `port`; of where it was before, nothing."""
        said = (heard.servers.get(key) for heard in self._heard.values() if now - heard.at <= REPORT_TTL)
        return [server for server in said if server is not None and server.port in (0, port)]

    def discard(self, key: InstanceKey) -> None:
        """Forget what was said of an instance: its id belongs to another process from now on."""
        for heard in self._heard.values():
            heard.servers.pop(key, None)

    def all(self, now: Instant) -> list[tuple[NodeReport, float]]:
        """Every report with its age in seconds, by node name."""
        self._forget(now)
        return [(heard.report, now - heard.at) for _, heard in sorted(self._heard.items())]

    def _forget(self, now: Instant) -> None:
        for name in [name for name, heard in self._heard.items() if now - heard.at > FORGET]:
            del self._heard[name]
