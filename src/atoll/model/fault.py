"""An injected fault: what an operator lets go wrong on purpose, for some requests, for a while.

It is a word like a breaker's: said with a reason, never in a project file, and it ends by itself. HAProxy compares its
own clock, so it ends although nobody is there to take it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NewType

import msgspec

from atoll.errors import InvalidValue
from atoll.kit.text import scrub
from atoll.model import names
from atoll.model.breaker import REASON_LIMIT
from atoll.model.names import HeaderName, HeaderValue, RouteName, ServiceName

FaultName = NewType("FaultName", str)
"""As a route name."""

DELAY_CEILING = 60.0
"""Seconds; the proxy keeps the request for so long, also when its client has left."""
DURATION_CEILING = 86_400.0
"""Seconds a fault may last: who forgets one finds it gone the next day."""
PERCENT_FLOOR = 0.01
"""One request in ten thousand: the proxy draws no finer."""
STATUS_LEAST, STATUS_MOST = 400, 599
"""What an aborted request can be answered: a fault that looks like success is a lie, not a fault."""
FAULTS_LIMIT = 100
"""At once; each is looked at by the requests that it may strike."""


class Kind(StrEnum):
    """What became of a request that a fault struck: the gravest of what it says."""

    DELAY = "delay"
    ABORT = "abort"
    DROP = "drop"


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fact `faults/<name>`. Durations in seconds, moments in wall seconds.

    Where: a `route`, or a `service` (every caller's requests), or of these only those of one `caller`.
    """

    name: FaultName
    route: RouteName | None = None
    service: ServiceName | None = None
    caller: ServiceName | None = None
    percent: float = 100.0
    """Share of those requests that it strikes, 0.01 to 100."""
    header: HeaderName | None = None
    """With `value`: only requests with this header."""
    value: HeaderValue | None = None
    delay: float = 0.0
    jitter: float = 0.0
    """The delay is up to so much longer or shorter, evenly."""
    abort: int | None = None
    """Answered with this status instead of being sent on; after the delay."""
    drop: bool = False
    """The connection is closed without an answer; after the delay."""
    until: float
    since: float
    reason: str

    @property
    def kind(self) -> Kind:
        """The gravest that it does."""
        return Kind.DROP if self.drop else Kind.DELAY if self.abort is None else Kind.ABORT

    @property
    def target(self) -> str:
        """Where it strikes, for people."""
        if self.route is not None:
            return f"route {self.route}"
        return f"{self.caller} → {self.service}" if self.caller else str(self.service)

    @property
    def effect(self) -> str:
        """What it does, for people."""
        said = []
        if self.delay:
            swing = f" ±{self.jitter * 1000:g}" if self.jitter else ""
            said.append(f"{self.delay * 1000:g}{swing} ms late")
        if self.abort is not None:
            said.append(f"answered {self.abort}")
        if self.drop:
            said.append("dropped")
        return ", ".join(said)

    def holds(self, wall: float) -> bool:
        """Whether it strikes at `wall`."""
        return wall < self.until


def fault_name(raw: object, *, field: str = "fault") -> FaultName:
    """Parse the name of a fault.

    Raises:
        InvalidName: it has other characters than a route's name, or is too long.
    """
    return FaultName(names.route_name(raw, field=field))


def default_name(said: Fault) -> FaultName:
    """What a fault is called that nobody named: the same for the same place and effect, so that a new word replaces
    the old one.
    """
    where = said.route or (f"{said.caller}.{said.service}" if said.caller else str(said.service))
    kind = f"route-{said.kind}" if said.route else str(said.kind)
    return FaultName(f"{where[: 62 - len(kind)]}.{kind}")


def checked_fault(said: Fault) -> Fault:
    """`said`, with everything in it parsed.

    Raises:
        InvalidName: a name that does not follow its grammar.
        InvalidValue: something absurd; field `field` names it.
    """
    for field, wrong in fault_problems(said):
        raise InvalidValue(f"{field}: {wrong}", hint="docs/resilience.md describes faults", field=field)
    return msgspec.structs.replace(
        said,
        name=fault_name(said.name, field="name"),
        route=None if said.route is None else names.route_name(said.route),
        service=None if said.service is None else names.service_name(said.service),
        caller=None if said.caller is None else names.service_name(said.caller, field="caller"),
        header=None if said.header is None else names.header_name(said.header),
        value=None if said.value is None else names.header_value(said.value, field="value"),
    )


def fault_problems(said: Fault) -> Iterator[tuple[str, str]]:
    """What is absurd in `said`: field and reason."""
    if (said.route is None) == (said.service is None):
        yield "service", "a fault strikes either a route or a service"
    if said.caller is not None and said.service is None:
        yield "caller", "only calls of a service have a caller"
    if not PERCENT_FLOOR <= said.percent <= 100:  # NaN fails too
        yield "percent", f"{said.percent:g} is not {PERCENT_FLOOR:g} to 100 percent"
    if (said.header is None) != (said.value is None):
        yield "header", "a header and its value are given together"
    if not 0 <= said.delay <= DELAY_CEILING:
        yield "delay", f"{said.delay:g} is not 0 to {DELAY_CEILING:g} seconds"
    elif 0 < said.delay < 0.001:
        yield "delay", f"{said.delay:g} seconds are less than a millisecond"
    if not 0 <= said.jitter <= max(0.0, said.delay):
        yield "jitter", f"{said.jitter:g} seconds are not 0 to the delay's {said.delay:g}"
    if said.abort is not None and not STATUS_LEAST <= said.abort <= STATUS_MOST:
        yield "abort", f"{said.abort} is not a status from {STATUS_LEAST} to {STATUS_MOST}"
    if said.abort is not None and said.drop:
        yield "drop", "what is dropped is not answered: abort or drop"
    if not said.delay and said.abort is None and not said.drop:
        yield "delay", "a fault that does nothing: give a delay, an abort or a drop"
    if not 1 <= said.until - said.since <= DURATION_CEILING:
        yield "seconds", f"{said.until - said.since:g} is not 1 to {DURATION_CEILING:g} seconds"
    if not said.reason.strip() or len(said.reason) > REASON_LIMIT:
        yield "reason", f"{scrub(said.reason, limit=40)!r} is not a reason of 1 to {REASON_LIMIT} characters"
