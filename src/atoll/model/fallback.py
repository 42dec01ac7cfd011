"""What callers get in place of a service that failed: its last good answer, another service's, or a fixed one.

It is said by the service itself for all who call it, by a route, or by a caller. First the last good answer is looked
for, then comes the other service or the fixed answer. A fallback has none itself: whatever the other service answers is
the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from atoll.kit.text import scrub
from atoll.model.names import ServiceName
from atoll.model.page import STATUSES, Page, page_problems

TIMEOUT_FLOOR, TIMEOUT_CEILING = 0.001, 3600.0
"""Seconds."""
AGE_FLOOR, AGE_CEILING = 1.0, 86_400.0
"""Seconds."""
PATH_LIMIT = 256
"""Characters of a path."""
SEGMENTS = 5
"""Segments of the request's path that another path may name, as `{1}` to `{5}`."""

_PATH = re.compile(
    rf"/|(?:/(?:[A-Za-z0-9._~!&()*+,=:@-]|\{{[1-{SEGMENTS}]\}})+)+/?(?:\?(?:[A-Za-z0-9._~!&()*+,=:@/-]|\{{[1-{SEGMENTS}]\}})+)?"
)


class Failure(StrEnum):
    """Why the gateway itself, or a service's instance, gave no answer."""

    NO_INSTANCE = "no-instance"
    """None takes requests."""
    UNREACHABLE = "unreachable"
    """None could be connected to."""
    BAD_ANSWER = "bad-answer"
    """It closed without an answer, or what it sent is not HTTP."""
    TIMEOUT = "timeout"
    BREAKER_OPEN = "breaker-open"
    OVER_LIMIT = "over-limit"
    """There was no room for the request."""


MADE = {
    "502": (Failure.BAD_ANSWER,),
    "503": (Failure.NO_INSTANCE, Failure.UNREACHABLE, Failure.BREAKER_OPEN, Failure.OVER_LIMIT),
    "504": (Failure.TIMEOUT,),
}
"""With which status the gateway tells of each failure."""
FIRST_STATUS = 400
"""Statuses of a service's answer that may count as failed begin here: those that HTTP knows."""
FAILURES = frozenset(Failure)
USUAL = (*Failure, "502", "503", "504")
"""What counts as failed unless something else is said."""


class Other(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Another service that is asked instead."""

    service: ServiceName
    path: str = ""
    """The path, and maybe a query, that it gets; `{1}` is the first segment of the path that the failed service got.
    Empty: the same path. Without a query here, that of the request goes along."""
    timeout: float | None = None
    """Seconds without a byte of its answer; None: as for all who call it."""


class LastGood(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last answer that was good, of the same GET by anybody who did not say who they are."""

    max_age: float = 3600.0
    """Seconds; no older one is given."""


class Fallback(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is given, and when. With nothing to give it is none, which also takes away what somebody else said."""

    on: tuple[str, ...] = USUAL
    """Failures by their names, and statuses of the service's own answers."""
    static: Page | None = None
    service: Other | None = None
    last_good: LastGood | None = None

    @property
    def none(self) -> bool:
        """Whether there is nothing to give."""
        return self.static is None and self.service is None and self.last_good is None


def fallback_problems(said: Fallback) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is absurd in `said`: the path of a field, and the reason."""
    if not said.on:
        yield ("on",), "it is given for no failure at all"
    for word in said.on:
        if word not in FAILURES and not _is_status(word):
            known = ", ".join(Failure)
            shown = scrub(word, limit=40)
            yield ("on",), f"{shown!r} is neither a status of an error nor one of {known}"
    if said.static is not None and said.service is not None:
        yield ("service",), "a fixed answer and another service exclude each other"
    if said.static is not None:
        yield from ((("static", *path), wrong) for path, wrong in page_problems(said.static))
    if said.service is not None:
        yield from ((("service", *path), wrong) for path, wrong in _other(said.service))
    if said.last_good is not None and not AGE_FLOOR <= said.last_good.max_age <= AGE_CEILING:
        yield ("last_good", "max_age"), f"{said.last_good.max_age:g} is not {AGE_FLOOR:g} to {AGE_CEILING:g} seconds"


def errors_problems(said: Mapping[str, Page]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is absurd in the answers that somebody wants for errors of the gateway's own: path and reason."""
    for here, page in said.items():
        if here not in MADE:
            yield (here,), f"only {', '.join(MADE)} are the gateway's own words about a service"
            continue
        if str(page.status) != here:
            yield (here, "status"), f"the error {here} stays one: it cannot be answered with {page.status}"
        yield from (((here, *path), wrong) for path, wrong in page_problems(page))


def _other(said: Other) -> Iterator[tuple[tuple[str, ...], str]]:
    if said.path and (len(said.path) > PATH_LIMIT or not _PATH.fullmatch(said.path) or _climbs(said.path)):
        shown = scrub(said.path, limit=80)
        yield ("path",), f"{shown!r} is no path such as /top/{{1}} (of plain characters, at most {PATH_LIMIT})"
    if said.timeout is not None and not TIMEOUT_FLOOR <= said.timeout <= TIMEOUT_CEILING:  # NaN fails too
        yield ("timeout",), f"{said.timeout:g} is not {TIMEOUT_FLOOR:g} to {TIMEOUT_CEILING:g} seconds"


def _climbs(path: str) -> bool:
    return any(segment in {".", ".."} for segment in path.partition("?")[0].split("/"))


def _is_status(word: str) -> bool:
    return len(word) == 3 and word.isascii() and word.isdigit() and int(word) in STATUSES and int(word) >= FIRST_STATUS
