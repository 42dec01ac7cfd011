"""What counts for a request or a call as people read it, and what would become of it now. Pure.

Values are told field by field of `Policy`, so a new field is explained as soon as it exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from atoll.cli.numbers import age
from atoll.gateway.explain import Candidate
from atoll.model.breaker import Breaker, BreakerState, BreakerWord
from atoll.model.maintenance import Maintenance
from atoll.model.names import InstanceId, ServiceName
from atoll.model.policy import Effective, Policy
from atoll.model.report import BreakerReport, FailoverReport, LimitReport, ServerReport
from atoll.model.retry import Retry
from atoll.model.service import Service

BUILT_IN = "built in"


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a policy: its value as text and as data, and who says it."""

    field: str
    text: str
    value: Any
    origin: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that could get the request, and what the gateway's own check says of it."""

    instance: InstanceId
    endpoint: str
    state: str
    takes: bool
    """Whether it gets requests now."""
    cause: str = ""
    """Why not."""


def values(found: Effective, built_in: Mapping[str, Any]) -> tuple[Value, ...]:
    """Every field: what was said, else what holds without a word (`built_in`), else that nothing does."""
    told = []
    for field in Policy.__struct_fields__:
        layer = found.layers.get(field)
        value = getattr(found.policy, field) if layer else built_in.get(field)
        origin = layer.origin if layer else BUILT_IN
        told.append(Value(field=field, text=text_of(value), value=msgspec.to_builtins(value), origin=origin))
    return tuple(told)


def text_of(value: Any) -> str:
    """A value in words: seconds with their unit, structs by their fields, what is off as off."""
    if value is None or (isinstance(value, msgspec.Struct) and getattr(value, "enabled", True) is False):
        return "off"
    if isinstance(value, Breaker):
        rule = f"{value.errors}% of at least {value.min_requests} in {value.window:g}s"
        return f"{rule}, then open {value.open:g}s, {value.probes} probes"
    if isinstance(value, Retry):
        methods = f" of {', '.join(value.methods)}" if value.methods else ""
        more = f"{value.attempts} more{methods} on {', '.join(value.on)}, {value.budget}% of requests"
        return more if value.attempts else "off"
    if isinstance(value, float):
        return f"{value:g}s" if value >= 1 else f"{value * 1000:g}ms"
    if isinstance(value, msgspec.Struct):
        parts = ((name, getattr(value, name)) for name in value.__struct_fields__ if name != "enabled")
        said = [f"{name} {text_of(part)}" for name, part in parts if part is not None and part not in ((), {}, "")]
        return ", ".join(said) or "on"
    if isinstance(value, list | tuple):
        return " ".join(text_of(part) for part in value)
    if isinstance(value, dict):
        return " ".join(f"{name}={text_of(part)}" for name, part in value.items())
    return str(value)


def room(service: Service) -> tuple[Value, ...]:
    """What a service says of its instances' room; no caller can say otherwise."""
    told = []
    for field in ("instance_concurrency", "queue"):
        value = getattr(service, field)
        origin = BUILT_IN if value is None else f"services.{service.name}"
        told.append(Value(field=field, text=text_of(value), value=msgspec.to_builtins(value), origin=origin))
    if service.failover is not None:
        groups = [str(group) for group in service.failover.groups]
        told.append(Value(field="failover", text=" → ".join(groups), value=groups, origin=f"services.{service.name}"))
    return tuple(told)


def elsewhere(service: Service, closed: Maintenance | None, seen: Iterable[FailoverReport]) -> str:
    """What becomes of a request that does not go to the service's own instances; empty: it does."""
    moved = next((one for one in seen if one.service == service.name and one.at), None)
    if moved is not None:
        return f"goes to {moved.group} ({moved.cause})"
    if closed is not None and service.failover is None:
        return f"503 maintenance: {closed.reason}"
    return ""


def crowded(found: Effective, service: Service, seen: Iterable[LimitReport]) -> str:
    """What would become of a request where as many are under way as may be; empty: there is room."""
    limits = {
        service.name: service.policy.max_concurrency,
        found.scope("max_concurrency"): found.policy.max_concurrency,
    }
    for one in seen:
        limit = None if one.queue else limits.get(one.who)
        if limit is not None and one.under_way >= limit:
            return f"503 too-busy: {one.under_way} requests of {one.who} are under way"
    return ""


def standing(
    service: ServiceName,
    candidates: tuple[Candidate, ...],
    seen: Mapping[tuple[ServiceName, InstanceId], ServerReport],
) -> tuple[Standing, ...]:
    """The instances with what the gateway says of them; one that it has not looked at yet counts as well."""
    found = []
    for one in candidates:
        report = seen.get((service, one.instance))
        up = report is None or report.up
        cause = "" if up or report is None else report.cause or "its check fails"
        if not one.weight:
            cause = f"{one.state}, or weight 0"
        found.append(
            Standing(
                instance=one.instance,
                endpoint=one.endpoint,
                state=one.state,
                takes=up and one.weight > 0,
                cause=cause,
            )
        )
    return tuple(found)


def outcome(instances: tuple[Standing, ...], breaker: BreakerReport | None, word: BreakerWord, wall: float) -> str:
    """What would become of a request now, before an instance has had its say."""
    taking = [one.instance for one in instances if one.takes]
    if word.holds(wall) is BreakerState.OPEN:
        return f"503 breaker-open: forced for another {age(word.until - wall)} ({word.reason})"
    forced_shut = word.holds(wall) is BreakerState.CLOSED
    if not taking:
        return f"503 no-instance: 0 of {len(instances)} take requests"
    if breaker is not None and not forced_shut:
        if breaker.state is BreakerState.OPEN:
            return f"503 breaker-open: tried again in {age(max(0.0, breaker.until - wall))}"
        if breaker.state is BreakerState.HALF_OPEN:
            return f"goes to one of {', '.join(taking)} as a probe of the half-open breaker, or 503 breaker-open"
    return f"goes to {'one of ' if len(taking) > 1 else ''}{', '.join(taking)}"
