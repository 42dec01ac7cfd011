"""Which group of a service its requests go to: HAProxy's rules, and the decision that keeps them from flapping.

A verdict with the flag `f` is of a service with groups. HAProxy then reads the service's line of the map, `<section>^
<service>^<name>^<mark>` for each group (no mark: go where the verdict says) in the order in which they are to be asked, and takes the first of which an instance
takes requests: the moment a group has none, within the request, and without anybody's help. The rules are in the file
only while some service has groups, and only requests to such services pass them (and one rule each answer).

What HAProxy does not decide is `decide`, once a second (five times, for seconds after a change): a group whose breaker is open, or on which too many requests
failed, is left; requests return to an earlier one when that has been well for as long as the service says. It orders
the line. Pure; what it remembers is a `Standing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from atoll.gateway.config import DOOR, FAILOVERS, GRPC_DOOR, Failovers, map_path
from atoll.gateway.problem import MARK
from atoll.model.failover import GROUPS_LIMIT
from atoll.model.names import ServiceName

FLAG = "f"
"""Last of a verdict's flags."""
FAILED_OVER = "failover"
"""The mark of a group that is not the first one."""
WINDOW = 10.0
"""Seconds over which a group's requests are judged together."""
FEW = 20
"""Fewer requests in a window say nothing."""

_GROUPS, _GROUP = "txn.groups", "txn.group"


def rules(settled: str) -> str:
    """Rules of both HTTP edges, after the verdict is known; `settled` is a rule for when the verdict is final."""
    lines = [
        f"  http-request set-var({_GROUPS}) var(txn.at),field(4,|),map_str({map_path(FAILOVERS)}) if {{ var(txn.at) -m end {FLAG} }}",
        f"  http-request set-var(txn.at) var(txn.at),rtrim({FLAG}) if grouped",
    ]
    for at in range(1, GROUPS_LIMIT + 1):
        group = f"var({_GROUPS}),field({at},|)"
        lines.append(
            f"  http-request set-var({_GROUP}) {group} if grouped !chosen {{ {group},field(1,^),nbsrv -m int gt 0 }}"
        )
    section, service = (f"%[var({_GROUP}),field({at},^)]" for at in (1, 2))
    where = f" if chosen !{{ var({_GROUP}) -m end ^ }}"
    behind = f"{{ var(txn.at),field(3,|) -m str {DOOR} {GRPC_DOOR} }}"
    lines += [
        f"  http-request set-var-fmt(txn.at) %[var(txn.at),field(1,|,9)]|{section}|{service}|%[var(txn.at),field(12,|,0)]{where} {behind}",
        f"  http-request set-var-fmt(txn.at) %[var(txn.at),field(1,|,2)]|{section}|{service}|%[var(txn.at),field(5,|,0)]{where} !{behind}",
        f"  http-request set-var({MARK}) str({FAILED_OVER}) if {_MOVED}",
        settled,
    ]
    return "\n".join(lines) + "\n"


_MOVED = f"{{ var({_GROUP}) -m end ^{FAILED_OVER} }}"
ANSWER = f"""\
  http-after-response set-header x-failover %[var({_GROUP}),field(3,^)] if {_MOVED}
"""
"""Of both HTTP edges: who asked is told which group served, also when a fallback was taken of that."""
BESIDE = f"""\
  http-response set-var({MARK}) var({MARK}),concat(@{FAILED_OVER}) if {_MOVED} {{ res.hdr(x-atoll-told) -m found }}
"""
"""Of DOOR, where the mark becomes what was told of behind it."""
CONDITIONS = f"""\
  acl grouped var({_GROUPS}) -m found
  acl chosen var({_GROUP}) -m found
"""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen of a group; numbers since HAProxy started."""

    usable: bool = False
    """An instance takes requests."""
    tripped: bool = False
    """Its service's breaker is open."""
    requests: int = 0
    failures: int = 0


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a group. Times are of the monotonic clock."""

    well_since: float | None = None
    ever: bool = False
    """It was well before: what is well for the first time need not prove itself."""
    began: float = float("-inf")
    """The window, with the numbers at its beginning."""
    requests: int = 0
    failures: int = 0
    trouble: str = ""
    """Why it is not well."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service's requests go, and why."""

    at: int = 0
    since: float = float("-inf")
    cause: str = ""
    forced: bool = False
    groups: tuple[Memory, ...] = ()


