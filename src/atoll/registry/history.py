"""What happened to instances, told in the same commit as it happened. Bounded by days and count; replayable.

`replay` answers who could receive traffic at a given time, long after. For that, pruning spares the newest record
before its horizon of every instance that was still registered then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from atoll.model.address import Endpoint
from atoll.model.answers import Record, Verb
from atoll.model.keys import HISTORY, history_key
from atoll.model.names import Key, ServiceName
from atoll.model.service import Instance, State
from atoll.model.snapshot import encode
from atoll.store.base import Put

RECEIVING = frozenset({State.PASSING, State.SUSPECT})
"""States in which an instance gets traffic: a failing one is configured, but its check keeps requests away."""
SKEW = 1.0
"""Seconds by which the wall clock may lie behind the newest record before records are marked as skewed."""
NEXT = 0.0015
"""Seconds from a whole millisecond into the middle of the next one, where rounding cannot lead back."""
ORDERS = 1_000_000
"""Records of one millisecond that keep their order (the width of the key)."""


class Journal:
    """Stamps records: time never goes back in a history, whatever the wall clock does."""

    def __init__(self) -> None:
        self._newest = 0.0
        self._order = 0

    def follow(self, newest: float) -> None:
        """An earlier process wrote records up to this time: the next ones come after it, a millisecond at least."""
        if newest:
            self._newest = max(self._newest, newest + NEXT)

    def write(self, verb: Verb, instance: Instance, wall: float, *, cause: str = "", gone: bool = False) -> Put:
        """The operation that records what became of `instance`, to be put into the commit that does it."""
        record = Record(
            at=max(wall, self._newest),
            verb=verb,
            service=instance.service,
            instance=instance.id,
            endpoint=str(Endpoint(instance.host, instance.port)),
            state=instance.state,
            cause=cause or instance.cause,
            version=instance.version,
            weight=instance.weight,
            gone=gone,
        )
        return self._stamped(record, wall)

    def tell(self, verb: Verb, service: ServiceName, wall: float, *, cause: str) -> Put:
        """The operation that records what became of a service as a whole."""
        return self._stamped(Record(at=max(wall, self._newest), verb=verb, service=service, cause=cause), wall)

    def _stamped(self, record: Record, wall: float) -> Put:
        self._newest = record.at
        self._order = (self._order + 1) % ORDERS
        told = msgspec.structs.replace(record, skewed=record.at - wall > SKEW)
        return Put(history_key(record.service, record.at, self._order), encode(told))


def stamp(key: Key) -> float:
    """The time in a history key, in wall seconds."""
    return int(key.rsplit("/", 1)[-1].partition("-")[0]) / 1000


def replay(records: Iterable[Record], at: float) -> list[Record]:
    """Of `records` in order of time: the newest one, at time `at`, of every instance that could receive traffic then."""
    newest: dict[str, Record] = {}
    for record in records:
        if record.at <= at and record.instance:
            newest[record.instance] = record
    return sorted(
        (one for one in newest.values() if not one.gone and one.state in RECEIVING and one.weight > 0),
        key=lambda one: one.instance,
    )


def prunable(found: Sequence[tuple[Key, str, bool]], *, horizon: float, limit: int) -> list[Key]:
    """The keys that may go, of all records of all services, as (key, instance, gone) in any order.

    Those older than `horizon` (wall seconds) and those over `limit`, except the newest old record of an instance that
    had not gone by then.
    """
    ordered = sorted(found, key=lambda one: (stamp(one[0]), one[0].rsplit("-", 1)[-1]))
    old = [one for one in ordered if stamp(one[0]) < horizon]
    cut = max(len(old), len(ordered) - limit)
    spared: set[tuple[str, str]] = set()
    prune: list[Key] = []
    for key, instance, gone in reversed(ordered[:cut]):
        owner = (key.removeprefix(HISTORY).partition("/")[0], instance)
        if owner in spared or gone or not instance:
            prune.append(key)
        spared.add(owner)
    return prune
