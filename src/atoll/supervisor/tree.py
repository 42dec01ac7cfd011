"""What to start and what to stop, so that the children become what is wanted. Pure: (wanted, seen) to a decision.

Decided anew after every change, from what is seen alone: nothing has to be remembered between two decisions, and a node
that adopted its children in the middle of a rolling restart goes on with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.report import Phase
from atoll.model.service import Condition, Otel, Restart, Run, Service

RAN = frozenset({Phase.STARTING, Phase.RUNNING})


@dataclass(frozen=True)
class Seen:
    """An instance as it is."""

    service: ServiceName
    instance: InstanceId
    digest: str
    restarts: int
    phase: Phase
    healthy: bool = False
    """Passed its check and registered; its dependants may start."""
    routed: bool = False
    """The balancer knows it; an older instance may go for it."""
    failed: bool = False
    """Ended, or failed to start, since it last passed."""
    completed: bool = False
    """Ended by itself with exit 0 and stays so."""
    cause: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """What others do: ids that are registered and not ours, and services with a passing instance anywhere."""

    ids: frozenset[InstanceId] = frozenset()
    healthy: frozenset[ServiceName] = frozenset()


@dataclass(frozen=True)
class Start:
    """Start an instance that is not there."""

    service: ServiceName
    instance: InstanceId


@dataclass(frozen=True)
class Stop:
    """Drain an instance, then end it."""

    service: ServiceName
    instance: InstanceId
    cause: str


@dataclass
class Decision:
    """What to do now, and what is not done yet and why."""

    starts: list[Start] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    waiting: dict[InstanceId, tuple[ServiceName, str]] = field(default_factory=dict)
    """Instances that will start when their dependencies allow it."""
    rolling: dict[ServiceName, str] = field(default_factory=dict)
    """How far a replacement one by one has come, or why it is halted."""


def digest_of(service: Service) -> str:
    """Names everything in how `service` runs that only a new process can take over: the ports of its calls too."""
    run = service.run if service.run is not None else Run(command=())
    calls = sorted((name, call.mesh_index) for name, call in service.calls.items())
    parts = (
        run.command,
        run.working_dir,
        run.root,
        sorted(run.environment.items()),
        run.port,
        run.version,
        run.stop_signal,
        *((run.otel,) if run.otel != Otel() else ()),
        *((calls,) if calls else ()),
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


def fixed_port(run: Run) -> int | None:
    """The port the user insists on, in `port` or as PORT in the environment; None: any will do, or none is needed."""
    if run.port == 0:
        said = run.environment.get("PORT", "")
        return int(said) if said.isascii() and said.isdigit() and 0 < int(said) < 65536 else None
    return run.port


def desired(service: Service, node: NodeName) -> int:
    """How many instances this node shall run."""
    run = service.run
    if run is None or run.stopped or run.node not in {None, node}:
        return 0
    return min(run.replicas, 1) if fixed_port(run) else run.replicas


def restart_policy(service: ServiceName, wanted: Mapping[ServiceName, Service]) -> Restart:
    """The service's own policy; a job that others wait for to complete is not started again when it has."""
    run = wanted[service].run
    policy = run.restart if run is not None else Restart.NO
    awaited = any(other.run and other.run.depends_on.get(service) is Condition.COMPLETED for other in wanted.values())
    return Restart.ON_FAILURE if awaited and policy is Restart.ALWAYS else policy


def decide(
    wanted: Mapping[ServiceName, Service], seen: Sequence[Seen], elsewhere: Elsewhere, node: NodeName
) -> Decision:
    """The next steps towards `wanted`."""
    decision = Decision()
    of: dict[ServiceName, list[Seen]] = {}
    for one in sorted(seen, key=_age):
        of.setdefault(one.service, []).append(one)
    for name in of.keys() - wanted.keys():
        _stop_all(decision, of[name], "its service is gone")
    for name, service in wanted.items():
        children = of.get(name, [])
        count = desired(service, node)
        if service.run is None or count == 0:
            run = service.run
            _stop_all(decision, children, "stopped" if run is not None and run.stopped else "not wanted here")
            continue
        starts = _settle(decision, service, service.run, count, children)
        used = {one.instance for one in children} | elsewhere.ids
        blocked = blockers(service.run, wanted, of, elsewhere, node)
        for instance in _free_ids(name, used, starts):
            if blocked:
                decision.waiting[instance] = (name, blocked)
            else:
                decision.starts.append(Start(name, instance))
    return decision


def decide_end(wanted: Mapping[ServiceName, Service], seen: Sequence[Seen]) -> Decision:
    """The next steps towards nothing: dependants before what they depend on, side by side where they may be."""
    decision = Decision()
    alive = [one for one in seen if one.phase is not Phase.EXITED]
    names = {one.service for one in alive}
    needed = {
        dependency for name in names if name in wanted for dependency in _depends_on(wanted[name]) if dependency != name
    }
    last = names - needed or names  # a circle has no end to begin with
    _stop_all(decision, [one for one in seen if one.service in last or one.phase is Phase.EXITED], "the platform stops")
    return decision


