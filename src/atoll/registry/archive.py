"""The history as it lies in the store: queried by service and time, pruned by days and count."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator

import msgspec

from atoll import settings
from atoll.model.answers import History, Receivers, Record
from atoll.model.keys import HISTORY, history_key
from atoll.model.names import Key, ServiceName
from atoll.model.snapshot import decode
from atoll.registry.history import prunable, replay, stamp
from atoll.store.base import Delete, Entry, Store

PAGE = 1000
"""Records read from the store at a time."""
DAY = 86_400.0
LAST_STAMP = 9_999_999_999.0
"""Wall seconds beyond every record (year 2286)."""


class Archive:
    """Registry history over one store."""

    def __init__(self, store: Store, knobs: settings.Registry) -> None:
        self._store = store
        self._knobs = knobs
        self.slack = max(1, knobs.history_limit // 10)
        """Records that may be written before the history is pruned again."""

    async def query(self, service: ServiceName, *, since: float, until: float, limit: int) -> History:
        """The newest `limit` records of a service from `since` on and before `until`, in order of time."""
        found: deque[Record] = deque(maxlen=limit)
        count = 0
        async for record in self._records(service, since=since):
            if record.at >= until:
                break
            if record.at >= since:
                found.append(record)
                count += 1
        return History(service=service, records=tuple(found), more=count > limit)

    async def receivers(self, service: ServiceName, at: float) -> Receivers:
        """Who could receive traffic at a wall time."""
        records: list[Record] = []
        async for record in self._records(service, since=0.0):
            if record.at > at:
                break
            records.append(record)
        return Receivers(service=service, at=at, receivers=tuple(replay(records, at)))

    async def newest(self) -> float:
        """The time of the newest record of all, in wall seconds of whole milliseconds; 0 when there is none."""
        newest = 0.0
        async for entry in self._entries(HISTORY):
            newest = max(newest, _stamp(entry.key) or 0.0)
        return newest

    async def prune(self, wall: float) -> None:
        """Delete what is over the bounds."""
        found: list[tuple[Key, str, bool]] = []
        async for entry in self._entries(HISTORY):
            if _stamp(entry.key) is not None:
                record = _readable(entry)
                found.append((entry.key, record.instance if record else "", record.gone if record else True))
        horizon = wall - self._knobs.history_days * DAY
        doomed = prunable(found, horizon=horizon, limit=self._knobs.history_limit)
        for start in range(0, len(doomed), PAGE):
            await self._store.commit([Delete(key) for key in doomed[start : start + PAGE]])

    async def _records(self, service: ServiceName, *, since: float) -> AsyncIterator[Record]:
        # the key holds whole milliseconds: begin one earlier
        first = history_key(service, min(max(0.0, since - 0.001), LAST_STAMP), 0) if since > 0 else None
        async for entry in self._entries(f"{HISTORY}{service}/", after=first):
            record = _readable(entry)
            if record is not None:
                yield record

    async def _entries(self, prefix: str, after: Key | None = None) -> AsyncIterator[Entry]:
        while True:
            page = await self._store.list(prefix, after=after, limit=PAGE)
            for entry in page.entries:
                yield entry
            if not page.more:
                return
            after = page.entries[-1].key


def _stamp(key: Key) -> float | None:
    """The time in a key; None for one that we did not write."""
    try:
        return stamp(key)
    except ValueError:
        return None


def _readable(entry: Entry) -> Record | None:
    try:
        return decode(entry.value, Record)
    except (msgspec.DecodeError, ValueError):
        return None
