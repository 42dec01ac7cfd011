"""The control plane about itself: numbers, holds, refusals, quarantined records; and the two probes."""

from __future__ import annotations

import os
from collections import Counter

from starlette.requests import Request
from starlette.responses import Response

from atoll import __version__
from atoll.errors import NotReady
from atoll.kit.clock import Instant
from atoll.model.answers import HoldView, Ready, Status
from atoll.registry.expiry import GLOBAL
from atoll.registry.nodes import REPORT_TTL
from atoll.registry.registry import Registry
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint
from atoll.server.exchange import reply

LAG_LIMIT = 1.0
"""Seconds of loop lag above which this process calls itself degraded."""
QUARANTINE_SHOWN = 100


def holds_of(registry: Registry, now: Instant) -> tuple[HoldView, ...]:
    """The holds that keep leases from expiring now, the global one first."""
    return tuple(
        HoldView(
            service=scope,
            seconds=now - hold.since,
            ends_in=max(0.0, hold.since + registry.knobs.hold_limit - now),
        )
        for scope, hold in sorted(registry.verdict.holds.items())
        if not hold.spent
    )


async def status(control: Control, _: Request) -> Response:
    """Everything in one answer."""
    registry, facts, now = control.registry, control.registry.facts, control.clock.now()
    snapshot, holds = facts.snapshot, holds_of(registry, now)
    warnings = [
        f"expiry is on hold for {'everything' if hold.service == GLOBAL else hold.service}: too many leases lapsed at once"
        for hold in holds
    ]
    if control.watchdog.warning:
        warnings.append(control.watchdog.warning)
    elif registry.meter.lag > LAG_LIMIT:
        warnings.append(f"the event loop is {registry.meter.lag:.1f} s late")
    warnings += [
        f"node {report.node}: {report.loop.warning}"
        for report, age in registry.nodes.all(now)
        if report.loop.warning and age < REPORT_TTL
    ]
    warnings += [
        f"service {service}: requests fail on more than half of its instances though their checks pass; none is ejected"
        for report, age in registry.nodes.all(now)
        for service in report.gateway.panics
        if age < REPORT_TTL
    ]
    if snapshot.quarantined:
        warnings.append(f"{len(snapshot.quarantined)} records cannot be read and were set aside")
    return reply(
        Status(
            version=__version__,
            pid=os.getpid(),
            node=control.settings.node,
            uptime=now - control.started,
            revision=control.store.revision,
            health="degraded" if warnings else "ok",
            warnings=tuple(warnings),
            services=len(snapshot.services),
            instances=dict(Counter(instance.state.value for instance in snapshot.instances.values())),
            routes=len(snapshot.routes),
            nodes=len(registry.nodes.all(now)),
            watchers=control.counts.watchers,
            resyncs=control.counts.resyncs,
            watchers_cut=control.counts.watchers_cut,
            requests=control.counts.requests,
            refusals=dict(control.counts.refusals),
            loop_lag=registry.meter.lag,
            loop_lag_most=registry.meter.lag_most,
            stalled=registry.meter.stalled,
            holds=holds,
            blocked=control.watchdog.blocked,
            blocked_seconds=control.watchdog.blocked_seconds,
            refusals_lately=dict(control.counts.lately.counts(now)),
            commits_waiting=(work := control.store.work).waiting,
            watch_backlog=work.backlog,
            expired=registry.expired,
            quarantined=dict(sorted(snapshot.quarantined.items())[:QUARANTINE_SHOWN]),
        )
    )


async def alive(_: Control, __: Request) -> Response:
    """The process answers."""
    return reply(Ready())


async def ready(control: Control, _: Request) -> Response:
    """The registry is loaded and not about to stop."""
    if control.stopping:
        raise NotReady("the control plane is stopping", hint="ask again in a second")
    return reply(Ready())


ENDPOINTS = (
    Endpoint(
        method="GET", path="/api/v1/status", summary="The control plane about itself.", handler=status, answer=Status
    ),
    Endpoint(
        method="GET", path="/livez", summary="Whether the process answers.", handler=alive, answer=Ready, open=True
    ),
    Endpoint(
        method="GET",
        path="/readyz",
        summary="Whether it takes requests.",
        handler=ready,
        answer=Ready,
        errors=(NotReady,),
        open=True,
    ),
)
