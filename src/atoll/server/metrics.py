"""`GET /metrics`: the platform's own numbers, each defined once, beside the function that reads it.

The control plane reads its own; what nodes and gateways count comes with their reports, labelled with the node and as
old as `atoll_node_report_age_seconds` says. Series are bounded by what is registered and by the nodes that report.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from atoll import __version__
from atoll.kit.exposition import MEDIA, Kind, Metric, Series, render
from atoll.kit.vitals import Vitals, vitals
from atoll.model.answers import HoldView
from atoll.model.breaker import BreakerState
from atoll.model.report import BreakerReport, ChildReport, GatewayReport, LimitReport, NodeReport, Phase
from atoll.model.service import State
from atoll.model.snapshot import Snapshot
from atoll.registry.nodes import REPORT_TTL
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint
from atoll.server.status import holds_of
from atoll.store.base import Work

OURS = ("control-plane", "")
"""Labels `process` and `node` of this process."""
PROCESS = ("process", "node")
BREAKER_STATES = (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN)
"""Their numbers."""


@dataclass(frozen=True)
class Seen:
    """Everything that is read for one scrape."""

    control: Control
    now: float
    used: Vitals
    work: Work
    snapshot: Snapshot
    holds: tuple[HoldView, ...]
    nodes: tuple[tuple[NodeReport, float], ...]
    """Every node's report and its age."""


Read = Callable[[Seen], Iterable[Series]]


def one(read: Callable[[Seen], float]) -> Read:
    """A metric without labels."""
    return lambda seen: [((), read(seen))]


def per_node(read: Callable[[NodeReport], float]) -> Read:
    """A number of every node."""
    return lambda seen: [((report.node,), read(report)) for report, _ in seen.nodes]


def per_gateway(read: Callable[[GatewayReport], float]) -> Read:
    """A number of every gateway."""
    return per_node(lambda report: read(report.gateway))


def per_child(read: Callable[[ChildReport], float]) -> Read:
    """A number of every instance that nodes run."""
    return lambda seen: [
        ((report.node, child.service, child.instance), read(child))
        for report, _ in seen.nodes
        for child in report.children
    ]


def _processes(own: Callable[[Vitals], float], field: str) -> Read:
    def read(seen: Seen) -> Iterator[Series]:
        yield OURS, own(seen.used)
        for report, _ in seen.nodes:
            for process in report.processes:
                yield (process.name, report.node), float(getattr(process, field))

    return read


def _loops(own: Callable[[Control], float], field: str) -> Read:
    def read(seen: Seen) -> Iterator[Series]:
        yield OURS, own(seen.control)
        yield from ((("node", report.node), float(getattr(report.loop, field))) for report, _ in seen.nodes)

    return read


def _instances(seen: Seen) -> Iterator[Series]:
    found = Counter(instance.state for instance in seen.snapshot.instances.values())
    yield from (((state.value,), found[state]) for state in State)


def _phases(seen: Seen) -> Iterator[Series]:
    for report, _ in seen.nodes:
        found = Counter(child.phase for child in report.children)
        yield from (((report.node, phase.value), found[phase]) for phase in Phase)


def _refusals(seen: Seen) -> Iterator[Series]:
    yield from (((code,), count) for code, count in sorted(seen.control.counts.refusals.items()))


def _reload_kinds(seen: Seen) -> Iterator[Series]:
    for report, _ in seen.nodes:
        yield from (((report.node, kind), count) for kind, count in sorted(report.gateway.reload_kinds.items()))


def _breakers(read: Callable[[BreakerReport], float]) -> Read:
    return lambda seen: [
        ((report.node, each.service, each.caller), read(each)) for report, _ in seen.nodes for each in report.breakers
    ]


def _limits(read: Callable[[LimitReport], float]) -> Read:
    return lambda seen: [
        ((report.node, f"queue:{each.who}" if each.queue else each.who), read(each))
        for report, _ in seen.nodes
        for each in report.limits
    ]


def _lag(seen: Seen) -> Iterator[Series]:
    revision = seen.control.store.revision
    yield from (((report.node,), max(0, revision - report.gateway.revision)) for report, _ in seen.nodes)


