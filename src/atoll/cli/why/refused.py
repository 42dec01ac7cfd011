"""What gateway and mesh refuse by themselves. Pure."""

from __future__ import annotations

from atoll.cli.why.evidence import Case, Hop, Verdict
from atoll.cli.why.words import address, request_of, verdict, whom
from atoll.errors import Origin
from atoll.model.answers import Verb

CLOSED = "maintenance"
"""The mark of a request to a service that is in maintenance as a whole."""


def refused(case: Case, hop: Hop) -> Verdict:
    """No route, no such method or service, or nothing that is passed on."""
    asked = request_of(hop)
    if hop.status == 404:
        now = f"; now route {case.takes} takes it: it was added or changed since" if case.takes else ""
        near = f" ({case.routes[0]})" if case.routes and not now else ""
        return verdict(
            hop, "no-route", 95, Origin.CLIENT, f"no route takes {asked}{near}{now}",
            f"atoll routes test {hop.method or 'GET'} {address(hop)}", "atoll routes",
        )  # fmt: skip
    if hop.status == 405:
        return verdict(
            hop, "method-not-allowed", 95, Origin.CLIENT, f"routes take {address(hop)}, but not with {hop.method}",
            f"atoll routes test {hop.method} {address(hop)}",
        )  # fmt: skip
    if hop.status == 503 and hop.edge == "mesh":
        outer = next((one for one in case.hops if hop.above and one.id == hop.above[-1]), None)
        caller = outer.service if outer is not None and outer.service else "somebody"
        return verdict(
            hop, "unknown-service", 95, Origin.SERVICE,
            f"{caller} called a service that is not registered ({request_of(hop)} on the mesh)",
            "atoll service ls", "the name is the Host, /svc/NAME/ or the port of the call",
        )  # fmt: skip
    if hop.status in {413, 429}:
        return limit(hop)
    wrong = case.refusal or "host or path is not one that the gateway passes on"
    code = "host-refused" if "host" in wrong.lower() else "path-refused"
    return verdict(
        hop, code if hop.status == 400 else "bad-request", 95, Origin.CLIENT, f"the gateway refused {asked}: {wrong}",
        "correct the client; docs/gateway.md says what is refused",
    )  # fmt: skip


def closed(case: Case, hop: Hop) -> Verdict:
    """The whole service is in maintenance."""
    said = [
        one.cause for one in case.records if one.service == hop.service and one.verb is Verb.MAINT and one.at <= hop.end
    ]
    why = f": {said[-1]}" if said else ""
    return verdict(
        hop, "maintenance", 95, Origin.SERVICE, f"{hop.service} was in maintenance: an operator took it out{why}",
        "atoll maint", f"atoll maint off {hop.service}",
    )  # fmt: skip


def limit(hop: Hop) -> Verdict:
    """Too many, or too large."""
    who = f"{whom(hop)} answered" if hop.instance else "the gateway answered"
    said = {429: "too many requests", 413: "the body is over the limit"}.get(hop.status, "")
    code, words = ("too-large" if hop.status == 413 else "too-many-requests"), f"{who} {hop.status}: {said}"
    return verdict(
        hop, code, 90, Origin.LIMIT, words,
        f"send less, or give it more room: atoll scale {hop.service}=N" if hop.service else "send less",
    )  # fmt: skip