def decide(
    said: Failovers, before: Standing | None, looks: Sequence[Look], now: float, *, forced: int | None, back: bool
) -> Standing:
    """Where requests go from now on. `forced`: an operator's word; `back`: one just said to return to the first group."""
    known = before if before is not None and len(before.groups) == len(looks) else Standing()
    past = known.groups or (Memory(),) * len(looks)
    groups = tuple(
        _seen(memory, look, now, limit=said.error_rate if index == known.at else None)
        for index, (memory, look) in enumerate(zip(past, looks, strict=True))
    )
    at, cause = _chosen(said, known, groups, looks, now, forced=forced, back=back)
    if (at, forced is not None) == (known.at, known.forced) and before is not None:
        return msgspec.structs.replace(known, groups=groups)
    return Standing(at=at, since=now, cause=cause, forced=forced is not None, groups=groups)


def _chosen(
    said: Failovers,
    known: Standing,
    groups: Sequence[Memory],
    looks: Sequence[Look],
    now: float,
    *,
    forced: int | None,
    back: bool,
) -> tuple[int, str]:
    if forced is not None:
        return forced, f"by operator: {said.word.reason}"
    if back:
        return 0, f"by operator: {said.word.reason}"
    well = [index for index, memory in enumerate(groups) if memory.well_since is not None]
    stable = [index for index in well if _stable(said, groups[index], now)]
    if known.at in well:
        earlier = [index for index in stable if index < known.at]
        if earlier:
            return earlier[0], f"{said.groups[earlier[0]].name} is well again"
        return known.at, known.cause
    better = stable or well or [index for index, look in enumerate(looks) if look.usable]
    if not better:
        return known.at, known.cause
    return better[0], f"{said.groups[known.at].name}: {groups[known.at].trouble}"


def _stable(said: Failovers, memory: Memory, now: float) -> bool:
    return memory.well_since is not None and now - memory.well_since >= said.return_after


def _seen(memory: Memory, look: Look, now: float, *, limit: int | None) -> Memory:
    fresh = look.requests < memory.requests or look.failures < memory.failures or now - memory.began >= WINDOW
    requests, failures = look.requests - memory.requests, look.failures - memory.failures
    trouble = ""
    if not look.usable:
        trouble = "none of its instances takes requests"
    elif look.tripped:
        trouble = "its circuit breaker is open"
    elif limit is not None and requests >= FEW and failures >= 0 and 100 * failures >= limit * requests:
        trouble = f"{100 * failures // requests}% of its requests failed"
    window = (
        (now, look.requests, look.failures) if fresh or trouble else (memory.began, memory.requests, memory.failures)
    )
    since: float | None = None
    if not trouble:
        arrived = now if memory.ever else float("-inf")
        since = arrived if memory.well_since is None else memory.well_since
    return Memory(
        well_since=since,
        ever=memory.ever or since is not None,
        began=window[0],
        requests=window[1],
        failures=window[2],
        trouble=trouble,
    )


def recalled(every: Iterable[Failovers], entries: Mapping[str, str]) -> dict[ServiceName, int]:
    """At which of their groups services are in a map that runs, where that is not the first; see `failover_entries`."""
    found = {}
    for said in every:
        first = entries.get(said.service, "").partition("|")[0].split("^")[:2]
        places = [[group.section, group.service] for group in said.groups]
        if first in places[1:]:
            found[said.service] = places.index(first)
    return found


def taken_over(said: Failovers, at: int, now: float) -> Standing:
    """Where a node finds requests going that was not there when they moved: earlier groups have to prove themselves."""
    cause = f"{said.groups[at].name} before the node was started again"
    return Standing(at=at, since=now, cause=cause, groups=(Memory(ever=True),) * len(said.groups))


def _first_mark(said: Failovers) -> str:
    """Empty where the verdict's own section is right: a route or call may have one of its own, of the same instances."""
    return "" if said.groups[0].name == said.service else "-"


def failover_entries(every: Iterable[Failovers], standings: Mapping[ServiceName, int]) -> Iterator[tuple[str, str]]:
    """The map: each service's groups, the one where its requests go first, then the others in their own order."""
    for said in every:
        at = standings.get(said.service, 0)
        order = sorted(range(len(said.groups)), key=lambda index: (index != at, index))
        words = (said.groups[index] for index in order)
        marks = (FAILED_OVER if index else _first_mark(said) for index in order)
        yield (
            said.service,
            "|".join(
                f"{group.section}^{group.service}^{group.name}^{mark}" for group, mark in zip(words, marks, strict=True)
            ),
        )
