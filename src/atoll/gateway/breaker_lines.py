"""The circuit breakers' map: what each of them counts by, what an operator said, and the statuses that fail.

`<scope>` → `errors|requests|window|open|probes|reset|limit|slow|statuses|service|flag`
    the numbers of a breaker. A scope is whose requests it counts: `orders`, `web>orders`, `route:shop`. `limit` is the
    milliseconds from which an answer is slow, `slow` the share of such answers; the flag is `s` where answers must be looked at
    closer than by the usual measure.
`orders=`, `web>orders~`, `shop~` → `state|until|services`
    an operator's word on a service, a call and a route. The nearer one counts, while it holds.
`<statuses>~<status>`
    is there when the status counts as failed for breakers with these `statuses`.
`FORCED`
    is there when any word is, or faults are injected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from atoll.gateway.bound import Bound, Does, Text
from atoll.model.breaker import Breaker, BreakerWord, failing_statuses, whole_seconds
from atoll.model.names import ServiceName
from atoll.model.route import Route
from atoll.model.service import Service

FORCED = "FORCED"
"""The key that says that somebody has an operator's word."""
SPECIAL = "s"
"""The flag."""
ROUTE = "route:"
"""How the scopes of routes begin."""
NEVER = 1_000_000_000
"""Milliseconds of an answer that no breaker calls slow."""
OF_SERVICE, OF_CALLER = "=", "~"
"""How the keys of words end."""
_COLUMNS = 11


class Line(msgspec.Struct, frozen=True):
    """What the map says of one scope; durations in whole seconds, `limit` in milliseconds."""

    errors: int
    requests: int
    window: int
    open: int
    probes: int
    reset: int
    limit: int
    slow: int
    statuses: str
    service: str
    flag: str

    def __str__(self) -> str:
        return "|".join(map(str, msgspec.structs.astuple(self)))


class Word(msgspec.Struct, frozen=True):
    """An operator's word as the map says it."""

    state: str
    until: int
    services: str
    """By `,`."""

    def __str__(self) -> str:
        return "|".join(map(str, msgspec.structs.astuple(self)))


def parse_line(text: str) -> Line | None:
    """The line of a scope; None: it is none."""
    words = text.split("|")
    if len(words) != _COLUMNS:
        return None
    return Line(*map(int, words[:8]), *words[8:])  # type: ignore[arg-type]


def parse_word(text: str) -> Word | None:
    """The line of a word; None: it is none."""
    words = text.split("|")
    return Word(words[0], int(words[1]), words[2]) if len(words) == 3 else None


def breaker_key(bound: Bound) -> str:
    """The scope that counts for a policy's requests, where rules must be told: when it is not their service, or watches."""
    said, scope = bound.effective.policy.circuit_breaker, bound.effective.scope("circuit_breaker")
    if said is None or (scope == bound.service and not said.watchful):
        return ""
    return scope


def bits(bound: Bound) -> Does:
    """What is asked for."""
    said = bound.effective.policy.circuit_breaker
    asked = Does.SCOPED if breaker_key(bound) else Does(0)
    return asked | (Does.WATCHED if said is not None and said.watchful else Does(0))


TEXTS: tuple[tuple[str, Text], ...] = (("breaker", breaker_key),)
"""Of the policies map."""


def word_key(scope: str) -> str:
    """The key of the nearest word on a scope."""
    if scope.startswith(ROUTE):
        return scope.removeprefix(ROUTE).partition(">")[0] + OF_CALLER
    return scope + (OF_CALLER if ">" in scope else OF_SERVICE)


def words_of(services: Iterable[Service], routes: Iterable[Route]) -> dict[str, tuple[BreakerWord, str]]:
    """Every word that was ever said, by its key, with the services it is about."""
    said: dict[str, tuple[BreakerWord, str]] = {}
    for service in services:
        said[word_key(service.name)] = service.breaker_word, service.name
        said |= {word_key(f"{service.name}>{name}"): (call.breaker_word, name) for name, call in service.calls.items()}
    for route in routes:
        said[word_key(ROUTE + route.name)] = route.breaker_word, ",".join(sorted({one.service for one in route.shares}))
    return {key: each for key, each in said.items() if each[0] != BreakerWord()}


def breaker_entries(
    bounds: Iterable[Bound], words: Mapping[str, tuple[BreakerWord, str]], *, forced: bool = False
) -> Iterator[tuple[str, str]]:
    """The map; `forced`: something else than words must be looked at too."""
    lines: dict[str, Line] = {}
    kinds: dict[str, tuple[int, ...]] = {}
    for bound in bounds:
        said, scope = bound.effective.policy.circuit_breaker, bound.effective.scope("circuit_breaker")
        if said is not None and said.enabled and scope not in lines:
            word, _ = words.get(word_key(scope), (BreakerWord(), ""))
            lines[scope] = _line(said, word, bound.service)
            if said.watchful:
                kinds[lines[scope].statuses] = failing_statuses(said)
    orders = {
        key: Word(word.state, whole_seconds(word.until), about) for key, (word, about) in words.items() if word.state
    }
    yield from ((scope, str(line)) for scope, line in sorted(lines.items()))
    yield from ((f"{kind}~{status}", "y") for kind, statuses in sorted(kinds.items()) for status in statuses)
    yield from ((key, str(word)) for key, word in sorted(orders.items()))
    if orders or forced:
        yield FORCED, "1"


def _line(said: Breaker, word: BreakerWord, service: ServiceName) -> Line:
    slow = said.slow_calls
    return Line(
        errors=said.errors,
        requests=said.min_requests,
        window=whole_seconds(said.window),
        open=whole_seconds(said.open),
        probes=said.probes,
        reset=int(word.reset),
        limit=NEVER if slow is None else max(1, round(slow.longer_than * 1000)),
        slow=100 if slow is None else slow.share,
        statuses="+".join(sorted(said.failures)) if said.watchful else "",
        service=service,
        flag=SPECIAL if said.watchful else "",
    )