TABLE: dict[Metric, Read] = {
    # the control plane -------------------------------------------------------------------------------------------
    Metric("atoll_build_info", Kind.GAUGE, "Always 1; the label tells the version.", labels=("version",)): lambda _: [
        ((__version__,), 1)
    ],
    Metric("atoll_uptime_seconds", Kind.GAUGE, "Time since the control plane began.", "seconds"): one(
        lambda seen: seen.now - seen.control.started
    ),
    Metric("atoll_store_revision", Kind.GAUGE, "The store's newest revision."): one(
        lambda seen: seen.control.store.revision
    ),
    Metric("atoll_store_compacted_revision", Kind.GAUGE, "The newest revision whose history is gone."): one(
        lambda seen: seen.control.store.compacted
    ),
    Metric("atoll_store_commits_waiting", Kind.GAUGE, "Writes that wait for the disk; over 10,000 are refused."): one(
        lambda seen: seen.work.waiting
    ),
    Metric("atoll_watch_backlog_changes", Kind.GAUGE, "Changes that the slowest watcher has not taken yet."): one(
        lambda seen: seen.work.backlog
    ),
    Metric("atoll_watch_backlog_bytes", Kind.GAUGE, "Bytes of values in the largest backlog.", "bytes"): one(
        lambda seen: seen.work.backlog_bytes
    ),
    Metric("atoll_watch_resyncs_total", Kind.COUNTER, "Watchers that fell behind and were told to start over."): one(
        lambda seen: seen.work.resyncs
    ),
    Metric("atoll_watchers", Kind.GAUGE, "Watches of the API that are open."): one(
        lambda seen: seen.control.counts.watchers
    ),
    Metric("atoll_watchers_cut_total", Kind.COUNTER, "Watchers that did not read and were cut."): one(
        lambda seen: seen.control.counts.watchers_cut
    ),
    Metric("atoll_api_requests_total", Kind.COUNTER, "Requests to the control API, refused ones included."): one(
        lambda seen: seen.control.counts.requests
    ),
    Metric("atoll_api_requests_in_progress", Kind.GAUGE, "Requests being answered, watches included."): one(
        lambda seen: seen.control.in_progress
    ),
    Metric("atoll_api_refusals_total", Kind.COUNTER, "Refused requests by error code.", labels=("code",)): _refusals,
    Metric("atoll_services", Kind.GAUGE, "Services with a fact."): one(lambda seen: len(seen.snapshot.services)),
    Metric("atoll_routes", Kind.GAUGE, "Routes."): one(lambda seen: len(seen.snapshot.routes)),
    Metric("atoll_instances", Kind.GAUGE, "Registered instances by state.", labels=("state",)): _instances,
    Metric("atoll_instances_expired_total", Kind.COUNTER, "Instances removed because nobody renewed them."): one(
        lambda seen: seen.control.registry.expired
    ),
    Metric("atoll_holds", Kind.GAUGE, "Holds: too many leases lapsed at once, so nothing expires."): one(
        lambda seen: len(seen.holds)
    ),
    Metric("atoll_hold_seconds", Kind.GAUGE, "How long the longest hold has lasted.", "seconds"): one(
        lambda seen: max((hold.seconds for hold in seen.holds), default=0.0)
    ),
    Metric("atoll_stalled_seconds_total", Kind.COUNTER, "Time not listened, credited to every lease.", "seconds"): one(
        lambda seen: seen.control.registry.meter.stalled
    ),
    Metric("atoll_quarantined_records", Kind.GAUGE, "Records that cannot be read and were set aside."): one(
        lambda seen: len(seen.snapshot.quarantined)
    ),
    # every process of ours ----------------------------------------------------------------------------------------
    Metric("atoll_loop_lag_seconds", Kind.GAUGE, "How late the event loop was, last seen.", "seconds", PROCESS): _loops(
        lambda control: control.watchdog.lag, "lag"
    ),
    Metric(
        "atoll_loop_lag_max_seconds", Kind.GAUGE, "How late it was at most since the start.", "seconds", PROCESS
    ): _loops(lambda control: control.watchdog.lag_most, "lag_most"),
    Metric(
        "atoll_loop_blocked_total", Kind.COUNTER, "Times the loop was blocked over the watchdog's limit.", "", PROCESS
    ): _loops(lambda control: control.watchdog.blocked, "blocked"),
    Metric("atoll_loop_blocked_seconds_total", Kind.COUNTER, "Time in which it was so.", "seconds", PROCESS): _loops(
        lambda control: control.watchdog.blocked_seconds, "blocked_seconds"
    ),
    Metric("atoll_process_tasks", Kind.GAUGE, "Tasks of the event loop.", labels=PROCESS): _loops(
        lambda _: len(asyncio.all_tasks()), "tasks"
    ),
    Metric(
        "atoll_process_resident_memory_bytes", Kind.GAUGE, "Resident memory of our own processes.", "bytes", PROCESS
    ): _processes(lambda used: used.memory, "memory"),
    Metric("atoll_process_open_fds", Kind.GAUGE, "Open descriptors of our own processes.", labels=PROCESS): _processes(
        lambda used: used.descriptors, "descriptors"
    ),
    Metric(
        "atoll_process_cpu_seconds_total", Kind.COUNTER, "Processor time of our own processes.", "seconds", PROCESS
    ): _processes(lambda used: used.cpu, "cpu"),
    # nodes --------------------------------------------------------------------------------------------------------
    Metric("atoll_nodes", Kind.GAUGE, f"Nodes that reported in the last {REPORT_TTL:g} s."): one(
        lambda seen: sum(age <= REPORT_TTL for _, age in seen.nodes)
    ),
    Metric(
        "atoll_node_report_age_seconds", Kind.GAUGE, "Age of the node's last report.", "seconds", ("node",)
    ): lambda seen: [((report.node,), age) for report, age in seen.nodes],
    Metric(
        "atoll_node_facts_age_seconds", Kind.GAUGE, "Age of the last facts the node heard.", "seconds", ("node",)
    ): lambda seen: [((report.node,), report.facts_age + age) for report, age in seen.nodes],
    Metric("atoll_node_facts_revision", Kind.GAUGE, "Revision of the facts that the node knows.", "", ("node",)): (
        per_node(lambda report: report.facts_revision)
    ),
    Metric(
        "atoll_control_plane_restarts_total", Kind.COUNTER, "Unexpected ends of the control plane.", "", ("node",)
    ): per_node(lambda report: report.control_plane_restarts),
    Metric("atoll_children", Kind.GAUGE, "Instances that the node runs, by phase.", "", ("node", "phase")): _phases,
    Metric(
        "atoll_child_restarts_total", Kind.COUNTER, "Unexpected restarts.", "", ("node", "service", "instance")
    ): per_child(lambda child: child.restarts),
    Metric(
        "atoll_child_lines_dropped_total",
        Kind.COUNTER,
        "Lines of output that came faster than they could be kept.",
        "",
        ("node", "service", "instance"),
    ): per_child(lambda child: child.lines_dropped),
    Metric(
        "atoll_child_lines_cut_total",
        Kind.COUNTER,
        "Lines of output that were too long.",
        "",
        ("node", "service", "instance"),
    ): per_child(lambda child: child.lines_cut),
    # gateways -----------------------------------------------------------------------------------------------------
    Metric("atoll_gateway_up", Kind.GAUGE, "Whether HAProxy runs.", "", ("node",)): per_gateway(
        lambda gateway: gateway.pid is not None
    ),
    Metric("atoll_gateway_generation", Kind.GAUGE, "Generation of the configuration it runs.", "", ("node",)): (
        per_gateway(lambda gateway: gateway.generation)
    ),
    Metric("atoll_gateway_revision", Kind.GAUGE, "Store revision that HAProxy runs.", "", ("node",)): per_gateway(
        lambda gateway: gateway.revision
    ),
    Metric(
        "atoll_gateway_lag_revisions", Kind.GAUGE, "The store's revision minus the one HAProxy runs.", "", ("node",)
    ): _lag,
    Metric(
        "atoll_gateway_last_good_age_seconds",
        Kind.GAUGE,
        "Time since HAProxy was last seen to run exactly what is wanted; about 1 when all is well.",
        "seconds",
        ("node",),
    ): lambda seen: [((report.node,), report.gateway.last_good_age + age) for report, age in seen.nodes],
    Metric("atoll_gateway_reloads_total", Kind.COUNTER, "Reloads by reason.", "", ("node", "reason")): _reload_kinds,
    Metric("atoll_gateway_old_workers", Kind.GAUGE, "Workers that finish what they have.", "", ("node",)): per_gateway(
        lambda gateway: gateway.old_workers
    ),
    Metric("atoll_gateway_restarts_total", Kind.COUNTER, "Unexpected ends of HAProxy.", "", ("node",)): per_gateway(
        lambda gateway: gateway.restarts
    ),
    Metric("atoll_gateway_errors_total", Kind.COUNTER, "Failed changes, reloads and file writes.", "", ("node",)): (
        per_gateway(lambda gateway: gateway.errors)
    ),
    Metric(
        "atoll_breaker_state",
        Kind.GAUGE,
        "0: closed, 1: half-open, 2: open; of breakers that had something to count. No caller: the service's own.",
        "",
        ("node", "service", "caller"),
    ): _breakers(lambda each: BREAKER_STATES.index(each.state)),
    Metric(
        "atoll_failover_group",
        Kind.GAUGE,
        "Which of its groups gets a service's requests; 0: the first one.",
        "",
        ("node", "service"),
    ): lambda seen: [((report.node, each.service), each.at) for report, _ in seen.nodes for each in report.failovers],
    Metric(
        "atoll_breaker_opened_total", Kind.COUNTER, "Times that it opened.", "", ("node", "service", "caller")
    ): _breakers(lambda each: each.opened),
    Metric(
        "atoll_breaker_rejected_total", Kind.COUNTER, "Requests kept away.", "", ("node", "service", "caller")
    ): _breakers(lambda each: each.rejected),
    Metric(
        "atoll_limit_requests",
        Kind.GAUGE,
        "Requests under way where their number is limited; of `queue:SERVICE` waiting ones too.",
        "",
        ("node", "limit"),
    ): _limits(lambda each: each.under_way),
    Metric(
        "atoll_limit_refused_total",
        Kind.COUNTER,
        "Requests that were refused because their number is limited.",
        "",
        ("node", "limit"),
    ): _limits(lambda each: each.refused),
    Metric(
        "atoll_instance_share_percent",
        Kind.GAUGE,
        "Share of its weight that an instance gets where it is less than all: its requests failed lately.",
        "",
        ("node", "service", "instance"),
    ): lambda seen: [
        ((report.node, each.service, each.instance), each.share)
        for report, _ in seen.nodes
        for each in report.servers
        if each.share < 100
    ],
    Metric(
        "atoll_ejection_panic",
        Kind.GAUGE,
        "1 while most instances of a service fail requests though their checks pass: none is ejected.",
        "",
        ("node", "service"),
    ): lambda seen: [((report.node, name), 1) for report, _ in seen.nodes for name in report.gateway.panics],
    Metric(
        "atoll_gateway_healed_total", Kind.COUNTER, "Differences found by reading HAProxy back.", "", ("node",)
    ): per_gateway(lambda gateway: gateway.healed),
    Metric(
        "atoll_gateway_refused_facts", Kind.GAUGE, "Facts that the configuration leaves out.", "", ("node",)
    ): per_gateway(lambda gateway: gateway.refused),
}


async def metrics(control: Control, _: Request) -> Response:
    """All of it."""
    used = await asyncio.to_thread(vitals, (os.getpid(),))
    registry, now = control.registry, control.clock.now()
    seen = Seen(
        control=control,
        now=now,
        used=used,
        work=control.store.work,
        snapshot=registry.facts.snapshot,
        holds=holds_of(registry, now),
        nodes=tuple(registry.nodes.all(now)),
    )
    text = render((metric, tuple(read(seen))) for metric, read in TABLE.items())
    return Response(text, headers={"Content-Type": MEDIA})


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/metrics",
        summary="The platform's own numbers, in Prometheus' text format.",
        handler=metrics,
        media=MEDIA,
    ),
)
