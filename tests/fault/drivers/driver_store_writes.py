"""Writers, readers and watchers of a store process; every call is recorded, and a death is an unknown outcome."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import msgspec

from atoll.testing.history import History
from atoll.testing.watched import Heard
from tests.fault.drivers.pace import paced
from tests.fault.store_process import Lost, Refused, StoreProcess, conditions, operations

_values = itertools.count()


def fresh_value(client: str) -> str:
    """A value that nobody else ever writes."""
    return f"<{client}:{next(_values)}>"


async def commit(
    store: StoreProcess,
    history: History,
    client: str,
    puts: dict[str, str | None],
    expect: dict[str, int] | None = None,
) -> int | None:
    """One recorded commit; its revision, or None when it was refused.

    Raises:
        Lost: the process died.
    """
    wanted, when = operations(puts), conditions(expect or {})
    with history.call(client, "commit", operations=wanted, expect=when) as call:
        try:
            answer = await store.ask("commit", operations=wanted, expect=when)
        except Refused as refusal:
            if refusal.code == "storage-failed":
                call.lost(refusal.code)  # by contract nobody knows whether it is found after a restart
            else:
                call.refused(refusal.code)
            return None
        call.answered(revision=answer["revision"])
        return int(answer["revision"])


async def driver_store_writes(
    store: StoreProcess,
    history: History,
    client: str,
    *,
    rng: random.Random,
    prefixes: Iterable[str] = ("web/",),
    rate: float = 20.0,
    calls: int = 1000,
    seconds: float = 10.0,
) -> int:
    """Commits of one to three puts and now and then a delete, until the process dies; returns how many were acknowledged."""
    places = list(prefixes)
    acknowledged = 0
    async for _ in paced(rate, calls=calls, seconds=seconds):
        keys = {f"{rng.choice(places)}{rng.randrange(12)}" for _ in range(rng.randint(1, 3))}
        puts = {key: None if rng.random() < 0.1 else fresh_value(client) for key in sorted(keys)}
        if all(value is None for value in puts.values()):
            puts[min(puts)] = fresh_value(client)  # a delete of what is absent would be no revision of its own
        try:
            acknowledged += await commit(store, history, client, puts) is not None
        except Lost:
            break
    return acknowledged


async def driver_store_reads(
    store: StoreProcess,
    history: History,
    client: str,
    *,
    key: str,
    rate: float = 50.0,
    calls: int = 1000,
    seconds: float = 10.0,
) -> None:
    """Reads of one key until the process dies."""
    async for _ in paced(rate, calls=calls, seconds=seconds):
        with history.call(client, "get", key=key) as call:
            try:
                answer = await store.ask("get", key=key)
            except Lost:
                break
            call.answered({"value": answer["value"], "modified": answer["modified"]}, revision=answer["revision"])


async def driver_store_watch(
    store: StoreProcess, history: History, client: str, *, prefix: str, start: int | None, until: int | None = None
) -> int:
    """One session of a watch, until the process dies, the watch ends, or it heard revision `until`.

    Returns where to resume.
    """
    heard: list[Heard] = []
    watching = store.watch(prefix, start)
    with history.call(client, "watch", prefix=prefix, start=start) as call:
        async for message in watching:
            heard.append(message)
            if until is not None and message.revision >= until:
                break
        call.answered(msgspec.to_builtins(heard))
        if watching.end not in {None, "closed"}:
            call.value, call.error = msgspec.to_builtins(heard), watching.end
    return heard[-1].revision + 1 if heard else (start or 1)
