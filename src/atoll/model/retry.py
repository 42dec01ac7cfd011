"""When a request may be sent again: how often, after what, with which methods, and how much of it a service is to bear."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

UNAVAILABLE = "unavailable"
"""No connection: the instance never saw the request. Always a reason, for every method."""
CLOSED = "closed"
"""The instance closed without an answer, or what it said is no HTTP."""
TIMEOUT = "timeout"
"""No answer within one try's time."""
STATUSES = (408, 425, 500, 501, 502, 503, 504)
"""Answers of a service that may be a reason."""
REASONS = (UNAVAILABLE, CLOSED, TIMEOUT, *map(str, STATUSES))
USUAL = (UNAVAILABLE, CLOSED)
"""The reasons where nothing is said of retries."""
METHODS = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH")
ATTEMPTS_CEILING = 10
SHARE_CEILING = 100


class Retry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said of sending a request again. `attempts` 0: never, once an instance has had it."""

    attempts: int = 2
    """How often it is sent again at most, each time to another instance where there is one."""
    on: tuple[str, ...] = USUAL
    """After what, of REASONS."""
    methods: tuple[str, ...] = ()
    """Upper case; only these. Empty: GET, HEAD, OPTIONS, TRACE, PUT, DELETE, and whatever has an Idempotency-Key."""
    budget: int = 10
    """Percent of a service's requests that may be sent again, beside a few."""

    @property
    def owns(self) -> bool:
        """Whether it goes beyond what is lost on the way: whoever calls on behalf of this request then leaves retries to it."""
        return self.attempts > 0 and not set(self.on) <= set(USUAL)


NEVER = Retry(attempts=0)


def retry_problems(said: Retry) -> Iterator[tuple[str, str]]:
    """What is absurd in `said`: field and reason."""
    if not 0 <= said.attempts <= ATTEMPTS_CEILING:
        yield "attempts", f"{said.attempts} is not a whole number from 0 to {ATTEMPTS_CEILING}"
    for reason in said.on:
        if reason not in REASONS:
            yield "on", f"{reason[:32]!r} is not one of {', '.join(REASONS)}"
    if not said.on:
        yield "on", "nothing is named; `retry: false` never sends again"
    for method in said.methods:
        if method not in METHODS:
            yield "methods", f"{method[:32]!r} is not one of {', '.join(METHODS)}"
    if not 0 <= said.budget <= SHARE_CEILING:
        yield "budget", f"{said.budget} is not a whole number from 0 to {SHARE_CEILING} percent"
