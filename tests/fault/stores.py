"""What a store that this process holds open knows, in the words of the checks."""

from __future__ import annotations

from atoll.store.base import EventKind, Revision, Store
from atoll.testing.promises import Happened, Log


async def log_of(store: Store) -> Log:
    """Its kept history."""
    log: dict[int, tuple[Happened, ...]] = {}
    async with store.watch("", start=Revision(store.compacted + 1)) as watch:
        async for change in watch:
            if not change.events:
                break
            log[change.revision] = tuple(
                Happened(event.kind, event.entry.key, event.entry.value.decode())
                if event.kind is EventKind.PUT
                else Happened(event.kind, event.entry.key)
                for event in change.events
            )
    return log


async def entries_of(store: Store) -> dict[str, tuple[str, int, int, str | None]]:
    """Its current entries: value, created, modified, lease."""
    listing = await store.list("")
    return {entry.key: (entry.value.decode(), entry.created, entry.modified, entry.lease) for entry in listing.entries}
