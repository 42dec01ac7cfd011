"""Services in maintenance: their verdicts lead to a section that answers 503 with the reason's code and when to return.

Nothing is asked of requests to other services, and no reload is needed. Connections to a tcp service are not answered;
its instances are drained like all in maintenance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil

from atoll.gateway import problem
from atoll.gateway.config import CLOSED, MAINTENANCE, map_path
from atoll.gateway.problem import MARK, refusal
from atoll.gateway.quote import section
from atoll.model.maintenance import Maintenance, parse_target
from atoll.model.names import ServiceName

CLOSED_MARK = "maintenance"
"""What the request log says of such a request."""
RETRY = 60
"""Seconds after which callers may ask again when nobody said how long it takes."""


def closed_section() -> str:
    """The section."""
    until = f"var(txn.at),field(4,|),map_str({map_path(CLOSED)},0)"
    return "\n".join(
        [
            section("backend", MAINTENANCE, "from", "base"),
            f"  http-request set-var(txn.until) {until},add(0)",
            f"  http-request set-var(txn.wait) int({RETRY})",
            "  http-request set-var(txn.wait) date(),sub(txn.until),neg if { var(txn.until) -m int gt 0 }",
            "  http-request set-var(txn.wait) int(1) if { var(txn.wait) -m int lt 1 }",
            f"  http-request set-var({MARK}) str({CLOSED_MARK})",
            problem.to_grpc(refusal(problem.IN_MAINTENANCE, "{ req.hdr(content-type) -m beg application/grpc }")),
            refusal(problem.IN_MAINTENANCE, "TRUE"),
            "",
        ]
    )


def closed_services(words: Iterable[Maintenance]) -> dict[ServiceName, Maintenance]:
    """The services that are in maintenance as a whole."""
    found = {}
    for word in words:
        target = parse_target(word.target)
        if target.service is not None and target.instance is None:
            found[target.service] = word
    return found


def closed_entries(closed: dict[ServiceName, Maintenance]) -> Iterator[tuple[str, str]]:
    """The map: until when, in epoch seconds; 0: nobody knows."""
    for service in sorted(closed):
        yield service, str(ceil(closed[service].until))
