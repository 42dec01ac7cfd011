"""What a chaos run looks for: each check has a weight, passes or does not, and says what was seen and what to do. Pure.

Checks ask for classes, never for milliseconds: was anything lost, did the wait end before the fault did, was it back
within a bound that is far from what is usual. So two runs of the same project find the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from atoll.drill.history import Asked
from atoll.drill.judge import Verdict
from atoll.drill.ways import Way
from atoll.drill.words import span

BACK = 20.0
"""Seconds within which a killed instance must serve again."""
PROXY_BACK = 5.0
"""Seconds within which HAProxy must answer again after its worker was killed; 0.2 are usual."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked for. `about`: a service, a way to one, or a part of the platform."""

    code: str
    about: str
    weight: int
    passed: bool
    seen: str
    """What was seen, in one sentence."""
    advice: str = ""
    """What to do, when it did not pass."""
    evidence: dict[str, float] = {}
    """Counts and seconds."""
    traces: tuple[str, ...] = ()


class WaySeen(msgspec.Struct, frozen=True, kw_only=True):
    """One way while its whole service stood still. Times of requests are seconds since then."""

    way: Way
    early: tuple[Asked, ...]
    """Asked when the pause had just begun."""
    late: tuple[Asked, ...]
    """Asked when the gateway had had time to notice."""
    resumed: float
    """When the service went on."""


def of_kill(service: str, instances: int, verdict: Verdict) -> list[Check]:
    """One instance was killed under load."""
    lost = verdict.lost - (verdict.in_flight if instances > 1 else 0)
    numbers = {"requests": float(verdict.requests), "lost": float(verdict.lost), "retried": float(verdict.retried)}
    felt = f"{verdict.lost} of {verdict.requests} requests were lost"
    felt += f", {verdict.fallbacks} got a fallback" if verdict.fallbacks else ""
    felt += f", callers were well again after {span(verdict.recovered)}" if verdict.recovered is not None else ""
    if instances > 1:
        seen = f"one of {instances} instances was killed: {felt}"
        advice = f"look at a lost one with `atoll why`, and at `atoll explain {service}`"
    else:
        seen = f"{service} has one instance; it was killed: {felt}"
        advice = f"say `replicas: 2` in services.{service}, or a fallback where it is called"
    back = verdict.full is not None and verdict.full <= BACK
    again = f"all instances served again after {span(verdict.full)}" if back else "it was not all back in time"
    return [
        Check(
            code="kill-unnoticed", about=service, weight=5, passed=lost <= 0, seen=seen, advice=advice,
            evidence=numbers, traces=verdict.traces,
        ),
        Check(
            code="kill-replaced", about=service, weight=3, passed=back, seen=again,
            advice=f"see why it does not start: `atoll logs {service}`", evidence={"seconds": verdict.full or 0.0},
        ),
    ]  # fmt: skip


def of_pause_one(service: str, instances: int, disturbed: Sequence[Asked], within: float, verdict: Verdict) -> Check:
    """One of several instances stood still. `disturbed`: requests that began `within` seconds later and were lost or slow."""
    calm = not disturbed
    seen = f"one of {instances} instances stood still: " + (
        f"taken out after {span(verdict.out)}, and nobody waited for it any more"
        if calm
        else f"{len(disturbed)} requests that began over {within:g} s later still waited for it, or were lost"
    )
    return Check(
        code="pause-left-out",
        about=service,
        weight=4,
        passed=calm,
        seen=seen,
        advice=f"give it a health check that is asked often: `healthcheck: {{http: /healthz, interval: 1s}}` in services.{service}",
        evidence={"disturbed": float(len(disturbed)), "lost": float(verdict.lost), "slow": float(verdict.slow)},
        traces=verdict.traces,
    )


