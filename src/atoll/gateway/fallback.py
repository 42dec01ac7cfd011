"""What is answered in place of a service that failed: the lines of a map, which the rules of `door` read.

The map: `<who>` → `flags|page|seconds|path|verdict` (flags `g`: last good answer, `s`: another service, `p`: a page, in this
order; the seconds are a last good answer's, the path and the verdict another service's), `<who>~<failure>` → `f` when it falls
back upon that failure, or the page to answer it with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from atoll.gateway.page import page_key
from atoll.model.fallback import MADE, Fallback
from atoll.model.page import Page
from atoll.model.policy import Policy
from atoll.model.service import Protocol, Service

FALLS = "f"


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about fallbacks for one `who`."""

    who: str
    fallback: Fallback | None
    errors: dict[str, Page]
    verdict: str = ""
    """Of the other service; empty: there is none, or it cannot be asked."""


def guarded(policy: Policy, service: Service) -> bool:
    """Whether requests to `service` under `policy` must pass DOOR (see `guard_of`)."""
    if service.protocol is Protocol.GRPC:
        return policy.fallback is not None and policy.fallback.service is not None
    return bool(policy.errors) or (policy.fallback is not None and not policy.fallback.none)


def guard_of(who: str, policy: Policy, service: Service, verdict: str) -> Guard:
    """What is said under `policy` of requests to `service`. Of calls of gRPC it is only another service that can answer
    them: there is no answer to keep of a POST, and no fixed one whose bytes are messages of theirs.
    """
    said, errors = policy.fallback, policy.errors or {}
    if service.protocol is Protocol.GRPC:
        errors = {}
        said = None if said is None else msgspec.structs.replace(said, static=None, last_good=None)
    return Guard(who=who, fallback=said, errors=errors, verdict=verdict)


def fallback_entries(guards: Iterable[Guard]) -> tuple[tuple[str, str], ...]:
    """The map."""
    return tuple(sorted({key: value for guard in guards for key, value in _lines(guard)}.items()))


def fallback_pages(guards: Iterable[Guard]) -> tuple[Page, ...]:
    """The fixed answers of which the map speaks, each once."""
    pages: dict[str, Page] = {}
    for guard in guards:
        static = None if guard.fallback is None else guard.fallback.static
        pages |= {page_key(page): page for page in (*guard.errors.values(), *filter(None, (static,)))}
    return tuple(pages[key] for key in sorted(pages))


def _lines(guard: Guard) -> Iterator[tuple[str, str]]:
    for status, page in guard.errors.items():
        for failure in MADE.get(status, ()):
            yield f"{guard.who}~{failure}", page_key(page)
    said = guard.fallback
    if said is None or said.none:
        return
    copies = said.last_good
    fixed = "" if said.static is None else page_key(said.static)
    flags = ("g" if copies else "") + ("s" if guard.verdict else "") + ("p" if fixed else "")
    if not flags:
        return
    age = round(copies.max_age) if copies else 0
    path = "" if said.service is None else said.service.path
    yield guard.who, f"{flags}|{fixed}|{age}|{path}|{guard.verdict}"
    yield from ((f"{guard.who}~{word}", FALLS) for word in said.on)


def keeps(entries: Iterable[tuple[str, str]]) -> bool:
    """Whether the map's lines ask for last good answers."""
    return any(value.startswith("g") for _, value in entries)
