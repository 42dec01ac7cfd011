"""Which instances get no requests for a while because requests on them failed though their checks pass. Pure.

HAProxy takes an instance out by itself after five failed requests in a row, and back as soon as its check passes
(`backend.ERROR_LIMIT`). Left at that, one that fails its requests and passes its checks would be in and out for ever.
So the node looks at what HAProxy did and holds it out: 1 s the first time, twice as long each time after, and lets it
back in steps. Never is more than half of a pool held out. When more than half of a pool fails like that, it is not the
instances: then ejection is off for the whole pool (panic) until requests succeed again.

An instance whose check fails is no outlier: it is out by that, and nothing is remembered of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from atoll.model.names import InstanceId, ServiceName

FIRST_TERM, LONGEST_TERM = 1.0, 30.0
"""Seconds an instance is held out the first time, and at most."""
FORGIVEN = 60.0
"""Seconds after its return in which another ejection is one more of the same row."""
STEPS = ((1.0, 25), (2.0, 50))
"""Up to so many seconds after its return an instance gets this percentage of its weight."""
TOGETHER = 10.0
"""Seconds within which ejections of one pool belong together."""
CALM = 10.0
"""Seconds for which no more than half of a pool may fail before panic ends."""
PANIC = "requests fail on more than half of its instances though their checks pass; all of them serve, none is ejected"
FEW = 5
"""Failed requests between two looks that say something about an instance in a panic."""

Member = tuple[ServiceName, InstanceId]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What HAProxy counts of an instance that takes requests; numbers since the server was added."""

    member: Member
    passes: bool
    """Its last check passed; False also while only failed requests were seen of it."""
    fails: bool
    """Its last check failed."""
    ejections: int = 0
    """Times that a row of failed requests counted against it."""
    downs: int = 0
    """Times that it went down, whatever the reason."""
    requests: int = 0
    failures: int = 0


class Outlier(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of an instance. Times are of the monotonic clock."""

    seen: Look
    row: int = 0
    """Ejections one after another."""
    last: float = float("-inf")
    until: float = float("-inf")
    """No requests until then."""


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """The instances of a service that take requests."""

    members: dict[InstanceId, Outlier] = {}
    panic: float | None = None
    """Since when ejection is off."""
    troubled: float = float("-inf")
    """When more than half of it was last seen to fail in a panic."""


Pools = Mapping[ServiceName, Pool]

Outliers = tuple[bool, tuple[tuple[InstanceId, int], ...]]
"""Of one service: whether ejection is off, and who gets which percentage of its weight."""
NO_OUTLIERS: Outliers = (False, ())


class Ejections(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway is to do about it."""

    shares: dict[Member, int] = {}
    """Percent of its weight that an instance gets, where it is not 100."""
    panics: frozenset[ServiceName] = frozenset()

    def by_service(self) -> dict[ServiceName, Outliers]:
        """What concerns each service; one that is not there has nothing."""
        shares: dict[ServiceName, list[tuple[InstanceId, int]]] = {name: [] for name in self.panics}
        for (service, instance), share in sorted(self.shares.items()):
            shares.setdefault(service, []).append((instance, share))
        return {service: (service in self.panics, tuple(each)) for service, each in shares.items()}


NONE = Ejections()


def judged(before: Pools, looks: Iterable[Look], now: float) -> dict[ServiceName, Pool]:
    """The pools after another look, at `now`; instances that were not looked at are forgotten."""
    by_service: dict[ServiceName, list[Look]] = {}
    for look in looks:
        by_service.setdefault(look.member[0], []).append(look)
    return {service: _pool(before.get(service, Pool()), found, now) for service, found in by_service.items()}


def ejections(pools: Pools, now: float) -> Ejections:
    """Who gets how much at `now`."""
    shares: dict[Member, int] = {}
    for service, pool in pools.items():
        if pool.panic is None:
            shares.update(((service, instance), share) for instance, share in _shares(pool, now))
    return Ejections(shares=shares, panics=frozenset(name for name, pool in pools.items() if pool.panic is not None))


def unsettled(pools: Pools, now: float) -> bool:
    """Whether something is about to change, so that it is worth looking more often."""
    return any(
        pool.panic is not None or any(each.row and now - each.last < TOGETHER for each in pool.members.values())
        for pool in pools.values()
    )


def news(before: Pools, after: Pools) -> Iterator[tuple[ServiceName, InstanceId | None, str]]:
    """What an operator may want to read: the service, the instance if it is about one, and a sentence."""
    for service, pool in after.items():
        known = before.get(service, Pool())
        if (pool.panic is None) != (known.panic is None):
            yield service, None, PANIC if pool.panic is not None else "requests succeed again; ejection is on again"
        for instance, each in pool.members.items():
            if pool.panic is None and each.last > known.members.get(instance, each).last:
                yield service, instance, f"its requests failed; it gets none for {each.until - each.last:g} s"


def _pool(before: Pool, looks: list[Look], now: float) -> Pool:
    members = {look.member[1]: _member(before.members.get(look.member[1]), look, now) for look in looks}
    if before.panic is not None:
        failing = sum(_failing(before.members.get(look.member[1]), look) for look in looks)
        troubled = now if _most(failing, len(looks)) else before.troubled
        if now - troubled < CALM:
            return Pool(members=members, panic=before.panic, troubled=troubled)
        return Pool(members={instance: Outlier(seen=each.seen) for instance, each in members.items()})
    bad = sum(each.seen.passes and now - each.last < TOGETHER for each in members.values())
    if _most(bad, len(looks)):
        return Pool(members=members, panic=now, troubled=now)
    return Pool(members=members)


def _member(before: Outlier | None, look: Look, now: float) -> Outlier:
    if before is None or look.fails:
        return Outlier(seen=look)
    # what was under way when it was taken out may fail later: that is no other time
    times = min(_more(before.seen.ejections, look.ejections), _more(before.seen.downs, look.downs))
    if not times:
        return msgspec.structs.replace(before, seen=look)
    row = times + (before.row if now - before.until < FORGIVEN else 0)
    term = min(LONGEST_TERM, FIRST_TERM * 2.0 ** min(row - 1, 16))
    return Outlier(seen=look, row=row, last=now, until=now + term)


def _shares(pool: Pool, now: float) -> Iterator[tuple[InstanceId, int]]:
    """The worst first; what is out anyway leaves less to hold out."""
    room = len(pool.members) // 2 - sum(each.seen.fails for each in pool.members.values())
    for instance, each in sorted(pool.members.items(), key=lambda one: (-one[1].row, one[1].last, one[0])):
        if now < each.until:
            if room > 0:
                room -= 1
                yield instance, 0
        elif (share := next((part for after, part in STEPS if now < each.until + after), 100)) < 100:
            yield instance, share


def _failing(before: Outlier | None, look: Look) -> bool:
    """Whether most of its requests since the last look failed."""
    if before is None or look.requests < before.seen.requests:
        return False
    failed = look.failures - before.seen.failures
    return failed >= FEW and 2 * failed >= look.requests - before.seen.requests


def _more(before: int, after: int) -> int:
    # smaller than before: another process, or another server of the same instance, which counts from 0
    return after - before if after >= before else after


def _most(some: int, all_: int) -> bool:
    return all_ > 1 and 2 * some > all_
