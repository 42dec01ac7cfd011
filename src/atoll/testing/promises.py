"""The promises about facts, judged over histories: acked-is-durable, refused-did-not-happen, revisions-grow, lease-floor.

Pure. Each check returns every breach it finds, none meaning that the promise held; `judge` turns breaches into a failure.
Truth is what the store holds after the last restart: its kept log of commits (read by a watch from the first revision).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from atoll.testing.history import Call, Outcome

WRITES = ("commit",)
SHOWN = 20
"""Breaches that a failure prints; the rest are counted."""


class Breach(NamedTuple):
    """A promise that did not hold, and how that was seen."""

    promise: str
    detail: str


class PromiseBroken(AssertionError):
    """At least one promise did not hold; `breaches` are all of them."""

    def __init__(self, breaches: Iterable[Breach]) -> None:
        self.breaches = tuple(breaches)
        lines = [f"{breach.promise}: {breach.detail}" for breach in self.breaches[:SHOWN]]
        if len(self.breaches) > SHOWN:
            lines.append(f"… and {len(self.breaches) - SHOWN} more")
        super().__init__("\n".join(lines))


def judge(*checks: Iterable[Breach]) -> None:
    """Pass if no check found a breach.

    Raises:
        PromiseBroken: with everything that all of them found.
    """
    breaches = [breach for check in checks for breach in check]
    if breaches:
        raise PromiseBroken(breaches)


class Happened(msgspec.Struct, frozen=True):
    """One key's change as a commit made it. For a delete, `value` is None."""

    kind: str
    key: str
    value: str | None = None


Log = Mapping[int, tuple[Happened, ...]]
"""What happened at each revision, as the store tells it at the end."""


def wanted(call: Call) -> tuple[Happened, ...]:
    """What a `commit` call asked for (its argument `operations`: a list of {kind, key, value?})."""
    return tuple(
        Happened(operation["kind"], operation["key"], operation.get("value"))
        for operation in call.arguments["operations"]
    )


def acked_is_durable(calls: Iterable[Call], log: Log, *, compacted: int = 0) -> list[Breach]:
    """Every acknowledged commit stands in the log at its revision, whole and alone (above `compacted`)."""
    breaches: list[Breach] = []
    for call in calls:
        if call.call not in WRITES or call.outcome is not Outcome.OK:
            continue
        if call.revision is None:
            breaches.append(Breach("acked-is-durable", f"{_who(call)} was acknowledged without a revision"))
        elif call.revision > compacted:
            found = log.get(call.revision, ())
            missing = [change for change in wanted(call) if change not in found and change.kind == "put"]
            if missing:
                what = f"{missing[0].key} = {missing[0].value!r}"
                breaches.append(
                    Breach(
                        "acked-is-durable",
                        f"{_who(call)} was acknowledged at {call.revision}, where {what} is not",
                    )
                )
            elif strange := [change for change in found if change not in wanted(call)]:
                breaches.append(Breach("acked-is-durable", f"revision {call.revision} also holds {strange[0]}"))
    return breaches


def refused_did_not_happen(calls: Iterable[Call], log: Log) -> list[Breach]:
    """No value of a refused commit is in the log. Asks for values that are used once."""
    happened = {(change.key, change.value) for changes in log.values() for change in changes if change.kind == "put"}
    return [
        Breach("refused-did-not-happen", f"{_who(call)} was refused ({call.error}), and {change.key} is there")
        for call in calls
        if call.call in WRITES and call.outcome is Outcome.REFUSED
        for change in wanted(call)
        if change.kind == "put" and (change.key, change.value) in happened
    ]


def log_is_whole(log: Log, *, compacted: int = 0) -> list[Breach]:
    """The kept revisions follow each other without a gap."""
    gaps = [revision for revision in range(compacted + 1, max(log, default=compacted) + 1) if revision not in log]
    return [Breach("revisions-grow", f"revision {revision} is missing in the log") for revision in gaps]


def revisions_grow(calls: Iterable[Call]) -> list[Breach]:
    """No answer speaks of a smaller revision than one that had come before its call began, whoever asked.

    An acknowledged write's revision is above all of those, and no two of them share one.
    """
    answered = [call for call in calls if call.revision is not None]
    breaches: list[Breach] = []
    highest, holder = -1, ""
    ended = sorted(answered, key=lambda call: call.end)
    upto = 0
    for call in sorted(answered, key=lambda call: call.start):
        while upto < len(ended) and ended[upto].end < call.start:
            seen = ended[upto].revision
            if seen is not None and seen > highest:
                highest, holder = seen, _who(ended[upto])
            upto += 1
        assert call.revision is not None
        if call.revision < highest:
            breaches.append(Breach("revisions-grow", f"{_who(call)} saw {call.revision} after {holder} saw {highest}"))
        elif call.call in WRITES and call.revision == highest:
            breaches.append(Breach("revisions-grow", f"{_who(call)} wrote at {highest}, which {holder} had seen"))
    return breaches + _shared(answered)


def lease_floor(calls: Iterable[Call], gone: Iterable[tuple[str, float]]) -> list[Breach]:
    """No instance went before its TTL had passed since the start of its last acknowledged renewal.

    `calls` are `register` and `renew` (client: `service/id`, argument ttl) and `deregister`; `gone` are the deletions of
    `instances/<service>/<id>` and when they were heard of.
    """
    of: dict[str, list[Call]] = {}
    for call in calls:
        of.setdefault(call.client, []).append(call)
    breaches: list[Breach] = []
    for key, at in gone:
        instance = key.removeprefix("instances/")
        heard = [call for call in of.get(instance, ()) if call.start <= at]
        if any(call.call == "deregister" for call in heard):
            continue
        renewed = [call for call in heard if call.outcome is Outcome.OK and call.end <= at]
        last = max(renewed, key=lambda call: call.start, default=None)
        if last is not None and at - last.start < last.arguments["ttl"]:
            ttl = last.arguments["ttl"]
            breaches.append(
                Breach("lease-floor", f"{instance} went {at - last.start:.2f} s after a renewal for {ttl} s")
            )
    return breaches


def _shared(answered: Iterable[Call]) -> list[Breach]:
    writers: dict[int, Call] = {}
    breaches: list[Breach] = []
    for call in answered:
        if call.call in WRITES and call.revision is not None:
            other = writers.setdefault(call.revision, call)
            if other is not call:
                breaches.append(Breach("revisions-grow", f"{_who(call)} and {_who(other)} share {call.revision}"))
    return breaches


def _who(call: Call) -> str:
    return f"{call.client}'s {call.call} at {call.start:.3f}"
