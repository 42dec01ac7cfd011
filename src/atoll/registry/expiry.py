"""Who may expire now: a decision over (leases, now, own stalls, population), not a timer.

Promises:
- Nobody expires before its TTL has passed in time in which this process could listen (`Stall` credit).
- A lapsed instance is first *suspect* (still routed) and goes at a later look: in [TTL, TTL + two sweeps].
- Many leases lapsing together look like our fault (a partition, a stall that was not measured), not theirs: a *hold*
  keeps them, per service and globally, for `hold_limit` at most. Overdue leases count, not only lapsed ones:
  renewals of one cut-off service are spread over TTL/3, so its leases never lapse in one instant.
- Time alone never takes the last routable instance of a service: it is named in `last` and kept.
- At most `burst` instances expire at one look, so that neither a restart nor the end of a hold empties the registry
  in one stroke.
Refuses to know about clocks, stores and HTTP.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from atoll.kit.clock import Instant
from atoll.model.lease import Lease
from atoll.model.names import InstanceId, ServiceName

InstanceKey = tuple[ServiceName, InstanceId]

GLOBAL = ServiceName("")
"""The scope of the hold over everything."""
OVERDUE = 0.5
"""Share of its TTL after which a lease is overdue. Holders renew every TTL/3 ± 20 %, so a healthy one never is."""
SERVICE_FLOOR = 3
"""Fewer instances than this say nothing about whose fault it is: one of two is 50 %."""
GLOBAL_FLOOR = 10
"""As above, for the global hold: one of six is already below 85 %."""
BURST = 50
"""Instances that may expire at one look (per second, at the default sweep)."""


@dataclass(frozen=True)
class Stall:
    """An interval in which this process could not listen."""

    start: Instant
    end: Instant


@dataclass(frozen=True)
class Held:
    """A lease and whether its holder may get traffic (draining and maint instances do not)."""

    lease: Lease
    routable: bool = True


@dataclass(frozen=True)
class Hold:
    """Expiry suspended in a scope since `since`; `spent` once it lasted its limit, until its cause is gone."""

    since: Instant
    spent: bool = False


@dataclass(frozen=True)
class Rules:
    """The numbers of settings.Registry that this decision takes."""

    hold_share: float = 0.5
    global_share: float = 0.85
    hold_limit: float = 600.0
    burst: int = BURST


@dataclass(frozen=True)
class Verdict:
    """What one look found."""

    lapsed: frozenset[InstanceKey] = frozenset()
    """Past their deadline: suspect, except those in `last`."""
    last: frozenset[InstanceKey] = frozenset()
    """Lapsed, and kept because nothing else of their service is left: failing."""
    expire: tuple[InstanceKey, ...] = ()
    """These go now, longest lapsed first."""
    holds: Mapping[ServiceName, Hold] = field(default_factory=dict)

    def holding(self, service: ServiceName) -> bool:
        """Whether the leases of `service` are kept from expiring now."""
        return any(scope in self.holds and not self.holds[scope].spent for scope in (GLOBAL, service))


def credit(stalls: Sequence[Stall], since: float) -> float:
    """Seconds after `since` that a lease gets back because nobody listened."""
    return math.fsum(max(0.0, stall.end - max(stall.start, since)) for stall in stalls)


def decide(
    held: Mapping[InstanceKey, Held], now: Instant, stalls: Sequence[Stall], before: Verdict, rules: Rules
) -> Verdict:
    """The verdict at `now`, given the previous look's. Pure; the caller writes it down and removes who may go."""
    overdue = {key for key, one in held.items() if _age(one.lease, now, stalls) > one.lease.ttl * OVERDUE}
    lapsed = frozenset(key for key in overdue if _age(held[key].lease, now, stalls) >= held[key].lease.ttl)
    services: dict[ServiceName, list[InstanceKey]] = defaultdict(list)
    for key in held:
        services[key[0]].append(key)
    counted = held.keys() - before.last  # whoever is kept only for being the last is not expected to renew any more
    holds = dict(_holds(services, counted, overdue, lapsed, now, before, rules))
    verdict = Verdict(lapsed=lapsed, holds=holds)
    last = frozenset(
        key
        for service in {key[0] for key in lapsed}
        if not verdict.holding(service)
        for key in _kept(services[service], held, lapsed)
    )
    candidates = sorted(
        (held[key].lease.deadline(credit(stalls, held[key].lease.renewed)), key)
        for key in lapsed & before.lapsed
        if key not in last and not verdict.holding(key[0])
    )
    expire = tuple(key for _, key in candidates[: rules.burst])
    return Verdict(lapsed=lapsed, last=last, expire=expire, holds=holds)


def _age(lease: Lease, now: Instant, stalls: Sequence[Stall]) -> float:
    """Seconds since the last renewal in which this process listened."""
    age = now - lease.renewed
    return age if age <= lease.ttl * OVERDUE else age - credit(stalls, lease.renewed)


def _kept(
    keys: Iterable[InstanceKey], held: Mapping[InstanceKey, Held], lapsed: frozenset[InstanceKey]
) -> set[InstanceKey]:
    """The one lapsed instance that a service keeps when no routable one of it is left that renews."""
    keys = list(keys)
    if any(held[key].routable and key not in lapsed for key in keys):
        return set()
    routable = [key for key in keys if held[key].routable] or keys
    newest = max(routable, key=lambda key: (held[key].lease.renewed, key))
    return {newest} & lapsed


def _holds(
    services: Mapping[ServiceName, list[InstanceKey]],
    counted: set[InstanceKey],
    overdue: set[InstanceKey],
    lapsed: frozenset[InstanceKey],
    now: Instant,
    before: Verdict,
    rules: Rules,
) -> Iterable[tuple[ServiceName, Hold]]:
    late = overdue & counted
    fresh_share = 1 - len(late) / len(counted) if counted else 1.0
    many = len(counted) >= GLOBAL_FLOOR and fresh_share < rules.global_share
    hold = _hold(before.holds.get(GLOBAL), many, bool(lapsed & counted), now, rules)
    if hold:
        yield GLOBAL, hold
    for service in {key[0] for key in late}:
        mine = [key for key in services[service] if key in counted]
        late_here = [key for key in mine if key in late]
        together = len(mine) >= SERVICE_FLOOR and len(late_here) / len(mine) > rules.hold_share
        hold = _hold(before.holds.get(service), together, any(key in lapsed for key in late_here), now, rules)
        if hold:
            yield service, hold


def _hold(held: Hold | None, condition: bool, lapsing: bool, now: Instant, rules: Rules) -> Hold | None:
    """The hold of a scope: begins when something would lapse, ends with its cause or, spent, after its limit."""
    if not condition:
        return None
    if held is None:
        return Hold(now) if lapsing else None
    return Hold(held.since, spent=held.spent or now - held.since >= rules.hold_limit)
