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

from atoll.gateway.bound import Bound, Named
from atoll.gateway.config import Traits
from atoll.gateway.deadline import LEFT, milliseconds, passing_on
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


def try_word(bound: Bound) -> str:
    """Milliseconds of one try."""
    return milliseconds(try_seconds(bound.effective.policy))


def whole_word(bound: Bound) -> str:
    """Milliseconds that all tries may take together; with less time left it is tried once."""
    policy = bound.effective.policy
    one = try_seconds(policy) or policy.timeout
    if policy.retry is None or one is None:
        return ""
    return milliseconds(one * (attempts(policy) + 1))


def owner_word(bound: Bound) -> str:
    """`own`: this hop retries for all behind it. `own.<n>`: also when a try takes too long, so n times each what is under
    way must fit into the budget. `never`: once an instance has had the request it stays with it.
    """
    policy = bound.effective.policy
    if policy.retry is None:
        return ""
    if attempts(policy) == 0:
        return "never"
    if TIMEOUT in policy.retry.on:
        return f"own.{attempts(policy)}"
    return "own" if policy.retry.owns else ""


def methods_word(bound: Bound) -> str:
    """The methods, when they are said."""
    retry = bound.effective.policy.retry
    return ",".join(retry.methods) if retry is not None else ""


def budget_word(bound: Bound) -> str:
    """Percent of the service's requests, when it is said."""
    retry = bound.effective.policy.retry
    return str(retry.budget) if retry is not None and retry.budget != Retry().budget else ""


COLUMNS = (
    ("try", try_word),
    ("whole", whole_word),
    ("owner", owner_word),
    ("methods", methods_word),
    ("budget", budget_word),
)


def method_rules(column: Named) -> str:
    """Whether the request's method is among those that are said, before anybody asks whether it is safe."""
    return rf"""  acl choosy var(txn.methods) -m len gt 0
  acl chosen var(txn.chosen) -m str yes
  http-request set-var(txn.methods) {column("methods")} if policied
  http-request set-var(txn.chosen) 'method,concat(",",txn.methods),regsub("^([A-Z]+),(?:[A-Z]+,)*\1(?:,.*)?$","yes")' if choosy
"""


def rules(column: Named) -> str:
    """Of a request with a policy, once it is known how much time is left."""
    return f"""\
  acl owner var(txn.role) -m beg own
  acl tried {column("try")} -m len gt 0
  http-request set-var(txn.role) {column("owner")} if policied
  http-request set-timeout server {column("try")} if policied tried !bound or policied tried {{ {column("try")},sub({LEFT}) -m int lt 0 }}
  http-request disable-l7-retry if {{ var(txn.role) -m str never }}
  http-request disable-l7-retry if choosy !chosen
  http-request disable-l7-retry if policied bound {{ {column("whole")},sub({LEFT}) -m int gt 0 }}
{passing_on("owner")}"""
