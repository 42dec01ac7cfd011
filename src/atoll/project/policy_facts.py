"""What the file says of calls, as a policy: of a service for its callers, of a call, of a route, of all routes."""

from __future__ import annotations

from atoll.model.breaker import Breaker, SlowCalls
from atoll.model.bulkhead import Priority, Queue
from atoll.model.names import ServiceName
from atoll.model.policy import Call, Policy
from atoll.model.retry import NEVER, Retry
from atoll.project import schema
from atoll.project.facts import Facts, Surroundings
from atoll.project.fallback_facts import errors_of, fallback_of
from atoll.project.finding import Path


def policy_of(said: schema.Policy, here: Path, facts: Facts, around: Surroundings) -> Policy:
    """The policy in the part of the file at `here`; what is not said is None."""
    breaker = said.circuit_breaker
    return Policy(
        timeout=said.timeout,
        try_timeout=said.try_timeout,
        retry=_retry(said.retry),
        max_concurrency=said.max_concurrency,
        priority=None if said.priority is None else Priority(said.priority),
        circuit_breaker=None if breaker is None else _breaker(breaker),
        fallback=fallback_of(said.fallback, (*here, "fallback"), facts, around),
        errors=errors_of(said.errors, (*here, "errors"), facts, around),
    )


def queue_of(said: schema.Service) -> Queue | None:
    """Where its requests wait."""
    return None if said.queue is None else Queue(size=said.queue.size, timeout=said.queue.timeout)


def calls_of(said: schema.Service, here: Path, facts: Facts, around: Surroundings) -> dict[ServiceName, Call]:
    """What a service says of those it calls; their ports are given when the project is planned."""
    return {
        ServiceName(name): Call(policy=policy_of(call, (*here, "calls", name), facts, around))
        for name, call in said.calls.items()
    }


def _retry(said: schema.Retry | None) -> Retry | None:
    if said is None or not said.enabled:
        return NEVER if said else None
    return Retry(
        attempts=said.attempts,
        on=tuple(dict.fromkeys(said.on)),
        methods=tuple(dict.fromkeys(said.methods)),
        budget=said.budget,
    )


def _breaker(said: schema.CircuitBreaker) -> Breaker:
    slow = said.slow_calls
    return Breaker(
        enabled=said.enabled,
        errors=said.errors,
        window=said.window,
        min_requests=said.min_requests,
        open=said.open,
        probes=said.probes,
        slow_calls=None if slow is None else SlowCalls(longer_than=slow.longer_than, share=slow.share),
        failures=tuple(dict.fromkeys(said.failures)),
    )
