"""What `atoll doctor` reads out of the numbers that control plane and nodes tell about themselves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from atoll.cli.check import Finding, Verdict
from atoll.cli.numbers import age
from atoll.model.answers import NodeView, Status
from atoll.model.report import LoopReport, Phase
from atoll.model.snapshot import Snapshot

REPORT_AGE = 10.0
"""Seconds after which a node that still reports nothing is not well (it reports every second)."""
FACTS_AGE = 20.0
"""Seconds without a word from the control plane, progress marks come every 5."""
GOOD_AGE = 15.0
"""Seconds in which HAProxy did not run what is wanted: a reload that waits takes 8, a refused one 30."""
LAG = 0.25
"""Seconds of loop lag that a loaded but working machine stays below."""
REFUSALS = 20
"""Refusals of one code in a minute or two that somebody should look at."""
COMMITS = 1000
BACKLOG = 1000
RESTARTS = 3
SHOWN = 20
"""Findings of one kind at most."""
REFUSED = {
    "unauthorized": (1, "somebody shows a wrong token: compare it with <state>/token, or look who it is in the log"),
    "forbidden": (1, "somebody calls by a foreign Host or Origin: use 127.0.0.1, or set ATOLL_API_HOST"),
    "lease-conflict": (3, "two processes register the same instance id: give each its own"),
    "endpoint-in-use": (3, "two instances register one host and port: give each its own"),
    "overloaded": (1, "fewer clients or larger limits: the log says which limit"),
    "storage-full": (1, "make room on the disk of the state folder"),
    "storage-failed": (1, "look at the disk (dmesg)"),
    "internal": (1, "that is a fault in atoll: its log has the trace, please report it"),
}
"""How many refusals of a code in a minute or two are worth a finding, and what to do; others from `REFUSALS` on."""


def control_plane_findings(status: Status) -> Iterator[Finding]:
    """What is wrong by the control plane's own word."""
    told = [hold.service or "everything" for hold in status.holds]
    for warning in status.warnings:
        if (status.holds and "on hold" in warning) or (status.quarantined and "set aside" in warning):
            continue  # told below, each by its name
        yield _warning("platform", warning, _fix_of(warning))
    for key, why in list(status.quarantined.items())[:SHOWN]:
        fix = "write it anew through the API, or restore a backup"
        yield _warning("platform", f"the record {key} cannot be read: {why}", fix)
    for hold, scope in zip(status.holds[:SHOWN], told, strict=False):
        detail = f"expiry of {scope} is on hold for {hold.seconds:.0f} s; it ends in {hold.ends_in:.0f} s at the latest"
        yield _warning("leases", detail, "see why so many fell silent at once; `atoll service ls`")
    if status.loop_lag > LAG:
        yield _loop("the control plane's", status.loop_lag)
    if status.commits_waiting > COMMITS:
        detail = f"{status.commits_waiting} writes wait for the disk"
        yield _warning(
            "store", detail, "the disk is slow, or somebody writes without end: see atoll_api_requests_total"
        )
    if status.watch_backlog > BACKLOG:
        detail = f"a watcher has {status.watch_backlog} unread changes"
        yield _warning("watches", detail, "it will be told to start over at 10,000: see what it does")
    if status.resyncs or status.watchers_cut:
        detail = f"{status.resyncs} watchers were told to start over, {status.watchers_cut} did not read and were cut"
        yield _warning("watches", detail, "a client reads too slowly; a few after a stall are harmless")
    for code, count in sorted(status.refusals_lately.items()):
        least, fix = REFUSED.get(code, (REFUSALS, f"the control plane's log says who asked for what (code {code})"))
        if count >= least:
            yield _warning("api", f"{count} requests were refused lately: {code}", fix)


def maintenance_findings(facts: Snapshot, wall: float) -> Iterator[Finding]:
    """What operators took out of the traffic, and services of which that leaves nobody."""
    for said in sorted(facts.maintenance.values(), key=lambda each: each.target)[:SHOWN]:
        if said.holds(wall):
            lasting = f" for {age(said.until - wall)} more" if said.until else ""
            out = sum(one.maintenance == said.target for one in facts.instances.values())
            detail = f"{said.target} is out{lasting}, {out} instances with it: {said.reason}"
            yield Finding(check="maintenance", detail=detail)
    asked = {said.target for said in facts.maintenance.values()}
    pools: dict[str, list[str]] = {}
    for one in facts.instances.values():
        pools.setdefault(one.service, []).append(one.maintenance)
    for name in sorted(pools.keys() - asked):
        if all(pools[name]):
            words = sorted(set(pools[name]))
            fix = "; ".join(f"atoll maint off {word}" for word in words)
            yield _warning("maintenance", f"every instance of {name} is out, by {', '.join(words)}", fix)