def _depends_on(service: Service) -> Collection[ServiceName]:
    return service.run.depends_on.keys() if service.run is not None else ()


def _settle(decision: Decision, service: Service, run: Run, count: int, children: Sequence[Seen]) -> int:
    """Decide the stops of one service, which is run as `run` says; how many instances to start."""
    name, digest = service.name, digest_of(service)
    here = [one for one in children if one.phase is not Phase.STOPPING]
    current = [one for one in here if one.digest == digest and one.restarts >= run.restarts]
    stale = [one for one in here if one not in current]
    leaving = [one for one in children if one.phase is Phase.STOPPING]
    asked = any(one.restarts < run.restarts for one in stale)
    cause = "restart" if asked else "its definition changed"
    serving = [one for one in stale if one.phase is Phase.RUNNING]
    if not serving or (asked and not run.rolling):
        _stop_all(decision, stale, cause)
        for one in current[count:][::-1]:
            decision.stops.append(Stop(name, one.instance, f"scaled down to {count}"))
        # An instance that is being replaced, or holds the only port, keeps its place until it has ended.
        held = [one for one in leaving if fixed_port(run) or one.digest != digest or one.restarts < run.restarts]
        return max(0, count - len(current) - len(stale) - len(held))
    _stop_all(decision, [one for one in stale if one not in serving], cause)
    behind = [one for one in current if not one.routed]
    done = f"{len(current) - len(behind)} of {count} replaced"
    for one in serving[count:][::-1]:
        decision.stops.append(Stop(name, one.instance, f"scaled down to {count}"))
    if behind or len(serving) > count:
        halted = next((one for one in behind if one.failed), None)
        decision.rolling[name] = (
            f"halted: {halted.instance}: {halted.cause}; {len(serving)} older instances go on"
            if halted is not None
            else f"{done}; waiting for {f'{behind[0].instance} to take traffic' if behind else 'older instances to end'}"
        )
        return 0
    decision.rolling[name] = done
    if leaving or len(serving) < len(stale):
        return 0
    new_first = run.port == 0 and fixed_port(run) is None
    if len(here) > count or (len(here) == count and not new_first):
        decision.stops.append(Stop(name, serving[0].instance, cause))
        return 0
    return 1


def _stop_all(decision: Decision, children: Iterable[Seen], cause: str) -> None:
    decision.stops += [Stop(one.service, one.instance, cause) for one in children if one.phase is not Phase.STOPPING]


def blockers(
    run: Run,
    wanted: Mapping[ServiceName, Service],
    of: Mapping[ServiceName, Sequence[Seen]],
    elsewhere: Elsewhere,
    node: NodeName,
) -> str:
    """Why a start has to wait for other services, in words; empty: it does not."""
    causes = []
    for name, condition in run.depends_on.items():
        service, children = wanted.get(name), of.get(name, ())
        if _reached(condition, name, children, elsewhere):
            continue
        if service is None:
            causes.append(f"{name} (no such service)")
        elif service.run is None or service.run.node not in {None, node}:
            causes.append(f"{name} (no passing instance)")
        elif service.run.stopped:
            causes.append(f"{name} (stopped)")
        else:
            causes.append(f"{name} to be {condition.value}{_how(children)}")
    return f"waits for {', '.join(causes)}" if causes else ""


def _reached(condition: Condition, name: ServiceName, children: Sequence[Seen], elsewhere: Elsewhere) -> bool:
    if any(one.completed for one in children):
        return condition is not Condition.HEALTHY
    if condition is Condition.COMPLETED:
        return False
    if name in elsewhere.healthy or any(one.healthy for one in children):
        return True
    return condition is Condition.STARTED and any(one.phase in RAN for one in children)


def _how(children: Sequence[Seen]) -> str:
    if not children:
        return ""
    worst = max(children, key=lambda one: (one.failed, one.instance))
    return f" ({worst.phase.value}{': ' + worst.cause if worst.cause else ''})"


def _free_ids(service: ServiceName, used: Collection[InstanceId], count: int) -> list[InstanceId]:
    ids: list[InstanceId] = []
    tried = 1
    while len(ids) < count:
        candidate = InstanceId(f"{service}-{tried}")
        if candidate not in used:
            ids.append(candidate)
        tried += 1
    return ids


def number(instance: InstanceId) -> int:
    """The number at the end of an id: the highest is the newest, and `orders-10` comes after `orders-2`."""
    text = instance.rpartition("-")[2]
    return int(text) if text.isascii() and text.isdigit() else 0


def _age(one: Seen) -> tuple[int, str]:
    return (number(one.instance), one.instance)