def of_way(seen: WaySeen) -> list[Check]:
    """A whole service stood still: how long did its callers wait, and what did they get?"""
    way = seen.way
    waited = max((min(one.end, seen.resumed) - one.start for one in seen.early), default=0.0)
    cut = all(one.end < seen.resumed for one in seen.early)
    said = way.policy.policy.timeout
    if cut:
        told = f"{way.text}: requests waited {span(waited)} for a paused {way.callee}, then had their answer"
    elif said is None:
        told = f"{way.text} has no timeout: requests waited {span(waited)} for a paused {way.callee}, until it went on"
    else:
        told = f"{way.text}: its timeout of {said:g} s is longer than {way.callee} was paused; requests waited {span(waited)}"
    answered = [one for one in (*seen.early, *seen.late) if one.end < seen.resumed]
    given = (
        bool(answered) and not any(one.lost for one in answered) and all(one.end < seen.resumed for one in seen.late)
    )
    codes = sorted({one.code or one.error or str(one.status) for one in answered if one.lost})
    without = f"{way.text}: nothing was given in the place of a paused {way.callee}"
    without += f" (answers: {', '.join(codes)})" if codes else ""
    traces = tuple(one.trace for one in (*seen.early, *seen.late) if one.trace)[:3]
    return [
        Check(
            code="timeout", about=way.name, weight=3, passed=cut, seen=told, advice=way.advice("timeout: 2s"),
            evidence={"waited": round(waited, 2), "paused": round(seen.resumed, 2)}, traces=traces,
        ),
        Check(
            code="fallback", about=way.name, weight=2, passed=given,
            seen=f"{way.text}: callers got a fallback while {way.callee} was paused" if given else without,
            advice=f"if callers can do without it, {way.advice('fallback: …')}; docs/resilience.md has the kinds",
            evidence={"answered": float(len(answered)), "lost": float(sum(one.lost for one in answered))}, traces=traces,
        ),
    ]  # fmt: skip


def of_failing(way: Way, asked: Sequence[Asked]) -> Check:
    """Every request that reached the service failed: was it left alone after a while?"""
    kept = sum(one.code == "breaker-open" for one in asked)
    good = sum(not one.lost for one in asked)
    passed = kept > 0 or (bool(asked) and good == len(asked))
    if kept:
        seen = f"{way.text}: the breaker kept {kept} of {len(asked)} requests from a failing {way.callee}"
    elif passed:
        seen = f"{way.text}: all {len(asked)} requests got a fallback while {way.callee} failed"
    else:
        seen = f"{way.text} has no circuit breaker that opens: all {len(asked)} requests went to a failing {way.callee}"
    return Check(
        code="breaker",
        about=way.name,
        weight=2,
        passed=passed,
        seen=seen,
        advice=f"say `circuit_breaker: true` in services.{way.callee}",
        evidence={"requests": float(len(asked)), "kept": float(kept)},
        traces=tuple(one.trace for one in asked if one.trace)[:3],
    )


def of_part(
    part: str, called: str, asked: Sequence[Asked], recovered: float | None, back: float | None, limit: float
) -> list[Check]:
    """A part of the platform was killed. `back`: seconds until it answered again; `recovered`: until callers were well."""
    lost = [one for one in asked if one.lost]
    proxy = part == "gateway"
    calm = (recovered is not None and recovered <= PROXY_BACK) if proxy else not lost
    felt = f"{called} was killed: {len(lost)} of {len(asked)} requests were lost"
    felt += f", callers were well again after {span(recovered)}" if lost else ""
    returned = back is not None and back <= limit
    again = (
        f"{called} answered again after {span(back)}"
        if returned
        else f"{called} did not answer again within {limit:g} s"
    )
    doctor = "this is atoll's own to promise: see `atoll doctor` and the node's log"
    return [
        Check(
            code="part-unnoticed", about=part, weight=8, passed=calm, seen=felt, advice=doctor,
            evidence={"requests": float(len(asked)), "lost": float(len(lost))}, traces=tuple(o.trace for o in lost if o.trace)[:3],
        ),
        Check(code="part-back", about=part, weight=4, passed=returned, seen=again, advice=doctor, evidence={"seconds": back or 0.0}),
    ]  # fmt: skip


def of_rest(about: str, fault: str, wrong: Iterable[str]) -> Check:
    """After a fault: is everything as it was before?"""
    found = list(wrong)
    return Check(
        code="right-again",
        about=about,
        weight=1,
        passed=not found,
        seen=f"after {fault}: " + ("; ".join(found[:5]) if found else "everything is as it was before"),
        advice="`atoll ps` and `atoll doctor` show what is wrong",
    )
