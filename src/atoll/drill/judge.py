"""What a drill's history proves: how long callers felt the fault, what was lost, when all was right again. Pure.

A request is *lost* when it got no answer, or one of 500 or above. It is *disturbed* when it is lost or took longer than
anybody should wait (SLOW seconds, or five times what was usual before the fault). Callers have *recovered* from the moment after
which nothing that is asked is disturbed and HAProxy gives the faulty instance nothing any more. Requests that were on
their way when the fault came are counted, but say nothing about recovery: nobody can take them back.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from atoll.drill.history import NO_ANSWER, Asked, History, Look

SLOW = 1.0
"""Seconds from which an answer counts as disturbed, at least."""
USUAL = 5.0
"""Times the median before the fault, from which an answer counts as disturbed, if that is more than SLOW."""
PROOF = 5
"""Requests that must have gone well after the last disturbed one: fewer prove nothing."""
SHOWN = 5
"""Traces of lost requests."""


class Promises(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the user says must hold; None: nothing. Seconds."""

    lost: int | None = None
    recovery: float | None = None
    full: float | None = None


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """One of them, judged."""

    name: str
    wanted: float
    measured: float | None
    """None: it did not happen within the drill."""
    kept: bool


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a history proves. Times in seconds after the fault, unless it says otherwise; None: not within the drill."""

    requests: int
    lost: int
    in_flight: int
    """Of the lost ones, those that had been sent before the fault."""
    slow: int
    """Answered, but disturbed."""
    unsent: int
    fallbacks: int = 0
    """Requests that were given something in the service's place."""
    retried: int
    """Attempts after the first one, as HAProxy counted them."""
    statuses: dict[str, int]
    errors: dict[str, int]
    """Why requests were lost: code of the problem document, else what happened to the connection."""
    instances: dict[str, int]
    """Requests that HAProxy gave each instance."""
    usual: float
    """Median seconds of an answer before the fault."""
    slowest: float
    """Seconds of the slowest answer after the fault, or of the longest wait in vain."""
    recovered: float | None
    last_try: float | None
    """When HAProxy last gave the faulty instance a request; None: never after the fault."""
    out: float | None
    """When HAProxy took the faulty instance out; None: it did not."""
    full: float | None
    """From the end of the fault until the full number of instances took requests again."""
    resolution: float
    """The longest time between two looks at HAProxy: `last_try`, `out` and `full` are this late at most."""
    traces: tuple[str, ...] = ()
    """Of lost requests."""
    promises: tuple[Promise, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether every promise held."""
        return all(one.kept for one in self.promises)


def judge(history: History, promises: Promises | None = None) -> Verdict:
    """The verdict on a history."""
    fault = history.fault_at
    before = [one.took for one in history.requests if one.end <= fault and not one.lost]
    usual = median(before) if before else 0.0
    limit = max(SLOW, USUAL * usual)
    lost = [one for one in history.requests if one.lost]
    after = [one for one in history.requests if one.end > fault]
    last_try = _last_try(history) if history.silent else None
    out = _out(history)
    full = _full(history, out)
    recovered = full if not history.requests else _recovered(after, fault, limit, last_try)
    verdict = Verdict(
        requests=len(history.requests),
        lost=len(lost),
        in_flight=sum(one.start <= fault < one.end for one in lost),
        slow=sum(one.took > limit for one in after if not one.lost),
        unsent=history.unsent,
        fallbacks=sum(bool(one.fallback) for one in history.requests),
        retried=_retried(history.looks),
        statuses=_counted("no answer" if one.status == NO_ANSWER else str(one.status) for one in history.requests),
        errors=_counted(one.code or one.error or str(one.status) for one in lost),
        instances=_instances(history.looks),
        usual=usual,
        slowest=max((one.took for one in after), default=0.0),
        recovered=recovered,
        last_try=last_try,
        out=out,
        full=full,
        resolution=_resolution(history.looks),
        traces=tuple(one.trace for one in lost if one.trace)[:SHOWN],
    )
    return msgspec.structs.replace(verdict, promises=tuple(_judged(verdict, promises or Promises())))


def _recovered(after: Sequence[Asked], fault: float, limit: float, last_try: float | None) -> float | None:
    """When callers were well again; None when the load ended too soon to prove it."""
    fresh = [one for one in after if one.start > fault]
    last = max((one.start for one in fresh if one.lost or one.took > limit), default=fault)
    proof = sum(one.start > last for one in fresh)
    if proof < PROOF:
        return None
    return max(last - fault, last_try or 0.0)


def _last_try(history: History) -> float | None:
    last: float | None = None
    for name in history.targets:
        known, out = _tries_at(history, name), False
        for look in history.looks:
            if look.at <= history.fault_at:
                continue
            if history.undone_at is not None and look.at > history.undone_at:
                break
            found = next((one for one in look.servers if one.name == name), None)
            if found is None:
                out = True
                continue
            if out and found.serving:
                break  # it is back
            out = out or not found.serving
            if found.tries > known:
                last = max(last or 0.0, look.at - history.fault_at)
            known = found.tries
    return last


def _tries_at(history: History, name: str) -> int:
    """What had been tried when the fault came; with no look before it, as the first look says."""
    looks = [one for one in history.looks if one.at <= history.fault_at] or list(history.looks[:1])
    return next((one.tries for look in reversed(looks) for one in look.servers if one.name == name), 0)


def _out(history: History) -> float | None:
    wanted = set(history.targets)
    for look in history.looks:
        if look.at > history.fault_at and not wanted <= {one.name for one in look.servers if one.serving}:
            return look.at - history.fault_at
    return None


def _full(history: History, out: float | None) -> float | None:
    """0 when HAProxy never had less than it had before."""
    looks = [one for one in history.looks if one.at > history.fault_at]
    begin = history.fault_at if history.undone_at is None else history.undone_at
    if out is None or not looks:
        return 0.0 if looks else None
    lacking = [at for at, look in enumerate(looks) if sum(one.serving for one in look.servers) < history.wanted]
    if not lacking:
        return 0.0
    if lacking[-1] + 1 == len(looks):
        return None
    return max(0.0, looks[lacking[-1] + 1].at - begin)


def _retried(looks: Sequence[Look]) -> int:
    """Growth of a counter that begins anew when HAProxy does."""
    total = 0
    for before, now in itertools.pairwise(looks):
        total += now.retried - before.retried if now.retried >= before.retried else now.retried
    return total


def _instances(looks: Sequence[Look]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    known: dict[str, int] = {one.name: one.requests for one in looks[0].servers} if looks else {}
    for look in looks[1:]:
        for one in look.servers:
            was = known.get(one.name, 0)
            counts[one.instance] += one.requests - was if one.requests >= was else one.requests
            known[one.name] = one.requests
    return dict(sorted(counts.items()))


def _resolution(looks: Sequence[Look]) -> float:
    return max((now.at - before.at for before, now in itertools.pairwise(looks)), default=0.0)


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


def _judged(verdict: Verdict, promises: Promises) -> Iterable[Promise]:
    if promises.lost is not None:
        kept = verdict.lost <= promises.lost
        yield Promise(name="lost", wanted=promises.lost, measured=verdict.lost, kept=kept)
    for name, wanted, measured in (
        ("recovery", promises.recovery, verdict.recovered),
        ("full", promises.full, verdict.full),
    ):
        if wanted is not None:
            kept = measured is not None and measured <= wanted
            yield Promise(name=name, wanted=wanted, measured=measured, kept=kept)
