"""What watchers heard, judged against what happened: etcd's seven promises of a watch, by their names.

Pure. A watcher's record is its sessions, one after the other (each an open stream); truth is the store's log at the end.
A session that was told `resync` or `compacted` ends there and is judged up to what it had heard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from atoll.testing.history import Call
from atoll.testing.promises import Breach, Happened, Log


class Heard(msgspec.Struct, frozen=True):
    """One message: a change with its events, or (without events) a progress mark."""

    revision: int
    events: tuple[Happened, ...] = ()
    at: float = 0.0
    """Monotonic seconds at which it came; 0 when nobody looked."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One open watch of one watcher, from `start` on (None: it was not told where it begins)."""

    watcher: str
    prefix: str
    start: int | None
    heard: tuple[Heard, ...] = ()

    @property
    def reached(self) -> int | None:
        """The revision up to which nothing may be missing."""
        return self.heard[-1].revision if self.heard else None

    @property
    def begins(self) -> int | None:
        """The first revision it must deliver: `start`, or what the first mark tells."""
        if self.start is not None:
            return self.start
        return self.heard[0].revision + 1 if self.heard and not self.heard[0].events else None


def sessions_of(calls: Iterable[Call]) -> list[Session]:
    """The sessions in a history: each `watch` call, whose answer is what was heard."""
    return [
        Session(
            watcher=call.client,
            prefix=call.arguments["prefix"],
            start=call.arguments["start"],
            heard=msgspec.convert(call.answer or [], tuple[Heard, ...]),
        )
        for call in calls
        if call.call == "watch"
    ]


def watch_filter(sessions: Iterable[Session]) -> list[Breach]:
    """Filter: nothing outside the prefix."""
    return [
        _breach("Filter", session, f"{event.key} at {heard.revision}")
        for session in sessions
        for heard in session.heard
        for event in heard.events
        if not event.key.startswith(session.prefix)
    ]


def watch_ordered(sessions: Iterable[Session]) -> list[Breach]:
    """Ordered: revisions only grow, from the start on."""
    breaches: list[Breach] = []
    for session in sessions:
        last = (session.start or 0) - 1
        for heard in session.heard:
            if heard.revision < last:
                breaches.append(_breach("Ordered", session, f"{heard.revision} came after {last}"))
            last = max(last, heard.revision)
    return breaches


def watch_unique(sessions: Iterable[Session]) -> list[Breach]:
    """Unique: no change twice in one session."""
    return [
        _breach("Unique", session, f"{key} at {revision} came {count} times")
        for session in sessions
        for (revision, key), count in Counter(
            (heard.revision, event.key) for heard in session.heard for event in heard.events
        ).items()
        if count > 1
    ]


def watch_atomic(sessions: Iterable[Session], log: Log) -> list[Breach]:
    """Atomic: a commit comes whole and as it was, in one message; nothing comes that did not happen."""
    breaches: list[Breach] = []
    for session in sessions:
        for heard in session.heard:
            truth = _under(log, heard.revision, session.prefix)
            if heard.events and heard.events != truth:
                breaches.append(_breach("Atomic", session, f"at {heard.revision} {heard.events} instead of {truth}"))
    return breaches


def watch_reliable(sessions: Iterable[Session], log: Log) -> list[Breach]:
    """Reliable: no gap between the first and the last change that came."""
    breaches: list[Breach] = []
    for session in sessions:
        changes = [heard.revision for heard in session.heard if heard.events]
        if changes:
            breaches += _missing("Reliable", session, log, range(changes[0], changes[-1] + 1))
    return breaches


def watch_resumable(sessions: Iterable[Session], log: Log) -> list[Breach]:
    """Resumable: the first change is the first one from the start on; nothing older ever comes."""
    breaches: list[Breach] = []
    for session in sessions:
        begins, changes = session.begins, [heard.revision for heard in session.heard if heard.events]
        if begins is None or not changes:
            continue
        breaches += [
            _breach("Resumable", session, f"{revision} is before its start {begins}")
            for revision in changes
            if revision < begins
        ]
        breaches += _missing("Resumable", session, log, range(begins, changes[0]))
    return breaches


def watch_bookmarkable(sessions: Iterable[Session], log: Log) -> list[Breach]:
    """Bookmarkable: a progress mark means that everything up to it has come, and that nothing up to it comes later."""
    breaches: list[Breach] = []
    for session in sessions:
        begins = session.begins
        marked = (begins or 0) - 1
        for position, heard in enumerate(session.heard):
            if heard.events:
                if heard.revision <= marked:
                    breaches.append(_breach("Bookmarkable", session, f"{heard.revision} came after the mark {marked}"))
                continue
            if begins is not None:
                so_far = msgspec.structs.replace(session, heard=session.heard[:position])
                breaches += _missing("Bookmarkable", so_far, log, range(marked + 1, heard.revision + 1))
            marked = max(marked, heard.revision)
    return breaches


def watch_contract(sessions: Sequence[Session], log: Log) -> list[Breach]:
    """All seven promises."""
    alone = (watch_filter, watch_ordered, watch_unique)
    with_truth = (watch_atomic, watch_reliable, watch_resumable, watch_bookmarkable)
    return [
        *(breach for validator in alone for breach in validator(sessions)),
        *(breach for validator in with_truth for breach in validator(sessions, log)),
    ]


def _missing(promise: str, session: Session, log: Log, revisions: range) -> Iterator[Breach]:
    got = {heard.revision for heard in session.heard if heard.events}
    for revision in revisions:
        if revision not in got and _under(log, revision, session.prefix):
            yield _breach(promise, session, f"{revision} never came")


def _under(log: Log, revision: int, prefix: str) -> tuple[Happened, ...]:
    return tuple(event for event in log.get(revision, ()) if event.key.startswith(prefix))


def _breach(promise: str, session: Session, detail: str) -> Breach:
    return Breach(f"watch {promise}", f"{session.watcher} of {session.prefix or 'all'} from {session.start}: {detail}")