def node_findings(status: Status, nodes: Iterable[NodeView]) -> Iterator[Finding]:
    """What is wrong by the nodes' last reports."""
    seen = tuple(nodes)
    if not seen:
        detail = "no node reports: nothing starts services or drives the gateway"
        yield _warning("platform", detail, "start one with `atoll up`")
    for view in seen:
        if view.age > REPORT_AGE:
            detail = f"node {view.report.node} last reported {view.age:.0f} s ago"
            yield Finding(
                check="platform",
                verdict=Verdict.BROKEN,
                detail=detail,
                fix="it is stopped or hangs: look into its node.log",
            )
            continue
        yield from _node(view)
        yield from _gateway(status, view)
        yield from _children(view)


def _node(view: NodeView) -> Iterator[Finding]:
    report, name = view.report, f"node {view.report.node}"
    loop: LoopReport = report.loop
    if loop.lag > LAG:
        yield _loop(f"{name}'s", loop.lag)
    if report.facts_age > FACTS_AGE:
        detail = f"{name} goes on with facts that are {report.facts_age:.0f} s old"
        yield _warning("facts", detail, "its watch of the control plane is cut: look into its node.log")
    if report.control_plane_restarts >= RESTARTS:
        detail = f"the control plane ended unasked {report.control_plane_restarts} times on {name}"
        yield _warning("platform", detail, "look into .atoll/platform and node.log for its last words")


def _gateway(status: Status, view: NodeView) -> Iterator[Finding]:
    gateway, name = view.report.gateway, f"node {view.report.node}"
    if gateway.last_error:
        fix = gateway.last_hint or "the last good configuration goes on; see `atoll logs` and node.log"
        if gateway.pid is None and gateway.address:
            detail = f"{name}: HAProxy does not run: {gateway.last_error}"
            yield Finding(check="gateway", verdict=Verdict.BROKEN, detail=detail, fix=fix)
        else:
            yield _warning("gateway", f"{name}: {gateway.last_error}", fix)
    if gateway.last_good_age > GOOD_AGE:
        behind = max(0, status.revision - gateway.revision)
        detail = f"{name}: HAProxy has not run what is wanted for {gateway.last_good_age:.0f} s"
        detail += f" ({behind} revisions behind)" if behind else ""
        yield _warning("gateway", detail, "what it refuses is in node.log; `atoll routes` shows what is wanted")
    if gateway.refused:
        detail = f"{name}: {gateway.refused} facts cannot be run and are left out of the gateway"
        yield _warning("gateway", detail, "node.log names them")
    if gateway.restarts >= RESTARTS:
        detail = f"{name}: HAProxy ended unasked {gateway.restarts} times"
        yield _warning("gateway", detail, "its last lines are in node.log")


def _children(view: NodeView) -> Iterator[Finding]:
    loops = [child for child in view.report.children if child.phase is Phase.CRASH_LOOP]
    for child in loops[:SHOWN]:
        detail = f"{child.instance} does not stay up ({child.restarts} restarts): {child.cause}"
        yield Finding(
            check="services", verdict=Verdict.BROKEN, detail=detail, fix=f"atoll logs {child.service} tells why"
        )
    if len(loops) > SHOWN:
        yield _warning("services", f"{len(loops) - SHOWN} more crash loops", "see `atoll ps`")
    dropped = sum(child.lines_dropped for child in view.report.children)
    if dropped:
        detail = f"node {view.report.node}: {dropped} lines of output came faster than they could be kept"
        yield _warning("logs", detail, "log less; which service: atoll_child_lines_dropped_total")


def _loop(whose: str, lag: float) -> Finding:
    fix = "the machine is overloaded, or something blocks: see the log for `the event loop is blocked`"
    return _warning("loop", f"{whose} event loop is {lag:.2f} s late", fix)


def _fix_of(warning: str) -> str:
    if "event loop" in warning:
        return "the named task blocks the process: please report it with that line of the log"
    return "see `atoll ps` and the logs"


def _warning(check: str, detail: str, fix: str) -> Finding:
    return Finding(check=check, verdict=Verdict.WARNING, detail=detail, fix=fix)
