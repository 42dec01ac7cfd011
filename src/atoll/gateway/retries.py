"""Which requests are sent again, after what and how often, where somebody says it; and who of many hops does it.

HAProxy sends at once and to another server than the one that failed; it knows no back-off but one second before it asks
the same server for a connection again. Reasons and number stand in a section, so a policy that says others than the
usual ones has a section of its own; methods, budget and `attempts: 0` are words of its line.

One owner: who may retry on a status or a timeout marks the request (`atoll.retry=1` in `baggage`, which services with
OpenTelemetry pass on), and hops behind it leave retries to it. Requests that got lost on the way to an instance are still
sent again there, for it never saw them; and of those that an instance took and did not answer a few (MARKED_FLOOR of
`budget`), so that an instance that is killed costs nobody an answer, while a service that always fails is not asked
again by every hop.
"""

from __future__ import annotations

import math

from atoll.gateway.bound import Bound, Does, Named, Number, Text, does
from atoll.gateway.config import Traits
from atoll.gateway.deadline import milliseconds
from atoll.model.policy import Policy
from atoll.model.retry import CLOSED, TIMEOUT, UNAVAILABLE, Retry

RETRIES = Traits().retries
RETRY_ON = Traits().retry_on
"""Where nothing is said."""

_REASONS = {
    UNAVAILABLE: ("conn-failure",),
    CLOSED: ("empty-response", "junk-response", "0rtt-rejected"),
    TIMEOUT: ("response-timeout",),
}


def attempts(policy: Policy) -> int:
    """How often a request is sent again at most: as often as its tries fit into its whole time."""
    retry = policy.retry
    if retry is None:
        return RETRIES
    if policy.timeout is None or policy.try_timeout is None:
        return retry.attempts
    return max(0, min(retry.attempts, math.floor(policy.timeout / policy.try_timeout + 1e-9) - 1))


def retry_on(retry: Retry | None) -> tuple[str, ...]:
    """HAProxy's words for the reasons. A lost connection is always one."""
    if retry is None or retry.attempts == 0:
        return RETRY_ON
    words = [*_REASONS[UNAVAILABLE]]
    for reason in retry.on:
        words += _REASONS.get(reason, (reason,))
    return tuple(dict.fromkeys(words))


def section_words(policy: Policy) -> tuple[int, tuple[str, ...]]:
    """Number and reasons of the section that a policy needs."""
    count = attempts(policy)
    return (count, retry_on(policy.retry)) if count else (RETRIES, RETRY_ON)


def try_seconds(policy: Policy) -> float | None:
    """What one try may take; where only the whole is said and a try that takes too long is a reason, an even part of it."""
    if policy.try_timeout is not None or policy.timeout is None:
        return policy.try_timeout
    if policy.retry is not None and TIMEOUT in policy.retry.on:
        return policy.timeout / (policy.retry.attempts + 1)
    return None


def try_number(bound: Bound) -> int:
    """Milliseconds of one try."""
    return milliseconds(try_seconds(bound.effective.policy))


def whole_number(bound: Bound) -> int:
    """Milliseconds that all tries may take together; with less time left it is tried once."""
    policy = bound.effective.policy
    one = try_seconds(policy) or policy.timeout
    if policy.retry is None or one is None:
        return 0
    return milliseconds(one * (attempts(policy) + 1))


def times_number(bound: Bound) -> int:
    """Where a try that takes too long is a reason: so many times what is under way must fit into the budget."""
    policy = bound.effective.policy
    return attempts(policy) if policy.retry is not None and TIMEOUT in policy.retry.on else 0


def budget_number(bound: Bound) -> int:
    """Percent of the service's requests."""
    return (bound.effective.policy.retry or Retry()).budget


def methods_text(bound: Bound) -> str:
    """The methods, when they are said."""
    retry = bound.effective.policy.retry
    return ",".join(retry.methods) if retry is not None else ""


def first_seconds(policy: Policy) -> float | None:
    """What an instance is waited for, when no deadline came along that is earlier."""
    times = [seconds for seconds in (policy.timeout, try_seconds(policy)) if seconds is not None]
    return min(times, default=None)


def bits(bound: Bound) -> Does:
    """What is asked for."""
    policy = bound.effective.policy
    asked = Does.TRIED if try_seconds(policy) is not None else Does(0)
    if policy.retry is None:
        return asked
    if policy.retry.methods:
        asked |= Does.CHOOSY
    if policy.retry.budget != Retry().budget:
        asked |= Does.BUDGET
    if policy.timeout is not None and whole_number(bound) > milliseconds(policy.timeout):
        asked |= Does.ONCE
    if attempts(policy) == 0:
        return asked | Does.ONCE
    if TIMEOUT in policy.retry.on:
        return asked | Does.OWNER | Does.PATIENT
    return asked | Does.OWNER if policy.retry.owns else asked


NUMBERS: tuple[tuple[str, Number], ...] = (
    ("try", try_number),
    ("whole", whole_number),
    ("times", times_number),
    ("budget", budget_number),
)
TEXTS: tuple[tuple[str, Text], ...] = (("methods", methods_text),)


def method_rules(column: Named) -> str:
    """Whether the request's method is among those that are said, before anybody asks whether it is safe."""
    return rf"""  acl choosy {does(Does.CHOOSY)}
  acl chosen var(txn.chosen) -m str yes
  http-request set-var(txn.methods) {column("methods")} if choosy
  http-request set-var(txn.chosen) 'method,concat(",",txn.methods),regsub("^([A-Z]+),(?:[A-Z]+,)*\1(?:,.*)?$","yes")' if {{ var(txn.methods) -m found }}
"""


RULES = f"""\
  acl once_only {does(Does.ONCE)}
  http-request disable-l7-retry if once_only or choosy !chosen
"""
"""Of a request with a policy."""
