"""Short words for the store's contract tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from atoll.model.names import Key
from atoll.store.base import Change, Delete, Event, Expect, Listing, Put, Revision


def put(key: str, value: str = "", lease: str | None = None) -> Put:
    return Put(Key(key), value.encode(), lease)


def delete(key: str) -> Delete:
    return Delete(Key(key))


def expect(key: str, modified: int = 0) -> Expect:
    return Expect(Key(key), Revision(modified))


def facts(listing: Listing) -> dict[str, str]:
    return {entry.key: entry.value.decode() for entry in listing.entries}


def said(change: Change) -> str:
    """A change as one line: `3 +a/b=1 -a/c`; a progress mark is the revision alone."""
    return " ".join([str(change.revision), *map(_event, change.events)])


def _event(event: Event) -> str:
    entry = event.entry
    return f"+{entry.key}={entry.value.decode()}" if event.kind == "put" else f"-{entry.key}"


async def heard(watch: AsyncIterator[Change], count: int) -> list[str]:
    """The next `count` changes and marks."""
    async with asyncio.timeout(10):
        return [said(await anext(watch)) for _ in range(count)]
