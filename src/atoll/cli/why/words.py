"""How a cause is put into words. Pure."""

from __future__ import annotations

from atoll.cli.numbers import took
from atoll.cli.why.evidence import Case, Hop, Said, Verdict
from atoll.gateway.failover import FAILED_OVER
from atoll.kit.text import scrub

SLOW_MS = 100.0
"""From here on it is worth saying where the time went."""
QUOTED = 160
"""Characters of a line that a cause quotes."""


def verdict(hop: Hop, code: str, weight: int, origin: str, cause: str, *following: str) -> Verdict:
    """A cause; of an inner hop it weighs a little more."""
    return Verdict(
        code=code, weight=min(100, weight + (1 if hop.above else 0)), origin=str(origin), cause=cause, next=following
    )


def weaker(one: Verdict) -> Verdict:
    """The same, of a hop whose failure was made good."""
    return Verdict(
        code=one.code, weight=one.weight // 2, origin=one.origin, cause=f"on the way: {one.cause}", next=one.next
    )


def whom(hop: Hop) -> str:
    """Who had the request, as exactly as is known."""
    return hop.instance or hop.service or "the service"


def instead(hop: Hop) -> str:
    """What served in place of what was asked for, to stand behind a sentence; empty: nothing did."""
    over = ", by a failover group" if hop.mark == FAILED_OVER else ""
    given = f", by a fallback ({scrub(hop.fallback, limit=20)})" if hop.fallback else ""
    return over + given


def request_of(hop: Hop) -> str:
    """Method and address of the request."""
    return scrub(f"{hop.method} {address(hop)}".strip(), limit=QUOTED)


def address(hop: Hop) -> str:
    """Its URL as a person would ask for it."""
    return f"http://{hop.host}{hop.path}" if hop.host and hop.edge == "gateway" else hop.path


def duration(hop: Hop) -> str:
    """How long the hop took."""
    return took(hop.took_ms)


def longest(case: Case) -> str:
    """Where most of the time went; empty when there was not much."""
    if not case.parts or case.took_ms < SLOW_MS:
        return ""
    part = case.parts[0]
    return f"; {took(part.ms)} went to {part.instance or part.service} ({part.name})"


def look(service: str) -> tuple[str, ...]:
    """Commands that show more of a service."""
    return (f"atoll logs {service}", f"atoll service history {service}") if service else ()


def last_words(case: Case, service: str) -> str:
    """The last line that an instance printed before it ended, quoted."""
    for child in case.children:
        if child.service == service:
            line = next((text.strip() for text in reversed(child.last_lines) if text.strip()), "")
            if line:
                return f"; its last line: {scrub(line, limit=QUOTED)}"
    return ""


def quote(said: Said) -> str:
    """The last line of what was said."""
    lines = [line.strip() for line in said.text.splitlines() if line.strip()]
    return scrub(lines[-1] if lines else "", limit=QUOTED)
