"""What protects a call: timeouts, breakers and the like; who says it, and what counts when several do.

A policy is said by a service for all who call it, by a caller for one of the services it calls (`calls:`), by a route,
and for all routes (`gateway.defaults`). Whatever is not said is None and left to the next more general one. Each field
is taken whole: a route's circuit breaker replaces its service's, it does not mend it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec

from atoll.model.breaker import Breaker, BreakerWord, breaker_problems
from atoll.model.bulkhead import Priority, concurrency_problem
from atoll.model.fallback import Fallback, errors_problems, fallback_problems
from atoll.model.page import Page
from atoll.model.retry import Retry, retry_problems

TIMEOUT_CEILING = 86_400.0
"""Seconds: a day."""
TIMEOUT_FLOOR = 0.001
"""Seconds: HAProxy counts in milliseconds."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody said of calls. Durations in seconds; None: nothing was said."""

    timeout: float | None = None
    """How long the answer may fail to begin, all tries together, and then each byte of it, until 504."""
    try_timeout: float | None = None
    """The same of one try; never more than `timeout`."""
    retry: Retry | None = None
    """When the request is sent again, once an instance has had it."""
    circuit_breaker: Breaker | None = None
    """When callers are kept from the service."""
    max_concurrency: int | None = None
    """Requests under way at most. Of a service all callers' together; a route's or a call's counts beside it."""
    priority: Priority | None = None
    """Who goes first where requests wait for an instance to have room."""
    fallback: Fallback | None = None
    """What callers get when it fails."""
    errors: dict[str, Page] | None = None
    """What the gateway says, by status, where it would say an error about the service."""


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one service calls another."""

    policy: Policy = msgspec.field(default_factory=Policy)
    breaker_word: BreakerWord = msgspec.field(default_factory=BreakerWord)
    """What an operator said of its circuit breaker."""
    mesh_index: int = 0
    """Offset of this call's own port in every node's mesh port range: by it the caller is known."""


class Layer(msgspec.Struct, frozen=True):
    """A policy and who said it."""

    origin: str
    """As in the project file: `gateway.defaults`, `services.orders`, `gateway.routes.shop`, `services.web.calls.orders`."""
    policy: Policy
    scope: str
    """Whose state (requests counted, breaker) it means: `orders`, `route:shop`, `web>orders`."""


class Effective(msgspec.Struct, frozen=True):
    """What counts for a call, and for each field that somebody said, who said it."""

    policy: Policy
    layers: dict[str, Layer]
    """By the field's name."""

    def scope(self, field: str) -> str:
        """Whose state the field means; empty: nobody said it."""
        layer = self.layers.get(field)
        return layer.scope if layer else ""


def merged(layers: Iterable[Layer]) -> Effective:
    """What counts, of layers from the most general to the most specific."""
    said: dict[str, Layer] = {}
    for layer in layers:
        said |= {name: layer for name in Policy.__struct_fields__ if getattr(layer.policy, name) is not None}
    return Effective(Policy(**{name: getattr(layer.policy, name) for name, layer in said.items()}), said)


def policy_problems(said: Policy) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is absurd in `said`: the path of a field, and the reason."""
    if said.timeout is not None and not _is_timeout(said.timeout):
        yield ("timeout",), f"{said.timeout:g} is not {TIMEOUT_FLOOR:g} to {TIMEOUT_CEILING:g} seconds"
    if said.try_timeout is not None and not _is_timeout(said.try_timeout):
        yield ("try_timeout",), f"{said.try_timeout:g} is not {TIMEOUT_FLOOR:g} to {TIMEOUT_CEILING:g} seconds"
    elif said.try_timeout is not None and said.timeout is not None and said.try_timeout > said.timeout:
        yield ("try_timeout",), f"one try of {said.try_timeout:g} s is longer than the {said.timeout:g} s of all"
    if said.retry is not None:
        for field, wrong in retry_problems(said.retry):
            yield ("retry", field), wrong
    if said.max_concurrency is not None and (absurd := concurrency_problem(said.max_concurrency)):
        yield ("max_concurrency",), absurd
    if said.circuit_breaker is not None:
        for field, wrong in breaker_problems(said.circuit_breaker):
            yield ("circuit_breaker", *field.split(".")), wrong
    if said.fallback is not None:
        yield from ((("fallback", *path), wrong) for path, wrong in fallback_problems(said.fallback))
    if said.errors is not None:
        yield from ((("errors", *path), wrong) for path, wrong in errors_problems(said.errors))


def _is_timeout(seconds: float) -> bool:
    return math.isfinite(seconds) and TIMEOUT_FLOOR <= seconds <= TIMEOUT_CEILING
